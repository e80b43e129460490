"""A placed program as flat arrays, which compiled replay reads.

Most of what a packet will meet is known before it is sent. Its axon says to which core it goes and
what it costs there. Its flow (from which emitter to which core, in which phase) says over which
links. And of those links only the ones where packets can meet have to be followed: where a link is
fed from one place, whose packets are at least as far apart as the link needs, nobody ever waits,
and the link is just `hop` cycles. A phase in which no link and no core is fed from two places is
`plain`: its packets need no queues at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from neurodeploy.backends.simulator.cycles.mesh import Mesh
from neurodeploy.backends.simulator.cycles.phases import INPUT, Axons, Part, axons, parts
from neurodeploy.program.ir import Ints, Program, Source
from neurodeploy.program.phases import phases
from neurodeploy.targets.cycles import Machine


class Plan(NamedTuple):
    """What compiled replay reads. Cores and links are numbered from 0 among those in use."""

    lanes: int
    neuron_fill: int
    synapse_fill: int
    barrier: int
    cores: int
    places: int  #: of a queue; 0 for any number
    # parts: those of phase p are part_first[p] to part_first[p + 1], by emitter
    part_first: Ints
    part_emitter: Ints  #: core, or -1 for the input
    part_node: Ints
    part_from: Ints
    part_to: Ints
    part_start: Ints  #: cycle in which its first spike would be ready, if updates took no time
    part_cycles: Ints
    # cores at work in a phase, and when their neuron phase ends
    core_first: Ints
    core_list: Ints
    core_updated: Ints
    # axons of neuron i of node n: axon_first[node_base[n] + i] to the next
    node_base: Ints
    axon_first: Ints
    axon_core: Ints
    axon_interval: Ints
    axon_flow: Ints
    # links to follow, on flow f: flow_first[f] to flow_first[f + 1]
    flow_first: Ints
    flow_emitter: Ints  #: core, or -1 for the input
    flow_link: Ints  #: numbered among those of its phase
    flow_delay: Ints  #: cycles from the link before to this one
    flow_final: Ints  #: cycles from the last of them to the core
    # links to follow in a phase
    link_first: Ints
    link_list: Ints  #: numbers of the mesh
    link_flit: Ints
    plain: Ints  #: by phase
    latency: Ints  #: by node
    room: Ints  #: most packets, and most packets times links, of a phase


@dataclass(frozen=True, eq=False)
class Flow:
    """The packets of one phase from one emitter to one core, and their way."""

    phase: int
    emitter: int
    core: int
    links: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """A program on its machine: the plan, and what its numbers stand for."""

    machine: Machine
    mesh: Mesh
    cores: tuple[int, ...]
    phases: tuple[tuple[str, ...], ...]
    nodes: tuple[str, ...]
    updating: Ints  #: cycles of each core's lanes in one step
    flows: tuple[Flow, ...]
    axons: tuple[Axons, ...]  #: by node
    plan: Plan

    @cached_property
    def used(self) -> Ints:
        """The axons of the plan that lie on a flow."""
        return np.flatnonzero(self.plan.axon_flow >= 0)

    @cached_property
    def axon_neuron(self) -> Ints:
        """The neuron of each axon of the plan, numbered from `node_base` of its node on."""
        first = self.plan.axon_first
        return np.repeat(np.arange(len(first) - 1), np.diff(first))

    @cached_property
    def axon_words(self) -> Ints:
        """The words that a packet of each axon of the plan reads."""
        return np.concatenate([table.words for table in self.axons])

    @cached_property
    def crossings(self) -> tuple[Ints, Ints]:
        """Flow and link, for each link that a flow crosses."""
        flow = np.repeat(np.arange(len(self.flows)), [len(flow.links) for flow in self.flows])
        return flow, _array(link for each in self.flows for link in each.links)


@lru_cache(maxsize=2)
def layout(program: Program) -> Layout:
    """Lay the placed `program` out on the machine of its target."""
    machine = program.target.cycles
    assert machine is not None
    mesh, groups = Mesh(machine), phases(program)
    nodes = tuple(node.name for node in program)
    found = [parts(program, group) for group in groups]
    tables = {name: axons(program, name) for name in nodes}
    cores = tuple(sorted({part.core for part in program.placement}))
    number = {core: i for i, core in enumerate(cores)} | {INPUT: -1}
    flows, axon_flows = _flows(mesh, [group for group, _ in found], tables)
    reduced = [_Reduced(mesh, flows, phase) for phase in range(len(groups))]
    updating = np.zeros(len(cores), np.int64)
    for _, used in found:
        for core, cycles in used.items():
            updating[number[core]] += cycles
    plan = Plan(
        lanes=machine.lanes,
        neuron_fill=machine.neuron_fill,
        synapse_fill=machine.synapse_fill,
        barrier=machine.barrier,
        cores=len(cores),
        places=machine.queues or 0,
        **_parts([group for group, _ in found], number, nodes, machine),
        **_cores(found, flows, number, machine),
        **_axons([tables[name] for name in nodes], axon_flows, number, nodes),
        **_ways(flows, reduced, mesh, number),
        latency=np.array([_latency(program, name) for name in nodes], np.int64),
        room=_room([group for group, _ in found], tables, reduced),
    )
    return Layout(
        machine=machine,
        mesh=mesh,
        cores=cores,
        phases=tuple(tuple(group) for group in groups),
        nodes=nodes,
        updating=updating,
        flows=tuple(flows),
        axons=tuple(tables[name] for name in nodes),
        plan=plan,
    )


def _latency(program: Program, name: str) -> int:
    node = program[name]
    return 0 if isinstance(node, Source) else node.latency


def _flows(
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


class _Reduced:
    """The links of a phase where packets can meet, and the ways with only those."""

    def __init__(self, mesh: Mesh, flows: list[Flow], phase: int) -> None:
        own = [flow for flow in flows if flow.phase == phase]
        fed = _feeders(own)
        apart: dict[int, int] = {}  # least cycles between two packets that leave a link
        keep = []
        every = mesh.machine.queues is not None  # packets may then be held up anywhere
        for link in sorted(fed):
            feeders = list(fed[link])
            gap = apart.get(feeders[0][1], 1) if len(feeders) == 1 else 0
            if every or gap < mesh.flit[link]:
                keep.append(link)
            apart[link] = max(gap, int(mesh.flit[link]))
        self.links = keep
        number = {link: i for i, link in enumerate(keep)}
        self.ways = {id(flow): _shorten(mesh, flow.links, number) for flow in own}
        cores = {flow.core: set[int]() for flow in own}
        for flow in own:
            cores[flow.core].add(flow.emitter)
        self.plain = not keep and not every and all(len(group) == 1 for group in cores.values())


def _feeders(flows: list[Flow]) -> dict[int, set[tuple[str, int]]]:
    """Return where the packets of each link come from: another link, or an emitter."""
    fed: dict[int, set[tuple[str, int]]] = {}
    for flow in flows:
        before = ("emitter", -2 - flow.emitter)  # below all numbers of links
        for link in flow.links:
            fed.setdefault(link, set()).add(before)
            before = ("link", link)
    return fed


def _shorten(
    mesh: Mesh, links: tuple[int, ...], number: dict[int, int]
) -> tuple[list[int], list[int], int]:
    """Return the links that are kept, the cycles up to each, and from the last to the core."""
    kept, delays, since = [], [], 0
    for link in links:
        if link in number:
            kept.append(number[link])
            delays.append(since)
            since = 0
        since += int(mesh.hop[link])
    return kept, delays, since


def _parts(
    groups: list[list[Part]], number: dict[int, int], nodes: tuple[str, ...], machine: Machine
) -> dict[str, Ints]:
    every = [part for group in groups for part in group]
    fill = [0 if part.core == INPUT else machine.neuron_fill for part in every]
    return {
        "part_first": _offsets([len(group) for group in groups]),
        "part_emitter": _array(number[part.core] for part in every),
        "part_node": _array(nodes.index(part.node) for part in every),
        "part_from": _array(part.first for part in every),
        "part_to": _array(part.last for part in every),
        "part_start": _array(part.start + f for part, f in zip(every, fill, strict=True)),
        "part_cycles": _array(part.cycles for part in every),
    }


def _cores(
    found: list[tuple[list[Part], dict[int, int]]],
    flows: list[Flow],
    number: dict[int, int],
    machine: Machine,
) -> dict[str, Ints]:
    groups = [
        sorted({*used, *(flow.core for flow in flows if flow.phase == phase)})
        for phase, (_, used) in enumerate(found)
    ]
    ends = [
        used[core] + machine.neuron_fill if core in used else 0
        for group, (_, used) in zip(groups, found, strict=True)
        for core in group
    ]
    return {
        "core_first": _offsets([len(group) for group in groups]),
        "core_list": _array(number[core] for group in groups for core in group),
        "core_updated": _array(ends),
    }


def _axons(
    tables: list[Axons],
    flows: dict[str, Ints],
    number: dict[int, int],
    nodes: tuple[str, ...],
) -> dict[str, Ints]:
    """Return the axons of all nodes, one after the other."""
    base = _offsets([len(table.core) for table in tables])
    firsts = [table.first[:-1] + b for table, b in zip(tables, base, strict=False)]
    return {
        "node_base": _offsets([len(table.first) - 1 for table in tables])[:-1],
        "axon_first": np.concatenate([*firsts, base[-1:]]),
        "axon_core": _array(number[core] for table in tables for core in table.core.tolist()),
        "axon_interval": np.concatenate([table.interval for table in tables]),
        "axon_flow": np.concatenate([flows[name] for name in nodes]).astype(np.int64),
    }


def _ways(
    flows: list[Flow], reduced: list[_Reduced], mesh: Mesh, number: dict[int, int]
) -> dict[str, Ints]:
    ways = [reduced[flow.phase].ways[id(flow)] for flow in flows]
    links = [link for phase in reduced for link in phase.links]
    return {
        "flow_first": _offsets([len(way[0]) for way in ways]),
        "flow_emitter": _array(number[flow.emitter] for flow in flows),
        "flow_link": _array(link for way in ways for link in way[0]),
        "flow_delay": _array(delay for way in ways for delay in way[1]),
        "flow_final": _array(way[2] for way in ways),
        "link_first": _offsets([len(phase.links) for phase in reduced]),
        "link_list": _array(links),
        "link_flit": mesh.flit[_array(links)],
        "plain": _array(phase.plain for phase in reduced),
    }


def _room(groups: list[list[Part]], tables: dict[str, Axons], reduced: list[_Reduced]) -> Ints:
    """Return the most packets, and links times packets, that one phase can have."""
    packets = 1
    for group in groups:
        spans = [(tables[part.node].first, part) for part in group]
        packets = max(packets, sum(int(f[part.last] - f[part.first]) for f, part in spans))
    longest = max((len(way[0]) for phase in reduced for way in phase.ways.values()), default=0)
    return _array([packets, packets * max(longest, 1)])


def _offsets(counts: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _array(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64)
