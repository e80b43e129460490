"""Sliding windows over maps: which inputs each output of a convolution or a pooling sees.

A step of C maps stands flat, [C * P], as torch lays out [C, L] or [C, H, W]: channel c at position
p is value c * P + p. Along each axis

    output o sees inputs   o * stride - before + k * dilation,   k = 0 .. kernel - 1
    outputs                (size + before + after - dilation * (kernel - 1) - 1) // stride + 1

Nothing lies outside of a map: a place of a window out there is no synapse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows over one map; a number per axis, of `padding` first those before, then after."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def problems(self) -> Iterator[str]:
        """Yield what is impossible about them."""
        axes = len(self.size)
        lengths = {"kernel": axes, "stride": axes, "padding": 2 * axes, "dilation": axes}
        wrong = [key for key, count in lengths.items() if len(getattr(self, key)) != count]
        for key in wrong:
            yield f"{key} is {getattr(self, key)} on {axes} axes"
        for key in ("size", "kernel", "stride", "dilation"):
            if min(getattr(self, key), default=1) < 1:
                yield f"{key} is {getattr(self, key)}"
        if min(self.padding, default=0) < 0:
            yield f"padding is {self.padding}"
        if not wrong and any(
            room < span for room, span in zip(self._room, self._span, strict=True)
        ):
            yield f"a kernel that spans {self._span} on maps of {self._room}, padding included"

    @property
    def _room(self) -> tuple[int, ...]:
        axes = len(self.size)
        ends = zip(self.size, self.padding[:axes], self.padding[axes:], strict=True)
        return tuple(sum(each) for each in ends)

    @property
    def _span(self) -> tuple[int, ...]:
        """How far apart the ends of a window are."""
        pairs = zip(self.kernel, self.dilation, strict=True)
        return tuple(d * (k - 1) + 1 for k, d in pairs)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """How many windows there are, per axis."""
        rows = zip(self._room, self._span, self.stride, strict=True)
        return tuple((room - span) // stride + 1 for room, span, stride in rows)

    @property
    def inputs(self) -> int:
        """The positions of a map."""
        return prod(self.size)

    @property
    def positions(self) -> int:
        """The positions of a map of outputs."""
        return prod(self.outputs)

    @cached_property
    def seen(self) -> Ints:
        """The input position at every place of every window, [positions, kernel]; -1: outside."""
        places = np.arange(self.inputs).reshape(self.size)
        rows = [cut.reshape(-1) for _, cut in self._cuts(places[None], -1)]
        return np.stack(rows, axis=1)

    @cached_property
    def real(self) -> Ints:
        """How many places of each window are inside the map, [positions]."""
        return np.asarray((self.seen >= 0).sum(axis=1))

    def seen_by(self, first: int, last: int) -> Ints:
        """Return how many of the windows `first` to `last` see each input position, [inputs]."""
        seen = self.seen[first:last]
        return np.bincount(seen[seen >= 0], minlength=self.inputs)

    def _cuts(self, maps: Any, outside: float) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield each place k of the kernel, and what it sees: maps [N, *size] to [N, *outputs]."""
        axes = len(self.size)
        ends = zip(self.padding[:axes], self.padding[axes:], strict=True)
        padded = np.pad(maps, [(0, 0), *ends], constant_values=outside)
        for place in np.ndindex(*self.kernel):
            rows = zip(place, self.dilation, self.stride, self.outputs, strict=True)
            at = (slice(k * d, k * d + s * (n - 1) + 1, s) for k, d, s, n in rows)
            yield place, padded[(slice(None), *at)]

    def pooled(self, x: Any, *, largest: bool = False) -> Any:
        """Return the sum, or the largest, of every window of x [..., C * inputs]."""
        maps = x.reshape(-1, *self.size)
        outside = -np.inf if largest else 0
        cuts = [cut for _, cut in self._cuts(maps, outside)]
        total = cuts[0].copy()
        for cut in cuts[1:]:
            total = np.maximum(total, cut) if largest else total + cut
        return total.reshape(*x.shape[:-1], -1)

    def convolved(self, x: Any, weight: Any, groups: int) -> Any:
        """Return the convolution of x [..., C * inputs], integers or floats, as torch defines it.

        weight [out, C / groups, *kernel]; the result is [..., out * positions].
        """
        out, inside = weight.shape[:2]
        maps = x.reshape(-1, *self.size)
        kernels = weight.reshape(groups, out // groups, inside, *self.kernel)
        shape = (-1, groups, inside, self.positions)
        total = sum(
            kernels[(..., *place)] @ cut.reshape(shape) for place, cut in self._cuts(maps, 0)
        )
        return np.asarray(total).reshape(*x.shape[:-1], out * self.positions)

    def entries(self, weight: Any, groups: int) -> tuple[Ints, Ints, Any]:
        """Return rows, columns and values of the matrix that convolves with `weight`."""
        out, inside = weight.shape[:2]
        window, place = np.nonzero(self.seen >= 0)
        o, i = (index[:, None] for index in np.divmod(np.arange(out * inside), inside))
        rows = o * self.positions + window
        columns = (o // (out // groups) * inside + i) * self.inputs + self.seen[window, place]
        return rows.ravel(), columns.ravel(), weight.reshape(out * inside, -1)[:, place].ravel()

    def matrix(self, weight: Any, groups: int) -> Any:
        """Return that matrix, [out * positions, C * inputs]."""
        out, inside = weight.shape[:2]
        shape = out * self.positions, groups * inside * self.inputs
        rows, columns, values = self.entries(weight, groups)
        dense = np.zeros(shape, weight.dtype)
        dense[rows, columns] = values
        return dense


def per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Return one number for all axes, or one for each, as one for each."""
    return (value,) * axes if isinstance(value, int) else tuple(int(each) for each in value)


def same(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Return the padding under which stride 1 keeps the size; the odd one stands behind."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return (*(each // 2 for each in total), *(each - each // 2 for each in total))
