"""NIR's primitives without neurons as operations of a graph over flat maps.

Shapes follow from what a node reads: what a file says about them is not trusted (nir 1.0.8 infers
wrong ones for kernels that are not square, and for groups), nor needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.forms.nir_net import Part
from neurodeploy.graph.ir import Affine, Array, Linear, Neurons, Op
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.windows import per_axis, same

Shape = tuple[int, ...]
Made = tuple[list[Op], Shape]
Step = Callable[[], float]
_WHOLE = 1e-6  #: how far a number of steps may be from a whole one, relatively above one step
_FIX = "correct the file"


class View:
    """The fields of one node, and which of them were read; step: how long one is, when asked."""

    def __init__(
        self, name: str, type: str, fields: Mapping[str, Any], step: Step | None = None
    ) -> None:
        self.name, self.type, self.fields = name, type, fields
        self.step = step
        self.read: set[str] = set()

    def numbers(self, key: str) -> Array:
        """Return a field as float64."""
        value = self.fields.get(key)
        self.read.add(key)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise self.refuse("E101", f"{self.type} has no numbers {key!r}")
        return value.astype(np.float64)

    def spread(self, key: str, shape: Shape) -> Array:
        """Return a field for each of the channels of `shape`, flat: a number may stand for all."""
        return spread(self.numbers(key), shape, key, self)

    def whole(self, key: str, default: int | None = None) -> tuple[int, ...]:
        """Return a field of whole numbers."""
        self.read.add(key)
        if key not in self.fields and default is not None:
            return (default,)
        value = self.numbers(key)
        if value.size < 1 or np.any(value != np.round(value)) or np.any(np.abs(value) > 2**31):
            raise self.refuse("E101", f"{key} is {value.tolist()}, not whole numbers")
        return tuple(int(v) for v in value.ravel())

    def done(self, *free: str) -> None:
        """Refuse fields that were not read: they may mean something."""
        extra = set(self.fields) - self.read - set(free)
        if extra:
            raise self.refuse("E108", f"{self.type} has unknown fields {sorted(extra)}")

    def refuse(self, code: str, what: str, fix: str = _FIX) -> InputError:
        """Return an error about this node."""
        return InputError(code, what, where=f'node "{self.name}"', fix=fix)


def spread(value: Array, shape: Shape, key: str, view: View) -> Array:
    """Return numbers of a file for each channel of `shape`, flat."""
    width = prod(shape)
    if value.size == 1:
        return np.full(width, float(value.reshape(())))
    bare = tuple(n for n in value.shape if n != 1)
    if value.size == width and (len(bare) == 1 or len(shape) == 1 or bare == _bare(shape)):
        return value.ravel()
    if value.ndim == len(shape) and all(
        a in (1, b) for a, b in zip(value.shape, shape, strict=True)
    ):
        return np.broadcast_to(value, shape).ravel()
    if value.shape == shape[:1] and np.all(value == value.flat[0]):
        return np.full(width, value.flat[0])
    what = f"{key} has shape {value.shape}, and it reads {shape}"
    raise view.refuse("E107", what)


def _bare(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def _affine(view: View, shape: Shape) -> Made:
    weight = view.numbers("weight")
    if weight.ndim != 2:
        raise view.refuse("E107", f"weight has shape {weight.shape}, not 2 axes")
    if prod(shape) != weight.shape[1]:
        what = f"weight has {weight.shape[1]} columns, and it reads {shape}"
        raise view.refuse("E107", what)
    bias = np.zeros(len(weight))
    if view.type == "Affine":
        bias = view.spread("bias", (len(weight),))
    return [Linear(weight, bias)], (len(weight),)


def _scale(view: View, shape: Shape) -> Made:
    gain = view.spread("scale", shape)
    return [Affine(gain, np.zeros_like(gain))], shape


def _threshold(view: View, shape: Shape) -> Made:
    level = view.spread("threshold", shape)
    one, zero = np.ones_like(level), np.zeros_like(level)
    return [Neurons("spatial", {"compare": ">"}, {"v_th": level}, one, zero)], shape


def _conv(axes: int) -> Callable[[View, Shape], Made]:
    def read(view: View, shape: Shape) -> Made:
        weight = view.numbers("weight")
        if weight.ndim != axes + 2:
            raise view.refuse("E107", f"weight has shape {weight.shape}, not {axes + 2} axes")
        _maps(view, shape, axes)
        stride, dilation = (_axes(view, key, axes, 1) for key in ("stride", "dilation"))
        groups = view.whole("groups", 1)
        if len(groups) != 1:
            raise view.refuse("E101", f"groups is {groups}, not a number")
        bias = np.zeros(len(weight))
        op = Conv(
            weight=weight,
            bias=view.spread("bias", bias.shape) if "bias" in view.fields else bias,
            shape=shape,
            stride=stride,
            padding=_padding(view, weight.shape[2:], stride, dilation),
            dilation=dilation,
            groups=groups[0],
        )
        view.read.add("input_shape")
        return [op], op.out_shape

    return read


def _maps(view: View, shape: Shape, axes: int) -> None:
    if len(shape) != axes + 1:
        letters = "maps, length" if axes == 1 else "maps, height, width"
        raise view.refuse("E107", f"it reads {shape}, not ({letters})")


def _axes(view: View, key: str, axes: int, default: int | None = None) -> Shape:
    value = view.whole(key, default)
    if len(value) not in (1, axes):
        raise view.refuse("E101", f"{key} is {value} on {axes} axes")
    return per_axis(value[0], axes) if len(value) == 1 else value


def _padding(view: View, kernel: Shape, stride: Shape, dilation: Shape) -> Shape:
    """Return the zeros before each axis, then those after."""
    word = view.fields.get("padding")
    if not isinstance(word, str):
        return _axes(view, "padding", len(kernel), 0) * 2
    view.read.add("padding")
    if word == "same" and set(stride) == {1}:
        return same(kernel, dilation)
    if word == "valid":
        return (0,) * 2 * len(kernel)
    raise view.refuse("E107", f"padding {word!r} with stride {stride}")


def _pool(kind: str) -> Callable[[View, Shape], Made]:
    def read(view: View, shape: Shape) -> Made:
        _maps(view, shape, 2)
        kernel = _axes(view, "kernel_size", 2)
        op = Pool(
            kind=kind,
            shape=shape,
            kernel=kernel,
            stride=_axes(view, "stride", 2),
            padding=_axes(view, "padding", 2, 0) * 2,
            count_padding=True,
        )
        return [op], op.out_shape

    return read


def _flatten(view: View, shape: Shape) -> Made:
    """Return nothing to do, since maps are flat, and the new shape."""
    count = len(shape)
    first, last = (view.whole(key, n)[0] for key, n in (("start_dim", 1), ("end_dim", -1)))
    view.read.add("input_type")
    if count == 1:
        return [], shape
    inside = -count <= first < count and -count <= last < count
    if not inside or first % count > last % count:
        raise view.refuse("E107", f"it flattens axes {first} to {last} of {shape}")
    first, last = first % count, last % count
    return [], (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


def _delay(view: View, shape: Shape) -> Made:
    """Return nothing where nothing waits; else whole steps, whose length the file does not say."""
    delay = view.spread("delay", shape)
    if not np.any(delay):
        return [], shape
    if not np.all(np.isfinite(delay)):
        raise view.refuse("E105", "its delay has NaN or infinite values")
    if view.step is None:
        what = "a delay in a loop: what comes back is that of the step before"
        raise view.refuse("E108", what, "train with delays outside loops, or a delay of 0")
    length = view.step()
    steps = delay / length
    whole = np.rint(steps)
    far = ~(np.abs(steps - whole) <= _WHOLE * np.maximum(np.abs(steps), 1))
    if np.any(far):
        wrong, count = delay[far][0], steps[far][0]
        what = f"a delay of {wrong:g} is {count:g} steps of {length:g}, not a whole number"
        fix = "state --dt, the length of the steps that the file was made for, or correct the file"
        raise view.refuse("E108", what, fix)
    return [Delay(whole)], shape


READERS: dict[str, Callable[[View, Shape], Made]] = {
    "Affine": _affine,
    "Linear": _affine,
    "Scale": _scale,
    "Threshold": _threshold,
    "Conv1d": _conv(1),
    "Conv2d": _conv(2),
    "SumPool2d": _pool("sum"),
    "AvgPool2d": _pool("avg"),
    "Flatten": _flatten,
    "Delay": _delay,
}


def made(name: str, part: Part, shape: Shape, step: Step | None = None) -> Made:
    """Return a node without neurons as operations on what it reads, and its own shape.

    step: the length of a step, in the unit of the file's delays; raises where it is not known. None
    where nothing may wait.
    Raises InputError E101, E105, E107, E108.
    """
    if part.type == "Pass":
        return [], shape
    view = View(name, part.type, part.fields, step)
    ops, after = READERS[part.type](view, shape)
    view.done()
    return ops, after
