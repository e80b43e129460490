"""Convolutions and pooling of maps that stand flat, [T, B, C * P], as all layers here take them.

Both are torch's own, on every step by itself: x becomes [T B, C, *size] and back. `shape` is
(maps, *size) of what comes in, with one axis or two; `out_shape` is that of what goes out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.errors import InputError
from neurodeploy.nn.arguments import (
    invalid,
    require_choice,
    require_flags,
    require_sizes,
    whole,
    wholes,
)
from neurodeploy.windows import Windows, per_axis, same

POOLINGS = ("sum", "avg", "max")
PER_AXIS = "give a number, or one per axis"


class _Windowed(torch.nn.Module, ABC):
    """What a convolution and a pooling share: windows over maps."""

    def __init__(
        self,
        shape: Sequence[int],
        kernel: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | str | Sequence[int],
        dilation: int | Sequence[int],
    ) -> None:
        super().__init__()
        fix = "give (maps, length) or (maps, h, w)"
        self.shape = tuple(wholes(self, "shape", shape, fix))
        axes = len(self.shape) - 1
        if axes not in (1, 2) or self.shape[0] < 1:
            raise invalid(self, f"shape is {self.shape}", fix)
        kernel, dilation = self._axes("kernel", kernel), self._axes("dilation", dilation)
        self.windows = Windows(
            size=self.shape[1:],
            kernel=kernel,
            stride=self._axes("stride", stride),
            padding=self._padding(padding, kernel, dilation),
            dilation=dilation,
        )
        problems = list(self.windows.problems())
        if problems:
            raise invalid(self, "; ".join(problems), PER_AXIS)
        self.width = prod(self.shape)

    def _axes(self, name: str, value: int | Sequence[int]) -> tuple[int, ...]:
        """Return one number for all axes, or several, as several; else raise InputError E105."""
        each = wholes(self, name, value, PER_AXIS)
        return per_axis(each[0] if whole(value) else each, len(self.shape) - 1)

    def _padding(
        self, padding: int | str | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
    ) -> tuple[int, ...]:
        axes = len(kernel)
        if isinstance(padding, str) and padding == "same":
            return same(kernel, dilation)
        if isinstance(padding, str):
            raise invalid(self, f"padding is {padding!r}", 'give numbers, or "same"')
        each = self._axes("padding", padding)
        return each * 2 if len(each) == axes else each

    def _over(self, run: Callable[[Tensor], Tensor], x: Tensor, outside: float) -> Tensor:
        """Return what `run` makes of the padded maps of every step, [T, B, width]."""
        if x.dim() != 3 or x.shape[-1] != self.width or not x.is_floating_point():
            what = f"{type(self).__name__} got {x.dtype} of shape {list(x.shape)}"
            raise InputError("E106", what, fix=f"give floats of shape [T, B, {self.width}]")
        maps = x.reshape(-1, *self.shape)
        padding, axes = self.windows.padding, len(self.shape) - 1
        if any(padding):
            ends = [end for i in reversed(range(axes)) for end in (padding[i], padding[axes + i])]
            maps = functional.pad(maps, ends, value=outside)
        return run(maps).reshape(*x.shape[:2], -1)

    def _shared(self) -> dict[str, Any]:
        names = ("kernel", "stride", "padding")
        return {"shape": self.shape, **{name: getattr(self.windows, name) for name in names}}

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""

    def extra_repr(self) -> str:
        """Return the arguments, for `repr`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items())


class Conv(_Windowed):
    """torch.nn.Conv1d or Conv2d on [T, B, maps * P]: to [T, B, out * positions].

    shape: (maps, length) or (maps, height, width). kernel, stride, padding and dilation: a number,
    or one per axis; padding also "same" (for stride 1), or two per axis, first those before. weight
    [out, maps / groups, *kernel], bias [out] or None. Raises InputError E105 for what does not fit.
    """

    bias: torch.nn.Parameter | None

    def __init__(
        self,
        shape: Sequence[int],
        out: int,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(shape, kernel, stride, padding, dilation)
        maps, windows = self.shape[0], self.windows
        require_sizes(self, out=out, groups=groups)
        require_flags(self, bias=bias)
        if maps % groups or out % groups:
            what = f"{groups} groups cannot divide {maps} maps and {out}"
            raise invalid(self, what, "choose a divisor of both")
        if isinstance(padding, str) and max(windows.stride) > 1:
            raise invalid(self, "padding is 'same' with a stride", "give numbers")
        kind: Any = (torch.nn.Conv1d, torch.nn.Conv2d)[len(self.shape) - 2]
        first = kind(maps, out, windows.kernel, groups=groups, bias=bias)  # for its start
        self.weight = first.weight
        self.register_parameter("bias", first.bias)
        self.groups = groups

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(out, *size) of what goes out."""
        return len(self.weight), *self.windows.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of each step of x, [T, B, out * positions]."""
        run: Any = (functional.conv1d, functional.conv2d)[len(self.shape) - 2]
        stride, dilation = self.windows.stride, self.windows.dilation
        args: Any = (self.weight, self.bias, stride, 0, dilation, self.groups)
        return self._over(lambda maps: run(maps, *args), x, 0.0)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {"dilation": self.windows.dilation, "groups": self.groups}
        return {**self._shared(), "out": len(self.weight), **own, "bias": self.bias is not None}


class Pool(_Windowed):
    """The sum, average or maximum over windows of each map: [T, B, maps * P] to [T, B, maps * Q].

    shape, kernel, stride (None: the kernel) and padding as in `Conv`. kind: one of `POOLINGS`.
    count_padding: an average divides by all places of a window, those in the padding included
    (torch's count_include_pad). Raises InputError E105 for what does not fit.
    """

    def __init__(
        self,
        shape: Sequence[int],
        kernel: int | Sequence[int],
        kind: str = "avg",
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        count_padding: bool = True,
    ) -> None:
        super().__init__(shape, kernel, kernel if stride is None else stride, padding, 1)
        require_choice(self, "pooling", kind, POOLINGS)
        require_flags(self, count_padding=count_padding)
        self.kind, self.count_padding = kind, count_padding
        some = kind == "max" or (kind == "avg" and not count_padding)
        if some and not np.all(self.windows.real):
            raise invalid(self, f"padding {padding} leaves windows empty", "pad less")

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(maps, *size) of what goes out."""
        return self.shape[0], *self.windows.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled steps of x, [T, B, maps * positions]."""
        windows, largest = self.windows, self.kind == "max"
        pool: Any = functional.max_pool2d if largest else functional.avg_pool2d

        def run(maps: Tensor) -> Tensor:
            planes = maps if maps.dim() == 4 else maps.unsqueeze(2)
            row = (1,) * (4 - maps.dim())  # a sequence is a plane of one row
            return torch.as_tensor(pool(planes, row + windows.kernel, row + windows.stride))

        y = self._over(run, x, -math.inf if largest else 0.0)
        places = prod(windows.kernel)
        if self.kind == "sum":
            return y * places
        if largest or self.count_padding:
            return y
        return y * torch.tensor(places / windows.real).to(y).repeat(self.shape[0])

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {**self._shared(), "kind": self.kind, "count_padding": self.count_padding}
