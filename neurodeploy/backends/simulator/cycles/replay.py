"""Feed a run's values to the compiled replay, some samples at a time, and sum up what it finds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurodeploy.backends.simulator.cycles.kernels import Outcome, compact, replay
from neurodeploy.backends.simulator.cycles.mesh import DIRECTIONS
from neurodeploy.backends.simulator.cycles.phases import INPUT
from neurodeploy.backends.simulator.cycles.plan import Layout, layout
from neurodeploy.errors import FitError
from neurodeploy.kernels import share
from neurodeploy.program.cycles import CoreLoad, Cycles, LinkLoad, PhaseLoad
from neurodeploy.program.ir import Ints, Program

_PACKET_WORK = 20  # element updates that one packet costs, about


class Replay:
    """The cycles of a program, over as many chunks of samples as are added."""

    def __init__(self, program: Program) -> None:
        """Lay out the program; raises FitError E304 if its target has no machine."""
        if program.target.cycles is None:
            raise FitError(
                "E304",
                f"{program.target.name} does not say how long its steps take",
                where=f"target {program.target.name}",
                fix="compile for a target with a [cycles] table: asic45, or a .toml file of your"
                " own (an asynchronous chip has no clock to count)",
            )
        self._layout = layout(program)
        self._fired = [np.zeros(program[name].width, np.int64) for name in self._layout.nodes]
        self._parts: list[Outcome] = []

    def add(self, values: Mapping[str, Ints]) -> None:
        """Replay a chunk: the values [B, T, width] of every node, in the time of the input."""
        plan, names = self._layout.plan, self._layout.nodes
        samples, steps = values[names[0]].shape[:2]
        pointers = np.zeros((len(names), samples * steps + 1), np.int64)
        counts = [int(np.count_nonzero(values[name])) for name in names]
        ends = np.cumsum(counts)
        events = np.empty(max(ends[-1], 1), np.int32)
        for n, name in enumerate(names):
            own = events[ends[n] - counts[n] : ends[n]]
            rows = values[name].reshape(samples * steps, values[name].shape[2])
            compact(rows, pointers[n], own, self._fired[n])
            pointers[n] += ends[n] - counts[n]
        outcome = self._outcome(samples, steps + int(plan.latency.max()))
        work = _PACKET_WORK * len(events)
        share(replay, plan, events, pointers, steps, outcome, samples=samples, work=work)
        self._parts.append(outcome._replace(stages=outcome.stages.sum(axis=0)))

    def _outcome(self, samples: int, steps: int) -> Outcome:
        plan, phases = self._layout.plan, len(self._layout.phases)
        return Outcome(
            steps=np.zeros((samples, steps), np.int64),
            critical=np.zeros((samples, steps), np.int64),
            stages=np.zeros((samples, steps, plan.cores, 5), np.int64),
            phases=np.zeros((samples, phases, 6), np.int64),
            waited=np.zeros((samples, len(plan.link_list)), np.int64),
        )

    def result(self) -> Cycles:
        """Return the cycles of all chunks together."""
        found = self._layout
        critical = np.concatenate([part.critical for part in self._parts]).T
        stages = np.sum([part.stages for part in self._parts], axis=0)
        paths = np.sum([part.phases.sum(axis=0) for part in self._parts], axis=0)
        steps = np.concatenate([part.steps for part in self._parts]).T
        numbers = np.array(found.cores, np.int64)
        return Cycles(
            machine=found.machine,
            steps=steps,
            critical=numbers[critical] if len(numbers) else critical,
            stages=stages,
            cores=_cores(found, self._fired, stages, critical),
            links=_links(found, self._fired, sum(part.waited.sum(axis=0) for part in self._parts)),
            phases=tuple(
                PhaseLoad(nodes=names, stages=tuple(row))
                for names, row in zip(found.phases, paths.tolist(), strict=True)
            ),
        )


def _cores(found: Layout, fired: list[Ints], stages: Ints, critical: Ints) -> tuple[CoreLoad, ...]:
    """Return what each core did: packets from its axons, times from the replay."""
    sums = {core: np.zeros(4, np.int64) for core in found.cores}  # adding, sent, received, words
    for axons, flows, counts in zip(found.axons, found.axon_flows, fired, strict=True):
        packets = counts[axons.neuron]
        for flow in np.unique(flows[flows >= 0]).tolist():
            own = flows == flow
            busy, words = packets[own] @ axons.interval[own], packets[own] @ axons.words[own]
            total = packets[own].sum()
            sums[found.flows[flow].core] += (busy, 0, total, words)
            if found.flows[flow].emitter != INPUT:
                sums[found.flows[flow].emitter] += (0, total, 0, 0)
    last = np.bincount(critical.reshape(-1), minlength=len(found.cores))
    return tuple(
        CoreLoad(
            core=core,
            stages=tuple(stages[:, i].sum(axis=0).tolist()),
            critical=int(last[i]),
            updating=int(found.updating[i]) * critical.size,
            adding=int(sums[core][0]),
            sent=int(sums[core][1]),
            received=int(sums[core][2]),
            words=int(sums[core][3]),
        )
        for i, core in enumerate(found.cores)
    )


def _links(found: Layout, fired: list[Ints], waited: Ints) -> tuple[LinkLoad, ...]:
    """Return what passed each link that a flow crosses."""
    packets = np.zeros(found.mesh.size, np.int64)
    for axons, flows, counts in zip(found.axons, found.axon_flows, fired, strict=True):
        own = counts[axons.neuron]
        for flow in np.unique(flows[flows >= 0]).tolist():
            packets[list(found.flows[flow].links)] += own[flows == flow].sum()
    waits = np.zeros(found.mesh.size, np.int64)
    np.add.at(waits, found.plan.link_list, waited)
    crossed = sorted({link for flow in found.flows for link in flow.links})
    loads = []
    for link in crossed:
        way, x, y = found.mesh.place(link)
        loads.append(
            LinkLoad(
                x=x,
                y=y,
                direction=DIRECTIONS[way],
                packets=int(packets[link]),
                busy=int(packets[link] * found.mesh.flit[link]),
                waited=int(waits[link]),
            )
        )
    return tuple(loads)
