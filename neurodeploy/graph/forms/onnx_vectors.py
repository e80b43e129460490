"""The bodies of vector operations in an ONNX file; `onnx.py` has the rest.

    LayerNorm(x, gamma, beta, eps)    Gelu_erf(x)    Gelu_tanh(x)    Glu(x)
    Ternary_step(x, level)            Ternary_constant(x, level)     Rescale(x)
    Lstm(x, recurrent)                Lstm_reverse(x, recurrent)     Quantize(x, scale, low, high)
    Delay(x, steps)

ReLU and products are standard operators.

Each is written out in plain operators, in the order of `graph/vectors.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from neurodeploy.graph.forms.sheet import Body, Call, Sheet, scan

_INT64 = 7  # onnx.TensorProto
_ERF_END = 6.5  # beyond it, 1 - erf is below 4e-20
# 1 - erf(z) = exp(-z^2) P(z) / Q(z) on 0 <= z <= 6.5: coefficients of z^0, z^1, ..., fitted in 60
# digits for the least absolute error, which is 4e-17. A test holds the operators to 1e-15.
_ERF_P = (
    *(1.0, 1.4206438352525026, 1.0179011255680317, 0.4355626828256609),
    *(0.11577126187886472, 0.017989965835072518, 0.0012808807947141097),
)
_ERF_Q = (
    *(1.0, 2.5490230023480303, 2.894165577863974, 1.9045086027460252),
    *(0.7881231495680237, 0.20631681373659977, 0.031887604974846315, 0.00227026036966725),
)


def gelu(s: Sheet, settings: Mapping[str, Any]) -> str:
    """Append x Phi(x) in one of its forms."""
    half, one = s.number(0.5, "x"), s.number(1.0, "x")
    if settings["form"] == "tanh":
        cube = s.put("Mul", s.put("Mul", "x", "x"), "x")
        inner = s.put("Add", "x", s.put("Mul", cube, s.double(0.044715, "x")))
        turned = s.put("Tanh", s.put("Mul", inner, s.double(math.sqrt(2 / math.pi), "x")))
    else:
        turned = _erf(s, s.put("Div", "x", s.double(math.sqrt(2), "x")))
    return s.put("Mul", s.put("Mul", "x", half), s.put("Add", turned, one), out="y")


def quantize(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Append scale * clip(round(x / scale), low, high)."""
    near = s.put("Round", s.put("Div", "x", "scale"))
    low, high = (s.put("CastLike", end, "x") for end in ("low", "high"))
    return s.put("Mul", s.put("Clip", near, low, high), "scale", out="y")


def _erf(s: Sheet, x: str) -> str:
    """Append the error function, to float64 accuracy.

    By arithmetic and an exponential, since no onnxruntime up to 1.31 has Erf of doubles.
    """
    size = s.put("Min", s.put("Abs", x), s.number(_ERF_END, x))
    falls = s.put("Exp", s.put("Neg", s.put("Mul", size, size)))
    ratio = s.put("Div", _polynomial(s, size, _ERF_P), _polynomial(s, size, _ERF_Q))
    above = s.put("Sub", s.number(1.0, x), s.put("Mul", falls, ratio))
    return s.put("Mul", s.put("Sign", x), above)


def _polynomial(s: Sheet, x: str, coefficients: Sequence[float]) -> str:
    *lower, value = (s.double(number, x) for number in coefficients)
    for number in reversed(lower):
        value = s.put("Add", s.put("Mul", value, x), number)
    return value


def layernorm(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Append gamma (x - mean) / sqrt(var + eps) + beta."""
    axes = s.put("Constant", value_ints=(-1,))
    centred = s.put("Sub", "x", s.put("ReduceMean", "x", axes, keepdims=1))
    var = s.put("ReduceMean", s.put("Mul", centred, centred), axes, keepdims=1)
    size = s.put("Sqrt", s.put("Add", var, s.put("CastLike", "eps", "x")))
    scaled = s.put("Mul", s.put("Div", centred, size), "gamma")
    return s.offset(scaled, "beta", out="y")


def glu(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Append the first half of the channels times the sigmoid of the second."""
    axis, zero = s.put("Constant", value_ints=(-1,)), s.put("Constant", value_ints=(0,))
    width = s.put("Shape", "x", start=2)
    half = s.put("Div", width, s.put("Constant", value_ints=(2,)))
    value = s.put("Slice", "x", zero, half, axis)
    gate = s.put("Sigmoid", s.put("Slice", "x", half, width, axis))
    return s.put("Mul", value, gate, out="y")


def lstm(s: Sheet, settings: Mapping[str, Any]) -> str:
    """Append the gates and the cell, around a Scan over time."""
    weight = s.put("Transpose", "recurrent", perm=(1, 0))
    batch, width = s.put("Shape", "x", start=1, end=2), s.put("Shape", "recurrent", start=1)
    rest = s.put("ConstantOfShape", s.put("Concat", batch, width, axis=0))
    zero = s.put("CastLike", rest, "x", out="zero")
    body = Sheet("step_")
    total = body.put("Sum", "x_t", body.put("MatMul", "sent", weight))
    gates = ("gate_i", "gate_f", "gate_g", "gate_o")
    body.calls.append(Call("Split", (total,), gates, {"axis": -1, "num_outputs": 4}))
    kept = body.put("Mul", body.put("Sigmoid", "gate_f"), "cell")
    new = body.put("Mul", body.put("Sigmoid", "gate_i"), body.put("Tanh", "gate_g"))
    cell = body.put("Add", kept, new, out="next_cell")
    out = body.put("Mul", body.put("Sigmoid", "gate_o"), body.put("Tanh", cell), out="next_sent")
    outputs = (cell, out, body.put("Identity", out, out="out_t"))
    scanned = Body(("cell", "sent", "x_t"), outputs, tuple(body.calls))
    return scan(s, scanned, (zero, zero), "x", (), reverse=settings["reverse"])[-1]


def delay(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Append x[t - steps]: behind zeros for the longest delay, each channel from its own row."""
    steps = s.put("Cast", "steps", to=_INT64)
    longest = s.put("ReduceMax", steps, keepdims=1)
    start = s.put("Concat", longest, s.put("Shape", "x", start=1), axis=0)
    zeros = s.put("CastLike", s.put("ConstantOfShape", start), "x")
    whole = s.put("Concat", zeros, "x", axis=0)
    zero, one = s.put("Constant", value_int=0), s.put("Constant", value_int=1)
    length = s.put("Squeeze", s.put("Shape", "x", end=1))
    times = s.put("Range", zero, length, one)
    column = s.put("Unsqueeze", times, s.put("Constant", value_ints=(1, 2)))
    rows = s.put("Add", column, s.put("Sub", longest, steps))
    every = s.put("Expand", rows, s.put("Shape", "x"))
    return s.put("GatherElements", whole, every, axis=0, out="y")


def ternary(s: Sheet, settings: Mapping[str, Any]) -> str:
    """Append 1 where x >= t, else -1 where x <= -t, else 0."""
    level = s.put("CastLike", "level", "x")
    if settings["per_step"]:
        axes = s.put("Constant", value_ints=(-1,))
        level = s.put("Mul", level, s.put("ReduceMax", s.put("Abs", "x"), axes, keepdims=1))
    one, zero = s.number(1.0, "x"), s.number(0.0, "x")
    below = s.put("LessOrEqual", "x", s.put("Neg", level))
    low = s.put("Where", below, s.number(-1.0, "x"), zero)
    return s.put("Where", s.put("GreaterOrEqual", "x", level), one, low, out="y")
