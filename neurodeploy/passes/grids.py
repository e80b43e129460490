"""Weights of a quantized file: the units in which they are the whole numbers of that file.

A grid says of each row the whole number q that its greatest weight w is (`Graph.grids`): the unit
of the row is then |w| / q, whatever folding multiplied the row by. Where folding multiplied its
columns by different factors, no unit makes all of them whole, and the grid is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from neurodeploy.graph.ir import Array
from neurodeploy.matrices import Matrix, blocks

_WHOLE = 1e-2  #: so far from a whole number may float32 weights of 16 bits be


def row_tops(weight: Array) -> Array:
    """Return the greatest magnitude of each row."""
    return np.asarray(np.abs(weight.reshape(len(weight), -1)).max(axis=1, initial=0.0))


def grid_units(
    parts: Iterable[tuple[slice, Array]], peaks: Sequence[int], most: int
) -> Array | None:
    """Return the unit of each row, 0 where a row has no weights; None where there is none.

    parts: the weights, some rows at a time; most: the greatest integer that they may be, the least
    is -most - 1.
    """
    units, count = [], 0
    for rows, part in parts:
        count += len(part)
        top, whole = row_tops(part), np.asarray(peaks[rows], np.float64)
        if len(whole) != len(top) or np.any((top > 0) & (whole == 0)):
            return None
        unit = np.where(top > 0, top / np.maximum(whole, 1), 0.0)
        scaled = part.reshape(len(part), -1) / np.where(unit > 0, unit, 1.0)[:, None]
        near = np.rint(scaled)
        inside = near.max(initial=0) <= most and near.min(initial=0) >= -most - 1
        if not inside or np.any(np.abs(scaled - near) > _WHOLE):
            return None
        units.append(unit)
    return np.concatenate(units) if count == len(peaks) else None


def head_units(
    weight: Matrix, unit: Array, peaks: Sequence[int] | None, most: int
) -> tuple[Array, bool]:
    """Return the unit of each row of weights in front of integers worth `unit`.

    And whether these are those of a quantized file; else there is one for all, in which the
    greatest weight is `most`.
    """
    if peaks is not None:
        grid = grid_units(((rows, part * unit) for rows, part in blocks(weight)), peaks, most)
        if grid is not None:
            return np.where(grid > 0, grid, 1.0), True
    top = max(float(np.abs(part * unit).max()) for _, part in blocks(weight))
    return np.full(len(weight), top / most or 1.0), False
