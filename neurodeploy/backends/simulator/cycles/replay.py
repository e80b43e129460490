"""Feed a run's values to the compiled replay, some samples at a time, and sum up what it finds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurodeploy.backends.simulator.cycles.kernels import Outcome, replay
from neurodeploy.backends.simulator.cycles.mesh import DIRECTIONS
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
        self._fired = np.zeros(len(self._layout.plan.axon_first) - 1, np.int64)
        self._parts: list[Outcome] = []

    def add(self, values: Mapping[str, Ints]) -> None:
        """Replay a chunk: the values [B, T, width] of every node, in the time of the input."""
        plan, names = self._layout.plan, self._layout.nodes
        samples, steps = values[names[0]].shape[:2]
        pointers = np.zeros((len(names), samples * steps + 1), np.int64)
        parts: list[Ints] = []
        for n, (name, base) in enumerate(zip(names, plan.node_base.tolist(), strict=True)):
            own, pointers[n] = _channels(values[name])
            pointers[n] += sum(map(len, parts))
            width = values[name].shape[2]
            self._fired[base : base + width] += np.bincount(own, minlength=width)
            parts.append(own)
        events = np.concatenate(parts)
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
        packets = self._fired[found.axon_neuron[found.used]]
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
            cores=_cores(found, packets, stages, critical),
            links=_links(found, packets, sum(part.waited.sum(axis=0) for part in self._parts)),
            phases=tuple(
                PhaseLoad(nodes=names, stages=tuple(row))
                for names, row in zip(found.phases, paths.tolist(), strict=True)
            ),
        )


def _channels(values: Ints) -> tuple[Ints, Ints]:
    """Return the channels of values [B, T, width] that are not zero, row by row, and pointers.

    Those of row m, of B T, are channels[pointers[m]:pointers[m + 1]].
    """
    width = values.shape[2]
    there = np.flatnonzero(values != 0)
    rows = np.arange(values.shape[0] * values.shape[1] + 1)
    return there % width, np.searchsorted(there, rows * width)


def _cores(found: Layout, packets: Ints, stages: Ints, critical: Ints) -> tuple[CoreLoad, ...]:
    """Return what each core did: packets [axons that are used], times from the replay."""
    plan, used = found.plan, found.used
    core, emitter = plan.axon_core[used], plan.flow_emitter[plan.axon_flow[used]]
    sums = np.zeros((4, len(found.cores) + 1), np.int64)  # adding, sent, received, words
    np.add.at(sums[0], core, packets * plan.axon_interval[used])
    np.add.at(sums[1], emitter, packets)  # those of the input, -1, go to the last
    np.add.at(sums[2], core, packets)
    np.add.at(sums[3], core, packets * found.axon_words[used])
    last = np.bincount(critical.reshape(-1), minlength=len(found.cores))
    return tuple(
        CoreLoad(
            core=core,
            stages=tuple(stages[:, i].sum(axis=0).tolist()),
            critical=int(last[i]),
            updating=int(found.updating[i]) * critical.size,
            adding=int(sums[0, i]),
            sent=int(sums[1, i]),
            received=int(sums[2, i]),
            words=int(sums[3, i]),
        )
        for i, core in enumerate(found.cores)
    )


def _links(found: Layout, packets: Ints, waited: Ints) -> tuple[LinkLoad, ...]:
    """Return what passed each link that a flow crosses; packets [axons that are used]."""
    sent = np.zeros(len(found.flows), np.int64)
    np.add.at(sent, found.plan.axon_flow[found.used], packets)
    passed, waits = np.zeros((2, found.mesh.size), np.int64)
    flow, link = found.crossings
    np.add.at(passed, link, sent[flow])
    np.add.at(waits, found.plan.link_list, waited)
    crossed = np.unique(link).tolist()
    loads = []
    for link in crossed:
        way, x, y = found.mesh.place(link)
        loads.append(
            LinkLoad(
                x=x,
                y=y,
                direction=DIRECTIONS[way],
                packets=int(passed[link]),
                busy=int(passed[link] * found.mesh.flit[link]),
                waited=int(waits[link]),
            )
        )
    return tuple(loads)
