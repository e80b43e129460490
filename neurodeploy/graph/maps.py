"""Operations over maps: channels that have positions, of a sequence [T, B, C * P].

Every step is flat, as torch flattens [C, L] or [C, H, W] (`neurodeploy.windows`); so a Linear or
neurons may stand behind maps without anything in between, and a channel of the graph is one
position of one map. What is outside of a map counts as zero in a sum, and not at all in a maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from neurodeploy.errors import InputError, together
from neurodeploy.graph.ir import Array, Op
from neurodeploy.graph.kept import kept, stored
from neurodeploy.windows import Windows

POOLINGS = ("sum", "avg", "max")


@kept("weight")
@dataclass(frozen=True, eq=False)
class Conv(Op):
    """A convolution as torch defines it (a cross-correlation): y[o] = sum over i of w[o, i] * x[i].

    weight [out, in / groups, *kernel], bias [out], shape (in, *size) of the input's maps; per axis
    a stride and a dilation, of `padding` first the zeros before each axis, then those after.
    """

    weight: Array
    bias: Array
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("Conv", self.shape, self.windows, _weights(self) if self.shape else [])

    @property
    def stored(self) -> npt.NDArray[Any]:
        """The weight as it is kept: the same numbers, in float32 where that loses nothing."""
        return np.asarray(stored(self, "weight"))

    @cached_property
    def windows(self) -> Windows:
        """Which positions each output sees."""
        return Windows(
            size=self.shape[1:],
            kernel=self.stored.shape[2:],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of the output's maps."""
        return len(self.stored), *self.windows.outputs

    def width_of(self, inputs: Sequence[int]) -> int:  # noqa: ARG002
        """Return the positions of all maps of the output."""
        return prod(self.out_shape)

    def apply(self, x: Array) -> Array:
        """Return the convolution of x [..., in * P], with its bias."""
        bias = np.repeat(self.bias, self.windows.positions)
        return np.asarray(self.windows.convolved(x, self.weight, self.groups) + bias)


@dataclass(frozen=True, eq=False)
class Pool(Op):
    """The sum, average or maximum over the windows of each map by itself.

    shape (maps, *size); `count_padding`: an average divides by all places of the window, those
    outside of the map included, else by those inside.
    """

    kind: str
    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    count_padding: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in POOLINGS:
            raise InputError("E107", f"unknown pooling {self.kind!r}", fix=f"use {POOLINGS}")
        empty = [] if self.kind == "sum" or self._divides_by_all else _empty(self.windows)
        _check("Pool", self.shape, self.windows, empty)

    @cached_property
    def windows(self) -> Windows:
        """Which positions each output sees."""
        return Windows(
            size=self.shape[1:],
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=(1,) * len(self.kernel),
        )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of the output's maps."""
        return self.shape[0], *self.windows.outputs

    @property
    def _divides_by_all(self) -> bool:
        return self.kind == "avg" and self.count_padding

    @property
    def gain(self) -> Array:
        """By what the sum over each window is multiplied, [width of the output]."""
        places = np.ones(self.windows.positions)
        if self.kind == "avg":
            places *= prod(self.kernel) if self.count_padding else self.windows.real
        return np.tile(1 / places, self.shape[0])

    def width_of(self, inputs: Sequence[int]) -> int:  # noqa: ARG002
        """Return the positions of all maps of the output."""
        return prod(self.out_shape)

    def apply(self, x: Array) -> Array:
        """Return the pooled x [..., maps * P]."""
        if self.kind == "max":
            return np.asarray(self.windows.pooled(x, largest=True))
        return np.asarray(self.windows.pooled(x) * self.gain)


Maps = Conv | Pool


def _weights(op: Conv) -> list[str]:
    """Return what does not fit in the weights of a convolution."""
    shape, channels = op.stored.shape, op.shape[0]
    if len(shape) < 3 or op.bias.shape != shape[:1]:
        return [f"weight {shape} and bias {op.bias.shape}, not [out, in / groups, *kernel], [out]"]
    if op.groups < 1 or channels % op.groups or shape[0] % op.groups:
        return [f"{op.groups} groups cannot divide {channels} maps and {shape[0]}"]
    if shape[1] * op.groups != channels:
        return [f"the weight reads {shape[1] * op.groups} maps, its input has {channels}"]
    return []


def _empty(windows: Windows) -> list[str]:
    """Return a complaint if a window lies outside of the map altogether."""
    if list(windows.problems()) or np.all(windows.real):
        return []
    return [f"padding {windows.padding} leaves windows of {windows.kernel} empty"]


def _check(name: str, shape: tuple[int, ...], windows: Windows, others: list[str]) -> None:
    """Raise every problem at once (InputError E107)."""
    if len(shape) < 2 or shape[0] < 1:
        found = [f"shape is {shape}, not (maps, length) or (maps, height, width)"]
    else:
        found = [*others, *windows.problems()]
    if found:
        raise together([InputError("E107", f"{name}: {what}", fix=_FIX) for what in found])


_FIX = "give shape (maps, *size) of what it reads, and a number per axis (padding: two)"
