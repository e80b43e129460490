"""Compiled replay with queues of few places, where packets hold each other up.

In front of every link and every core there is a queue of `places`. A packet takes a place in its
next queue when it is sent or when its link takes it, and gives its own back when it is taken; a
place that is given back is free from the next cycle on. In each cycle

    1. senders, in the order of their packets' numbers, send where the first queue has a place;
    2. what has been sent or is at the end of its hop joins its queue, by number;
    3. links and cores that are free take the heads of their queues, by number; a link only where
       the next queue has a place.

With places enough this is the unlimited machine, so that is tried first: if no queue of it ever
holds more than `places`, nobody was held up. Else the phase is replayed from event to event.
Nothing can stand still for good: a link waits only for links of higher numbers and for cores (see
`mesh`), and cores wait for nobody; so of all that waits, what is in the queue of the highest number
can go on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from neurodeploy.backends.simulator.cycles.compiled import kernel
from neurodeploy.backends.simulator.cycles.kernels import Outcome, Space, Sums, emit, ended
from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.backends.simulator.cycles.stops import insert, leave, order, put
from neurodeploy.program.ir import Ints

_NEVER = 1 << 62


class Queues(NamedTuple):
    """The queues of a phase, of its links and then of its cores; and where packets are."""

    head: Ints  #: first packet, or -1
    tail: Ints
    held: Ints  #: places taken
    free: Ints  #: cycle from which its link or core is free
    waits: Ints  #: cycles that packets stood in it
    keys: Ints  #: those that can be served in a cycle
    gone: Ints  #: those that were
    after: Ints  #: by packet: the next in the same queue
    hop: Ints  #: by packet: links it has taken
    coming: Ints  #: heap of packets on their way to a queue: when, and which
    first: Ints  #: by sender: the next packet
    last: Ints


def queues(plan: Plan) -> Queues:
    """Return memory for the phase that needs most."""
    _, packets, stops, _ = plan.room.tolist()
    sizes = (stops,) * 7 + (packets,) * 3 + (plan.cores + 1,) * 2
    return Queues(*(np.empty(size, np.int64) for size in sizes))


@kernel
def replay_held(
    plan: Plan,
    bits: Any,
    work: Space,
    q: Queues,
    outcome: Outcome,
    sums: Sums,
    first: int,
    last: int,
) -> None:
    """Do as `kernels.replay`, with queues."""
    steps = outcome.steps.shape[1]
    for row in range(first, last):
        b, h, longest = row // steps, row % steps, -1
        for phase in range(len(plan.part_first) - 1):
            count = emit(plan, phase, bits[b], h, sums.fired, work)
            if not freely(plan, phase, count, work, q):
                hold(plan, phase, unfold(plan, count, work), work, q)
            base = plan.link_first[phase]
            for link in range(plan.link_first[phase + 1] - base):
                sums.waited[base + link] += q.waits[link]
            longest = ended(plan, phase, b, h, longest, work, outcome, sums)


@kernel
def freely(plan: Plan, phase: int, count: int, work: Any, q: Queues) -> bool:
    """Serve packets as if there were places for all; return whether there were."""
    base, stops = plan.link_first[phase], plan.stop_first[phase]
    links = plan.link_first[phase + 1] - base
    leave(plan, phase, count, work)
    for stop in range(plan.stop_first[phase + 1] - stops):
        start, end = plan.stop_slot[stops + stop], work.ends[stop]
        order(work.keys, work.spare, start, end)
        arrived, free, q.waits[stop] = -1, 0, 0
        for k in range(start, end):
            arrived, p = work.keys[k] >> 32, work.keys[k] & 0xFFFFFFFF
            work.spare[k] = arrived - plan.way_delay[work.way[p]]  # when it took its place
            r = max(arrived, free)
            work.keys[k] = r
            q.waits[stop] += r - arrived
            if stop < links:
                free = r + plan.link_flit[base + stop]
                put(plan, r, p, work.way[p] + 1, work)
            else:
                free = r + plan.axon_interval[work.axon[p]]
        if crowded(work.spare, work.keys, start, end, plan.places):
            return False
        if stop >= links and start < end:
            core = plan.core_list[plan.core_first[phase] + stop - links]
            work.arrived[core], work.end[core] = arrived, free
    return True


@njit(cache=True, nogil=True, inline="always")
def crowded(taken: Any, given: Any, start: int, end: int, places: int) -> bool:
    """Return whether more than `places` are ever held: taken and given back in these cycles."""
    if end - start <= places:
        return False
    insert(taken, start, end)
    over = 0
    for k in range(start + places, end):
        over += given[k - places] >= taken[k]
    return over > 0


@kernel
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


@kernel
def hold(plan: Plan, phase: int, packets: int, work: Any, q: Queues) -> None:
    """Take all packets of a phase to their cores and through them.

    work.way is when each would be sent if nothing held it up; afterwards, when it joined its last
    queue. Writes `sent`, `arrived` and `end` of `work`, and `waits` of the queues.
    """
    time, axon = work.way, work.axon
    base = plan.link_first[phase]
    links = plan.link_first[phase + 1] - base
    size = plan.stop_first[phase + 1] - plan.stop_first[phase]
    for place in range(size):
        q.head[place], q.held[place], q.free[place], q.waits[place] = -1, 0, 0, 0
    for core in range(plan.cores):
        work.arrived[core] = work.end[core] = -1
    sending = senders(plan, packets, axon, q)
    left, now, coming = packets, 0, 0
    while left > 0:
        before = coming
        coming = send(plan, now, sending, time, axon, q, coming, work)
        acted = coming > before
        while coming > 0 and q.coming[0] >> 32 <= now:
            p = q.coming[0] & 0xFFFFFFFF
            coming = pop(q.coming, coming)
            join(plan, now, p, time, axon, q)
        gone = 0
        for k in range(heads(now, size, q)):
            p, place = q.keys[k] >> 32, q.keys[k] & 0xFFFFFFFF
            if place >= links:
                core = plan.core_list[plan.core_first[phase] + place - links]
                work.arrived[core] = max(work.arrived[core], time[p])
                q.free[place] = now + plan.axon_interval[axon[p]]
                work.end[core] = q.free[place]
                left -= 1
            else:
                following = target(plan, axon[p], q.hop[p] + 1)
                if q.held[following] >= plan.places:
                    continue
                q.held[following] += 1
                q.hop[p] += 1
                after = now + plan.way_delay[plan.axon_way[axon[p]] + q.hop[p]]
                coming = push(q.coming, coming, (after << 32) | p)
                q.free[place] = now + plan.link_flit[base + place]
                q.waits[place] += now - time[p]
            q.head[place] = q.after[p]
            q.gone[gone] = place
            gone += 1
        for k in range(gone):
            q.held[q.gone[k]] -= 1
        if acted or gone > 0:
            now += 1
        else:
            now = soonest(now, size, sending, coming, time, q)


@kernel
def heads(now: Any, size: Any, q: Queues) -> Any:
    """Find the heads of the queues that can be served now, by packet number; return how many."""
    count = 0
    for place in range(size):
        if q.head[place] >= 0 and q.free[place] <= now:
            q.keys[count] = (q.head[place] << 32) | place
            count += 1
    insert(q.keys, 0, count)
    return count


@kernel
def senders(plan: Plan, packets: int, axon: Any, q: Queues) -> Any:
    """Find where the packets of each sender begin and end, one after the other; return how many."""
    count, before = 0, -2
    for p in range(packets):
        q.hop[p], q.after[p] = 0, -1
        emitter = plan.flow_emitter[plan.axon_flow[axon[p]]]
        if emitter != before:
            q.first[count], before = p, emitter
            count += 1
        q.last[count - 1] = p + 1
    return count


@kernel
def send(
    plan: Plan, now: Any, sending: Any, time: Any, axon: Any, q: Queues, coming: Any, work: Any
) -> Any:
    """Let each sender send the packet that is due, if its first queue has a place.

    Returns how many packets are on their way then.
    """
    for s in range(sending):
        p = q.first[s]
        if p == q.last[s] or time[p] > now:
            continue
        place = target(plan, axon[p], 0)
        if q.held[place] >= plan.places:
            continue
        q.held[place] += 1
        coming = push(q.coming, coming, (now << 32) | p)
        emitter = plan.flow_emitter[plan.axon_flow[axon[p]]]
        if emitter >= 0:
            work.sent[emitter] = now
        q.first[s] += 1
    return coming


@kernel
def join(plan: Plan, now: Any, p: Any, time: Any, axon: Any, q: Queues) -> None:
    """Put a packet at the end of the queue that it has come to."""
    place = target(plan, axon[p], q.hop[p])
    time[p] = now
    if q.head[place] < 0:
        q.head[place] = p
    else:
        q.after[q.tail[place]] = p
    q.after[p] = -1
    q.tail[place] = p


@kernel
def target(plan: Plan, axon: Any, hop: Any) -> Any:
    """Return the queue that a packet stands in after so many links."""
    return plan.way_stop[plan.axon_way[axon] + hop]


@kernel
def soonest(now: Any, size: Any, sending: Any, coming: Any, time: Any, q: Queues) -> Any:
    """Return the next cycle in which anything can happen, when nothing did in this one."""
    best = q.coming[0] >> 32 if coming > 0 else _NEVER
    for s in range(sending):
        if q.first[s] < q.last[s] and time[q.first[s]] > now:
            best = min(best, time[q.first[s]])
    for place in range(size):
        if q.head[place] >= 0 and q.free[place] > now:
            best = min(best, q.free[place])
    return best


@kernel
def push(heap: Any, size: Any, key: Any) -> Any:
    """Add a key to a heap, the least first; return its size."""
    at = size
    while at > 0 and heap[(at - 1) >> 1] > key:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = key
    return size + 1


@kernel
def pop(heap: Any, size: Any) -> Any:
    """Take the least key from a heap; return its size."""
    size -= 1
    key, at = heap[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
    return size
