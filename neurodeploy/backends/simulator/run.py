"""Run a program on data, layer by layer with time inside, some samples at a time.

Every node's update is the kernel that `kernels.fixed_kernel` generates from its `step`; synapses
are event driven. Both are integers throughout, so the result does not depend on order, threads or
chunks: it is `program.reference.execute`, bit for bit, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.backends.simulator.cycles import Replay
from neurodeploy.backends.simulator.synapses import add_graded, add_spikes, add_tapped
from neurodeploy.backends.simulator.traffic import count_sent
from neurodeploy.backends.simulator.vectors import mapped
from neurodeploy.kernels import fixed_kernel, packed, share
from neurodeploy.program.ir import (
    Dense,
    Edge,
    Ints,
    Population,
    Program,
    ProgramNode,
    Source,
    Vector,
    backwards,
    edges,
)
from neurodeploy.program.reference import check_length, read, to_integers
from neurodeploy.program.run import Run, edge_count, node_count

_CHUNK_ELEMENTS = 2_000_000  # of [samples, steps, widest node]: stays near the caches

Progress = Callable[[int, int], None]


@dataclass(eq=False)
class _Tally:
    """Sums over the chunks of one run."""

    events: dict[tuple[str, int], int] = field(default_factory=dict)
    spikes: dict[str, int] = field(default_factory=dict)
    overflows: dict[str, int] = field(default_factory=dict)
    sent: dict[str, Ints] | None = None  #: by neuron, where it is counted
    fed_back: dict[str, Ints] = field(default_factory=dict)

    def send(self, node: ProgramNode, values: Ints) -> None:
        """Count the values [B, T, width] of a node that are not zero, if that is asked for."""
        if self.sent is None:
            return
        name, count = node.name, count_sent(values)
        self.sent[name] = self.sent.get(name, 0) + count
        if any(edge.source == name for edge in edges(node)):
            unheard = count_sent(values[:, :1] if backwards(node) else values[:, -1:])
            self.fed_back[name] = self.fed_back.get(name, 0) + count - unheard

    def deliver(self, node: ProgramNode, edge: Edge, events: int) -> None:
        """Note what arrived through an edge."""
        key = node.name, edges(node).index(edge)
        self.events[key] = self.events.get(key, 0) + events


def simulate(
    program: Program,
    x: Any,
    *,
    record: Collection[str] = (),
    states: bool = False,
    timing: bool = False,
    traffic: bool = False,
    progress: Progress = lambda done, total: None,
) -> Run:
    """Run real inputs x [T, B, C] through `program`.

    record: names of nodes whose outputs to keep; states: keep the final states of all populations;
    timing: replay the run on the target's machine, cycle by cycle; traffic: count what each neuron
    sends (`Run.sent`), from which packets and hops follow;
    progress(samples done, samples) is called after each chunk. Raises InputError E106 if x
    does not fit the program, FitError E304 if it cannot be timed.
    """
    whole, clipped = to_integers(program.source, x)
    check_length(program, len(whole))
    data = np.ascontiguousarray(whole.transpose(1, 0, 2))
    samples, steps = data.shape[:2]
    widest = max(node.width for node in program)
    chunk = max(1, _CHUNK_ELEMENTS // (steps * widest))
    tally, weights = _Tally(sent={} if traffic else None), _rows(program)
    results: list[tuple[Any, Any]] = []
    kept: dict[str, list[Ints]] = {name: [] for name in record}
    finals: dict[str, list[Ints]] = {}
    wanted = {*record, program.readout.source}
    replay = Replay(program) if timing else None
    if replay is not None:
        wanted |= {node.name for node in program}
    for first in range(0, max(samples, 1), chunk):
        part = data[first : first + chunk]
        values = _forward(program, part, weights, tally, wanted, finals if states else None)
        results.append(read(program.readout, values[program.readout.source].transpose(1, 0, 2)))
        if replay is not None:
            replay.add(values)
        for name in record:
            kept[name].append(values[name].transpose(1, 0, 2))
        progress(min(first + chunk, samples), samples)
    axis = 1 if program.readout.kind == "steps" else 0
    return Run(
        program=program,
        steps=steps,
        samples=samples,
        outputs=np.concatenate([real for _, real in results], axis=axis),
        integers=np.concatenate([whole for whole, _ in results], axis=axis),
        edges=_edge_counts(program, tally, steps, samples),
        nodes=_node_counts(program, tally, steps * samples),
        readout_macs=_readout_macs(program, steps, samples),
        clipped_inputs=clipped,
        values={name: np.concatenate(parts, axis=1) for name, parts in kept.items()},
        states={name: np.concatenate(parts, axis=1) for name, parts in finals.items()},
        sent=tally.sent or {},
        fed_back=tally.fed_back,
        cycles=replay.result() if replay is not None else None,
    )


def _rows(program: Program) -> dict[int, Ints]:
    """Return each Dense edge's weights [in, out], narrow and contiguous, by the edge's id."""
    found = {}
    for node in program:
        for edge in edges(node):
            if isinstance(edge, Dense):
                kind = np.int8 if np.abs(edge.weight).max(initial=0) < 128 else np.int16
                found[id(edge)] = np.ascontiguousarray(edge.weight.T.astype(kind))
    return found


def _forward(
    program: Program,
    data: Ints,
    weights: dict[int, Ints],
    tally: _Tally,
    wanted: Collection[str],
    finals: dict[str, list[Ints]] | None,
) -> dict[str, Ints]:
    """Run one chunk [B, T, C]; return the outputs of the wanted nodes, [B, T, width]."""
    samples, steps = data.shape[:2]
    last_use = {e.source: node.name for node in program for e in edges(node, recurrent=False)}
    values: dict[str, Ints] = {}
    for node in program:
        if isinstance(node, Source):
            values[node.name] = data
            tally.send(node, data)
            continue
        operands = len(node.gain) if isinstance(node, Vector) else 1
        currents = np.zeros((operands, samples, steps, node.width), np.int32)
        for i, edge in enumerate(edges(node)):
            if edge.source == node.name:
                continue
            current = currents[node.operands[i] if isinstance(node, Vector) else 0]
            events = _deliver(edge, values[edge.source], weights, current, program)
            tally.deliver(node, edge, events)
        current = values[node.name] = currents[0]
        if isinstance(node, Vector):
            values[node.name], lost, state = mapped(node, currents)
            tally.overflows[node.name] = tally.overflows.get(node.name, 0) + lost
            _hear(node, values[node.name], tally)
            if finals is not None and state is not None:
                finals.setdefault(node.name, []).append(state)
        if isinstance(node, Population):
            values[node.name], state = _update(program, node, current, weights, tally)
            if finals is not None:
                finals.setdefault(node.name, []).append(state)
        tally.send(node, values[node.name])
        for edge in edges(node, recurrent=False):
            if last_use[edge.source] == node.name and edge.source not in wanted:
                values.pop(edge.source, None)
    return values


def _hear(node: Vector, sent: Ints, tally: _Tally) -> None:
    """Count what a vector operation heard of itself: all but what it sent last."""
    heard = sent[:, 1:] if node.reverse else sent[:, :-1]
    for edge in node.edges:
        if edge.source == node.name:
            tally.deliver(node, edge, int(np.count_nonzero(heard)))


def _deliver(
    edge: Edge, value: Ints, weights: dict[int, Ints], current: Ints, program: Program
) -> int:
    samples = len(value)
    events = np.zeros(samples, np.int64)
    kernel: Any = add_tapped
    if isinstance(edge, Dense):
        kernel = add_spikes if program.spikes(edge.source) else add_graded
        table = weights[id(edge)]
        work = value.size * 8
    else:
        table, work = edge.sign.astype(np.int32), value.size
    share(kernel, value, table, edge.exponent, current, events, samples=samples, work=work)
    return int(events.sum())


def _update(
    program: Program, node: Population, current: Ints, weights: dict[int, Ints], tally: _Tally
) -> tuple[Ints, Ints]:
    spec, samples, again = node.model, len(current), node.recurrent
    options, fixed = tuple(sorted(node.options.items())), program.fixed(node)
    run = fixed_kernel(spec.name, options, fixed, recurrent=again is not None)
    packs = packed(spec.traced(node.options), node.coefs, current.shape[1], np.int64)
    rows = spec.rows(spec.state._fields, node.modes)
    state = np.zeros((rows, samples, node.width), np.int64)
    out = np.empty(current.shape, np.uint8 if spec.spiking else np.int32)
    over = np.zeros(samples, np.int64)
    left, right = np.maximum(node.shift, 0), np.maximum(-node.shift, 0)
    wide = [a.astype(np.int64) for a in (left, right, node.bias)]
    events = np.zeros(samples, np.int64)
    loop = () if again is None else (weights[id(again)], again.exponent, events)
    args = (*loop, current, *packs, *wide, state, out, over, node.reverse)
    share(run, *args, samples=samples, work=current.size * (8 if loop else 1))
    if again is not None:
        tally.deliver(node, again, int(events.sum()))
    spikes = int(np.count_nonzero(out)) if spec.spiking else 0
    tally.spikes[node.name] = tally.spikes.get(node.name, 0) + spikes
    tally.overflows[node.name] = tally.overflows.get(node.name, 0) + int(over.sum())
    return out, state


def _edge_counts(program: Program, tally: _Tally, steps: int, samples: int) -> tuple[Any, ...]:
    """Return the count of every edge; a recurrent one has nothing to bring at the first step."""
    updates = steps * samples
    return tuple(
        edge_count(
            program,
            edge,
            node.name,
            events=tally.events[node.name, i],
            updates=updates - (samples if edge.source == node.name else 0),
            width=program[edge.source].width,
        )
        for node in program
        for i, edge in enumerate(edges(node))
    )


def _node_counts(program: Program, tally: _Tally, updates: int) -> tuple[Any, ...]:
    return tuple(
        node_count(
            program,
            node.name,
            updates=updates * node.width,
            spikes=tally.spikes.get(node.name, 0),
            overflows=tally.overflows.get(node.name, 0),
        )
        for node in program
        if not isinstance(node, Source)
    )


def _readout_macs(program: Program, steps: int, samples: int) -> int:
    weight = program.readout.weight
    if weight is None:
        return 0
    times = steps if program.readout.kind == "steps" else 1
    return int(weight.size) * samples * times
