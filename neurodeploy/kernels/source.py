"""Write a traced step as lines of Python that numba compiles.

The same instructions give three bodies: floats in the very order `Real` computes them (so results
are equal to the last bit: numba does not contract or reorder), whole numbers in floats, exactly
those that `Fixed` computes, and the reverse-mode adjoint for training, which is that of both.
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


def whole_lines(instrs: Sequence[Instr]) -> list[str]:
    """Return the body on whole numbers that float64 holds, in the words of `whole_words`."""

    def value(i: Instr) -> str:
        return f"{_WHOLE[i.op]}({', '.join(i.args)})" if i.op in _WHOLE else _real(i)

    return [f"{i.out} = {value(i)}" for i in instrs]


_WHOLE = {"mul": "multiplied", "write": "stored", "count": "counted"}
_EXACT = 53  # bits of a whole number that float64 holds
_SPLIT = 2.0**15


def whole_words(fixed: Fixed) -> dict[str, str]:
    """Return what the words of `Fixed` are on float64, by name: arguments, and an expression.

    Exactly: a coefficient is a whole number times 2^-coef_frac, a value a whole number of
    `state_bits`. Where their product is too long for float64, it is made of two, of the upper and
    the lower bits of the coefficient; the lower drop what is below the upper first.
    """
    cut = {"floor": "np.floor({})", "toward_zero": "np.trunc({})", "nearest": "np.floor({} + HALF)"}
    below = "np.trunc" if fixed.rounding == "toward_zero" else "np.floor"
    product = "k * z"
    if fixed.coef_frac + fixed.state_bits > _EXACT:
        upper = f"np.trunc(k * {_SPLIT!r}) / {_SPLIT!r}"
        lower = f"{below}((k - {upper}) * z * {_SPLIT!r}) / {_SPLIT!r}"
        product = f"({upper} * z + {lower})"
    most, span = float(fixed.state_max), 2.0**fixed.state_bits
    kept = f"min(max(v, {-most!r}), {most!r})"
    if fixed.overflow == "wrap":
        kept = f"v - {span!r} * np.floor((v + {span / 2!r}) / {span!r})"
    return {
        "dropped(v)": cut[fixed.rounding].format("v"),
        "multiplied(k, z)": cut[fixed.rounding].format(product),
        "stored(v)": kept,
        "counted(v, level)": f"min(np.floor(max(v, ZERO) / max(level, ONE)), {MOST_SPIKES!r}.0)",
    }


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
