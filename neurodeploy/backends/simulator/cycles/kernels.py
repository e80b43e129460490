"""Compiled replay: from the values that are not zero to the cycles of every step.

Nothing here advances cycle by cycle. A link or core serves packets in the order in which they come,
ties by packet number, each as early as it can:

    link     r = max(t, free); free = r + flit; the packet is at the next router at r + hop
    core     s = max(a, end);  end = s + interval

Since packets only go on to links of higher numbers (see `mesh`), links are served one by one in
that order, each once, with all its packets at hand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.backends.simulator.cycles.queues import hold
from neurodeploy.program.ir import Ints

NEURON, EMIT, ROUTE, SYNAPSE, DRAIN, BARRIER = range(6)


class Outcome(NamedTuple):
    """What replay writes, for each sample b of a chunk."""

    steps: Ints  #: [B, H] cycles
    critical: Ints  #: [B, H] the core that was done last in the step's longest phase
    stages: Ints  #: [B, H, cores, 5] cycles by stage
    phases: Ints  #: [B, phases, 6] stages of the core that was done last, and barriers
    waited: Ints  #: [B, links to follow] cycles that packets stood in front of each


class Space(NamedTuple):
    """Memory of one thread."""

    time: Ints  #: of each packet, where it is now
    axon: Ints
    slot_packet: Ints  #: packets of each link, or of each core
    slot_delay: Ints
    counts: Ints
    keys: Ints
    sent: Ints  #: by core: when its last packet left
    arrived: Ints  #: by core: when the last packet came
    end: Ints  #: by core: when its synapses are free; all three are -1 between phases
    marks: Ints  #: of one core: when its stages end
    path: Ints  #: stages of the core that was done last


@njit(cache=True, nogil=True)
def space(plan: Plan) -> Space:
    """Return memory for the phase that needs most."""
    packets, slots = plan.room[0], plan.room[1]
    return Space(
        np.empty(packets, np.int64),
        np.empty(packets, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.int64),
        np.empty(max(plan.cores, len(plan.link_list)) + 1, np.int64),
        np.empty(packets, np.int64),
        np.full(plan.cores, -1, np.int64),
        np.full(plan.cores, -1, np.int64),
        np.full(plan.cores, -1, np.int64),
        np.empty(5, np.int64),
        np.empty(5, np.int64),
    )


@njit(cache=True, nogil=True)
def replay(
    plan: Plan, events: Any, pointers: Any, steps: int, outcome: Outcome, first: int, last: int
) -> None:
    """Write the cycles of the samples `first` to `last`.

    events[pointers[n, b * steps + t]:…] are the channels of node n that are not zero at step t of
    sample b.
    """
    work = space(plan)
    for b in range(first, last):
        for h in range(outcome.steps.shape[1]):
            longest = -1
            for phase in range(len(plan.part_first) - 1):
                packets = emit(plan, phase, events, pointers, b * steps, h, steps, work)
                if plan.places > 0:
                    hold(plan, phase, packets, outcome.waited[b], work)
                elif plan.plain[phase]:
                    deliver(plan, packets, work)
                else:
                    route(plan, phase, packets, outcome.waited[b], work)
                    queue(plan, packets, work)
                cycles, core = close(plan, phase, work, outcome.stages[b, h], outcome.phases[b])
                outcome.steps[b, h] += cycles
                if cycles > longest:
                    longest = cycles
                    outcome.critical[b, h] = core


@njit(cache=True, nogil=True, inline="always")
def emit(
    plan: Plan, phase: int, events: Any, pointers: Any, row: int, h: int, steps: int, work: Space
) -> int:
    """Send the packets of a phase: one a cycle from each core, none before its spike is ready."""
    packets, emitter, e = 0, -2, -1
    for j in range(plan.part_first[phase], plan.part_first[phase + 1]):
        if plan.part_emitter[j] != emitter:
            emitter, e = plan.part_emitter[j], -1
        node = plan.part_node[j]
        t = h - plan.latency[node]
        if t < 0 or t >= steps:
            continue
        low, high = pointers[node, row + t], pointers[node, row + t + 1]
        at = reach(events, low, high, plan.part_from[j])
        base, start, every = plan.node_base[node], plan.part_start[j], plan.part_cycles[j]
        while at < high and events[at] < plan.part_to[j]:
            i = events[at]
            ready = start + every * ((i - plan.part_from[j]) // plan.lanes + 1)
            for axon in range(plan.axon_first[base + i], plan.axon_first[base + i + 1]):
                e = max(e + 1, ready)
                work.time[packets] = e
                work.axon[packets] = axon
                packets += 1
            at += 1
        if emitter >= 0:
            work.sent[emitter] = e
    return packets


@njit(cache=True, nogil=True, inline="always")
def deliver(plan: Plan, packets: int, work: Space) -> None:
    """Serve packets that meet no others: they come in the order in which they were sent."""
    for p in range(packets):
        axon = work.axon[p]
        core = plan.axon_core[axon]
        a = work.time[p] + plan.flow_final[plan.axon_flow[axon]]
        work.arrived[core] = a
        work.end[core] = max(a, work.end[core]) + plan.axon_interval[axon]


@njit(cache=True, nogil=True, inline="always")
def route(plan: Plan, phase: int, packets: int, waited: Any, work: Space) -> None:
    """Take packets over all links of a phase; afterwards `time` is when each is at its core."""
    base = plan.link_first[phase]
    links = plan.link_first[phase + 1] - base
    count = work.counts
    count[: links + 1] = 0
    for p in range(packets):
        flow = plan.axon_flow[work.axon[p]]
        for j in range(plan.flow_first[flow], plan.flow_first[flow + 1]):
            count[plan.flow_link[j] + 1] += 1
    for link in range(links):
        count[link + 1] += count[link]
    for p in range(packets):
        flow = plan.axon_flow[work.axon[p]]
        for j in range(plan.flow_first[flow], plan.flow_first[flow + 1]):
            slot = count[plan.flow_link[j]]
            work.slot_packet[slot] = p
            work.slot_delay[slot] = plan.flow_delay[j]
            count[plan.flow_link[j]] += 1
    start = 0  # each count has moved to the end of its own slots
    for link in range(links):
        here = count[link] - start
        for k in range(here):
            p = work.slot_packet[start + k]
            work.keys[k] = ((work.time[p] + work.slot_delay[start + k]) << 32) | p
        order(work.keys, here)
        free, flit = 0, plan.link_flit[base + link]
        for k in range(here):
            t = work.keys[k] >> 32
            r = max(t, free)
            waited[base + link] += r - t
            work.time[work.keys[k] & 0xFFFFFFFF] = r
            free = r + flit
        start = count[link]
    for p in range(packets):
        work.time[p] += plan.flow_final[plan.axon_flow[work.axon[p]]]


@njit(cache=True, nogil=True, inline="always")
def queue(plan: Plan, packets: int, work: Space) -> None:
    """Serve packets that have come to their cores, each core in the order of their coming."""
    count = work.counts
    count[: plan.cores + 1] = 0
    for p in range(packets):
        count[plan.axon_core[work.axon[p]] + 1] += 1
    for core in range(plan.cores):
        count[core + 1] += count[core]
    for p in range(packets):
        core = plan.axon_core[work.axon[p]]
        work.slot_packet[count[core]] = p
        count[core] += 1
    start = 0
    for core in range(plan.cores):
        here = count[core] - start
        for k in range(here):
            p = work.slot_packet[start + k]
            work.keys[k] = (work.time[p] << 32) | p
        order(work.keys, here)
        for k in range(here):
            a, p = work.keys[k] >> 32, work.keys[k] & 0xFFFFFFFF
            interval = plan.axon_interval[work.axon[p]]
            work.arrived[core] = a
            work.end[core] = max(a, work.end[core]) + interval
        start = count[core]


@njit(cache=True, nogil=True)
def reach(events: Any, low: Any, high: Any, value: Any) -> Any:
    """Return the first place from `low` to `high` whose event is not below `value`."""
    while low < high:
        middle = (low + high) >> 1
        if events[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def order(keys: Any, count: int) -> None:
    """Sort the first keys, which mostly are in order."""
    for k in range(1, count):
        if keys[k] < keys[k - 1]:
            break
    else:
        return
    if count > 64:
        keys[:count].sort()
        return
    for k in range(1, count):
        key, at = keys[k], k
        while at > 0 and keys[at - 1] > key:
            keys[at] = keys[at - 1]
            at -= 1
        keys[at] = key


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
