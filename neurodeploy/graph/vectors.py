"""What the nonlinear operations mean, in float64, and what bounds their values.

LayerNorm   gamma (x - mean) / sqrt(var + eps) + beta, over the channels of one step
            (Ba et al. 2016, arXiv 1607.06450); the variance divides by the number of channels
Gelu        x Phi(x), or 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
            (Hendrycks and Gimpel 2016, arXiv 1606.08415)
Quantize    scale clip(rint(x / scale), low, high), halves to even
Glu         a sigmoid(b) of the two halves a, b (Dauphin et al. 2016, arXiv 1612.08083)
Lstm        c = sigmoid(f) c + sigmoid(i) tanh(g), y = sigmoid(o) tanh(c), step after step
            (Gers, Schmidhuber and Cummins 2000, without peepholes)
Delay       x[t - d], channel by channel (`delay.py`)
Ternary     Eq. 18 of Stan and Rhodes 2024 (arXiv 2401.00955), its cases in their order: where
            all channels are 0, so is the threshold, and the first case makes them all 1
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neurodeploy.graph.delay import Delay, delayed
from neurodeploy.graph.ir import Array
from neurodeploy.graph.nonlinear import (
    Gelu,
    Glu,
    LayerNorm,
    Lstm,
    Product,
    Quantize,
    Relu,
    Rescale,
    Ternary,
    VectorOp,
)

_GELU_LEAST = -0.1701  # min of x Phi(x) is -0.16998, of the tanh form -0.17004


def values_of(op: VectorOp, inputs: Sequence[Array]) -> Array:
    """Return the values of `op` at inputs [..., width]."""
    return np.asarray(_VALUES[type(op)](op, *inputs), np.float64)


def erf(x: Array) -> Array:
    """Return the error function of x."""
    from neurodeploy.kernels.special import erf_into  # numba takes half a second to load

    flat, out = np.ascontiguousarray(x, np.float64).reshape(-1), np.empty(x.size)
    erf_into(flat, out)
    return out.reshape(x.shape)


def gelu(form: str, x: Array) -> Array:
    """Return GELU(x) in one of its forms."""
    if form == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _layernorm(op: LayerNorm, x: Array) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    var = np.mean(centred**2, axis=-1, keepdims=True)
    return np.asarray(op.gamma * (centred / np.sqrt(var + op.eps)) + op.beta)


def _glu(op: Glu, x: Array) -> Array:  # noqa: ARG001
    value, gate = np.split(x, 2, axis=-1)
    return np.asarray(value * sigmoid(gate))


def lstm(op: Lstm, x: Array) -> tuple[Array, Array]:
    """Return the outputs of an LSTM driven by x [T, B, 4 width], and its cells [T, B, width]."""
    width = op.recurrent.shape[1]
    out = np.empty((*x.shape[:-1], width))
    cells, steps = np.empty_like(out), range(len(x))
    y = c = np.zeros(out.shape[1:])
    for t in reversed(steps) if op.reverse else steps:
        i, f, g, o = np.split(x[t] + y @ op.recurrent.T, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        y = sigmoid(o) * np.tanh(c)
        out[t], cells[t] = y, c
    return out, cells


def cell_bound(op: Lstm, high: Array, steps: int) -> Array:
    """Return a bound [width] of |c| within `steps` steps of drives up to `high` [4 width]."""
    top = high + np.abs(op.recurrent).sum(axis=1)
    _, keeps, _, _ = np.split(sigmoid(top), 4)
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(1 / (1 - keeps), steps))


def _ternary(op: Ternary, x: Array) -> Array:
    top = np.abs(x).max(axis=-1, keepdims=True)
    level = op.level * top if op.per_step else np.full_like(top, op.level)
    return np.where(x >= level, 1.0, np.where(x <= -level, -1.0, 0.0))


def _quantize(op: Quantize, x: Array) -> Array:
    return np.asarray(np.clip(np.rint(x / op.scale), op.low, op.high) * op.scale)


_VALUES: dict[type, Callable[..., Array]] = {
    LayerNorm: _layernorm,
    Gelu: lambda op, x: gelu(op.form, x),
    Relu: lambda op, x: np.maximum(x, 0),
    Rescale: lambda op, x: x,
    Quantize: _quantize,
    Glu: _glu,
    Lstm: lambda op, x: lstm(op, x)[0],
    Delay: lambda op, x: delayed(op, x)[0],
    Product: lambda op, a, b: a * b,
    Ternary: _ternary,
}


def bounds_of(op: VectorOp, lows: Sequence[Array], highs: Sequence[Array]) -> tuple[Array, Array]:
    """Return bounds [width] of the values of `op`, given those of its inputs."""
    low, high = lows[0], highs[0]
    if isinstance(op, LayerNorm):  # |x - mean| / std is at most sqrt(n - 1)
        reach = math.sqrt(len(low) - 1) * np.abs(op.gamma)
        return op.beta - reach, op.beta + reach
    if isinstance(op, Ternary):
        return -np.ones_like(low), np.ones_like(high)
    if isinstance(op, Lstm):
        one = np.ones(len(low) // 4)
        return -one, one
    if isinstance(op, Delay):  # zeros come first
        return np.minimum(low, 0), np.maximum(high, 0)
    if isinstance(op, Gelu):
        return np.where(low < 0, _GELU_LEAST, 0.0), np.maximum(high, 0)
    if isinstance(op, Rescale):
        return low, high
    if isinstance(op, Quantize):
        return _quantize(op, low), _quantize(op, high)
    if isinstance(op, Relu):
        return np.maximum(low, 0), np.maximum(high, 0)
    if isinstance(op, Glu):
        (low, from_), (high, to) = np.split(low, 2), np.split(high, 2)
        return _corners(low, high, sigmoid(from_), sigmoid(to))
    return _corners(low, high, lows[1], highs[1])


def _corners(a: Any, b: Any, c: Any, d: Any) -> tuple[Array, Array]:
    """Return the least and greatest product of numbers in [a, b] and [c, d]."""
    ends = np.stack([a * c, a * d, b * c, b * d])
    return ends.min(axis=0), ends.max(axis=0)
