"""The bodies of vector operations in an ONNX file; `onnx.py` has the rest.

    LayerNorm(x, gamma, beta, eps)    Gelu_erf(x)    Gelu_tanh(x)    Glu(x)
    Ternary_step(x, level)            Ternary_constant(x, level)

ReLU and products are standard operators.

Each is written out in plain operators, in the order of `graph/vectors.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from neurodeploy.graph.forms.sheet import Sheet


def gelu(s: Sheet, settings: Mapping[str, Any]) -> str:
    """Append x Phi(x) in one of its forms."""
    half, one = s.number(0.5, "x"), s.number(1.0, "x")
    if settings["form"] == "tanh":
        cube = s.put("Mul", s.put("Mul", "x", "x"), "x")
        inner = s.put("Add", "x", s.put("Mul", cube, _double(s, 0.044715)))
        turned = s.put("Tanh", s.put("Mul", inner, _double(s, math.sqrt(2 / math.pi))))
    else:
        turned = s.put("Erf", s.put("Div", "x", _double(s, math.sqrt(2))))
    return s.put("Mul", s.put("Mul", "x", half), s.put("Add", turned, one), out="y")


def _double(s: Sheet, value: float) -> str:
    """Return a number of the type of x, exact in float64: as the sum of two floats."""
    high, low = _parts(value)
    return s.put("Add", s.number(high, "x"), s.number(low, "x"))


def _parts(value: float) -> tuple[float, float]:
    """Return two numbers that float32 holds and whose sum is value, to 2**-48 of it."""
    high = float(np.float32(value))
    return high, float(np.float32(value - high))


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
