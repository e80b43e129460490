"""Compiled replay: from the bits of what is not zero to the cycles of every step.

Phases begin at cycle 0, each by itself, so steps are replayed in any order. Nothing here advances
cycle by cycle: values leave their cores one after another, and what then happens to their packets
is worked out stop by stop (`stops`), or, with queues of few places, event by event (`queues`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from neurodeploy.backends.simulator.cycles.compiled import kernel, lowest
from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.backends.simulator.cycles.stops import deliver, leave, queue, route, stream
from neurodeploy.program.ir import Ints

NEURON, EMIT, ROUTE, SYNAPSE, DRAIN, BARRIER = range(6)


class Outcome(NamedTuple):
    """What replay writes of each step."""

    steps: Ints  #: [B, H] cycles
    critical: Ints  #: [B, H] the core that was done last in the step's longest phase


class Sums(NamedTuple):
    """What replay adds up over samples."""

    stages: Ints  #: [H, cores, 5] cycles by stage
    phases: Ints  #: [phases, 6] stages of the core that was done last, and barriers
    waited: Ints  #: [links to follow] cycles that packets stood in front of each
    fired: Ints  #: [neurons] values that were not zero


class Space(NamedTuple):
    """Memory of one thread."""

    neuron: Ints  #: of each value that is sent
    time: Ints  #: when its first packet leaves; the others follow, a cycle each
    axon: Ints  #: of each packet
    way: Ints  #: where on its way it is
    keys: Ints  #: by stop, of its packets: the time and the number of each, in one
    spare: Ints  #: for keys that are merged
    ends: Ints  #: by stop: where its keys end
    sent: Ints  #: by core: when its last packet left
    arrived: Ints  #: by core: when the last packet came
    end: Ints  #: by core: when its synapses are free; all three are -1 between phases
    marks: Ints  #: of one core: when its stages end
    path: Ints  #: stages of the core that was done last


def space(plan: Plan) -> Space:
    """Return memory for the phase that needs most."""
    values, packets, stops, slots = plan.room.tolist()
    sizes = values, values, packets, packets, slots, slots, stops
    rest = (np.full(plan.cores, -1, np.int64) for _ in range(3))
    return Space(*(np.empty(size, np.int64) for size in sizes), *rest, *np.empty((2, 5), np.int64))


@kernel
def replay(
    plan: Plan, bits: Any, work: Space, outcome: Outcome, sums: Sums, first: int, last: int
) -> None:
    """Write the cycles of the steps `first` to `last` of all samples, one sample after another.

    bits [B, T, words]: of all nodes, from `node_word` on, which values are not zero.
    """
    steps = outcome.steps.shape[1]
    for row in range(first, last):
        b, h, longest = row // steps, row % steps, -1
        for phase in range(len(plan.part_first) - 1):
            if plan.plain[phase]:
                straight(plan, phase, bits[b], h, sums.fired, work)
            else:
                count = emit(plan, phase, bits[b], h, sums.fired, work)
                leave(plan, phase, count, work)
                route(plan, phase, sums.waited, work)
                queue(plan, phase, work)
            longest = ended(plan, phase, b, h, longest, work, outcome, sums)


@njit(cache=True, nogil=True, inline="always")
def ended(
    plan: Plan, phase: int, b: int, h: int, longest: Any, work: Space, outcome: Outcome, sums: Sums
) -> Any:
    """Write what a phase took; return the cycles of the step's longest phase so far."""
    cycles, core = close(plan, phase, work, sums.stages[h], sums.phases)
    outcome.steps[b, h] += cycles
    if cycles > longest:
        longest = cycles
        outcome.critical[b, h] = core
    return longest


@njit(cache=True, nogil=True, inline="always")
def straight(plan: Plan, phase: int, bits: Any, h: int, fired: Any, work: Space) -> None:
    """Send packets that meet no others, and serve them in the order in which they are sent."""
    emitter, free = -2, 0
    for j in range(plan.part_first[phase], plan.part_first[phase + 1]):
        if plan.part_emitter[j] != emitter:
            emitter, free = plan.part_emitter[j], 0
        count, free = part(plan, j, bits, h, fired, 0, free, work)
        if emitter >= 0:
            work.sent[emitter] = free - 1
        if plan.part_alike[j]:
            stream(plan, count, work)
        else:
            deliver(plan, count, work)


@njit(cache=True, nogil=True, inline="always")
def emit(plan: Plan, phase: int, bits: Any, h: int, fired: Any, work: Space) -> int:
    """Send what is not zero in a phase; return how many values that are.

    bits [T, words] are those of a sample.
    """
    count, emitter, free = 0, -2, 0
    for j in range(plan.part_first[phase], plan.part_first[phase + 1]):
        if plan.part_emitter[j] != emitter:
            emitter, free = plan.part_emitter[j], 0
        count, free = part(plan, j, bits, h, fired, count, free, work)
        if emitter >= 0:
            work.sent[emitter] = free - 1
    return count


@njit(cache=True, nogil=True, inline="always")
def part(
    plan: Plan, j: int, bits: Any, h: int, fired: Any, count: int, free: int, work: Space
) -> Any:
    """Send what is not zero of a part: a packet a cycle, none before its value is ready.

    count: the values that have been sent; free: the cycle from which the core can send. Returns
    both.
    """
    node = plan.part_node[j]
    t, low, high = h - plan.latency[node], plan.part_from[j], plan.part_to[j]
    if t < 0 or t >= len(bits):
        high = low
    for place in range(low >> 6, (high + 63) >> 6):
        word = bits[t, plan.node_word[node] + place]
        if place == low >> 6:
            word &= ~np.uint64(0) << np.uint64(low & 63)
        if high - 64 * place < 64:
            word &= (np.uint64(1) << np.uint64(high & 63)) - np.uint64(1)
        base = plan.node_base[node] + 64 * place
        while word:
            neuron = base + lowest(word)  # type: ignore[call-arg]  # numba gives the first
            word &= word - np.uint64(1)
            fired[neuron] += 1
            packets = plan.axon_first[neuron + 1] - plan.axon_first[neuron]
            if packets > 0:
                free = max(free, plan.ready[neuron])
                work.neuron[count], work.time[count] = neuron, free
                free += packets
                count += 1
    return count, free


@njit(cache=True, nogil=True, inline="always")
def close(plan: Plan, phase: int, work: Space, stages: Any, path: Any) -> Any:
    """Add every core's cycles by stage; return the phase's cycles and the core that was last.

    Each stage ends at its own event, or where the stage before it ended if that is later.
    """
    latest, slowest, row, marks = -1, -1, work.path, work.marks
    row[:] = 0
    for j in range(plan.core_first[phase], plan.core_first[phase + 1]):
        core = plan.core_list[j]
        marks[NEURON] = plan.core_updated[j]
        marks[EMIT] = max(marks[NEURON], work.sent[core])
        marks[ROUTE] = max(marks[EMIT], work.arrived[core])
        marks[SYNAPSE] = max(marks[ROUTE], work.end[core])
        marks[DRAIN] = marks[SYNAPSE]
        if work.arrived[core] >= 0:
            marks[DRAIN] = max(marks[SYNAPSE], work.end[core] + plan.synapse_fill)
        before = 0
        for stage in range(5):
            stages[core, stage] += marks[stage] - before
            before = marks[stage]
        work.sent[core] = work.arrived[core] = work.end[core] = -1  # for the next phase
        if marks[DRAIN] > latest:
            latest, slowest = marks[DRAIN], core
            row[0] = marks[0]
            for stage in range(1, 5):
                row[stage] = marks[stage] - marks[stage - 1]
    for stage in range(5):
        path[phase, stage] += row[stage]
    path[phase, BARRIER] += plan.barrier
    return max(latest, 0) + plan.barrier, slowest


@njit(cache=True, nogil=True)
def count_flows(first: Any, flow: Any, interval: Any, words: Any, fired: Any, done: Any) -> None:
    """Add to done [3, flows] what passed each: packets, cycles of their cores' synapses, words.

    first [neurons + 1], and of each axon its flow or -1, cycles and words; fired [neurons].
    """
    for neuron in range(len(fired)):
        count = fired[neuron]
        for axon in range(first[neuron], first[neuron + 1]):
            if flow[axon] >= 0:
                done[0, flow[axon]] += count
                done[1, flow[axon]] += count * interval[axon]
                done[2, flow[axon]] += count * words[axon]
