"""Large matrices, some rows at a time: all is float64, but never all at once.

A matrix of any type of numbers is read in blocks of rows, each as float64. One that is a single
block gives the very bits that the same expression gives on the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

_BLOCK = 1 << 20  # elements of a block


@dataclass(frozen=True, eq=False)
class Scaled:
    """A matrix times factors of its rows (axis 0) or columns (1), in their order.

    It is multiplied out where it is read, in float64; what is kept is the matrix as it was.
    """

    matrix: npt.NDArray[Any]
    factors: tuple[tuple[int, Reals], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.matrix.shape

    @property
    def ndim(self) -> int:
        """Two."""
        return self.matrix.ndim

    @property
    def size(self) -> int:
        """How many elements."""
        return self.matrix.size

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: Any) -> Scaled:
        """Return some rows, or rows and columns: slices, or a list of either."""
        ends = index if isinstance(index, tuple) else (index, slice(None))
        factors = tuple((axis, factor[ends[axis]]) for axis, factor in self.factors)
        return Scaled(self.matrix[index], factors)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        product = self.matrix.astype(np.float64)
        for axis, factor in self.factors:
            product *= factor if axis else factor[:, None]
        return product.astype(dtype or np.float64, copy=False)


Matrix = npt.NDArray[Any] | Scaled


def scaled(matrix: Matrix, axis: int, factor: Reals) -> Matrix:
    """Return a matrix times a factor of each row (axis 0) or column (1); float32 is not copied."""
    if np.all(factor == 1):
        return matrix
    base, before = (matrix.matrix, matrix.factors) if isinstance(matrix, Scaled) else (matrix, ())
    if base.dtype == np.float32:
        return Scaled(base, (*before, (axis, factor)))
    return np.asarray(base * (factor if axis else factor[:, None]))


def blocks(matrix: Matrix) -> Iterator[tuple[slice, Reals]]:
    """Yield the rows of a matrix, some at a time, as float64, and which they are."""
    step = max(1, _BLOCK // max(prod(matrix.shape[1:]), 1))
    for first in range(0, len(matrix), step):
        rows = slice(first, first + step)
        yield rows, np.asarray(matrix[rows], np.float64)


def times(matrix: Matrix, x: Reals) -> Reals:
    """Return matrix @ x."""
    return np.concatenate([np.zeros(0), *(rows @ x for _, rows in blocks(matrix))])


def bounds(matrix: Matrix, low: Reals, high: Reals) -> tuple[Reals, Reals]:
    """Return the least and greatest values of matrix @ x for x between low and high."""
    ends = []
    for _, rows in blocks(matrix):
        up, down = np.maximum(rows, 0), np.minimum(rows, 0)
        ends.append((up @ low + down @ high, up @ high + down @ low))
    return np.concatenate([e[0] for e in ends]), np.concatenate([e[1] for e in ends])
