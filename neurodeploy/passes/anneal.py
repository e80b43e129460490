"""Compiled simulated annealing of a placement (Kirkpatrick et al. 1983).

A move puts a piece on another core, lets two pieces change places, or two whole cores. It is taken
if it costs no more, else with probability exp(-rise / temperature); the temperature falls
geometrically. The best placement seen is kept, so the result is never worse than the start.

    traffic   sum over packets of 1 + hops, weighted by cycles per hop
    cycles    sum over phases of the longest neuron phase, behind it the busiest of all ports,
              synapses and links, and the longest way of a packet (of one that does not come at
              every step, its share); a thousandth of the traffic decides between equals

This file imports numba at once: import it where it is used.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from neurodeploy.passes.traffic import Traffic
from neurodeploy.program.ir import Ints, Reals


class Load(NamedTuple):
    """Memory of an estimate: what each core and link has to do in each phase, cycles."""

    updating: Reals
    sending: Reals
    adding: Reals
    links: Reals
    way: Reals  #: the longest that a packet takes
    seen: Ints
    packets: Reals
    weights: Ints
    bits: Ints
    touched: Ints


@njit(cache=True)
def load(t: Traffic) -> Load:
    """Return memory for estimates."""
    cores = len(t.x)
    span = (t.x.max() + 1) * (t.y.max() + 1)
    return Load(
        np.zeros((t.phases, cores)),
        np.zeros((t.phases, cores + 1)),
        np.zeros((t.phases, cores)),
        np.zeros((t.phases, 4 * span)),
        np.zeros(t.phases),
        np.full(cores, -1, np.int64),
        np.zeros(cores),
        np.zeros(cores, np.int64),
        np.zeros(cores, np.int64),
        np.zeros(cores, np.int64),
    )


@njit(cache=True)
def estimate(t: Traffic, core: Any, by_cycles: bool, m: Load) -> float:
    """Return what the placement `core` [pieces] costs."""
    m.updating[:] = 0
    m.sending[:] = 0
    m.adding[:] = 0
    m.links[:] = 0
    m.way[:] = 0
    m.seen[:] = -1
    cores, total = len(t.x), 0.0
    for u in range(len(t.first) - 1):
        phase, home = t.phase[u], core[u] if u < len(core) else cores
        if u < len(core):
            m.updating[phase, home] += t.updating[u]
        for k in range(_gather(t, core, u, m)):
            d, packets = m.touched[k], m.packets[m.touched[k]]
            interval = max(
                t.engine[0], -(-m.weights[d] // t.engine[1]), -(-m.bits[d] // t.engine[2])
            )
            m.sending[phase, home] += packets
            m.adding[phase, d] += packets * interval
            way = _walk(t, home % cores, d, packets, m.links[phase])
            m.way[phase] = max(m.way[phase], min(packets, 1.0) * way)
            total += packets * (1 + way)
    if not by_cycles:
        return total
    cycles = 0.0
    for p in range(t.phases):
        busiest = max(m.sending[p].max(), m.adding[p].max(), m.links[p].max())
        cycles += m.updating[p].max() + busiest + m.way[p]
    return cycles + total / 1000


@njit(cache=True)
def _gather(t: Traffic, core: Any, u: int, m: Load) -> int:
    """Collect what piece u sends to each core; return to how many cores."""
    count = 0
    for j in range(t.first[u], t.first[u + 1]):
        d = core[t.to[j]]
        if m.seen[d] != u:
            m.seen[d] = u
            m.packets[d], m.weights[d], m.bits[d] = 0.0, 0, 0
            m.touched[count] = d
            count += 1
        m.packets[d] = max(m.packets[d], t.packets[j])
        m.weights[d] += t.weights[j]
        m.bits[d] += t.bits[j]
    return count


@njit(cache=True)
def _walk(t: Traffic, start: int, end: int, packets: float, links: Any) -> float:
    """Load the links of an XY route; return the cycles from end to end."""
    if t.mesh[0] == 0:
        return 1.0 if start != end else 0.0
    cycles, wide = 0, t.x.max() + 1
    x, y = t.x[start], t.y[start]
    while x != t.x[end] or y != t.y[end]:
        along = x != t.x[end]
        step = 1 if (t.x[end] > x if along else t.y[end] > y) else -1
        way = (0 if along else 2) + (step < 0)
        at, size = (x, t.mesh[0]) if along else (y, t.mesh[1])
        off = (at + (step > 0)) % size == 0
        row, column = y, x
        if off:  # all rows, or columns, of a chip share the link to the next
            row, column = (y - y % t.mesh[1], x) if along else (y, x - x % t.mesh[0])
        links[4 * (row * wide + column) + way] += packets * (t.mesh[5] if off else t.mesh[3])
        cycles += t.mesh[4] if off else t.mesh[2]
        x, y = (x + step, y) if along else (x, y + step)
    return float(cycles)


@njit(cache=True)
def anneal(t: Traffic, start: Any, by_cycles: bool, moves: int, seed: int) -> Any:
    """Return the best placement found from `start`, and what it costs; the same for one seed."""
    np.random.seed(seed)
    memory, core = load(t), start.copy()
    cores, pieces = len(t.x), len(start)
    used = np.zeros((cores, t.need.shape[1]), np.int64)
    for v in range(pieces):
        used[core[v]] += t.need[v]
    cost = estimate(t, core, by_cycles, memory)
    best, least = core.copy(), cost
    hot, cold = 0.05 * cost, 1e-5 * cost
    if cost == 0:
        return best, least
    for i in range(moves):
        before = core.copy()
        _move(core, cores, pieces)
        if not _fits(t, core, before, used):
            core[:] = before
            continue
        now = estimate(t, core, by_cycles, memory)
        heat = hot * (cold / hot) ** (i / moves)
        if now <= cost or np.random.random() < np.exp((cost - now) / heat):
            cost = now
            _count(t, core, before, used)
            if cost < least:
                best, least = core.copy(), cost
        else:
            core[:] = before
    return best, least


@njit(cache=True)
def _move(core: Any, cores: int, pieces: int) -> None:
    kind, v = np.random.random(), np.random.randint(pieces)
    if kind < 0.5:
        core[v] = np.random.randint(cores)
    elif kind < 0.75:
        w = np.random.randint(pieces)
        core[v], core[w] = core[w], core[v]
    else:
        a, b = core[v], np.random.randint(cores)
        for w in range(pieces):
            if core[w] == a:
                core[w] = b
            elif core[w] == b:
                core[w] = a


@njit(cache=True)
def _fits(t: Traffic, core: Any, before: Any, used: Any) -> bool:
    """Whether the cores that pieces have moved to hold them."""
    _count(t, core, before, used)
    fits = True
    for v in range(len(core)):
        if core[v] != before[v]:
            for k in range(used.shape[1]):
                fits = fits and used[core[v], k] <= t.room[k]
    _count(t, before, core, used)
    return fits


@njit(cache=True)
def _count(t: Traffic, core: Any, before: Any, used: Any) -> None:
    """Bring `used` from the placement `before` to `core`."""
    for v in range(len(core)):
        if core[v] != before[v]:
            used[before[v]] -= t.need[v]
            used[core[v]] += t.need[v]
