"""The ways of packets, and which of their links have to be followed.

Of the links that a flow crosses only those matter where packets can meet. Where a link is fed from
one place, whose packets are at least as far apart as the link needs, nobody ever waits, and the
link is just `hop` cycles. A phase in which no link and no core is fed from two places is `plain`:
its packets need no queues at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodeploy.backends.simulator.cycles.mesh import Mesh
from neurodeploy.backends.simulator.cycles.phases import INPUT, Axons, Part
from neurodeploy.program.ir import Ints

Way = tuple[tuple[int, int], ...]  #: stops, and the cycles to each from the one before


@dataclass(frozen=True, eq=False)
class Flow:
    """The packets of one phase from one emitter to one core, and their way."""

    phase: int
    emitter: int
    core: int
    links: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Followed:
    """What has to be followed of a phase: the links, by their numbers in the mesh."""

    links: tuple[int, ...]
    plain: bool


def flows_of(
    mesh: Mesh, groups: list[list[Part]], tables: dict[str, Axons]
) -> tuple[list[Flow], dict[str, Ints]]:
    """Return all flows, and the flow of every axon of every node."""
    flows: dict[tuple[int, int, int], int] = {}
    found: list[Flow] = []
    by_axon = {name: np.full(len(table.core), -1) for name, table in tables.items()}
    for phase, group in enumerate(groups):
        for part in group:
            table = tables[part.node]
            start, end = table.first[part.first], table.first[part.last]
            for core in np.unique(table.core[start:end]).tolist():
                key = phase, part.core, core
                if key not in flows:
                    flows[key] = len(found)
                    at = (0, 0) if part.core == INPUT else mesh.machine.router(part.core)
                    way = tuple(mesh.route(at, mesh.machine.router(core)))
                    found.append(Flow(phase, part.core, core, way))
                own = by_axon[part.node][start:end]
                own[table.core[start:end] == core] = flows[key]
    return found, by_axon


def followed(mesh: Mesh, own: list[Flow]) -> Followed:
    """Return what has to be followed of the flows of one phase."""
    fed = _feeders(own)
    apart: dict[int, int] = {}  # least cycles between two packets that leave a link
    links = []
    every = mesh.machine.queues is not None  # packets may then be held up anywhere
    for link in sorted(fed):
        feeders = list(fed[link])
        gap = apart.get(feeders[0][1], 1) if len(feeders) == 1 else 0
        if every or gap < mesh.flit[link]:
            links.append(link)
        apart[link] = max(gap, int(mesh.flit[link]))
    cores = {flow.core: set[int]() for flow in own}
    for flow in own:
        cores[flow.core].add(flow.emitter)
    alone = all(len(emitters) == 1 for emitters in cores.values())
    return Followed(tuple(links), plain=not links and not every and alone)


def _feeders(flows: list[Flow]) -> dict[int, set[tuple[str, int]]]:
    """Return where the packets of each link come from: another link, or an emitter."""
    fed: dict[int, set[tuple[str, int]]] = {}
    for flow in flows:
        before = ("emitter", -2 - flow.emitter)  # below all numbers of links
        for link in flow.links:
            fed.setdefault(link, set()).add(before)
            before = ("link", link)
    return fed


def way(mesh: Mesh, flow: Flow, stops: dict[int, int], core: int) -> Way:
    """Return the way of a flow: those of its links that are `stops`, by number, then `core`."""
    found, since = [], 0
    for link in flow.links:
        if link in stops:
            found.append((stops[link], since))
            since = 0
        since += int(mesh.hop[link])
    return (*found, (core, since))
