"""The constants of a program's nodes, laid out for kernels: once per program, for any run of it.

An edge of spikes is a feed: the kernel of the layer adds its rows as it goes. All other edges add
to currents in front of the kernel (`synapses`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurodeploy.arith import Fixed
from neurodeploy.backends.simulator.memory import aligned, padded, words, zeros
from neurodeploy.backends.simulator.synapses import Synapses, ready
from neurodeploy.errors import FitError
from neurodeploy.kernels.events import GROUP, MOST_SENDERS, planes
from neurodeploy.kernels.layer import Cell, Feed, Form, coefficients
from neurodeploy.kernels.ranges import NARROW, Range, Width, rounding, width
from neurodeploy.program.ir import (
    Ints,
    Population,
    Program,
    ProgramNode,
    Reals,
    Source,
    Vector,
    edges,
)
from neurodeploy.program.limits import current_bounds
from neurodeploy.program.synapses import Dense

Bounds = Mapping[str, tuple[Reals, Reals]]  #: of currents, by node

_CURRENT = Range(-(1 << 31), (1 << 31) - 1)


@dataclass(frozen=True, eq=False)
class Rows:
    """One feed: the rows of an edge's senders from `first` on. `edge` is its number in the node.

    weights [bytes, senders, columns] of bytes, or, of numbers of spikes, int32 [senders, columns].
    """

    edge: int
    source: str
    weights: Ints
    sums: Ints
    senders: int
    first: int
    exponent: int
    own: bool

    @property
    def planes(self) -> int:
        """The bytes of a weight; 0 if they are not apart."""
        return len(self.weights) if self.weights.ndim == 3 else 0


@dataclass(frozen=True, eq=False)
class Layer:
    """What a node, or one operand of a vector operation, does in a kernel, and with what.

    `others` are the edges that are no feeds; `again`, by number, those of a vector operation that
    bring what it sent itself. Without neurons (`Form.cell` None) the
    result are the currents; `form` is None where there are neither feeds nor neurons.
    """

    node: ProgramNode
    feeds: tuple[Rows, ...]
    others: tuple[Synapses, ...]
    again: tuple[int, ...]
    form: Form | None
    constants: Ints
    tables: Ints
    live: Ints

    @property
    def counters(self) -> tuple[tuple[str, str | tuple[str, int]], ...]:
        """What is counted: events, by node and number of an edge; spikes, overflows, by node."""
        numbers = [feed.edge for feed in self.feeds] + [other.edge for other in self.others]
        numbers += self.again
        name = self.node.name
        events = (("events", (name, number)) for number in numbers)
        return (*events, ("spikes", name), ("overflows", name))

    @property
    def alone(self) -> bool:
        """Whether its kernel is all that is to do."""
        return not self.others and not isinstance(self.node, Vector)

    @property
    def senders(self) -> int:
        """The most senders of any feed."""
        return max((feed.senders for feed in self.feeds), default=0)


def layers(program: Program) -> dict[str, tuple[Layer, ...]]:
    """Return the layers of every node but the source: one, or one per operand.

    Raises FitError E301 if a current can leave 32 bits.
    """
    bounds = current_bounds(program)
    made = {}
    for node in program:
        if isinstance(node, Source):
            continue
        low, high = bounds[node.name]
        if min(low) < _CURRENT.low or max(high) > _CURRENT.high:
            raise FitError(
                "E301",
                "the simulator adds currents in 32 bits. Needs more",
                where=f'node "{node.name}"',
                fix="fewer weight bits (--bits), or a narrower layer in front",
            )
        operands = range(len(node.gain)) if isinstance(node, Vector) else (0,)
        made[node.name] = tuple(_layer(program, node, k, bounds) for k in operands)
    return made


def _layer(program: Program, node: ProgramNode, operand: int, bounds: Bounds) -> Layer:
    feeds: list[Rows] = []
    others: list[Synapses] = []
    again: list[int] = []
    for number, edge in enumerate(edges(node)):
        if isinstance(node, Vector) and node.operands[number] != operand:
            continue
        if isinstance(node, Vector) and edge.source == node.name:
            again.append(number)
        elif isinstance(edge, Dense) and program.spikes(edge.source):
            feeds += _rows(edge, number, own=edge.source == node.name)
        elif isinstance(edge, Dense) and edge.source == node.name:
            feeds.append(_counted(edge, number))
        else:
            others.append(ready(edge, number, largest(program, bounds, edge.source)))
    if not isinstance(node, Population):
        form = Form(_shapes(feeds), current=bool(others)) if feeds else None
        empty = zeros((0,), np.int32)
        return Layer(node, tuple(feeds), tuple(others), tuple(again), form, empty, empty, empty)
    alone = len(feeds) == 1 and not others and feeds[0].planes == 1
    raised = feeds[0].exponent if alone else 0  # shifts of one sum are one shift
    if alone:
        feeds = [replace(feeds[0], exponent=0)]
    cell, left = _cell(program.fixed(node), node, bounds[node.name], raised)
    kind = np.int32 if cell.width.bits == NARROW else np.int64
    form = Form(_shapes(feeds), current=bool(others) or not feeds, cell=cell)
    return Layer(
        node,
        tuple(feeds),
        tuple(others),
        (),
        form,
        constants=_constants(cell, node, left, kind),
        tables=_wide([node.coefs[name] for name in cell.step.tables], node.width, kind),
        live=_live(node.width),
    )


def largest(program: Program, bounds: Bounds, name: str) -> int:
    """Return the greatest magnitude of what a node sends."""
    node = program[name]
    if program.spikes(name):
        return 1
    if isinstance(node, Source | Vector):
        return max(-node.low, node.high)
    if isinstance(node, Population):
        return node.most or 1 << (node.state_bits - 1)
    low, high = bounds[name]
    return int(max(-low.min(), high.max()))


def _shapes(feeds: Sequence[Rows]) -> tuple[Feed, ...]:
    return tuple(Feed(rows.planes, rows.exponent != 0, rows.own) for rows in feeds)


def _rows(edge: Dense, number: int, *, own: bool) -> list[Rows]:
    """Return the feeds of an edge; more than one where a list could not number all senders."""
    made = []
    for first in range(0, edge.weight.shape[1], MOST_SENDERS):
        part = edge.weight[:, first : first + MOST_SENDERS]
        weights, sums = planes(part)
        made.append(
            Rows(
                edge=number,
                source=edge.source,
                weights=aligned(weights),
                sums=aligned(sums),
                senders=part.shape[1],
                first=first,
                exponent=min(edge.exponent, 31),  # what fits 32 bits is 0 there
                own=own,
            )
        )
    return made


def _counted(edge: Dense, number: int) -> Rows:
    """Return the feed of a recurrent edge whose neurons send several spikes at a step."""
    weights = edge.weight.T.astype(np.int64) << min(edge.exponent, 31)
    return Rows(
        edge=number,
        source=edge.source,
        weights=_wide([*weights], len(edge.weight), np.int32),
        sums=zeros((0,), np.int32),
        senders=edge.weight.shape[1],
        first=0,
        exponent=0,
        own=True,
    )


def _cell(
    fixed: Fixed, node: Population, bounds: tuple[Reals, Reals], raised: int
) -> tuple[Cell, Ints]:
    """Return how the neurons are computed, and their left shifts."""
    left, right = np.maximum(node.shift, 0) + raised, np.maximum(-node.shift, 0)
    options = tuple(sorted(node.options.items()))
    step = node.model.traced(node.options)
    found = Width(64)
    if max(left.max(), right.max(), fixed.coef_frac) < NARROW:
        found = width(step, fixed, _given(fixed, node, bounds), modes=node.modes)
    constants = {"left": left, "bias": node.bias, **node.coefs}
    alike, zero = _alike(constants, node), _zero(constants, node)
    return Cell(node.spec, options, fixed, found, bool(right.any()), alike, zero), left


def _alike(constants: Mapping[str, Ints], node: Population) -> frozenset[str]:
    """Return those that are the same for all neurons, where these fill whole groups."""
    found = {n for n in _plain(node) if np.all(constants[n] == constants[n][0])}
    return frozenset(found if node.width % GROUP == 0 else ())


def _zero(constants: Mapping[str, Ints], node: Population) -> frozenset[str]:
    """Return those that are 0 for all neurons, as they are for padding."""
    return frozenset(name for name in _plain(node) if not np.any(constants[name]))


def _plain(node: Population) -> frozenset[str]:
    """Return the names of the constants without modes that a kernel reads."""
    names = coefficients(node.model.traced(node.options))
    return frozenset({"left", "bias", *names} - set(node.model.modal))


def _given(fixed: Fixed, node: Population, bounds: tuple[Reals, Reals]) -> dict[str, Range]:
    """Return the ranges of a neuron's input, on its way and in the end, and of its constants."""
    ends = [end.astype(np.int64) for end in bounds]
    left, right = np.maximum(node.shift, 0), np.maximum(-node.shift, 0)
    wide = [end << left for end in ends]
    x = [fixed.shift(end, node.shift) + node.bias for end in ends]
    added = rounding(fixed, int(right.max()))
    given = {
        "drive": Range(int(wide[0].min()), int(wide[1].max()) + added),
        "bias": _range(node.bias),
        "x": Range(int(x[0].min()), int(x[1].max())),
    }
    used = node.model.traced(node.options).used
    return given | {f"k_{name}": _range(node.coefs[name]) for name in used}


def _range(values: Ints) -> Range:
    return Range(int(values.min(initial=0)), int(values.max(initial=0)))


def _constants(cell: Cell, node: Population, left: Ints, kind: Any) -> Any:
    right = np.maximum(-node.shift, 0)
    added = [rounding(cell.fixed, int(bits)) for bits in right]
    coefs = [np.atleast_2d(node.coefs[name]) for name in coefficients(cell.step)]
    rows = [left, right, np.array(added), node.bias, *(row for rows in coefs for row in rows)]
    return aligned(_wide(rows, node.width, kind).reshape(len(rows), -1, GROUP).transpose(1, 0, 2))


def _wide(rows: Sequence[Ints], width: int, kind: Any) -> Any:
    """Return rows [..., width] padded to whole vectors, of a kind of number."""
    shape = np.shape(rows[0])[:-1] if rows else ()
    made = zeros((len(rows), *shape, padded(width)), kind)
    for place, row in zip(made, rows, strict=True):
        place[..., :width] = row
    return made


def _live(width: int) -> Any:
    there = np.arange(padded(width)) < width
    return aligned(np.packbits(there, bitorder="little").view(np.uint16))


def bytes_per_step(program: Program, made: Mapping[str, tuple[Layer, ...]]) -> int:
    """Return what the values of one step of one sample take in memory, of all nodes together."""
    total = 0
    for node in program:
        total += 8 * words(node.width) if program.spikes(node.name) else 4 * padded(node.width)
        total += sum(4 * padded(node.width) for layer in made.get(node.name, ()) if layer.others)
    return total
