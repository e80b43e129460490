"""Which core does what in a phase of a step, and where its packets go."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neurodeploy.program.ir import Ints, Program, Source
from neurodeploy.program.routes import weights_behind
from neurodeploy.program.run import node_count

INPUT = -1  # the port through which inputs enter: no core


@dataclass(frozen=True, kw_only=True)
class Part:
    """A slice of a node on a core, as it stands in the core's neuron phase.

    Its neuron i (from 0) enters a lane in cycle `start + (i // lanes) * cycles`, keeps it for
    `cycles`, and its spike is ready `neuron_fill` later. Inputs are ready in cycle 0.
    """

    node: str
    first: int
    last: int
    core: int
    start: int
    cycles: int


def parts(program: Program, names: list[str]) -> tuple[list[Part], dict[int, int]]:
    """Return what is updated in a phase, by core in the order of placement; and for how long.

    The second is, by core, the cycles in which its lanes are given neurons.
    """
    machine = program.target.cycles
    assert machine is not None
    found, used = [], dict[int, int]()
    for name in names:
        node = program[name]
        if isinstance(node, Source):
            found.append(Part(node=name, first=0, last=node.width, core=INPUT, start=0, cycles=0))
    for part in program.placement:
        if part.node not in names:
            continue
        muls = node_count(program, part.node, updates=0).per_update.get("mul", 0)
        cycles = max(1, math.ceil(muls / machine.multipliers))
        start = used.get(part.core, 0)
        found.append(
            Part(
                node=part.node,
                first=part.first,
                last=part.last,
                core=part.core,
                start=start,
                cycles=cycles,
            )
        )
        used[part.core] = start + -(-(part.last - part.first) // machine.lanes) * cycles
    return sorted(found, key=lambda part: part.core), used


@dataclass(frozen=True, eq=False)
class Axons:
    """Where the packets of one node's neurons go: neuron i has axons first[i] to first[i + 1].

    Each leads to one core and costs its synapses `interval` cycles and `words` reads.
    """

    first: Ints
    core: Ints
    interval: Ints
    words: Ints


def axons(program: Program, name: str) -> Axons:
    """Return the axons of a node: one per core that holds targets of the neuron.

    With n weights of q bits each behind it, an axon takes

        interval = max(axon lookup, ceil(n / accumulators), ceil(n q / (banks * word bits)))
    """
    machine = program.target.cycles
    assert machine is not None
    width, weights = program[name].width, weights_behind(program, name)
    cores = sorted(weights)
    table = np.array([weights[core] for core in cores], np.int64).reshape(len(cores), 2, width)
    counts, bits = table[:, 0].T, table[:, 1].T
    neuron, at = np.nonzero(counts)
    n, b = counts[neuron, at], bits[neuron, at]
    interval = np.maximum(
        -(-n // machine.accumulators), -(-b // (machine.banks * machine.word_bits))
    )
    return Axons(
        first=np.searchsorted(neuron, np.arange(width + 1)),
        core=np.array(cores, np.int64)[at],
        interval=np.maximum(interval, machine.axon_cycles),
        words=-(-b // machine.word_bits),
    )
