"""Compiled replay with queues of few places, where packets hold each other up.

In front of every link and every core there is a queue of `places`. A packet takes a place in its
next queue when it is sent or when its link takes it, and gives its own back when it is taken; a
place that is given back is free from the next cycle on. In each cycle

    1. senders, in the order of their packets' numbers, send where the first queue has a place;
    2. what has been sent or is at the end of its hop joins its queue, by number;
    3. links and cores that are free take the heads of their queues, by number; a link only where
       the next queue has a place.

With places enough this is the unlimited machine. Nothing can stand still for good: a link waits
only for links of higher numbers and for cores (see `mesh`), and cores wait for nobody; so of all
that waits, what is in the queue of the highest number can go on.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from neurodeploy.backends.simulator.cycles.kernels import Outcome, Space, Sums, close, emit
from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.program.ir import Ints

_NEVER = 1 << 62


class Queues(NamedTuple):
    """The queues of a phase: of its links, then of its cores; and where packets are."""

    head: Ints  #: first packet, or -1
    tail: Ints
    held: Ints  #: places taken
    free: Ints  #: cycle from which its link or core is free
    after: Ints  #: by packet: the next in the same queue
    hop: Ints  #: by packet: links it has taken


@njit(cache=True, nogil=True)
def replay_held(
    plan: Plan, bits: Any, work: Space, outcome: Outcome, sums: Sums, first: int, last: int
) -> None:
    """Do as `kernels.replay`, with queues."""
    steps = outcome.steps.shape[1]
    for row in range(first, last):
        b, h, longest = row // steps, row % steps, -1
        for phase in range(len(plan.part_first) - 1):
            count = emit(plan, phase, bits[b], h, sums.fired, work)
            hold(plan, phase, unfold(plan, count, work), sums.waited, work)
            cycles, core = close(plan, phase, work, sums.stages[h], sums.phases)
            outcome.steps[b, h] += cycles
            if cycles > longest:
                longest = cycles
                outcome.critical[b, h] = core


@njit(cache=True, nogil=True)
def unfold(plan: Plan, count: int, work: Any) -> int:
    """Return how many packets there are; `axon` and, when each could be sent, `way` of them."""
    p = 0
    for k in range(count):
        neuron, e = work.neuron[k], work.time[k]
        for axon in range(plan.axon_first[neuron], plan.axon_first[neuron + 1]):
            work.axon[p], work.way[p] = axon, e
            e += 1
            p += 1
    return p


@njit(cache=True, nogil=True)
def hold(plan: Plan, phase: int, packets: int, waited: Any, work: Any) -> None:
    """Take all packets of a phase to their cores and through them.

    work.way is when each would be sent if nothing held it up; afterwards, when it joined its last
    queue. Writes `sent`, `arrived` and `end` of `work`.
    """
    time, axon, places = work.way, work.axon, plan.places
    base = plan.link_first[phase]
    links = plan.link_first[phase + 1] - base
    size = plan.stop_first[phase + 1] - plan.stop_first[phase]
    q = Queues(
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.full(packets, -1, np.int64),
        np.zeros(packets, np.int64),
    )
    first, last = senders(plan, packets, axon)
    coming = [np.int64(_NEVER)]
    keys, freed = np.empty(size, np.int64), np.empty(size, np.int64)
    left, now = packets, np.int64(0)
    while left > 0:
        acted = send(plan, now, first, last, time, axon, q, coming, work)
        while coming[0] >> 32 <= now:
            join(plan, now, heappop(coming) & 0xFFFFFFFF, time, axon, q)
        count = heads(now, q, keys)
        gone = 0
        for k in range(count):
            p, place = keys[k] >> 32, keys[k] & 0xFFFFFFFF
            if place >= links:
                core = plan.core_list[plan.core_first[phase] + place - links]
                work.arrived[core] = max(work.arrived[core], time[p])
                q.free[place] = now + plan.axon_interval[axon[p]]
                work.end[core] = q.free[place]
                left -= 1
            elif cross(plan, places, now, p, axon, q, coming):
                q.free[place] = now + plan.link_flit[base + place]
                waited[base + place] += now - time[p]
            else:
                continue
            q.head[place] = q.after[p]
            q.after[p] = -1
            freed[gone] = place
            gone += 1
        for k in range(gone):
            q.held[freed[k]] -= 1
        now = now + 1 if acted or gone > 0 else soonest(now, first, last, time, q, coming[0])


@njit(cache=True, nogil=True)
def heads(now: Any, q: Queues, keys: Any) -> Any:
    """Write the heads of the queues that can be served now, by packet number; return how many."""
    count = 0
    for place in range(len(q.head)):
        if q.head[place] >= 0 and q.free[place] <= now:
            keys[count] = (q.head[place] << 32) | place
            count += 1
    keys[:count].sort()
    return count


@njit(cache=True, nogil=True)
def cross(plan: Plan, places: Any, now: Any, p: Any, axon: Any, q: Queues, coming: Any) -> bool:
    """Send a packet over its link if the next queue has a place; return whether it has."""
    following = target(plan, axon[p], q.hop[p] + 1)
    if q.held[following] >= places:
        return False
    q.held[following] += 1
    q.hop[p] += 1
    heappush(coming, ((now + delay(plan, axon[p], q.hop[p])) << 32) | p)
    return True


@njit(cache=True, nogil=True)
def senders(plan: Plan, packets: int, axon: Any) -> Any:
    """Return where the packets of each sender begin and end; they stand one after the other."""
    first = np.empty(plan.cores + 1, np.int64)
    last = np.empty(plan.cores + 1, np.int64)
    count, before = 0, -2
    for p in range(packets):
        emitter = plan.flow_emitter[plan.axon_flow[axon[p]]]
        if emitter != before:
            first[count], before = p, emitter
            count += 1
        last[count - 1] = p + 1
    return first[:count], last[:count]


@njit(cache=True, nogil=True)
def send(
    plan: Plan,
    now: Any,
    first: Any,
    last: Any,
    time: Any,
    axon: Any,
    q: Queues,
    coming: Any,
    work: Any,
) -> bool:
    """Let each sender send the packet that is due, if its first queue has a place."""
    acted = False
    for s in range(len(first)):
        p = first[s]
        if p == last[s] or time[p] > now:
            continue
        place = target(plan, axon[p], 0)
        if q.held[place] >= plan.places:
            continue
        q.held[place] += 1
        heappush(coming, (now << 32) | p)
        emitter = plan.flow_emitter[plan.axon_flow[axon[p]]]
        if emitter >= 0:
            work.sent[emitter] = now
        first[s] += 1
        acted = True
    return acted


@njit(cache=True, nogil=True)
def join(plan: Plan, now: Any, p: Any, time: Any, axon: Any, q: Queues) -> None:
    """Put a packet at the end of the queue that it has come to."""
    place = target(plan, axon[p], q.hop[p])
    time[p] = now
    if q.head[place] < 0:
        q.head[place] = p
    else:
        q.after[q.tail[place]] = p
    q.tail[place] = p


@njit(cache=True, nogil=True)
def target(plan: Plan, axon: Any, hop: Any) -> Any:
    """Return the queue that a packet stands in after so many links."""
    return plan.way_stop[plan.axon_way[axon] + hop]


@njit(cache=True, nogil=True)
def delay(plan: Plan, axon: Any, hop: Any) -> Any:
    """Return the cycles that the last of so many links takes."""
    return plan.way_delay[plan.axon_way[axon] + hop]


@njit(cache=True, nogil=True)
def soonest(now: Any, first: Any, last: Any, time: Any, q: Queues, coming: Any) -> Any:
    """Return the next cycle in which anything can happen, when nothing did in this one."""
    best = coming >> 32
    for s in range(len(first)):
        if first[s] < last[s] and time[first[s]] > now:
            best = min(best, time[first[s]])
    for place in range(len(q.head)):
        if q.head[place] >= 0 and q.free[place] > now:
            best = min(best, q.free[place])
    return best
