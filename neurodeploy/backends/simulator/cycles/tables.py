"""The arrays of a plan, from the phases of a step and the ways of their packets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from neurodeploy.backends.simulator.cycles.mesh import Mesh
from neurodeploy.backends.simulator.cycles.phases import INPUT, Axons, Part
from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.backends.simulator.cycles.ways import Flow, Followed, Way, way
from neurodeploy.backends.simulator.memory import words
from neurodeploy.program.ir import Ints, Program, Source
from neurodeploy.targets.cycles import Machine


@dataclass(frozen=True, eq=False)
class Phase:
    """A phase of a step: what is sent, and who is at work.

    used: for how many cycles each core's lanes are given neurons; busy: all cores that do anything.
    """

    parts: list[Part]
    used: dict[int, int]
    followed: Followed
    busy: tuple[int, ...]

    @property
    def stops(self) -> int:
        """How many stops it has: links to follow, and cores."""
        return len(self.followed.links) + len(self.busy)

    def way(self, mesh: Mesh, flow: Flow) -> Way:
        """Return the way of one of its flows, over its stops."""
        links = {link: i for i, link in enumerate(self.followed.links)}
        return way(mesh, flow, links, len(links) + self.busy.index(flow.core))


def plan_of(
    program: Program,
    mesh: Mesh,
    steps: list[Phase],
    flows: list[Flow],
    tables: dict[str, Axons],
    axon_flow: dict[str, Ints],
    number: dict[int, int],
) -> Plan:
    """Return the plan; tables and axon_flow are by node, number is that of each core."""
    machine, nodes = mesh.machine, tuple(tables)
    ways = [steps[flow.phase].way(mesh, flow) for flow in flows]
    every = [part for step in steps for part in step.parts]
    flow_of = np.concatenate([axon_flow[name] for name in nodes]).astype(np.int64)
    return Plan(
        synapse_fill=machine.synapse_fill,
        barrier=machine.barrier,
        cores=len(number) - 1,
        places=machine.queues or 0,
        part_first=_offsets([len(step.parts) for step in steps]),
        **_parts(every, number, nodes, tables),
        **_cores(steps, number, machine),
        **_neurons(program, nodes, every, machine),
        **_axons([*tables.values()], number),
        **_flows(flow_of, ways),
        way_core=_in_order(flows, ways, number, none=machine.queues is not None),
        flow_emitter=_array(number[flow.emitter] for flow in flows),
        **_links(steps, mesh),
        **_stops(steps, flows, ways, flow_of),
        latency=_array(_latency(program, name) for name in nodes),
    )


def _latency(program: Program, name: str) -> int:
    node = program[name]
    return 0 if isinstance(node, Source) else node.latency


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


def _cores(steps: list[Phase], number: dict[int, int], machine: Machine) -> dict[str, Ints]:
    ends = [
        step.used[core] + machine.neuron_fill if core in step.used else 0
        for step in steps
        for core in step.busy
    ]
    return {
        "core_first": _offsets([len(step.busy) for step in steps]),
        "core_list": _array(number[core] for step in steps for core in step.busy),
        "core_updated": _array(ends),
    }


def _links(steps: list[Phase], mesh: Mesh) -> dict[str, Ints]:
    links = _array(link for step in steps for link in step.followed.links)
    return {
        "link_first": _offsets([len(step.followed.links) for step in steps]),
        "link_list": links,
        "link_flit": mesh.flit[links],
        "plain": _array(step.followed.plain for step in steps),
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


def _in_order(flows: list[Flow], ways: list[Way], number: dict[int, int], *, none: bool) -> Ints:
    """Return, for each stop of each way, the core if all its packets come from one place, or -1.

    none: let there be no such cores.
    """
    last = [
        (flow.phase, *(("link", each[-2][0]) if len(each) > 1 else ("emitter", flow.emitter)))
        for flow, each in zip(flows, ways, strict=True)
    ]
    fed: dict[tuple[int, int], set[tuple[int, str, int]]] = {}
    for flow, before in zip(flows, last, strict=True):
        fed.setdefault((flow.phase, flow.core), set()).add(before)
    found = []
    for flow, each in zip(flows, ways, strict=True):
        alone = not none and len(fed[flow.phase, flow.core]) == 1
        found += [-1] * (len(each) - 1) + [number[flow.core] if alone else -1]
    return _array(found)


def _stops(
    steps: list[Phase], flows: list[Flow], ways: list[Way], axon_flow: Ints
) -> dict[str, Ints]:
    """Return where each stop of each phase keeps its packets, and the room of a phase."""
    first = _offsets([step.stops for step in steps])
    packets = np.bincount(axon_flow[axon_flow >= 0], minlength=len(flows)).tolist()
    passing, sent = np.zeros(first[-1], np.int64), np.zeros(len(steps), np.int64)
    for flow, each, most in zip(flows, ways, packets, strict=True):
        sent[flow.phase] += most
        for stop, _ in each:
            passing[first[flow.phase] + stop] += most
    own = [_offsets(passing[start:end].tolist()) for start, end in pairwise(first.tolist())]
    values = [sum(part.last - part.first for part in step.parts) for step in steps]
    rooms = zip(values, sent.tolist(), np.diff(first), (each[-1] for each in own), strict=True)
    return {
        "stop_first": first,
        "stop_slot": np.concatenate([each[:-1] for each in own]),
        "room": np.max([*rooms], axis=0).astype(np.int64),
    }


def _offsets(counts: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _array(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64)
