"""What running a program yields: results, and counts of what was done. No joules here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.program.cycles import Cycles
from neurodeploy.program.ir import (
    Ints,
    Population,
    Program,
    Reals,
    Slice,
    Source,
    Stream,
    Vector,
    edges,
)
from neurodeploy.program.reference import worth
from neurodeploy.program.synapses import Edge, Tap
from neurodeploy.program.vector import cost, read_bits, written_bits


@dataclass(frozen=True, kw_only=True)
class EdgeCount:
    """What one edge did, over all samples and steps (expected, where no run was made).

    `events` are the non-zero values that arrived, of `values` that could; `operations` what they
    cost: additions of a weight (`kind` "add"), multiply-accumulates where the value is graded
    ("mac"). At each event every core with targets reads a row of weights: `rows` has how many rows
    of how many weights that were.
    """

    source: str
    target: str
    kind: str
    events: float
    values: int
    operations: float
    weight_bits: int
    synapses: int  #: weights, zeros included
    value_bits: int  #: of what arrives; 1 for spikes
    rows: tuple[tuple[int, float], ...]  #: (weights of a row, rows)
    dense: int  #: operations if every value were non-zero, as in a network without spikes


@dataclass(frozen=True, kw_only=True)
class NodeCount:
    """What one population, stream or vector operation did (is expected to do), over all of a run.

    `per_update` are the operations of one neuron's update, as its `step` counts them, with the
    additions for its bias and for coefficients stored from one; of one channel of a vector
    operation, what a whole step takes shared.
    """

    name: str
    spec: str  #: "stream" for a stream, its kind for a vector operation
    width: int
    updates: int
    spikes: float
    overflows: int
    per_update: Mapping[str, float]
    sums: int  #: currents that a neuron sums
    value_bits: int  #: of one register, or of what is computed with it
    coef_bits: int  #: of a dimensionless coefficient
    state_bits: int  #: registers and constants read at one update
    written_bits: int  #: registers written at one update

    @property
    def rate(self) -> float:
        """Spikes per neuron and step."""
        return self.spikes / self.updates if self.updates else 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """One run of a program on x [T, B, C].

    integers [B, N] (or [T, B, N]): the outputs before scaling; values, outputs of the nodes that
    were asked for, int [T, B, width], in the input's time; states likewise, [states, B, width]
    after the last step (a state with modes takes a row per mode). sent: how often each neuron's
    value was not zero [width], of every node, where traffic was asked for;
    fed_back, how often a recurrent edge brought it back. events through a Conv are by sender.
    """

    program: Program
    steps: int
    samples: int
    integers: Ints
    events: Mapping[tuple[str, int], int | Ints]  #: that arrived, by node and number of its edge
    spikes: Mapping[str, int]
    overflows: Mapping[str, int]
    clipped_inputs: int
    values: Mapping[str, Ints] = field(default_factory=dict)
    states: Mapping[str, Ints] = field(default_factory=dict)
    sent: Mapping[str, Ints] = field(default_factory=dict)
    fed_back: Mapping[str, Ints] = field(default_factory=dict)
    cycles: Cycles | None = None  #: where timing was asked for

    @cached_property
    def outputs(self) -> Reals:
        """The outputs in real units, [B, N] (or [T, B, N])."""
        return worth(self.program.readout, self.integers, self.steps)

    @cached_property
    def edges(self) -> tuple[EdgeCount, ...]:
        """The count of every edge; a recurrent one has nothing to bring at the first step."""
        updates = self.steps * self.samples
        return tuple(
            edge_count(
                self.program,
                edge,
                node.name,
                events=self.events[node.name, i],
                updates=updates - (self.samples if edge.source == node.name else 0),
            )
            for node in self.program
            for i, edge in enumerate(edges(node))
        )

    @cached_property
    def nodes(self) -> tuple[NodeCount, ...]:
        """The count of every node but the source."""
        return tuple(
            node_count(
                self.program,
                node.name,
                updates=self.steps * self.samples * node.width,
                spikes=self.spikes.get(node.name, 0),
                overflows=self.overflows.get(node.name, 0),
            )
            for node in self.program
            if not isinstance(node, Source)
        )

    @property
    def readout_macs(self) -> int:
        """Multiply-accumulates of the readout, on the host."""
        weight = self.program.readout.weight
        if weight is None:
            return 0
        times = self.steps if self.program.readout.kind == "steps" else 1
        return int(weight.size) * self.samples * times

    def accuracy(self, labels: Any) -> float:
        """Return the share of samples whose largest output has the index of its label [B].

        Raises InputError E106 for labels of another shape, or of classes that are not there.
        """
        return accuracy(self.outputs, labels)


def decisions(outputs: Reals) -> Ints:
    """Return the index of the largest output of each sample, [B]; of outputs [T, B, N], summed."""
    scores = outputs if outputs.ndim == 2 else outputs.sum(axis=0)
    return np.asarray(scores.argmax(axis=-1))


def accuracy(outputs: Reals, labels: Any) -> float:
    """Return the share of samples whose largest output has the index of its label [B].

    outputs: [B, N] or [T, B, N]. Raises InputError E106 for labels of another shape, or of classes
    that are not there.
    """
    samples, classes = outputs.shape[-2:]
    given, fix = np.asarray(labels), f"give y [B], class indices from 0 to {classes - 1}"
    if given.shape != (samples,):
        what = f"labels of shape {given.shape} for {samples} samples"
        raise InputError("E106", what, fix=fix)
    if samples and not 0 <= given.min() <= given.max() < classes:
        what = f"labels from {given.min()} to {given.max()} for {classes} outputs"
        raise InputError("E106", what, fix=fix)
    return float(np.mean(decisions(outputs) == given))


def edge_count(
    program: Program, edge: Edge, node: str, *, events: float | Ints, updates: int
) -> EdgeCount:
    """Return the count of one edge; `updates` are the steps times samples.

    events: of each sender [width], or of all together, which are then as likely everywhere.
    """
    width, wide = program[node].width, program[edge.source].width
    multiplied = not isinstance(edge, Tap) and np.abs(edge.weight).max(initial=0) > 1
    fan_out = np.ones(wide, int) if isinstance(edge, Tap) else edge.reached(0, width)
    total, operations = _weighted(events, fan_out)
    return EdgeCount(
        source=edge.source,
        target=node,
        kind="mac" if multiplied and program.graded(edge.source) else "add",
        events=total,
        values=updates * wide,
        operations=operations,
        weight_bits=edge.weight_bits,
        synapses=edge.synapses(0, width),
        value_bits=value_bits(program, edge.source),
        rows=((1, total),) if isinstance(edge, Tap) else _rows(program, node, edge, events),
        dense=updates * int(fan_out.sum()),
    )


def _weighted(events: float | Ints, each: Ints) -> tuple[float, float]:
    """Return the sum of events, and the sum of what each has, given by sender."""
    if isinstance(events, np.ndarray):
        return int(events.sum()), int(events @ each)
    whole, rest = divmod(int(each.sum()), len(each))
    return events, events * (whole + rest / len(each) if rest else whole)


def _rows(
    program: Program, name: str, edge: Edge, events: float | Ints
) -> tuple[tuple[int, float], ...]:
    """Return (weights, rows) of the rows read, core by core; as on one core if none is placed."""
    found: dict[int, Ints] = {}
    for part in program.placement or (Slice(node=name, first=0, last=program[name].width, core=0),):
        if part.node == name:
            found[part.core] = found.get(part.core, 0) + edge.reached(part.first, part.last)
    return tuple(
        (int(size), _weighted(events, reached == size)[1])
        for reached in found.values()
        for size in np.unique(reached[reached > 0])
    )


def value_bits(program: Program, name: str) -> int:
    """Return the width of the values that node `name` sends."""
    node = program[name]
    if isinstance(node, Source) and node.spiking:
        return 1
    if isinstance(node, Population):
        return node.most.bit_length() or node.state_bits
    if isinstance(node, Stream):
        return program.numbers.message_bits
    return max(abs(node.low), abs(node.high)).bit_length() + (node.low < 0)


def node_count(
    program: Program, name: str, *, updates: int, spikes: float = 0, overflows: int = 0
) -> NodeCount:
    """Return the count of one population or stream of the program."""
    node = program[name]
    assert not isinstance(node, Source)
    if not isinstance(node, Population):
        vector = node if isinstance(node, Vector) else None
        return NodeCount(
            name=name,
            spec=vector.kind if vector else "stream",
            width=node.width,
            updates=updates,
            spikes=0,
            overflows=overflows,
            per_update=cost(vector) if vector else {},
            sums=len(vector.gain) if vector else 1,
            value_bits=program.numbers.current_bits,
            coef_bits=program.numbers.current_bits,
            state_bits=read_bits(vector) + written_bits(vector) if vector else 0,
            written_bits=written_bits(vector) if vector else 0,
        )
    ops: dict[str, float] = dict(node.model.cost(node.options, node.modes))
    ops["add"] += float(np.any(node.bias)) + node.subtractions
    constants, registers = node.constant_bits(steps=1), node.register_bits
    return NodeCount(
        name=name,
        spec=node.spec,
        width=node.width,
        updates=updates,
        spikes=spikes,
        overflows=overflows,
        per_update=ops,
        sums=1,
        value_bits=node.state_bits,
        coef_bits=node.coef_bits,
        state_bits=registers + constants + (node.state_bits if np.any(node.bias) else 0),
        written_bits=registers,
    )
