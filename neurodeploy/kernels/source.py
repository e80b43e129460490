"""Write a traced step as lines of Python that numba compiles.

The same instructions give three bodies: integers exactly as `Fixed` computes them, floats in the
very order `Real` computes them (so results are equal to the last bit: numba does not contract or
reorder), and the reverse-mode adjoint for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neurodeploy.arith import MOST_SPIKES, Fixed, Instr
from neurodeploy.neurons import Traced

_BINARY = {"add": "+", "sub": "-"}
_COMPARE = {"ge": ">=", "gt": ">"}


def real_lines(instrs: Sequence[Instr]) -> list[str]:
    """Return the float body: one assignment per instruction; `ZERO` is that of its type."""
    return [f"{i.out} = {_real(i)}" for i in instrs]


def _real(i: Instr) -> str:
    a = i.args
    if i.op in _BINARY:
        return f"{a[0]} {_BINARY[i.op]} {a[1]}"
    if i.op in ("mul", "times"):
        return f"{a[0]} * {a[1]}"
    if i.op == "count":
        return f"max(np.floor({a[0]} / {a[1]}), ZERO)"
    if i.op == "largest":
        return f"max({a[0]}, {a[1]})"
    if i.op in ("write", "read"):
        return a[0]
    if i.op in _COMPARE:
        return f"{a[0]} {_COMPARE[i.op]} {a[1]}"
    if i.op == "select":
        return f"({a[1]} if {a[0]} else {a[2]})"
    raise KeyError(i.op)


def fixed_lines(instrs: Sequence[Instr], fixed: Fixed) -> list[str]:
    """Return the integer body; `over` counts register writes that did not fit."""
    lines: list[str] = []
    for i in instrs:
        if i.op == "mul":
            lines += [f"{i.out} = {drop(f'({i.args[0]} * {i.args[1]})', fixed, fixed.coef_frac)}"]
        elif i.op == "write":
            lines += [
                f"{i.out} = {_register(i.args[0], fixed)}",
                f"over += {i.out} != {i.args[0]}",
            ]
        elif i.op == "count":
            held = f"max({i.args[0]}, 0) // max({i.args[1]}, 1)"
            lines += [f"{i.out} = min({held}, {MOST_SPIKES})"]
        else:
            lines += [f"{i.out} = {_real(i)}"]
    return lines


def drop(value: str, fixed: Fixed, bits: int | str) -> str:
    """Return the expression that drops `bits` bits of `value` by the rounding of `fixed`."""
    if fixed.rounding == "floor":
        return f"({value} >> {bits})"
    if fixed.rounding == "toward_zero":
        return f"(({value} + (({value} >> 63) & ((ONE << {bits}) - 1))) >> {bits})"
    return f"(({value} + ((ONE << {bits}) >> 1)) >> {bits})"


def _register(value: str, fixed: Fixed) -> str:
    if fixed.overflow == "saturate":
        return f"min(max({value}, {-fixed.state_max}), {fixed.state_max})"
    half = 1 << (fixed.state_bits - 1)
    return f"((({value} + {half}) & {(1 << fixed.state_bits) - 1}) - {half})"


@dataclass(frozen=True)
class Adjoint:
    """The reverse of a step: `lines` to run after the float body, and where results stand.

    `coefs` are those of the step, in order, and then the unit; `tables` those of this step's rows.
    """

    lines: tuple[str, ...]
    coefs: tuple[str, ...]
    tables: tuple[str, ...]
    states: tuple[str, ...]
    x: str


def adjoint_lines(step: Traced) -> Adjoint:
    """Differentiate a traced step in reverse.

    Expects `g_out` (gradient of the output), `n_<field>` (gradients of the next state), `k_unit`
    (membrane per unit of folded state, `NeuronSpec.unit`), and a function `slope_at(m, a)`, the
    derivative of a spike by the margin m = unit (v - threshold) at steepness a, in the float type
    `kind`, with `ZERO` its zero. Measuring the margin in the
    model's own membrane, with the gradient of the unit included, makes folded training exactly
    the unfolded one. Selects pass the gradient to the value chosen, and, through the spike, to
    the condition: nothing is detached.
    """
    flows = Flows()
    flows.add(step.out, "g_out")
    for field, name in zip(step.states, step.next_states, strict=True):
        flows.add(name, f"n_{field}")
    lines = reverse_lines(step.instrs, flows)
    return Adjoint(
        lines=tuple(lines),
        coefs=tuple(flows.sum(f"k_{name}") for name in (*step.coefs, "unit")),
        tables=tuple(flows.sum(f"k_{name}") for name in step.tables),
        states=tuple(flows.sum(f"z_{name}") for name in step.states),
        x=flows.sum("x"),
    )


class Flows:
    """The terms that flow back into each value, as expressions."""

    def __init__(self) -> None:
        self.terms: dict[str, list[str]] = {}

    def add(self, name: str, term: str) -> None:
        """Let `term` flow into a value; literals receive nothing."""
        if name.startswith(("t", "k_", "z_", "x")):
            self.terms.setdefault(name, []).append(term)

    def sum(self, name: str) -> str:
        """Return all that flows into a value."""
        return " + ".join(self.terms.get(name, ["ZERO"]))


def reverse_lines(instrs: Sequence[Instr], flows: Flows) -> list[str]:
    """Run back through some instructions: take what flows into their results, add to arguments."""
    lines: list[str] = []
    for i in reversed(instrs):
        terms = flows.terms.pop(i.out, None)
        if terms is None:
            continue
        g = f"g_{i.out}"
        lines.append(f"{g} = {' + '.join(terms)}")
        a = i.args
        if i.op in _BINARY:
            flows.add(a[0], g)
            flows.add(a[1], g if i.op == "add" else f"-{g}")
        elif i.op in ("mul", "times"):
            flows.add(a[0], f"{g} * {a[1]}")
            flows.add(a[1], f"{g} * {a[0]}")
        elif i.op in ("write", "read"):
            flows.add(a[0], g)
        elif i.op in _COMPARE:
            lines += _fired(i, g, a[1], flows)
            flows.add(a[1], f"-d_{i.out} * k_unit")
        elif i.op == "count":  # a step at every whole threshold, of which the nearest counts
            level = f"n_{i.out}"
            lines.append(f"{level} = max(np.floor({a[0]} / {a[1]} + kind(0.5)), kind(1))")
            lines += _fired(i, g, f"{level} * {a[1]}", flows)
            flows.add(a[1], f"-d_{i.out} * {level} * k_unit")
        elif i.op == "largest":
            flows.add(a[0], f"({g} if {a[0]} >= {a[1]} else ZERO)")
            flows.add(a[1], f"(ZERO if {a[0]} >= {a[1]} else {g})")
        elif i.op == "select":
            flows.add(a[0], f"{g} * ({a[1]} - {a[2]})")
            flows.add(a[1], f"({g} if {a[0]} else ZERO)")
            flows.add(a[2], f"(ZERO if {a[0]} else {g})")
        else:
            raise KeyError(i.op)
    return lines


def _fired(i: Instr, g: str, level: str, flows: Flows) -> list[str]:
    """Let a spike's gradient `g` flow into what is compared with `level`, and into the unit."""
    gap, slope = f"m_{i.out}", f"d_{i.out}"
    flows.add(i.args[0], f"{slope} * k_unit")
    flows.add("k_unit", f"{slope} * {gap}")
    return [f"{gap} = {i.args[0]} - {level}", f"{slope} = {g} * slope_at(k_unit * {gap}, a)"]
