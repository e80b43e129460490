"""What every neuron must say about itself.

`fold` turns trained parameters into the constants a chip stores; `step` is the only place where
the dynamics are written. Everything else is derived from these two. This file and the neuron
files beside it need numpy only: emitted bundles carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Any

import numpy as np

from neurodeploy.arith import MOST_SPIKES, Arith, Count, Instr, Sym, Tick, Trace

GE, GT = ">=", ">"


class Kind(Enum):
    """The scale on which a folded constant is stored, and how it is rounded."""

    UNIT = "unit"  #: dimensionless, |value| <= 1: `coef_frac` fractional bits, nearest
    THRESHOLD = "threshold"  #: compared with a state: state scale, rounded without changing it
    AMOUNT = "amount"  #: added to a state: state scale, nearest
    OUTPUT = "output"  #: weight of a state in a graded output; its scale moves to the output's unit

    @property
    def dimensionless(self) -> bool:
        """Whether it multiplies, rather than being on the scale of the state."""
        return self in (Kind.UNIT, Kind.OUTPUT)


@dataclass(frozen=True)
class Traced:
    """A step as a straight-line program over names.

    Inputs are `x`, `k_<field>` for each coefficient and `z_<field>` for each state. `coefs` are
    the coefficients that stay, `tables` those that change with the step, if this step reads them;
    `modal` are the coefficients and states that have modes.
    """

    instrs: tuple[Instr, ...]
    coefs: tuple[str, ...]
    tables: tuple[str, ...]
    states: tuple[str, ...]
    out: str
    next_states: tuple[str, ...]
    modal: frozenset[str] = frozenset()

    @property
    def decision(self) -> Instr | None:
        """The comparison or count that the output is, or None for a neuron that does not spike."""
        fires = ("ge", "gt", "count")
        return next((i for i in self.instrs if i.out == self.out and i.op in fires), None)

    @property
    def most(self) -> int:
        """The most spikes that an integer neuron sends at one step; 0 if it does not spike."""
        if self.decision is None:
            return 0
        return MOST_SPIKES if self.decision.op == "count" else 1

    @property
    def registers(self) -> tuple[str, ...]:
        """The values that stand in a register at some time: all that is written, and the states."""
        written = (i.out for i in self.instrs if i.op == "write")
        return tuple(dict.fromkeys((*written, *self.next_states)))

    @property
    def words(self) -> frozenset[str]:
        """The vocabulary that a target's neuron core needs to run this."""
        return frozenset(instr.op for instr in self.instrs)

    @property
    def used(self) -> frozenset[str]:
        """The coefficients that this step uses: no others need memory."""
        args = {arg for instr in self.instrs for arg in instr.args}
        return frozenset(n for n in (*self.coefs, *self.tables) if f"k_{n}" in args)


@dataclass(frozen=True, kw_only=True)
class NeuronSpec:
    """One neuron model, whole.

    Parameters, coefficients and states are arrays [channels] or scalars; those whose names are in
    `modal` have a first axis of modes, [modes, channels]. `check` returns what is wrong with a set
    of parameters; `poles` returns the poles of the undriven linear update (complex [channels] or
    [poles, channels], or None for a neuron without memory), by which rounding is judged; `unit`
    returns the published membrane per unit of folded state (of the output, with modes).

    `tables` names the coefficients, and the parameters of the same name, that have a row for each
    step, [T, channels]: a step gets them through `Arith.read`. Row t belongs to step t of the
    sequence (with `reverse`, the neuron's own step t). A variant that does not read a table has
    none: its table has no rows.
    """

    name: str
    source: str
    params: type[Any]
    units: Mapping[str, str]
    coefs: type[Any]
    kinds: Mapping[str, Kind]
    state: type[Any]
    choices: Mapping[str, tuple[Any, ...]]
    fold: Callable[[Any, Mapping[str, Any], Any], Any]
    step: Callable[[Arith, Any, Any, Any, Mapping[str, Any]], tuple[Any, Any]]
    check: Callable[[Any, Mapping[str, Any]], list[str]]
    poles: Callable[[Any], Any]
    unit: Callable[[Any, Mapping[str, Any], Any], Any]
    spiking: bool = True
    tables: frozenset[str] = frozenset()
    modal: frozenset[str] = frozenset()

    def options(self, **chosen: Any) -> dict[str, Any]:
        """Complete and check a choice of options; the first of `choices` is the default."""
        for key, value in chosen.items():
            allowed = self.choices.get(key)
            if allowed is None or value not in allowed:
                raise ValueError(f"{self.name}: {key}={value!r}; choose from {dict(self.choices)}")
        return {key: chosen.get(key, allowed[0]) for key, allowed in self.choices.items()}

    def variants(self) -> list[dict[str, Any]]:
        """Return every combination of options."""
        keys = list(self.choices)
        return [dict(zip(keys, row, strict=True)) for row in product(*self.choices.values())]

    def traced(self, options: Mapping[str, Any]) -> Traced:
        """Read `step` as a straight-line program."""
        trace = Trace()
        modal = self.modal
        coefs = self.coefs(*(Sym(trace, f"k_{n}", n in modal) for n in self.coefs._fields))
        state = self.state(*(Sym(trace, f"z_{n}", n in modal) for n in self.state._fields))
        out, after = self.step(trace, coefs, state, Sym(trace, "x"), options)
        read = {instr.args[0] for instr in trace.instrs if instr.op == "read"}
        return Traced(
            instrs=tuple(trace.instrs),
            coefs=tuple(name for name in self.coefs._fields if name not in self.tables),
            tables=tuple(name for name in self.coefs._fields if f"k_{name}" in read),
            states=tuple(self.state._fields),
            out=out.name,
            next_states=tuple(value.name for value in after),
            modal=self.modal,
        )

    def arranged(self, coefs: Any, width: int) -> Any:
        """Return folded coefficients as arrays [width], [T, width] or [modes, width]."""

        def shaped(name: str, value: Any) -> Any:
            array = np.asarray(value, np.float64)
            lead: tuple[int, ...] = ()
            if name in self.tables:  # a number: this variant has no table
                lead = (len(value) if np.ndim(value) else 0,)
            elif name in self.modal:
                lead = array.shape[:1]
            return np.broadcast_to(array, (*lead, width))

        return self.coefs(**{name: shaped(name, v) for name, v in coefs._asdict().items()})

    def at(self, coefs: Any, step: int) -> Any:
        """Return the coefficients of one step: a table's row `step` in its place."""
        rows = {n: v[step] for n, v in coefs._asdict().items() if n in self.tables and len(v)}
        return coefs._replace(**rows) if rows else coefs

    def longest(self, coefs: Mapping[str, Any], options: Mapping[str, Any]) -> int | None:
        """Return how many steps the tables of (arranged) `coefs` are for; None: for any number."""
        rows = [len(coefs[name]) for name in self.traced(options).tables] if self.tables else []
        return min(rows, default=None)

    def cost(self, options: Mapping[str, Any], modes: int = 1) -> dict[str, int]:
        """Count the operations in one update of one neuron of `modes` modes, read off `step`."""
        count = Count(modes)
        coefs = self.coefs(*(Tick(count, n in self.modal) for n in self.coefs._fields))
        state = self.state(*(Tick(count, n in self.modal) for n in self.state._fields))
        self.step(count, coefs, state, Tick(count), options)
        return count.ops

    def modes(self, values: Mapping[str, Any]) -> int:
        """Return the number of modes of named coefficients or parameters; 1 without modes."""
        shapes = [np.shape(value) for name, value in values.items() if name in self.modal]
        return int(shapes[0][0]) if shapes and shapes[0] else 1

    def modes_of(self, rows: int) -> int:
        """Return the number of modes of coefficients that are so many rows."""
        modal = sum(name in self.modal for name in self.coefs._fields)
        return (rows - len(self.coefs._fields) + modal) // modal if modal else 1

    def rows(self, names: tuple[str, ...], modes: int) -> int:
        """Return how many rows values of these names are: one, or one per mode."""
        return sum(modes if name in self.modal else 1 for name in names)

    def row_names(self, names: tuple[str, ...], modes: int) -> list[str]:
        """Return a name for each of the `rows`: "re[0]", "re[1]", ... with modes."""
        numbered = ([f"{n}[{m}]" for m in range(modes)] if n in self.modal else [n] for n in names)
        return [name for group in numbered for name in group]

    def stack(self, values: Any, shape: tuple[int, ...]) -> Any:
        """Return states of shape [..., width] as rows [rows, ..., width], as `parts` reads them."""
        rows = [value if np.ndim(value) > len(shape) else value[None] for value in values]
        return np.concatenate(rows) if rows else np.empty((0, *shape), np.int64)

    def parts(self, kind: type[Any], table: Any, modes: int) -> Any:
        """Return the `kind` (coefs or state) whose values are views of rows [rows, ..., width]."""
        values, at = [], 0
        for name in kind._fields:
            count = modes if name in self.modal else 1
            values.append(table[at : at + count] if name in self.modal else table[at])
            at += count
        return kind(*values)


def over_batch(spec: NeuronSpec, coefs: Any) -> Any:
    """Return coefficients that broadcast with states [B, width] and [modes, B, width]."""
    values = zip(coefs._fields, coefs, strict=True)
    return spec.coefs(*(v[:, None] if n in spec.modal else v for n, v in values))


def scaled(spec: NeuronSpec, coefs: Any, factor: Any) -> Any:
    """Return the coefficients of the same neuron whose states and inputs are `factor` larger.

    Exact by homogeneity (every step is of degree one in input, state, threshold and resets),
    which `is_homogeneous` checks by running the step.
    """
    values = (
        value if spec.kinds[name].dimensionless else value * factor
        for name, value in zip(coefs._fields, coefs, strict=True)
    )
    return spec.coefs(*values)
