"""A neuron's step in integers, as an ONNX function: the `Fixed` reading in standard operators.

    run(current [T, B, N], shift [N], bias [N], coefficients [N] ...) -> output, final states

and, behind the coefficients, `recurrent` [N, N], one row per sender, its exponent multiplied in.
Tables are [T, N], and scanned beside the current.

Coefficients with modes are [modes, N], states with modes [modes, B, N].
All values are int64. `x >> f` is written (x - (x & (2^f - 1))) / 2^f, since BitShift takes unsigned
numbers only; integer Div truncates, which is rounding toward zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neurodeploy.arith import MOST_SPIKES, Fixed
from neurodeploy.backends.onnx.exact import clamped, larger, smaller
from neurodeploy.graph.forms.onnx import Kind, neuron_name
from neurodeploy.graph.forms.sheet import (
    Echo,
    Function,
    Sheet,
    Word,
    per_mode,
    resting,
    scan,
    step_body,
    step_calls,
    table_rows,
)
from neurodeploy.program.ir import Population

_UINT8, _INT64 = 2, 7  # onnx.TensorProto


def function(population: Population, fixed: Fixed) -> Function:
    """Return the function of a population's neurons: (output, final state ...).

    The output is uint8 where the neurons spike once a step at most, else int64. States are zero
    before the first step.
    """
    spec, options = population.model, population.options
    step, sheet = spec.traced(options), Sheet()
    coefs = {f"k_{name}": name for name in spec.coefs._fields}
    words = _words(sheet, fixed)
    heard = population.recurrent is not None
    drive = _scale(sheet, fixed)
    sequence = "current" if heard else drive(sheet, "current", "drive")
    if step.states or heard:
        coefs = per_mode(sheet, spec, coefs)
        shape = sheet.put("Shape", sequence, start=1)
        start = resting(sheet, step, coefs, sequence, shape, heard=heard)
        finish, sends = (_send, "uint8") if step.most == 1 else (_keep, "number")
        echo = _echo(drive) if heard else None
        body = step_body(step, coefs, words, finish, sends=sends, echo=echo)
        rows = table_rows(sheet, step, coefs, sequence)
        *states, out = scan(sheet, body, start, sequence, rows, reverse=population.reverse)
        states = states[: len(step.states)]
    else:
        values = step_calls(sheet, step, {**coefs, "x": sequence}, words)
        out, states = (_send if step.most == 1 else _keep)(sheet, values[step.out]), []
    return Function(
        name=name_of(population, fixed),
        inputs=("current", "shift", "bias", *spec.coefs._fields, *(["recurrent"] if heard else [])),
        outputs=(out, *states),
        calls=tuple(sheet.calls),
        doc=f"{spec.source}; {_describe(fixed)}",
    )


def name_of(population: Population, fixed: Fixed) -> str:
    """Return the name of the function of a population's neurons, with the widths of its numbers."""
    kind = Kind(population.reverse, population.recurrent is not None)
    name = neuron_name(population.spec, population.options, kind, folded=False)
    return f"{name}_int{fixed.state_bits}_frac{fixed.coef_frac}"


def _describe(fixed: Fixed) -> str:
    return (
        f"coefficients with {fixed.coef_frac} fractional bits, products rounded {fixed.rounding},"
        f" {fixed.state_bits}-bit states that {fixed.overflow}"
    )


def _send(sheet: Sheet, spikes: str) -> str:
    return sheet.put("Cast", spikes, to=_UINT8)


def _keep(sheet: Sheet, value: str) -> str:  # noqa: ARG001
    return value


def _number(sheet: Sheet, value: int) -> str:
    return sheet.put("Constant", value_int=value)


def _scale(sheet: Sheet, fixed: Fixed) -> Callable[[Sheet, str, str], str]:
    """Return how `current * 2**shift + bias` is appended, rounded where the shift is negative.

    The function takes a sheet, the current and the name of the result.
    """
    two, zero = _number(sheet, 2), _number(sheet, 0)
    left = sheet.put("Pow", two, sheet.put("Max", "shift", zero))
    right = sheet.put("Pow", two, sheet.put("Max", sheet.put("Neg", "shift"), zero), out="divisor")
    mask = sheet.put("Sub", right, _number(sheet, 1))
    half = sheet.put("Div", right, two)

    def run(at: Sheet, current: str, out: str) -> str:
        wide = at.put("Mul", current, left)
        return at.put("Add", _drop(at, fixed, wide, right, mask, half), "bias", out=out)

    return run


def _echo(drive: Callable[[Sheet, str, str], str]) -> Echo:
    """Return how a step hears the spikes before, in the current."""

    def hear(sheet: Sheet, current: str, sent: str) -> str:
        fed = sheet.put("MatMul", sent, "recurrent")
        return drive(sheet, sheet.put("Add", current, fed), "")

    return Echo(hear, lambda sheet, out: sheet.put("Cast", out, to=_INT64))


def _drop(sheet: Sheet, fixed: Fixed, value: str, divisor: str, mask: str, half: str) -> str:
    """Append `Fixed._drop`: divide by a power of two, rounded as the numbers say."""
    if fixed.rounding == "toward_zero":
        return sheet.put("Div", value, divisor)
    if fixed.rounding == "nearest":
        value = sheet.put("Add", value, half)
    low_bits = sheet.put("BitwiseAnd", value, mask)
    return sheet.put("Div", sheet.put("Sub", value, low_bits), divisor)


def _words(outer: Sheet, fixed: Fixed) -> dict[str, Word]:
    """Return how words are written that integers do otherwise; constants go to `outer`."""
    one = 1 << fixed.coef_frac
    divisor, mask, half = (_number(outer, value) for value in (one, one - 1, one >> 1))
    limits = _limits(outer, fixed)

    def mul(sheet: Sheet, args: Sequence[str]) -> str:
        return _drop(sheet, fixed, sheet.put("Mul", *args), divisor, mask, half)

    def write(sheet: Sheet, args: Sequence[str]) -> str:
        if fixed.overflow == "saturate":
            return clamped(sheet.put, args[0], limits["low"], limits["high"])
        raised = sheet.put("Add", args[0], limits["half"])
        return sheet.put("Sub", sheet.put("BitwiseAnd", raised, limits["mask"]), limits["half"])

    def count(sheet: Sheet, args: Sequence[str]) -> str:
        value = larger(sheet.put, args[0], _number(sheet, 0))
        held = sheet.put("Div", value, larger(sheet.put, args[1], _number(sheet, 1)))
        return smaller(sheet.put, held, _number(sheet, MOST_SPIKES))

    def largest(sheet: Sheet, args: Sequence[str]) -> str:
        return larger(sheet.put, *args)

    return {"mul": mul, "write": write, "count": count, "largest": largest}


def _limits(sheet: Sheet, fixed: Fixed) -> Mapping[str, Any]:
    if fixed.overflow == "saturate":
        ends = {"low": -fixed.state_max, "high": fixed.state_max}
    else:
        ends = {"half": 1 << (fixed.state_bits - 1), "mask": (1 << fixed.state_bits) - 1}
    return {key: _number(sheet, value) for key, value in ends.items()}
