"""The integer constants of vector operations: formats of operands, tables, reciprocals.

Each builder gets what its operands' currents are worth and how far they reach, and the unit of what
is sent; it returns the constants that `program/vector` explains. A unit that is free is chosen so
that its gain is a power of two, which is a shift and no multiply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from neurodeploy.graph.delay import Delay
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
from neurodeploy.graph.vectors import gelu, sigmoid
from neurodeploy.program.vector import lstm
from neurodeploy.program.vector.glu import FRACTION

Ints = Any
_GAIN_BITS = 15
_WIDE = 2**31 - 1  # an operand that is as wide as the current it comes from
_NARROW = 2**15 - 1  # an operand that enters products
_ENTRIES = 512  # at most so many intervals in a table
_GELU_END, _SIGMOID_END, _TANH_END = 6.0, 12.0, 8.0
_TINY = 1e-9  # thresholds closer to an integer than this, relatively, are that integer


@dataclass(frozen=True, eq=False)
class Operand:
    """What one unit of a current is worth [width], with its sign; what is added; its reach."""

    unit: Array
    bias: Array
    reach: float

    @property
    def uniform(self) -> bool:
        """Whether one positive unit holds for all channels."""
        return bool(np.all(self.unit == self.unit[0])) and self.unit[0] > 0

    @property
    def least(self) -> float:
        """The reach that a format must have: at least one unit of the current."""
        return max(self.reach, float(np.abs(self.unit).max())) or 1.0


@dataclass(frozen=True, eq=False)
class Format:
    """gain, shift, offset [width] and limit of one operand, and the unit of the result [width]."""

    gain: Ints
    shift: Ints
    offset: Ints
    limit: int
    unit: Array


@dataclass(frozen=True, eq=False)
class Constants:
    """A kind, the formats of its operands, its parameters, and the unit [width] of its y."""

    kind: str
    formats: tuple[Format, ...]
    params: Mapping[str, Any]
    unit: Array


@dataclass(frozen=True)
class Register:
    """The bits of a register, and what it has to hold; of integers handed on, the greatest."""

    bits: int
    reach: float
    most: int = 0


def build(
    op: VectorOp, operands: tuple[Operand, ...], sent: Array, register: Register | None = None
) -> Constants:
    """Return the constants of `op`; `sent` [width] is the unit of what it sends.

    register: for an operation with memory.
    """
    if isinstance(op, Lstm):
        assert register is not None
        return _lstm(operands, sent, register)
    if isinstance(op, Delay):
        assert register is not None
        return _delay(op, operands, sent, register)
    return _BUILDERS[type(op)](op, operands, sent)


def scaling(ratio: Array, top: int = 46) -> tuple[Ints, Ints]:
    """Return gain and shift [width] with gain * 2**-shift nearest to ratio, gains of 15 bits.

    A power of two has a power of two for a gain, 1 if it is at most 1.
    """
    size = np.abs(ratio)
    exponent = np.ceil(np.log2(np.where(size > 0, size, 1.0)))
    power = np.where(size == 2.0**exponent, -exponent, -1)
    shift = np.clip(np.where(power >= 0, power, _GAIN_BITS - exponent), 0, top)
    gain = np.clip(np.rint(ratio * 2.0**shift), -(2.0**30), 2.0**30)
    return gain.astype(np.int64), shift.astype(np.int64)


def _exact(operand: Operand, unit: Array, limit: int) -> Format:
    """Bring an operand to a given unit."""
    offset = np.clip(operand.bias / unit, -(2.0**60), 2.0**60)
    room = 60 - math.ceil(math.log2(float(np.abs(offset).max()) + 1))
    gain, shift = scaling(operand.unit / unit, min(46, room))
    whole = np.rint(offset * 2.0**shift).astype(np.int64)
    return Format(gain, shift, whole, limit, unit)


def _free(operand: Operand, limit: int) -> Format:
    """Bring an operand to a unit of our choice, the same for all channels, below `limit`."""
    least = operand.least / limit
    if not operand.uniform:
        return _exact(operand, np.full_like(operand.unit, least), limit)
    drop = math.ceil(math.log2(least / float(operand.unit[0])))
    return _exact(operand, operand.unit * 2.0**drop, limit)


def _aligned(operand: Operand, target: Array, limit: int) -> tuple[Format, Ints]:
    """Bring an operand to a unit u of which target is 2**drop times; return format and drop."""
    least = operand.least / limit
    drop = np.maximum(np.floor(np.log2(target / least)), 0).astype(np.int64)
    return _exact(operand, target * 2.0**-drop, _WIDE), drop


def _relu(op: Relu, operands: tuple[Operand, ...], sent: Array) -> Constants:  # noqa: ARG001
    return Constants("relu", (_exact(operands[0], sent, _WIDE),), {}, sent)


def _rescale(op: Rescale | Quantize, operands: tuple[Operand, ...], sent: Array) -> Constants:  # noqa: ARG001
    return Constants("rescale", (_exact(operands[0], sent, _WIDE),), {}, sent)


def _gelu(op: Gelu, operands: tuple[Operand, ...], sent: Array) -> Constants:
    (x,) = operands
    if np.all(sent == sent[0]):
        form, _ = _aligned(x, sent, _NARROW)
    else:
        form = _free(x, _NARROW)
    fine, unit, end = 4, float(form.unit[0]), min(_GELU_END, x.least)
    step, knots = _knots(end, unit)
    below = np.rint(-gelu(op.form, -knots) / (unit * 2.0**-fine)).astype(np.int64)
    if end == _GELU_END:
        below[-1] = 0
    else:
        form = replace(form, limit=(len(knots) - 1) << step)
    params = {"table": below, "step": step, "fine": fine}
    return Constants("gelu", (form,), params, form.unit * 2.0**-fine)


def _knots(end: float, unit: float) -> tuple[int, Array]:
    """Return the step of a table, in bits of its position, and where its entries stand."""
    step = max(0, math.ceil(math.log2(end / (_ENTRIES * unit))))
    count = max(1, math.ceil(end / (unit * 2**step)))
    return step, np.arange(count + 1) * (unit * 2**step)


def _glu(op: Glu, operands: tuple[Operand, ...], sent: Array) -> Constants:  # noqa: ARG001
    value, gate = operands
    form, _ = _aligned(value, sent * 2.0**FRACTION, _NARROW)
    other = _free(Operand(gate.unit, gate.bias, min(gate.reach, _SIGMOID_END)), _NARROW)
    other = replace(other, limit=_WIDE)
    step, knots = _knots(_SIGMOID_END, float(other.unit[0]))
    table = np.rint((sigmoid(knots) - 0.5) * 2**FRACTION).astype(np.int64)
    table[-1] = 1 << (FRACTION - 1)
    unit = form.unit * 2.0**-FRACTION
    return Constants("glu", (form, other), {"table": table, "step": step}, unit)


def _lstm(operands: tuple[Operand, ...], sent: Array, register: Register) -> Constants:
    gate = 2.0**-lstm.GATE
    unit = np.full_like(sent, gate)
    forms = tuple(_exact(operand, unit, _WIDE) for operand in operands)
    sigmoid_step, knots = _knots(_SIGMOID_END, gate)
    sigmoids = np.rint((sigmoid(knots) - 0.5) * 2**lstm.FRACTION).astype(np.int64)
    sigmoids[-1] = 1 << (lstm.FRACTION - 1)
    tanh_step, knots = _knots(_TANH_END, gate)
    tanhs = np.rint(np.tanh(knots) * 2**lstm.FRACTION).astype(np.int64)
    tanhs[-1] = 1 << lstm.FRACTION
    least = lstm.GATE - tanh_step  # with fewer bits behind the point, entries would be skipped
    most = (2 ** (register.bits - 1) - 1) / max(register.reach, 1.0)
    fraction = max(math.floor(math.log2(most)), least)
    params = {
        "table_sigmoid": sigmoids,
        "sigmoid_step": sigmoid_step,
        "table_tanh": tanhs,
        "tanh_step": tanh_step,
        "cell_step": fraction - least,
        "cell_fraction": fraction,
        "state_bits": register.bits,
    }
    return Constants("lstm", forms, params, np.full_like(sent, 2.0 ** (-2 * lstm.FRACTION)))


def _delay(op: Delay, operands: tuple[Operand, ...], sent: Array, register: Register) -> Constants:
    """Keep values as they are sent."""
    params = {"steps": op.steps.astype(np.int64), "state_bits": register.bits}
    return Constants("delay", (_exact(operands[0], sent, register.most),), params, sent)


def _product(op: Product, operands: tuple[Operand, ...], sent: Array) -> Constants:  # noqa: ARG001
    first = 1 if operands[1].uniform else 0
    free = _free(operands[first], _NARROW)
    form, drop = _aligned(operands[1 - first], sent / free.unit, _NARROW)
    formats = (free, form) if first == 0 else (form, free)
    return Constants("product", formats, {}, sent * 2.0**-drop)


def _layernorm(op: LayerNorm, operands: tuple[Operand, ...], sent: Array) -> Constants:
    width = len(sent)
    (x,) = operands
    form = _free(Operand(x.unit, x.bias, max(x.reach, math.sqrt(op.eps))), _NARROW)
    eps = round(op.eps * width**2 / float(form.unit[0]) ** 2)
    spread = width**2 * _NARROW**2 + eps
    guard = (62 - spread.bit_length()) // 2
    same = bool(np.all(sent == sent[0]))
    unit = float(sent[0]) if same else 2.0**-14
    reach = 2 * math.sqrt(width) / unit  # of D I 2**-shift, twice
    shift = min(61 - math.ceil(math.log2(reach)), 61 - guard - math.ceil(math.log2(1 / unit)), 50)
    dividend = round(2.0 ** (guard + shift) / unit)
    params = {"eps": eps, "guard": guard, "dividend": dividend, "shift": shift}
    return Constants("layernorm", (form,), params, np.full(width, unit))


def _ternary(op: Ternary, operands: tuple[Operand, ...], sent: Array) -> Constants:
    (x,) = operands
    one = np.ones_like(sent)
    if op.per_step:
        ratio = Fraction(op.level).limit_denominator(2**15)
        plain = x.uniform and not np.any(x.bias)
        form = Format(*_ones(x.unit), _WIDE, x.unit) if plain else _free(x, _WIDE >> 1)
        params: dict[str, Any] = {"num": ratio.numerator, "den": ratio.denominator}
        return Constants("ternary_step", (form,), params, one)
    size, (gain, shift, offset) = np.abs(x.unit), _ones(x.unit)
    size = np.where(size > 0, size, 1.0)
    upper, lower = _up((op.level - x.bias) / size), -_up((op.level + x.bias) / size)
    form = Format(gain, shift, offset, _WIDE, size)
    return Constants("ternary", (form,), {"upper": upper, "lower": lower}, one)


def _ones(unit: Array) -> tuple[Ints, Ints, Ints]:
    """Return gains -1, 0, 1 by the sign of a unit, and no shifts and offsets."""
    zero = np.zeros(len(unit), np.int64)
    return np.sign(unit).astype(np.int64), zero, zero


def _up(value: Array) -> Ints:
    """Return the least integers >= value, but for rounding errors."""
    near = np.rint(value)
    close = np.abs(value - near) <= _TINY * np.maximum(np.abs(value), 1)
    return np.clip(np.where(close, near, np.ceil(value)), -(2.0**40), 2.0**40).astype(np.int64)


_BUILDERS: dict[type, Callable[..., Constants]] = {
    Relu: _relu,
    Rescale: _rescale,
    Quantize: _rescale,  # what is sent has its scale and its ends
    Gelu: _gelu,
    Glu: _glu,
    Product: _product,
    LayerNorm: _layernorm,
    Ternary: _ternary,
}
