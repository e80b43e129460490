"""Feed a run's values to the compiled replay, some samples at a time, and sum up what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from itertools import pairwise
from threading import Lock

import numpy as np

from neurodeploy.backends.simulator.cycles.kernels import Outcome, Sums, count_flows, replay, space
from neurodeploy.backends.simulator.cycles.layout import Layout, layout
from neurodeploy.backends.simulator.cycles.plan import Plan
from neurodeploy.backends.simulator.cycles.queues import queues, replay_held
from neurodeploy.errors import FitError
from neurodeploy.kernels.threads import side_by_side
from neurodeploy.program.cycles import CoreLoad, Cycles, LinkLoad, PhaseLoad
from neurodeploy.program.ir import Ints, Program

_ROWS = 40  # steps of samples that are worth a thread
_ROW_WORK = 1000  # element updates that one of them costs, about


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
        self._outcomes: dict[int, Outcome] = {}
        self._sums: Sums | None = None
        self._lock = Lock()

    def add(self, fired: Mapping[str, Ints], first: int = 0, threads: int = 1) -> None:
        """Replay the samples from `first` on, on so many threads.

        fired: the bits [B, T, words] of every node, in the time of the input, of what is not 0.
        """
        plan, names = self._layout.plan, self._layout.nodes
        bits = np.concatenate([fired[name] for name in names], axis=2)
        size = bits.shape[0], bits.shape[1] + int(plan.latency.max())
        outcome = Outcome(np.zeros(size, np.int64), np.zeros(size, np.int64))
        rows = size[0] * size[1]
        parts = max(1, min(threads, rows // _ROWS))
        sums = [self._zeros(size[1]) for _ in range(parts)]
        edges = pairwise(rows * i // parts for i in range(parts + 1))
        jobs = [
            partial(_replay(plan, bits), outcome, own, *edge)
            for own, edge in zip(sums, edges, strict=True)
        ]
        side_by_side(jobs, work=_ROW_WORK * rows)
        with self._lock:
            self._outcomes[first] = outcome
            self._sums = reduce(_added, sums if self._sums is None else [self._sums, *sums])

    def _zeros(self, steps: int) -> Sums:
        plan = self._layout.plan
        return Sums(
            stages=np.zeros((steps, plan.cores, 5), np.int64),
            phases=np.zeros((len(self._layout.phases), 6), np.int64),
            waited=np.zeros(len(plan.link_list), np.int64),
            fired=np.zeros(len(plan.ready), np.int64),
        )

    def result(self) -> Cycles:
        """Return the cycles of all samples together; some must have been added."""
        assert self._sums is not None
        found, (stages, paths, waited, fired) = self._layout, self._sums
        outcomes = [self._outcomes[first] for first in sorted(self._outcomes)]
        critical = np.concatenate([part.critical for part in outcomes]).T
        steps = np.concatenate([part.steps for part in outcomes]).T
        plan, done = found.plan, np.zeros((3, len(found.flows)), np.int64)
        axons = plan.axon_first, plan.axon_flow, plan.axon_interval, found.words
        count_flows(*axons, fired, done)
        numbers = np.array(found.cores, np.int64)
        return Cycles(
            machine=found.machine,
            steps=steps,
            critical=numbers[critical] if len(numbers) else critical,
            stages=stages,
            cores=_cores(found, done, stages, critical),
            links=_links(found, done[0], waited),
            phases=tuple(
                PhaseLoad(nodes=names, stages=tuple(row))
                for names, row in zip(found.phases, paths.tolist(), strict=True)
            ),
        )


def _replay(plan: Plan, bits: Ints) -> Callable[..., None]:
    if plan.places:
        return partial(replay_held, plan, bits, space(plan), queues(plan))
    return partial(replay, plan, bits, space(plan))


def _added(one: Sums, other: Sums) -> Sums:
    return Sums(*(a + b for a, b in zip(one, other, strict=True)))


def _cores(found: Layout, done: Ints, stages: Ints, critical: Ints) -> tuple[CoreLoad, ...]:
    """Return what each core did: done [packets, cycles and words, flows]; times from the replay."""
    emitter, core = found.ends
    sums = np.zeros((4, len(found.cores) + 1), np.int64)
    np.add.at(sums[0], emitter, done[0])  # those of the input, -1, go to the last
    np.add.at(sums[1:].T, core, done.T)
    sent, received, adding, words = sums.tolist()
    last = np.bincount(critical.reshape(-1), minlength=len(found.cores)).tolist()
    times, updating = stages.sum(axis=0).tolist(), (found.updating * critical.size).tolist()
    return tuple(
        CoreLoad(
            core=core,
            stages=tuple(times[i]),
            critical=last[i],
            updating=updating[i],
            adding=adding[i],
            sent=sent[i],
            received=received[i],
            words=words[i],
        )
        for i, core in enumerate(found.cores)
    )


def _links(found: Layout, sent: Ints, waited: Ints) -> tuple[LinkLoad, ...]:
    """Return what passed each link that a flow crosses; sent: packets [flows]."""
    passed, waits = np.zeros((2, found.mesh.size), np.int64)
    flow, link = found.crossings
    np.add.at(passed, link, sent[flow])
    np.add.at(waits, found.plan.link_list, waited)
    busy = (passed * found.mesh.flit).tolist()
    return tuple(
        LinkLoad(
            x=x,
            y=y,
            direction=direction,
            packets=int(passed[link]),
            busy=busy[link],
            waited=int(waits[link]),
        )
        for link, x, y, direction in found.crossed
    )
