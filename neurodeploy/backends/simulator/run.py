"""Run a program on data: layer by layer with time inside, some samples at a time on each thread.

Kernels are generated from each neuron's `step` (`kernels.layer`) and event driven. All is integers,
so the result does not depend on order, threads or pieces: it is `program.reference.execute`, bit
for bit, and counted. Memory is bounded: by the results that are asked for, and a fixed amount per
thread, whatever the length of the data set and, where time runs forwards only, of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from itertools import pairwise
from math import inf
from threading import Lock
from typing import Any

from neurodeploy.backends.simulator.head import head
from neurodeploy.backends.simulator.inputs import known, readable
from neurodeploy.backends.simulator.layers import bytes_per_step, layers
from neurodeploy.backends.simulator.results import Results
from neurodeploy.backends.simulator.runner import Runner
from neurodeploy.errors import InputError
from neurodeploy.kernels.threads import each_part, threads_for
from neurodeploy.program.ir import Program, backwards
from neurodeploy.program.reference import check_length
from neurodeploy.program.run import Run

Progress = Callable[[int, int], None]

_PIECE = 16 << 20  # bytes of what all nodes send in a piece: some steps of some samples
_IDLE = 4  # runners that are kept for the next run
_LENGTHS = 2  # of pieces, for which runners are kept on the way: a step, and some


def simulate(
    program: Program,
    x: Any,
    *,
    record: Collection[str] = (),
    states: bool = False,
    timing: bool = False,
    traffic: bool = False,
    progress: Progress = lambda done, total: None,
) -> Run:
    """Run real inputs x [T, B, C] through `program`.

    record: names of nodes whose outputs to keep; states: keep the final states of all populations;
    timing: replay the run on the target's machine, cycle by cycle; traffic: count what each neuron
    sends (`Run.sent`), from which packets and hops follow; progress(done, total) is called after
    each piece of the run, with steps of samples. Raises InputError E106 if x does not fit the
    program, FitError E301 if a current does not fit 32 bits, E304 if it cannot be timed.
    """
    return simulator(program).run(
        x, record=record, states=states, timing=timing, traffic=traffic, progress=progress
    )


@lru_cache(maxsize=2)
def simulator(program: Program) -> Simulator:
    """Return a simulator of the program: the same, if it was asked for just before.

    Raises InputError E105 for what is no program.
    """
    if not isinstance(program, Program):
        fix = "compile it first: nd.compile(graph, target)"
        raise InputError("E105", f"a {type(program).__name__} is no program to run", fix=fix)
    return Simulator(program)


class Simulator:
    """A program made ready to run, again and again."""

    def __init__(self, program: Program) -> None:
        """Lay out all constants; raises FitError E301 if a current does not fit 32 bits."""
        self.program = program
        self._layers = layers(program)
        self.head = head(program)
        self.counters = [c for own in self._layers.values() for each in own for c in each.counters]
        self.bytes_per_step = bytes_per_step(program, self._layers)
        self.room = max(1, _PIECE // self.bytes_per_step)  # steps of samples in a piece
        lengths = [node.longest for node in program.populations if node.longest is not None]
        self._longest = min(lengths, default=inf)
        self._alone = all(each.alone for own in self._layers.values() for each in own)
        self._buffered = any(backwards(node) for node in program)
        self._idle: list[Runner] = []
        self._lock = Lock()

    def run(
        self,
        x: Any,
        *,
        record: Collection[str] = (),
        states: bool = False,
        timing: bool = False,
        traffic: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> Run:
        """Run real inputs x [T, B, C], as `simulate` does."""
        x = readable(self.program.source, x)
        steps, samples = x.shape[:2]
        if steps > self._longest:
            check_length(self.program, steps)
        known(self.program, record)
        results = Results(
            self.program,
            (steps, samples),
            record=record,
            states=states,
            timing=timing,
            traffic=traffic,
            progress=progress,
        )
        length = steps if self._buffered or timing else min(steps, self.room)

        work, most = steps * samples * self.bytes_per_step, self.room // length
        inside = self._alone and results.light  # else a thread each for parts of the samples
        threads = threads_for(work, samples) if inside else 1

        def part(first: int, last: int) -> None:
            self._part(x, first, last, length, results, threads)

        each_part(part, samples, most=most, work=0 if inside else work)
        return results.run(self.counters, self.head)

    def runner(self, samples: int, steps: int) -> Runner:
        """Return one that is idle, at rest, or make it."""
        with self._lock:
            for i, idle in enumerate(self._idle):
                if (idle.samples, idle.steps) == (samples, steps):
                    found = self._idle.pop(i)
                    found.reset()
                    return found
        return Runner(self.program, self._layers, samples, steps)

    def _part(
        self, x: Any, first: int, last: int, length: int, results: Results, threads: int
    ) -> None:
        """Run the samples `first` to `last`, piece by piece of so many steps."""
        track = Track(self, last - first)
        for begin, end in pieces(len(x), length):
            ends = results.room(first, last, begin, end)
            clipped = track.advance(x[begin:end, first:last], ends, threads)
            results.take(track.runner, first, begin, clipped)
        runner = track.runner
        results.finish(runner, first)
        with self._lock:
            self._idle = [runner, *self._idle][:_IDLE]


class Track:
    """Some samples on their way through time, in pieces of any lengths.

    `runner` has done the last piece, and has the states after it.
    """

    def __init__(self, simulator: Simulator, samples: int) -> None:
        self.samples = samples
        self._simulator = simulator
        self._runners: list[Runner] = []  # of different lengths, the last used first

    @property
    def runner(self) -> Runner:
        """The runner of the last piece."""
        return self._runners[0]

    def advance(self, x: Any, ends: Any, threads: int = 1) -> int:
        """Run the next steps x [T, B, C] as `Runner.advance` does."""
        return self._turned_to(len(x)).advance(x, ends, threads)

    def reset(self) -> None:
        """Put all back to rest, and all counts to zero."""
        for runner in self._runners:
            runner.reset()

    def _turned_to(self, steps: int) -> Runner:
        """Let a runner of so many steps go on, and return it."""
        before = self._runners
        if before and before[0].steps == steps:
            return before[0]
        found = next((r for r in before if r.steps == steps), None) if before else None
        runner = found or self._simulator.runner(self.samples, steps)
        if before:
            runner.go_on_from(before[0])
        self._runners = [runner, *(other for other in before if other is not runner)][:_LENGTHS]
        return runner


def pieces(steps: int, length: int) -> Iterable[tuple[int, int]]:
    """Cut the steps into pieces of nearly equal lengths of at most `length`, longer ones first."""
    if 0 < steps <= length:
        return ((0, steps),)
    count = -(-steps // length)
    bounds = [steps - steps * (count - i) // count for i in range(count + 1)]
    return pairwise(bounds)
