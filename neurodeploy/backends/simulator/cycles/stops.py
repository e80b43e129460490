"""What becomes of packets with room to wait: links and cores, each served once.

A link or core serves packets in the order in which they come, ties by packet number, each as early
as it can:

    link     r = max(t, free); free = r + flit; the packet is at the next router at r + hop
    core     s = max(a, end);  end = s + interval

Since packets only go on to stops of higher numbers (see `mesh`), stops are served one by one in
that order, each with all its packets at hand.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from neurodeploy.backends.simulator.cycles.compiled import kernel
from neurodeploy.backends.simulator.cycles.plan import Plan

_FEW = 24  # keys that are sorted by insertion, which takes least time for so many


@njit(cache=True, nogil=True, inline="always")
def stream(plan: Plan, count: int, work: Any) -> None:
    """Serve packets that meet no others, of neurons that all send to the same cores."""
    if count == 0:
        return
    first = plan.axon_first[work.neuron[0]]
    packets = plan.axon_first[work.neuron[0] + 1] - first
    for j in range(packets):
        core, cycles = plan.axon_core[first + j], plan.axon_cycles[first + j] + j
        end = work.end[core]
        for k in range(count):
            interval = plan.axon_interval[plan.axon_first[work.neuron[k]] + j]
            end = max(work.time[k] + cycles, end) + interval
        work.arrived[core], work.end[core] = work.time[count - 1] + cycles, end


@njit(cache=True, nogil=True, inline="always")
def deliver(plan: Plan, count: int, work: Any) -> None:
    """Serve packets that meet no others."""
    for k in range(count):
        neuron, e = work.neuron[k], work.time[k]
        for axon in range(plan.axon_first[neuron], plan.axon_first[neuron + 1]):
            core, a = plan.axon_core[axon], e + plan.axon_cycles[axon]
            work.arrived[core] = a
            work.end[core] = max(a, work.end[core]) + plan.axon_interval[axon]
            e += 1


@njit(cache=True, nogil=True, inline="always")
def leave(plan: Plan, phase: int, count: int, work: Any) -> None:
    """Give packets numbers, and put each to its first stop."""
    base, p = plan.stop_first[phase], 0
    for stop in range(plan.stop_first[phase + 1] - base):
        work.ends[stop] = plan.stop_slot[base + stop]
    for k in range(count):
        neuron, e = work.neuron[k], work.time[k]
        for axon in range(plan.axon_first[neuron], plan.axon_first[neuron + 1]):
            work.axon[p] = axon
            put(plan, e, p, plan.axon_way[axon], work)
            e += 1
            p += 1


@njit(cache=True, nogil=True, inline="always")
def put(plan: Plan, time: int, p: int, way: int, work: Any) -> None:
    """Put a packet that leaves at some time to the next stop, or through a core in order."""
    a, core = time + plan.way_delay[way], plan.way_core[way]
    if core >= 0:
        work.arrived[core] = a
        work.end[core] = max(a, work.end[core]) + plan.axon_interval[work.axon[p]]
    else:
        stop = plan.way_stop[way]
        work.way[p] = way
        work.keys[work.ends[stop]] = (a << 32) | p
        work.ends[stop] += 1


@njit(cache=True, nogil=True, inline="always")
def route(plan: Plan, phase: int, waited: Any, work: Any) -> None:
    """Take packets over all links of a phase, to their cores."""
    base, stops = plan.link_first[phase], plan.stop_first[phase]
    for link in range(plan.link_first[phase + 1] - base):
        start, end = plan.stop_slot[stops + link], work.ends[link]
        order(work.keys, work.spare, start, end)
        free, waiting, flit = 0, 0, plan.link_flit[base + link]
        for k in range(start, end):
            t, p = work.keys[k] >> 32, work.keys[k] & 0xFFFFFFFF
            r = max(t, free)
            waiting += r - t
            free = r + flit
            put(plan, r, p, work.way[p] + 1, work)
        waited[base + link] += waiting


@njit(cache=True, nogil=True, inline="always")
def queue(plan: Plan, phase: int, work: Any) -> None:
    """Serve packets that have come to their cores."""
    links = plan.link_first[phase + 1] - plan.link_first[phase]
    stops = plan.stop_first[phase] + links
    for j in range(plan.core_first[phase + 1] - plan.core_first[phase]):
        start, end = plan.stop_slot[stops + j], work.ends[links + j]
        if start == end:
            continue
        order(work.keys, work.spare, start, end)
        done = -1
        for k in range(start, end):
            a, p = work.keys[k] >> 32, work.keys[k] & 0xFFFFFFFF
            done = max(a, done) + plan.axon_interval[work.axon[p]]
        core = plan.core_list[plan.core_first[phase] + j]
        work.arrived[core], work.end[core] = work.keys[end - 1] >> 32, done


@njit(cache=True, nogil=True, inline="always")
def order(keys: Any, spare: Any, start: int, end: int) -> None:
    """Sort the keys from start to end: some runs that are in order, one behind the other."""
    if end - start > _FEW:
        while merge(keys, spare, start, end):
            pass
    else:
        insert(keys, start, end)


@njit(cache=True, nogil=True, inline="always")
def insert(keys: Any, start: int, end: int) -> None:
    """Sort the keys from start to end, which are few or nearly in order."""
    for k in range(start + 1, end):
        key, at = keys[k], k
        while at > start and keys[at - 1] > key:
            keys[at] = keys[at - 1]
            at -= 1
        keys[at] = key


@kernel
def merge(keys: Any, spare: Any, start: int, end: int) -> bool:
    """Merge every run with the one behind it; return whether there is more than one left."""
    first, runs = start, 0
    while first < end:
        runs += 1
        middle = run(keys, first, end)
        last = run(keys, middle, end)
        for at in range(first, middle):
            spare[at] = keys[at]
        i, j, k = first, middle, first
        while i < middle and j < last:
            if spare[i] < keys[j]:
                keys[k] = spare[i]
                i += 1
            else:
                keys[k] = keys[j]
                j += 1
            k += 1
        while i < middle:
            keys[k] = spare[i]
            i += 1
            k += 1
        first = last
    return runs > 1


@njit(cache=True, nogil=True, inline="always")
def run(keys: Any, first: int, end: int) -> int:
    """Return where the run of keys in order that begins at `first` ends."""
    if first == end:
        return end
    first += 1
    while first < end and keys[first] > keys[first - 1]:
        first += 1
    return first
