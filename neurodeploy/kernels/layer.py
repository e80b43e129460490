"""The kernel of one layer: synapses of spikes, then neurons, step after step.

For the samples `first` to `last` and every step of each:

    row      =  current[t]  +  sum over feeds of (weight @ spikes[t]) << shift
    x        =  drop(row << left, right) + bias
    out[t], z  =  step(z, x)

`events` adds the rows of weights, `exact` writes the step. Neurons go in groups of 16; arrays are
padded to 64 columns, whose neurons have no weights and constants of 0, so that they stay at 0.
Spikes are bits, 64 neurons to a word; neurons that send several at a step send their number, which
a recurrent feed multiplies its rows by. Without neurons the kernel writes the row itself.

A kernel is specialised on the neuron model and on the form of its feeds, never on sizes: those,
and all addresses, it reads from a record of 64-bit integers, in the order of `record`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import Any

from neurodeploy.arith import Fixed
from neurodeploy.kernels import events
from neurodeploy.kernels.events import COLUMNS, GROUP, Rows
from neurodeploy.kernels.exact import Step, drop
from neurodeploy.kernels.lanes import I32, I64, Code, Value, Variable, lanes, size
from neurodeploy.kernels.modal import Phases, phases
from neurodeploy.kernels.native import Function, compiled
from neurodeploy.kernels.ranges import Width
from neurodeploy.neurons import SPECS, Traced

Options = tuple[tuple[str, Any], ...]
FIXED = ("left", "right", "rounding", "bias")  # rows of constants before the coefficients


@dataclass(frozen=True)
class Feed:
    """An edge of spikes: bytes of a weight; whether sums are shifted; whether it is recurrent.

    planes 0: of numbers of spikes, and so recurrent; weights are int32.
    """

    planes: int
    shifted: bool
    own: bool = False


@dataclass(frozen=True)
class Cell:
    """The neurons of a layer: the model, its integers, and whether currents shift to the right.

    alike: the constants without modes that are the same for all neurons, none of which is padding;
    zero: those that are 0 for all, and so are no part of the code.
    """

    name: str
    options: Options
    fixed: Fixed
    width: Width
    right: bool
    alike: frozenset[str] = frozenset()
    zero: frozenset[str] = frozenset()

    @property
    def step(self) -> Traced:
        """The traced step."""
        return SPECS[self.name].traced(dict(self.options))

    @property
    def most(self) -> int:
        """The most spikes that a neuron sends at one step; 0 if it sends its membrane."""
        return self.step.most

    @property
    def sent(self) -> Any:
        """What is stored of neurons that spike: words of bits, or one number for each neuron."""
        return I64 if self.most == 1 else I32


@dataclass(frozen=True)
class Form:
    """What a kernel is specialised on; `current`: currents come in, besides those of the feeds."""

    feeds: tuple[Feed, ...]
    current: bool
    cell: Cell | None = None


_FIELDS = ("steps", "samples", "origin", "way", "columns", "listed", "current", "out", "out_row")
_FEED = ("bits", "words", "offset", "weights", "sums", "senders", "shift", "events")
_CELL = (
    *("groups", "live", "z", "constants", "rows", "tables", "table_rows", "row", "modes"),
    *("before", "spikes", "lost"),
)


def record(form: Form) -> tuple[str, ...]:
    """Return the names of the 64-bit integers that the kernel of this form reads.

    Times run origin, origin + way, ...: 0 and 1, or backwards. `columns` is the padded width,
    `listed` the bytes of a list of who fired, `out_row` those of what one step sends. Addresses:
    current int32 [B, T, columns]; out uint64 [B, T, columns / 64] of bits, or int32
    [B, T, columns] of graded values, numbers of spikes, and sums.

    Of feed i, "i.name": bits uint64 [B, T, words], of which `senders` from byte `offset` of a step
    on are heard; weights and sums, as `events.planes` makes them; events int64, added to.

    Of neurons: groups of 16; live uint16 [groups], the lanes that exist; z [states, B, columns],
    updated, constants [groups, rows, 16], whose rows are left, right, rounding, bias and the
    coefficients, and tables [tables, table_rows, columns], in lanes of the cell's width; row, the
    table row of the first step; before, one step's `out` [B], what was sent last, updated where it
    is heard; spikes and lost int64, added to. A state or coefficient with modes has as many
    rows as modes.
    """
    feeds = [f"{i}.{name}" for i in range(len(form.feeds)) for name in _FEED]
    return (*_FIELDS, *feeds, *(_CELL if form.cell else ()))


def list_bytes(senders: int) -> int:
    """Return what a list of so many senders takes."""
    return -(-(2 * senders + 2 * COLUMNS) // COLUMNS) * COLUMNS


@cache
def kernel(form: Form, *, compress: bool | None = None) -> Function:
    """Return `run(record, scratch, first, last)`.

    scratch: the address of this thread's own memory, `listed` bytes and int32 [columns]. compress:
    how spikes are listed, by default as suits the processor.
    """
    chosen = events.can_compress() if compress is None else compress
    return compiled(source(form, compress=chosen), "layer", 4)


def source(form: Form, *, compress: bool) -> str:
    """Return the module of a kernel as text."""
    code = Code("layer", "record", "scratch", "first", "last")
    a = {**code.fields(code.arguments["record"], record(form)), **code.arguments}
    totals = {name: code.variable(code.number(I64, 0)) for name in _counted(form)}
    with code.loop(a["first"], a["last"]) as b:
        with code.loop(0, a["steps"]) as i:
            there = b * a["steps"] + a["origin"] + i * a["way"]
            row = _row(code, form, a, b, there, totals, compress)
            if form.cell is not None:
                out = a["out"] + there * a["out_row"]
                _update(code, form.cell, a, b, i, out, row, totals["lost"])
                if any(feed.own for feed in form.feeds):
                    _keep(code, form.cell, a, b, out)
        if form.cell is not None and form.cell.most:
            _count_spikes(code, form.cell, a, b, totals["spikes"])
    for name, total in totals.items():
        code.add_at_once(total.get(), a[name])
    return code.finished()


def _counted(form: Form) -> tuple[str, ...]:
    """Return the names of what is counted."""
    events = tuple(f"{i}.events" for i in range(len(form.feeds)))
    if form.cell is None:
        return events
    return (*events, "spikes", "lost") if form.cell.most else (*events, "lost")


def _keep(code: Code, cell: Cell, a: Mapping[str, Value], b: Value, out: Value) -> None:
    """Keep what a step sends for the next."""
    kind = cell.sent
    with code.loop(0, a["out_row"], size(kind)) as at:
        code.store(code.load(out + at, kind), a["before"] + b * a["out_row"] + at)


def _count_spikes(
    code: Code, cell: Cell, a: Mapping[str, Value], b: Value, total: Variable
) -> None:
    """Count the spikes of all steps of a sample."""
    kind, sample = cell.sent, a["steps"] * a["out_row"]
    with code.loop(0, sample, size(kind)) as at:
        word = code.load(a["out"] + b * sample + at, kind)
        total.set(total.get() + (word.ones() if kind is I64 else word.signed(I64)))


def _row(
    code: Code,
    form: Form,
    a: Mapping[str, Value],
    b: Value,
    there: Value,
    totals: Mapping[str, Variable],
    compress: bool,
) -> Value:
    """Return the address of this step's currents, the feeds added."""
    base = a["current"] + there * (a["columns"] << 2) if form.current else None
    own = a["scratch"] + a["listed"]
    out = a["out"] + there * a["out_row"] if form.cell is None else own
    for n, feed in enumerate(form.feeds):
        f = {name: a[f"{n}.{name}"] for name in _FEED}
        start = (
            a["before"] + b * a["out_row"] if feed.own else f["bits"] + there * (f["words"] << 3)
        )
        rows = Rows(
            weights=f["weights"],
            sums=f["sums"],
            senders=f["senders"],
            columns=a["columns"],
            shift=f["shift"] if feed.shifted else None,
            planes=feed.planes,
        )
        if feed.planes == 0:
            heard = events.add_counts(code, rows, start, base, out)
        else:
            bits = start + f["offset"]
            fired = events.listed(code, bits, f["senders"], a["scratch"], compress=compress)
            events.add_rows(code, rows, fired, a["scratch"], base, out)
            heard = fired.events
        total = totals[f"{n}.events"]
        total.set(total.get() + heard)
        base = out
    assert base is not None
    return base


def _update(
    code: Code,
    cell: Cell,
    a: Mapping[str, Value],
    b: Value,
    i: Value,
    out: Value,
    row: Value,
    lost: Variable,
) -> None:
    """Step all neurons of one sample by the currents of a row."""
    first = _Places(code, cell, a, b, a["row"] + i, code.number(I64, 0), {})
    held = {name: first.lane(name).to_all(GROUP) for name in sorted(cell.alike - cell.zero)}
    held |= {name: code.number(lanes(first.number, GROUP), 0) for name in cell.zero}
    together = 2 if cell.most == 1 and cell.width.bits == 32 and not cell.step.modal else 1
    with code.loop(0, a["groups"], together) as g:
        sent = []
        for group in [g, g + 1][:together]:
            current = code.load(row + group * (4 * GROUP), lanes(I32, GROUP))
            sent.append(_stepped(replace(first, group=group, held=held), current, lost))
        if cell.most == 1:
            bits = reduce(Value.followed_by, sent).bits()
            code.store(bits & code.load(a["live"] + g * 2, bits.kind), out + g * 2)
        else:
            whole = sent[0] if first.number is I32 else sent[0].cut(lanes(I32, GROUP))
            code.store(whole, out + g * (4 * GROUP))


@dataclass(frozen=True)
class _Places:
    """Where the constants and states of one group of neurons are."""

    code: Code
    cell: Cell
    a: Mapping[str, Value]
    sample: Value
    table_row: Value
    group: Value
    held: Mapping[str, Value]  #: constants that are there already

    @property
    def number(self) -> Any:
        """The type of a lane."""
        return I32 if self.cell.width.bits == 32 else I64

    def at(self, array: str, row: Value | int) -> Value:
        """Return the address of the group in a row of an array."""
        first = self.a["columns"] * row + self.group * GROUP
        return self.a[array] + first * size(self.number)

    def load(self, address: Value) -> Value:
        """Read the group's lanes."""
        return self.code.load(address, lanes(self.number, GROUP), align=GROUP)

    def constant(self, name: str, mode: Value | None = None) -> Value:
        """Read a constant; of a coefficient with modes, that of a mode."""
        return self.held[name] if name in self.held else self.load(self.place(name, mode))

    def lane(self, name: str) -> Value:
        """Read a constant of the group's first neuron alone."""
        return self.code.load(self.place(name, None), self.number)

    def place(self, name: str, mode: Value | None) -> Value:
        """Return where a constant of the group is."""
        names = coefficients(self.cell.step)
        row = FIXED.index(name) if name in FIXED else self.row_of(names, name, mode) + len(FIXED)
        number = self.group * self.a["rows"] + row
        return self.a["constants"] + number * (GROUP * size(self.number))

    def row_of(self, names: Sequence[str], name: str, mode: Value | None) -> Value:
        """Return the row of a coefficient or state, of those of so many `names`."""
        modal, before = self.cell.step.modal, names[: names.index(name)]
        many = sum(n in modal for n in before)
        row = self.a["modes"] * many + (len(before) - many)
        return row if mode is None else row + mode

    def coefs(self, mode: Value | None = None) -> dict[str, Value]:
        """Read the coefficients without modes, or those of a mode."""
        names = coefficients(self.cell.step)
        wanted = [n for n in names if (n in self.cell.step.modal) == (mode is not None)]
        return {f"k_{n}": self.constant(n, mode) for n in wanted}

    def tables(self) -> dict[str, Value]:
        """Read this step's rows of the tables."""
        rows = (
            self.a["table_rows"] * j + self.table_row for j in range(len(self.cell.step.tables))
        )
        names = self.cell.step.tables
        return {f"k_{n}": self.load(self.at("tables", r)) for n, r in zip(names, rows, strict=True)}

    def states(self, mode: Value | None = None) -> dict[str, Value]:
        """Return the addresses of the states without modes, or those of a mode."""
        names, modal = self.cell.step.states, self.cell.step.modal
        wanted = [n for n in names if (n in modal) == (mode is not None)]
        rows = {n: self.row_of(names, n, mode) * self.a["samples"] + self.sample for n in wanted}
        return {n: self.at("z", row) for n, row in rows.items()}


def coefficients(step: Traced) -> tuple[str, ...]:
    """Return the names of the coefficients, tables aside, that a kernel of this step reads."""
    return tuple(name for name in step.coefs if name in step.used)


def _stepped(rows: _Places, current: Value, lost: Variable) -> Value:
    """Step one group by its currents; return what it sends."""
    code, cell, step = rows.code, rows.cell, rows.cell.step
    parts = phases(step)
    once = Step(cell.fixed, cell.width, {"x": _shifted(rows, current)})
    once.values |= rows.coefs() | rows.tables()
    places = rows.states()
    once.values |= {f"z_{name}": rows.load(place) for name, place in places.items()}
    once.take(parts.before)
    if parts.modal:
        once.values |= _over_modes(rows, once, parts, lost)
    once.take(parts.after)
    after = dict(zip(step.states, step.next_states, strict=True))
    for name, place in places.items():
        code.store(once.values[after[name]], place, align=GROUP)
    _count(code, once.lost, lost)
    return once.values[step.out]


def _shifted(rows: _Places, current: Value) -> Value:
    """Bring currents to the scale of the state."""
    left, right, added, bias = (rows.constant(name) for name in FIXED)
    kind = lanes(rows.number, GROUP)
    wide = (current if current.kind == kind else current.signed(kind)) << left
    if rows.cell.right:
        wide = drop(wide, right, added, rows.cell.fixed, wide)
    return wide + bias


def _over_modes(rows: _Places, once: Step, parts: Phases, lost: Variable) -> dict[str, Value]:
    """Step the modes of a group; return the sums over them."""
    code, cell, step = rows.code, rows.cell, rows.cell.step
    zero = code.number(lanes(rows.number, GROUP), 0)
    sums = {i.out: code.variable(zero) for i in parts.totals}
    after = dict(zip(step.states, step.next_states, strict=True))
    with code.loop(0, rows.a["modes"]) as m:
        places = rows.states(m)
        each = Step(cell.fixed, cell.width, {**once.values, **rows.coefs(m)})
        each.values |= {f"z_{name}": rows.load(place) for name, place in places.items()}
        each.take(parts.modal)
        for name, place in places.items():
            code.store(each.values[after[name]], place, align=GROUP)
        for i in parts.totals:
            sums[i.out].set(sums[i.out].get() + each.values[i.args[0]])
        _count(code, each.lost, lost)
    return {out: total.get() for out, total in sums.items()}


def _count(code: Code, conditions: Sequence[Value], total: Variable) -> None:
    """Add how often the conditions hold; that one does at all is rare."""
    if not conditions:
        return
    any_ = reduce(lambda a, b: a | b, conditions)
    with code.when(any_.bits().compare("!=", 0)):
        for condition in conditions:
            total.set(total.get() + condition.bits().ones().unsigned(I64))
