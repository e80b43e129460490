"""What pieces send each other: the graph that placement cuts.

Its vertices are pieces, its weights packets per step. A value that is not zero becomes one packet
for each core that holds targets of it, however many of the pieces there it feeds. So with the rates
r of the neurons of piece u,

    packets(u, core) = max over the pieces v there of the sum of r over the neurons of u that feed v

(exact but for two streams that read different channels of u on one core). Rates are measured: the
share of steps in which a value is not zero, on calibration data; without data spikes are taken to
come in one step of ten, graded values in all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from neurodeploy.passes.pieces import Piece, needs, room
from neurodeploy.program.ir import Ints, Program, Reals, Source, edges
from neurodeploy.program.phases import phases
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.run import node_count
from neurodeploy.program.synapses import Edge
from neurodeploy.targets import Target
from neurodeploy.targets.cycles import Machine

_SAMPLES, _STEPS = 4, 128  # of the calibration data that are run: rates need no more


class Traffic(NamedTuple):
    """A program in pieces, as flat arrays. The inputs are a last piece, at the port of core 0."""

    first: Ints  #: edges of piece u: first[u] to first[u + 1]
    to: Ints
    packets: Reals  #: that the receiving piece needs, per step
    weights: Ints  #: behind one packet
    bits: Ints
    phase: Ints  #: in which a piece is updated and sends
    updating: Ints  #: cycles of a core's lanes
    phases: int
    need: Ints  #: [pieces, 4]
    room: Ints  #: [4]
    x: Ints  #: routers of the cores
    y: Ints
    mesh: Ints  #: columns and rows of a chip, hop and flit cycles within, hop and flit between
    engine: Ints  #: axon cycles, accumulators, bits a cycle


def rates(program: Program, calibration: Reals | None) -> dict[str, Reals]:
    """Return how often each value of each node is not zero, from 0 to 1."""
    if calibration is None:
        return {
            node.name: np.full(node.width, 1.0 if program.graded(node.name) else 0.1)
            for node in program
        }
    x, _ = to_integers(program.source, np.asarray(calibration)[:_STEPS, :_SAMPLES])
    values = execute(program, x).values
    return {name: (value != 0).mean(axis=(0, 1)) for name, value in values.items()}


def traffic(
    program: Program, target: Target, pieces: Sequence[Piece], rate: Mapping[str, Reals]
) -> Traffic:
    """Return the traffic between `pieces`, and the machine it runs on (or one hop between any)."""
    whole = Piece(node=program.source.name, first=0, last=program.source.width)
    level = {name: i for i, names in enumerate(phases(program)) for name in names}
    senders = [*pieces, whole]
    found = [
        (u, v, *_edge(edge, sender, piece, rate[sender.node]))
        for u, sender in enumerate(senders)
        for v, piece in enumerate(pieces)
        for edge in edges(program[piece.node])
        if edge.source == sender.node
    ]
    rows = [row for row in found if row[3]]
    counts = np.bincount([row[0] for row in rows], minlength=len(senders))
    machine = target.cycles
    return Traffic(
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        to=np.array([row[1] for row in rows], np.int64),
        packets=np.array([row[2] for row in rows], np.float64),
        weights=np.array([row[3] for row in rows], np.int64),
        bits=np.array([row[4] for row in rows], np.int64),
        phase=np.array([level[piece.node] for piece in senders], np.int64),
        updating=np.array([_updating(program, piece, machine) for piece in senders], np.int64),
        phases=1 + max(level.values()),
        need=np.array([needs(program, piece) for piece in pieces], np.int64),
        room=room(target),
        **_machine(target),
    )


def _edge(edge: Edge, sender: Piece, piece: Piece, rate: Reals) -> tuple[float, int, int]:
    """Return the packets per step over an edge from one piece to another, weights, and bits.

    The weights are those behind a packet that has the most.
    """
    own = slice(sender.first, sender.last)
    reached = edge.reached(piece.first, piece.last)[own]
    weights = int(reached.max(initial=0))
    return float(rate[own][reached > 0].sum()), weights, weights * edge.weight_bits


def _updating(program: Program, piece: Piece, machine: Machine | None) -> int:
    if machine is None or isinstance(program[piece.node], Source):
        return 0
    muls = node_count(program, piece.node, updates=0).per_update.get("mul", 0)
    return -(-piece.size // machine.lanes) * max(1, math.ceil(muls / machine.multipliers))


def _machine(target: Target) -> dict[str, Ints]:
    """Return the machine's figures; without one, a cycle a hop, and one hop between any cores."""
    m, grid = target.cycles, target.grid
    cores = range(target.cores)
    at = [(core, 0) if grid is None else grid.router(core) for core in cores]
    mesh, engine = [0, 0, 1, 1, 1, 1], [1, 1, 1]
    if grid is not None:
        mesh[:2] = [grid.x, grid.y]
    if m is not None:
        hop, flit = m.chip_hop_cycles or m.hop_cycles, m.chip_flit_cycles or m.flit_cycles
        mesh[2:] = [m.hop_cycles, m.flit_cycles, hop, flit]
        engine = [m.axon_cycles, m.accumulators, m.banks * m.word_bits]
    return {
        "x": np.array([x for x, _ in at], np.int64),
        "y": np.array([y for _, y in at], np.int64),
        "mesh": np.array(mesh, np.int64),
        "engine": np.array(engine, np.int64),
    }
