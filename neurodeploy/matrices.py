"""Large matrices, some rows at a time: all is float64, but never all at once.

A matrix of any type of numbers is read in blocks of rows, each as float64. One that is a single
block gives the very bits that the same expression gives on the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Matrix = npt.NDArray[Any]

_BLOCK = 1 << 20  # elements of a block


def blocks(matrix: Matrix) -> Iterator[tuple[slice, Reals]]:
    """Yield the rows of a matrix, some at a time, as float64, and which they are."""
    step = max(1, _BLOCK // max(matrix[0].size, 1)) if len(matrix) else 1
    for first in range(0, len(matrix), step):
        rows = slice(first, first + step)
        yield rows, np.asarray(matrix[rows], np.float64)


def times(matrix: Matrix, x: Reals) -> Reals:
    """Return matrix @ x."""
    return np.concatenate([rows @ x for _, rows in blocks(matrix)] or [matrix @ x])


def bounds(matrix: Matrix, low: Reals, high: Reals) -> tuple[Reals, Reals]:
    """Return the least and greatest values of matrix @ x for x between low and high."""
    ends = []
    for _, rows in blocks(matrix):
        up, down = np.maximum(rows, 0), np.minimum(rows, 0)
        ends.append((up @ low + down @ high, up @ high + down @ low))
    return np.concatenate([e[0] for e in ends]), np.concatenate([e[1] for e in ends])
