"""Convolutions and pooling in an ONNX file: windows gathered into rows, and one product.

    Conv2d(x, weight, bias, shape, stride, padding, dilation, groups)      Conv1d likewise
    Pool2d_avg(x, shape, kernel, stride, padding)     Pool2d_avg_inside, Pool2d_sum, Pool2d_max

x is flat, [..., C * P]; whole numbers are int64 constants. ONNX's own Conv and AveragePool have no
float64 and no integers in onnxruntime: so places are counted, padded maps gathered at them, and
multiplied as matrices, which every type can.

    place of window o and kernel k, along an axis:  o * stride + k * dilation, of the padded map
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurodeploy.graph.forms.sheet import Function, Sheet

WHOLE = ("shape", "kernel", "stride", "padding", "dilation", "groups")  #: constants of int64
CONV = ("weight", "bias", "shape", "stride", "padding", "dilation", "groups")
POOL = ("shape", "kernel", "stride", "padding")
AXES = (1, 2)


def conv(s: Sheet, settings: Mapping[str, Any]) -> str:
    """Append a convolution over maps of `axes` axes, with its bias."""
    y = _convolved(s, settings["axes"])
    return _flat(s, s.put("Sum", y, s.put("Unsqueeze", "bias", _ints(s, 1))))


def product(axes: int) -> Function:
    """Return the function of a convolution without bias, of any type that MatMul has."""
    s = Sheet()
    inputs = ("x", *(name for name in CONV if name != "bias"))
    out, doc = _flat(s, _convolved(s, axes)), "a convolution of flat maps without bias"
    return Function(f"convolution{axes}d", inputs, (out,), tuple(s.calls), doc)


def pool(s: Sheet, settings: Mapping[str, Any]) -> str:
    """Append the sum, average or maximum of the windows of each map."""
    axes, kind = settings["axes"], settings["kind"]
    outside = s.number(float("-inf"), "x") if kind == "max" else ""
    maps = _maps(s, "x", "shape")
    cut = _windows(s, maps, "kernel", axes, outside=outside)
    last = _ints(s, -1)
    if kind == "max":
        return _flat(s, s.put("ReduceMax", cut, last, keepdims=0))
    total = s.put("ReduceSum", cut, last, keepdims=0)
    if kind == "sum":
        return _flat(s, total)
    if settings["count_padding"]:
        places = s.put("CastLike", s.put("ReduceProd", "kernel", keepdims=0), "x")
        return _flat(s, s.put("Div", total, places))
    one_map = s.put("Concat", _ints(s, 1, 1), s.put("Shape", maps, start=2), axis=0)
    zeros = s.put("CastLike", s.put("ConstantOfShape", one_map), "x")
    ones = s.put("Add", zeros, s.number(1.0, "x"))
    real = s.put("ReduceSum", _windows(s, ones, "kernel", axes), last, keepdims=0)
    return _flat(s, s.put("Div", total, real))


def _convolved(s: Sheet, axes: int) -> str:
    """Append the product with the windows; return it as [N, out, positions]."""
    kernel = s.put("Shape", "weight", start=2)
    cut = _windows(s, _maps(s, "x", "shape"), kernel, axes, dilation="dilation")
    one, rest, keep = _ints(s, 1), _ints(s, -1), _ints(s, 0)
    groups = s.put("Reshape", "groups", one)
    split = s.put("Concat", keep, groups, rest, s.put("Shape", cut, start=2), axis=0)
    turned = s.put("Transpose", s.put("Reshape", cut, split), perm=(0, 1, 3, 2, 4))
    rows = s.put("Reshape", turned, _ints(s, 0, 0, 0, -1))
    flat = s.put("Reshape", "weight", _ints(s, 0, -1))
    grouped = s.put("Concat", groups, rest, s.put("Shape", flat, start=1), axis=0)
    columns = s.put("Transpose", s.put("Reshape", flat, grouped), perm=(0, 2, 1))
    y = s.put("Transpose", s.put("MatMul", rows, columns), perm=(0, 1, 3, 2))
    out = s.put("Shape", "weight", start=0, end=1)
    return s.put("Reshape", y, s.put("Concat", keep, out, rest, axis=0))


def _maps(s: Sheet, x: str, shape: str) -> str:
    """Append flat values as maps [N, C, *size]."""
    return s.put("Reshape", x, s.put("Concat", _ints(s, -1), shape, axis=0))


def _flat(s: Sheet, y: str) -> str:
    """Append maps [N, C, P] as [..., C * P], as x stood."""
    lead = s.put("Shape", "x", start=0, end=-1)
    return s.put("Reshape", y, s.put("Concat", lead, _ints(s, -1), axis=0), out="y")


def _windows(
    s: Sheet, maps: str, kernel: str, axes: int, *, dilation: str = "", outside: str = ""
) -> str:
    """Append the windows of maps [N, C, *size], as [N, C, positions, places]."""
    none = _ints(s, 0, 0)
    ends = [s.put("Slice", "padding", _ints(s, at), _ints(s, at + axes)) for at in (0, axes)]
    pads = s.put("Concat", none, ends[0], none, ends[1], axis=0)
    padded = s.put("Pad", maps, pads, *([outside] if outside else []))
    room = s.put("Shape", padded, start=2)
    one = _ints(s, 1)
    span = s.put("Sub", kernel, one)
    span = s.put("Mul", span, dilation) if dilation else span
    outputs = s.put("Add", s.put("Div", s.put("Sub", s.put("Sub", room, span), one), "stride"), one)
    places = ""
    for axis in range(axes):
        own = _along(s, axis, axes, kernel, outputs, dilation)
        if places:
            own = s.put("Add", s.put("Mul", places, _at(s, room, axis)), own)
        places = own
    rows = s.put("Reshape", padded, _ints(s, 0, 0, -1))
    cut = s.put("Gather", rows, s.put("Reshape", places, _ints(s, -1)), axis=2)
    count = s.put("ReduceProd", kernel, keepdims=1)
    return s.put("Reshape", cut, s.put("Concat", _ints(s, 0, 0, -1), count, axis=0))


def _along(s: Sheet, axis: int, axes: int, kernel: str, outputs: str, dilation: str) -> str:
    """Append the places along one axis, [*outputs, *kernel] with 1 for the other axes."""
    zero, one = s.put("Constant", value_int=0), s.put("Constant", value_int=1)
    window = s.put("Mul", s.put("Range", zero, _at(s, outputs, axis), one), _at(s, "stride", axis))
    place = s.put("Range", zero, _at(s, kernel, axis), one)
    place = s.put("Mul", place, _at(s, dilation, axis)) if dilation else place
    others = [i for i in range(2 * axes) if i != axis]
    beside = s.put("Unsqueeze", window, _ints(s, *others))
    others = [i for i in range(2 * axes) if i != axes + axis]
    return s.put("Add", beside, s.put("Unsqueeze", place, _ints(s, *others)))


def _at(s: Sheet, values: str, index: int) -> str:
    """Append one of several numbers, as a scalar."""
    return s.put("Gather", values, s.put("Constant", value_int=index), axis=0)


def _ints(s: Sheet, *values: int) -> str:
    return s.put("Constant", value_ints=values)
