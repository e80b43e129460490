"""Lay a placed program out on its machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from neurodeploy.backends.simulator.cycles.mesh import DIRECTIONS, Mesh
from neurodeploy.backends.simulator.cycles.phases import INPUT, Axons, Part, axons, parts
from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.backends.simulator.cycles.ways import Flow, Followed, Way, flows_of, followed, way
from neurodeploy.backends.simulator.memory import words
from neurodeploy.program.ir import Ints, Program, Source
from neurodeploy.program.phases import phases
from neurodeploy.targets.cycles import Machine


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
    def by_flow(self) -> tuple[Ints, Ints, Ints]:
        """Neurons, costs and ends of the axons that lie on a flow, flow by flow.

        costs [3, axons]: one packet, the cycles of its core's synapses, the words that it reads.
        """
        flow, first = self.plan.axon_flow, self.plan.axon_first
        order = np.argsort(flow, kind="stable")[np.count_nonzero(flow < 0) :]
        neuron = np.repeat(np.arange(len(first) - 1), np.diff(first))[order]
        words = np.concatenate([table.words for table in self.axons])
        costs = np.stack([np.ones_like(words), self.plan.axon_interval, words])[:, order]
        return neuron, costs, np.searchsorted(flow[order], np.arange(len(self.flows)))

    @cached_property
    def ends(self) -> tuple[Ints, Ints]:
        """Emitter and core of each flow."""
        return self.plan.flow_emitter, np.searchsorted(self.cores, [f.core for f in self.flows])

    @cached_property
    def crossings(self) -> tuple[Ints, Ints]:
        """Flow and link, for each link that a flow crosses."""
        flow = np.repeat(np.arange(len(self.flows)), [len(flow.links) for flow in self.flows])
        return flow, _array(link for each in self.flows for link in each.links)

    @cached_property
    def crossed(self) -> tuple[tuple[int, int, int, str], ...]:
        """All links that a flow crosses: number, x, y and direction of each."""
        places = ((link, *self.mesh.place(link)) for link in np.unique(self.crossings[1]).tolist())
        return tuple((link, x, y, DIRECTIONS[way]) for link, way, x, y in places)


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
    flows, axon_flow = flows_of(mesh, [group for group, _ in found], tables)
    links = [
        followed(mesh, [flow for flow in flows if flow.phase == phase])
        for phase in range(len(groups))
    ]
    busy = [
        sorted({*used, *(flow.core for flow in flows if flow.phase == phase)})
        for phase, (_, used) in enumerate(found)
    ]
    ways = [_way(mesh, flow, links[flow.phase], busy[flow.phase]) for flow in flows]
    every = [part for group, _ in found for part in group]
    plan = Plan(
        synapse_fill=machine.synapse_fill,
        barrier=machine.barrier,
        cores=len(cores),
        places=machine.queues or 0,
        part_first=_offsets([len(group) for group, _ in found]),
        **_parts(every, number, nodes, tables),
        **_cores(busy, [used for _, used in found], number, machine),
        **_neurons(program, nodes, every, machine),
        **_axons([tables[name] for name in nodes], number),
        **_flows(np.concatenate([axon_flow[name] for name in nodes]).astype(np.int64), ways),
        way_core=_in_order(flows, ways, number),
        flow_emitter=_array(number[flow.emitter] for flow in flows),
        link_first=_offsets([len(each.links) for each in links]),
        link_list=_array(link for each in links for link in each.links),
        link_flit=mesh.flit[_array(link for each in links for link in each.links)],
        plain=_array(each.plain for each in links),
        latency=np.array([_latency(program, name) for name in nodes], np.int64),
        **_stops(
            [len(each.links) + len(own) for each, own in zip(links, busy, strict=True)],
            flows,
            ways,
            axon_flow,
            found,
        ),
    )
    updating = np.zeros(len(cores), np.int64)
    for _, used in found:
        for core, cycles in used.items():
            updating[number[core]] += cycles
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


def _way(mesh: Mesh, flow: Flow, links: Followed, busy: list[int]) -> Way:
    stops = {link: i for i, link in enumerate(links.links)}
    return way(mesh, flow, stops, len(stops) + busy.index(flow.core))


def _parts(
    every: list[Part], number: dict[int, int], nodes: tuple[str, ...], tables: dict[str, Axons]
) -> dict[str, Ints]:
    return {
        "part_emitter": _array(number[part.core] for part in every),
        "part_node": _array(nodes.index(part.node) for part in every),
        "part_from": _array(part.first for part in every),
        "part_to": _array(part.last for part in every),
        "part_alike": _array(_alike(tables[part.node], part) for part in every),
    }


def _alike(table: Axons, part: Part) -> bool:
    """Whether all neurons of a part send to the same cores."""
    first = table.first[part.first : part.last + 1]
    packets = np.diff(first)
    cores = table.core[first[0] : first[-1]]
    same = bool((packets == packets[0]).all())
    return same and bool((cores.reshape(len(packets), -1) == cores[: packets[0]]).all())


def _cores(
    busy: list[list[int]], updated: list[dict[int, int]], number: dict[int, int], machine: Machine
) -> dict[str, Ints]:
    ends = [
        used[core] + machine.neuron_fill if core in used else 0
        for group, used in zip(busy, updated, strict=True)
        for core in group
    ]
    return {
        "core_first": _offsets([len(group) for group in busy]),
        "core_list": _array(number[core] for group in busy for core in group),
        "core_updated": _array(ends),
    }


def _neurons(
    program: Program, nodes: tuple[str, ...], every: list[Part], machine: Machine
) -> dict[str, Ints]:
    widths = [program[name].width for name in nodes]
    base = _offsets(widths)
    ready = np.zeros(base[-1], np.int64)
    for part in every:
        if part.core != INPUT:
            turns = np.arange(part.last - part.first) // machine.lanes + 1
            at = base[nodes.index(part.node)]
            ready[at + part.first : at + part.last] = (
                part.start + turns * part.cycles + machine.neuron_fill
            )
    return {
        "node_base": base[:-1],
        "node_word": _offsets([words(width) for width in widths]),
        "ready": ready,
    }


def _axons(tables: list[Axons], number: dict[int, int]) -> dict[str, Ints]:
    """Return the axons of all nodes, one after the other."""
    base = _offsets([len(table.core) for table in tables])
    firsts = [table.first[:-1] + b for table, b in zip(tables, base, strict=False)]
    return {
        "axon_first": np.concatenate([*firsts, base[-1:]]),
        "axon_core": _array(number[core] for table in tables for core in table.core.tolist()),
        "axon_interval": np.concatenate([table.interval for table in tables]),
    }


def _flows(axon_flow: Ints, ways: list[Way]) -> dict[str, Ints]:
    """Return the ways, and where the axons have theirs; those without a flow have none."""
    first = _offsets([len(each) for each in ways])
    cycles = _array(sum(delay for _, delay in each) for each in ways)
    return {
        "axon_flow": axon_flow,
        "axon_way": np.append(first[:-1], -1)[axon_flow],
        "axon_cycles": np.append(cycles, -1)[axon_flow],
        "way_stop": _array(stop for each in ways for stop, _ in each),
        "way_delay": _array(delay for each in ways for _, delay in each),
    }


def _in_order(flows: list[Flow], ways: list[Way], number: dict[int, int]) -> Ints:
    """Return, for each stop of each way, the core if all its packets come from one place, or -1."""
    last = [
        (flow.phase, *(("link", each[-2][0]) if len(each) > 1 else ("emitter", flow.emitter)))
        for flow, each in zip(flows, ways, strict=True)
    ]
    fed: dict[tuple[int, int], set[tuple[int, str, int]]] = {}
    for flow, before in zip(flows, last, strict=True):
        fed.setdefault((flow.phase, flow.core), set()).add(before)
    found = []
    for flow, each in zip(flows, ways, strict=True):
        alone = len(fed[flow.phase, flow.core]) == 1
        found += [-1] * (len(each) - 1) + [number[flow.core] if alone else -1]
    return _array(found)


def _stops(
    counts: list[int],
    flows: list[Flow],
    ways: list[Way],
    axon_flow: dict[str, Ints],
    found: list[tuple[list[Part], dict[int, int]]],
) -> dict[str, Ints]:
    """Return where each stop of each phase keeps its packets, and the room of a phase.

    counts: stops by phase.
    """
    first = _offsets(counts)
    packets = np.bincount(
        np.concatenate([each[each >= 0] for each in axon_flow.values()]), minlength=len(flows)
    )
    passing = np.zeros(first[-1], np.int64)
    sent = np.zeros(len(counts), np.int64)
    for flow, each, most in zip(flows, ways, packets.tolist(), strict=True):
        sent[flow.phase] += most
        for stop, _ in each:
            passing[first[flow.phase] + stop] += most
    slots = np.zeros_like(passing)
    ends = [0]
    for phase in range(len(counts)):
        own = _offsets(passing[first[phase] : first[phase + 1]].tolist())
        slots[first[phase] : first[phase + 1]] = own[:-1]
        ends.append(int(own[-1]))
    values = [sum(part.last - part.first for part in group) for group, _ in found]
    most = max(values, default=0), int(sent.max(initial=0)), max(counts, default=0), max(ends)
    return {"stop_first": first, "stop_slot": slots, "room": _array(most)}


def _offsets(counts: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _array(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64)
