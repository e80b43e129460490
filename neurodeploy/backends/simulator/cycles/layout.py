"""A placed program on its machine: what the numbers of a plan stand for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from neurodeploy.backends.simulator.cycles.mesh import DIRECTIONS, Mesh
from neurodeploy.backends.simulator.cycles.phases import INPUT, Axons, axons, parts
from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.backends.simulator.cycles.tables import Phase, plan_of
from neurodeploy.backends.simulator.cycles.ways import Flow, flows_of, followed
from neurodeploy.program.ir import Ints, Program
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
    def words(self) -> Ints:
        """The words that a packet reads, by axon."""
        return np.concatenate([table.words for table in self.axons])

    @cached_property
    def ends(self) -> tuple[Ints, Ints]:
        """Emitter and core of each flow."""
        return self.plan.flow_emitter, np.searchsorted(self.cores, [f.core for f in self.flows])

    @cached_property
    def crossings(self) -> tuple[Ints, Ints]:
        """Flow and link, for each link that a flow crosses."""
        flow = np.repeat(np.arange(len(self.flows)), [len(flow.links) for flow in self.flows])
        return flow, np.array([link for each in self.flows for link in each.links], np.int64)

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
    found = [parts(program, group) for group in groups]
    tables = {node.name: axons(program, node.name) for node in program}
    flows, axon_flow = flows_of(mesh, [group for group, _ in found], tables)
    cores = tuple(sorted({part.core for part in program.placement}))
    number = {core: i for i, core in enumerate(cores)} | {INPUT: -1}
    steps = []
    for phase, (group, used) in enumerate(found):
        own = [flow for flow in flows if flow.phase == phase]
        busy = sorted({*used, *(flow.core for flow in own)})
        steps.append(Phase(group, used, followed(mesh, own), tuple(busy)))
    updating = np.zeros(len(cores), np.int64)
    for _, used in found:
        for core, cycles in used.items():
            updating[number[core]] += cycles
    return Layout(
        machine=machine,
        mesh=mesh,
        cores=cores,
        phases=tuple(tuple(group) for group in groups),
        nodes=tuple(tables),
        updating=updating,
        flows=tuple(flows),
        axons=tuple(tables.values()),
        plan=plan_of(program, mesh, steps, flows, tables, axon_flow, number),
    )
