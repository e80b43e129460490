"""Small random programs on random machines, placed at random, and values for all their nodes.

The values are not what the program computes: the time of a step depends on them alone.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from neurodeploy.neurons import SPECS
from neurodeploy.program.ir import Population, Program, Readout, Slice, Source, Stream
from neurodeploy.program.synapses import Dense, Tap
from neurodeploy.targets import target
from neurodeploy.targets.cycles import Machine

PLAIN = {
    "clock_hz": 1_000_000,
    "mesh_x": 3,
    "mesh_y": 2,
    "banks": 1,
    "word_bits": 8,
    "accumulators": 1,
    "lanes": 1,
    "multipliers": 1,
    "axon_cycles": 1,
    "synapse_fill": 2,
    "neuron_fill": 3,
    "hop_cycles": 1,
    "flit_cycles": 1,
    "barrier_cycles": 1,
}


def on_machine(program, **figures):
    """Return the program on a machine of these figures, and of `PLAIN` for the rest."""
    machine = Machine(**{**PLAIN, **figures})
    chip = replace(program.target.chip, cores=machine.mesh_x * machine.mesh_y)
    return replace(program, target=replace(program.target, chip=chip, cycles=machine))


def random_machine(rng, *, chips=False, queues=False):
    """Return figures that make packets meet: slow links, slow cores, short ways."""
    figures = {
        "mesh_x": int(rng.integers(1, 4)),
        "mesh_y": int(rng.integers(1, 4)),
        "banks": int(rng.integers(1, 3)),
        "word_bits": int(rng.choice([4, 8, 12, 64])),
        "accumulators": int(rng.integers(1, 6)),
        "lanes": int(rng.integers(1, 5)),
        "multipliers": int(rng.integers(1, 3)),
        "axon_cycles": int(rng.integers(1, 4)),
        "synapse_fill": int(rng.integers(0, 4)),
        "neuron_fill": int(rng.integers(0, 4)),
        "hop_cycles": int(rng.integers(1, 4)),
        "flit_cycles": int(rng.integers(1, 4)),
        "barrier_cycles": int(rng.integers(0, 3)),
    }
    if chips:
        figures |= {
            "chips_x": int(rng.integers(1, 4)),
            "chips_y": int(rng.integers(1, 3)),
            "chip_hop_cycles": int(rng.integers(1, 9)),
            "chip_flit_cycles": int(rng.integers(1, 6)),
        }
    if queues:
        figures["queues"] = int(rng.integers(1, 4))
    return figures


def random_program(rng, *, delays=None, widest=8, **how):
    """Return a placed program of up to four nodes behind the input.

    delays: whether every synapse takes a step; else all layers follow each other in one.
    widest: the most neurons of a node; there are up to six inputs, and more than that if wide.
    """
    slow = bool(rng.integers(2)) if delays is None else delays
    nodes, lag = [_source(rng, max(6, widest - 2))], {"input": 0}
    for i in range(int(rng.integers(1, 5))):
        name = f"n{i}"
        known = [str(s) for s in rng.choice([n.name for n in nodes], int(rng.integers(1, 3)))]
        lag[name] = 1 + max(lag[s] for s in known) if slow else 0
        width = {n.name: n.width for n in nodes}
        own = int(rng.integers(1, widest + 1))
        edges = [
            _edge(rng, source, width[source], own, lag[name] - lag[source]) for source in known
        ]
        edges = [e for e in edges if isinstance(e, Dense) or len(e.sign) == own]
        edges = edges or [
            _edge(rng, known[0], width[known[0]], own, lag[name] - lag[known[0]], dense=True)
        ]
        again = _edge(rng, name, own, own, 1, dense=True)
        nodes.append(_node(rng, name, own, tuple(edges), again, lag[name]))
    last = nodes[-1]
    base = target("asic45")
    program = Program(
        name="random",
        target=base,
        numbers=base.numbers,
        nodes=tuple(nodes),
        readout=Readout(
            source=last.name, kind="last", unit=np.ones(last.width), offset=np.zeros(last.width)
        ),
    )
    figures = random_machine(rng, **how)
    program = on_machine(program, **figures)
    return replace(program, placement=random_placement(rng, program))


def random_placement(rng, program):
    """Cut every node into slices and put each on any core."""
    cores, found = program.target.cores, []
    for node in program.nodes[1:]:
        cuts = {0, node.width, *rng.integers(0, node.width + 1, int(rng.integers(0, 3))).tolist()}
        bounds = sorted(cuts)
        for first, last in pairwise(bounds):
            core = int(rng.integers(cores))
            found.append(Slice(node=node.name, first=first, last=last, core=core))
    order = rng.permutation(len(found))
    return tuple(found[i] for i in order)


def random_values(rng, program, steps=2, samples=2):
    """Return values [B, T, width] of all nodes: from silence to all at once, spikes or graded."""
    values = {}
    for node in program:
        there = rng.random((samples, steps, node.width)) < rng.choice([0, 0.3, 0.7, 1])
        graded = rng.integers(1, 9, there.shape) * rng.choice([-1, 1], there.shape)
        spikes = rng.random() < 0.5
        values[node.name] = there.astype(np.uint8) if spikes else (there * graded).astype(np.int32)
    return values


def _source(rng, widest):
    return Source(name="input", width=int(rng.integers(1, widest + 1)), low=0, high=1, unit=1.0)


def _edge(rng, source, wide, own, delay, dense=None):
    if dense or wide != own or rng.random() < 0.6:
        bits = int(rng.choice([2, 4, 8]))
        return Dense(source=source, weight=np.ones((own, wide), int), weight_bits=bits, delay=delay)
    return Tap(source=source, sign=rng.integers(-1, 2, own), delay=delay)


def _node(rng, name, width, edges, again, latency):
    if rng.random() < 0.3:
        return Stream(name=name, width=width, edges=edges, unit=np.ones(width), latency=latency)
    spec = SPECS[str(rng.choice(sorted(SPECS)))]
    zeros = np.zeros(width, int)
    return Population(
        name=name,
        width=width,
        edges=(*edges, again) if spec.spiking and rng.random() < 0.3 else edges,
        spec=spec.name,
        options=spec.options(),
        coefs={},
        shift=zeros,
        bias=zeros,
        state_bits=32,
        coef_frac=15,
        unit=np.ones(width),
        latency=latency,
    )
