"""Quantizers in ONNX files: QuantizeLinear, Clip, DequantizeLinear (QDQ, QCDQ), and those of QONNX.

    QuantizeLinear        q = clip(rint(x / scale) + zero, the ends of its type)
    DequantizeLinear      y = (q - zero) scale
    Quant, IntQuant       y = (round(clip(x / scale + zero, ends)) - zero) scale
    BipolarQuant          y = scale where x >= 0, else -scale
    Trunc                 q = round(rint(x / scale + zero) / 2^(bits in - bits out))

(onnx.ai/onnx/operators; fastmachinelearning/qonnx, docs/qonnx-custom-ops.) On constants they are
computed, in float32 as the runtimes of these files do, and the result knows the whole numbers that
it is made of (`Grid`): a Linear or convolution whose weights they are keeps them in the program.
On values they are the graph's own `Quantize`, or refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from neurodeploy.frontends.onnx_values import Call, Const, Grid, Levels, Refused, Seq
from neurodeploy.graph.nonlinear import Quantize

DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
VIEWS = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast")
_LEAST_BITS = 2
_ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}
_WITHOUT = "export the network without this quantizer, and let calibration choose"


def peaks(call: Call) -> tuple[tuple[int, ...], int] | None:
    """Return what a graph records of weights on a grid: peaks of the rows, and bits.

    None for other nodes. Raises Refused where one row has several steps.
    """
    if call.type == "LSTM" and any(getattr(value, "grid", None) for value in call.inputs[1:3]):
        fix = "export the LSTM's weights without quantizers: the compiler rounds them"
        raise Refused("the integers of an LSTM's weights share a unit, and leave their grid", fix)
    value = call.inputs[1] if call.type in ("MatMul", "Gemm", "Conv") else None
    if not isinstance(value, Const) or value.grid is None:
        return None
    turned = call.type == "MatMul" or (call.type == "Gemm" and not call.attributes.get("transB", 0))
    weight, whole = (part.T if turned else part for part in (value.array, value.grid.whole))
    weight, whole = (part.reshape(len(part), -1).astype(np.float64) for part in (weight, whole))
    at = np.abs(whole).argmax(axis=1)[:, None]
    top, most = (np.take_along_axis(part, at, axis=1) for part in (weight, whole))
    step = np.where(most != 0, top / np.where(most != 0, most, 1), 1.0)
    if np.any(np.abs(weight - whole * step) > 1e-5 * np.abs(top)):
        fix = "quantize its weights per tensor, or per output channel"
        raise Refused("its weights have several scales in one output channel", fix)
    return tuple(int(n) for n in np.abs(most[:, 0])), value.grid.bits


def _quantize(call: Call) -> Const | Levels:
    scale, zero = call.const(1), call.inputs[2] if call.has(2) else None
    ends = _ends_of(zero.array if isinstance(zero, Const) else np.zeros(0, np.uint8))
    offset = _whole(zero.array) if isinstance(zero, Const) else np.zeros((), np.int64)
    if call.attributes.get("output_dtype") and zero is None:
        raise Refused("its type is an attribute alone", "give it a zero point of that type")
    if isinstance(call.inputs[0], Seq):
        source = call.seq()
        return Levels(source, _one(scale, "scale"), int(_one(offset, "zero point")), *ends)
    x = np.asarray(call.const(0), np.float32)
    scale, offset = (_along(part, x, call) for part in (np.asarray(scale, np.float32), offset))
    return Const(np.clip(np.rint(x / scale) + offset, *ends).astype(np.int64), ends)


def _clip(call: Call) -> Any:
    value = call.inputs[0]
    low, high = (_end(call, index, key) for index, key in ((1, "min"), (2, "max")))
    if isinstance(value, Levels):
        least, most = max(value.low, math.ceil(low)), min(value.high, math.floor(high))
        return Levels(value.source, value.scale, value.zero, least, most)
    if not isinstance(value, Const):
        raise Refused("an operator that has no place in a graph", "use ReLU, without an upper end")
    if value.array.dtype.kind == "f":
        return Const(np.clip(value.array, low, high))
    ends = value.ends or _ends_of(value.array)
    ends = max(ends[0], math.ceil(low)), min(ends[1], math.floor(high))
    return Const(np.clip(_whole(value.array), *ends), ends)


def _end(call: Call, index: int, key: str) -> float:
    """Return the lower or upper end of a Clip, as an input or, in old files, an attribute."""
    sign = -1 if key == "min" else 1
    default = call.attributes.get(key, sign * math.inf)
    return float(np.asarray(call.const(index, np.asarray(default))).reshape(-1)[0])


def _dequantize(call: Call) -> Const | Seq:
    value, scale = call.inputs[0], np.asarray(call.const(1))
    zero = _whole(call.const(2, np.zeros((), np.int64)))
    if isinstance(value, Levels):
        same = _one(scale, "scale") == value.scale and _one(zero, "zero point") == value.zero
        if not same:
            raise Refused("its scale or zero point is not that of the quantizer", _WITHOUT)
        return _emit(call, value)
    array = call.const(0)
    if call.attributes.get("block_size", 0):
        fix = "quantize its weights per tensor, or per output channel"
        raise Refused("a scale for each block of weights", fix)
    whole, ends = _whole(array), value.ends or _ends_of(array)
    scale, zero = _along(scale, whole, call), _along(zero, whole, call)
    return _on_grid(whole - zero, scale, ends, zero)


def _quant(call: Call) -> Const | Seq:
    """Read a Quant or IntQuant."""
    scale, zero, width = (np.asarray(call.const(i)) for i in (1, 2, 3))
    bits, signed = int(_one(width, "bit width")), bool(call.attributes.get("signed", 1))
    if np.any(zero != np.rint(zero)) or bits != width:
        raise Refused("a zero point or bit width that is no whole number", "use whole numbers")
    if bits == 1 and signed:
        return _two_valued(call, scale)
    ends = _range(bits, signed=signed, narrow=bool(call.attributes.get("narrow", 0)))
    mode = str(call.attributes.get("rounding_mode", "ROUND")).upper()
    if mode not in _ROUNDINGS:
        raise Refused(f"rounding mode {mode}", f"use one of {', '.join(_ROUNDINGS)}")
    if isinstance(call.inputs[0], Seq):
        if _ROUNDINGS[mode] is not np.rint:
            raise Refused(f"rounding mode {mode} of values", "round to nearest (ROUND)")
        one = _one(scale, "scale"), int(_one(zero, "zero point"))
        return _emit(call, Levels(call.seq(), *one, *ends))
    x = np.asarray(call.const(0), np.float32)
    whole = _ROUNDINGS[mode](np.clip(x / scale.astype(np.float32) + zero, *ends)) - zero
    return _on_grid(whole.astype(np.int64), scale, ends, zero)


def _range(bits: int, *, signed: bool, narrow: bool) -> tuple[int, int]:
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def _bipolar(call: Call) -> Const | Seq:
    return _two_valued(call, np.asarray(call.const(1)))


def _two_valued(call: Call, scale: Any) -> Const:
    if isinstance(call.inputs[0], Seq):
        raise Refused("a quantizer of values to two signs", "use spiking neurons")
    whole = np.where(np.asarray(call.const(0)) >= 0, 1, -1)
    return _on_grid(whole, scale, (-1, 1), np.zeros((), np.int64))


def _trunc(call: Call) -> Const:
    """Read a Trunc of constants; inputs of version 1: bits in and out, of version 2: scales too."""
    if isinstance(call.inputs[0], Seq):
        fix = "export the network without it, and let the average keep its bits"
        raise Refused("a truncation of values", fix)
    x, scale, zero = (np.asarray(call.const(i), np.float32) for i in (0, 1, 2))
    mode = _ROUNDINGS[str(call.attributes.get("rounding_mode", "FLOOR")).upper()]
    fine = np.rint(x / scale + zero)
    if len(call.inputs) < 7:
        whole = mode(fine / 2.0 ** (_one(call.const(3), "bits") - _one(call.const(4), "bits")))
        rest, ends = zero, _range(int(_one(call.const(4), "bits")), signed=True, narrow=False)
    else:
        bits, signed = int(_one(call.const(6), "bits")), bool(call.attributes.get("signed", 1))
        ends = _range(bits, signed=signed, narrow=bool(call.attributes.get("narrow", 0)))
        last = np.asarray(call.const(4), np.float32)
        drop = 2.0 ** np.rint(np.log2(last / scale))
        whole, rest, scale = mode(np.clip(fine / drop, *ends)), zero / drop, last
    if np.any(rest != np.rint(rest)):
        raise Refused("a zero point that is no whole number", "use whole numbers")
    return _on_grid((whole - rest).astype(np.int64), scale, ends, rest)


def _emit(call: Call, levels: Levels) -> Seq:
    """Append the graph's own quantizer, its zero point in its ends."""
    low, high = levels.low - levels.zero, levels.high - levels.zero
    return call.emit(Quantize(levels.scale, low, high), levels.source, levels.source.axes)


def _on_grid(whole: Any, scale: Any, ends: tuple[int, int], zero: Any) -> Const:
    """Return what whole numbers, their zero point taken off, are worth."""
    low, high = int(ends[0] - np.max(zero)), int(ends[1] - np.min(zero))
    bits = max(_LEAST_BITS, (-low - 1).bit_length() + 1, high.bit_length() + 1)
    values = whole.astype(np.float32) * np.asarray(scale, np.float32)
    return Const(values, grid=Grid(np.broadcast_to(whole, values.shape), bits))


def _along(part: Any, x: Any, call: Call) -> Any:
    """Return a scale or zero point, one or one per index of an axis, as it is applied to `x`."""
    if part.size == 1:
        return part.reshape(())
    axis = int(call.attributes.get("axis", 1)) % x.ndim
    if part.shape != (x.shape[axis],):
        what = f"a scale or zero point {list(part.shape)} for values {list(x.shape)}"
        raise Refused(what, "give one, or one for each index of an axis")
    return part.reshape(-1, *(1,) * (x.ndim - axis - 1))


def _whole(array: Any) -> Any:
    """Return whole numbers of any type as int64; refuse others."""
    if re.fullmatch(r"u?int\d+", array.dtype.name) is None:
        raise Refused(f"it quantizes to {array.dtype.name}", "quantize to whole numbers (int8)")
    return array.astype(np.int64)


def _ends_of(array: Any) -> tuple[int, int]:
    """Return the least and greatest number of an array's type."""
    _whole(array)
    bits = int(re.sub(r"\D", "", array.dtype.name))
    return _range(bits, signed=not array.dtype.name.startswith("u"), narrow=False)


def _one(value: Any, what: str) -> float:
    array = np.asarray(value)
    if array.size != 1:
        raise Refused(
            f"a {what} for each channel of values", f"use one {what} for all (per tensor)"
        )
    return float(array.reshape(-1)[0])


READERS: dict[str, Callable[[Call], Any]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Clip": _clip,
}
#: What the operators of QONNX call their inputs, where all versions of them agree.
INPUTS = {
    **dict.fromkeys(("Quant", "IntQuant"), ("x", "scale", "zero_point", "bit_width")),
    **{"BipolarQuant": ("x", "scale"), "Trunc": ("x", "scale", "zero_point", "bits_in")},
}
QONNX: dict[str, Callable[[Call], Any]] = {
    "Quant": _quant,
    "IntQuant": _quant,
    "BipolarQuant": _bipolar,
    "Trunc": _trunc,
}
