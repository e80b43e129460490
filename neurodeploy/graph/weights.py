"""What a Linear and a convolution share: y = W x + b, W made of rows of weights.

A row of a Linear makes one channel, a row of a convolution all positions of one map. So what
differs from position to position cannot move into the weights of a convolution: `rows_of` and
`columns_of` then give None, and whoever asked leaves it where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from neurodeploy import matrices
from neurodeploy.graph.ir import Array, Linear
from neurodeploy.graph.maps import Conv
from neurodeploy.matrices import Matrix, blocks

Weighted = Linear | Conv


def product(op: Weighted, x: Array) -> Array:
    """Return W x for x [in]."""
    if isinstance(op, Linear):
        return matrices.times(op.stored, x)
    return np.asarray(op.windows.convolved(x, op.weight, op.groups))


def bounds(op: Weighted, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the least and greatest y for x between low and high."""
    if isinstance(op, Linear):
        least, most = matrices.bounds(op.stored, low, high)
    else:
        up, down = (replace(op, weight=part(op.weight, 0)) for part in (np.maximum, np.minimum))
        least = product(up, low) + product(down, high)
        most = product(up, high) + product(down, low)
    bias = spread(op, op.bias)
    return least + bias, most + bias


def matrix(op: Weighted) -> Matrix:
    """Return W as a matrix [out, in]."""
    if isinstance(op, Linear):
        return op.stored
    return np.asarray(op.windows.matrix(op.weight, op.groups))


def spread(op: Weighted, values: Array) -> Array:
    """Return what each channel of the output has, given values [rows]."""
    return values if isinstance(op, Linear) else np.repeat(values, op.windows.positions)


def rows_of(op: Weighted, values: Array) -> Array | None:
    """Return what each row has, [rows], given values of the output's channels."""
    return values if isinstance(op, Linear) else _by_map(values, op.windows.positions)


def per_row(op: Weighted, values: Array) -> Array:
    """Return values [rows] in a shape that multiplies the weights."""
    return values.reshape(-1, *(1,) * (op.stored.ndim - 1))


def columns_of(op: Weighted, values: Array) -> Array | None:
    """Return values of the input's channels as they multiply the weights of each row."""
    if isinstance(op, Linear):
        return np.broadcast_to(values, op.stored.shape)
    maps = _by_map(values, op.windows.inputs)
    if maps is None:
        return None
    each = np.repeat(maps.reshape(op.groups, -1), len(op.stored) // op.groups, axis=0)
    wide = each.reshape(*each.shape, *(1,) * (op.stored.ndim - 2))
    return np.broadcast_to(wide, op.stored.shape)


def times_columns(op: Weighted, gain: Array) -> Iterator[tuple[slice, Array]] | None:
    """Return the weights with their columns times `gain`, some rows at a time, if that can be."""
    columns = columns_of(op, gain)
    if columns is None:
        return None
    return ((rows, part * columns[rows]) for rows, part in blocks(op.stored))


def behind(op: Weighted, gain: Array) -> Weighted | None:
    """Return W diag(gain) without a bias, if it can be."""
    if isinstance(op, Linear):
        return _with(op, matrices.scaled(op.stored, 1, gain), np.zeros_like(op.bias))
    columns = columns_of(op, gain)
    if columns is None:
        return None
    weight = op.stored if np.all(gain == 1) else op.weight * columns
    return _with(op, weight, np.zeros_like(op.bias))


def in_front(op: Weighted, gain: Array, bias: Array | float = 0.0) -> Weighted | None:
    """Return `op` with its output times `gain` plus `bias`, of the output's channels, if it can."""
    factor, more = (rows_of(op, np.broadcast_to(v, np.shape(gain))) for v in (gain, bias))
    if factor is None or more is None:
        return None
    if isinstance(op, Linear):
        return _with(op, matrices.scaled(op.stored, 0, factor), op.bias * factor + more)
    weight = op.stored if np.all(gain == 1) else op.weight * per_row(op, factor)
    return _with(op, weight, op.bias * factor + more)


def with_bias(op: Weighted, bias: Array) -> Weighted | None:
    """Return `op` with `bias`, of the output's channels, in place of its own, if it can."""
    rows = rows_of(op, bias)
    return None if rows is None else _with(op, op.stored, rows)


def one_size(parts: Iterable[Array]) -> bool:
    """Whether all weights that are not zero have the same size, and a row has more than one.

    parts: rows of a matrix, some at a time.
    """
    size, several = None, False
    for part in parts:
        used = np.abs(part[part != 0])
        if used.size:
            size = used[0] if size is None else size
            if np.any(np.abs(used - size) > 1e-12 * size):
                return False
        several = several or bool(np.any(np.count_nonzero(part.reshape(len(part), -1), axis=1) > 1))
    return several


def _with(op: Weighted, weight: Any, bias: Array) -> Weighted:
    if isinstance(op, Linear):
        return Linear(weight, bias)
    names = ("shape", "stride", "padding", "dilation", "groups")
    return Conv(weight, bias, **{name: getattr(op, name) for name in names})


def _by_map(values: Array, positions: int) -> Array | None:
    maps = values.reshape(-1, positions)
    return maps[:, 0] if np.all(maps == maps[:, :1]) else None
