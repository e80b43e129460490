"""What a run of many pieces yields, put together as the pieces come in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.backends.simulator.head import Head
from neurodeploy.backends.simulator.runner import Runner
from neurodeploy.kernels.threads import thread_count
from neurodeploy.program.ir import Ints, Program, backwards, edges
from neurodeploy.program.run import Run
from neurodeploy.program.synapses import Conv

if TYPE_CHECKING:
    from neurodeploy.backends.simulator.cycles import Replay

Counter = tuple[str, str | tuple[str, int]]  #: what is counted, of which node, or of its edge


class Kept:
    """Room for what nodes send in a run, [T, B]: those of `record`, and the readout's.

    values [T, B, width] by name; ends [T, B, width], or [1, B, width] where the last step is
    enough. Samples may come from several threads.
    """

    def __init__(self, program: Program, size: tuple[int, int], record: Collection[str]) -> None:
        self._steps, self._source = size[0], program.readout.source
        self.values = {
            name: np.zeros(
                (*size, program[name].width), np.uint8 if program.spikes(name) else np.int32
            )
            for name in record
        }
        self._each = program.readout.kind == "steps"
        shape = size[0] if self._each else 1, size[1], program[self._source].width
        self.ends = np.empty(shape, np.int32)

    def take(self, runner: Runner, first: int, begin: int) -> None:
        """Keep what is wanted of a piece: its samples from `first`, its steps from `begin` on."""
        samples = slice(first, first + runner.samples)
        steps = slice(begin, begin + runner.steps)
        for name, room in self.values.items():
            room[steps, samples] = runner.values[name].whole().transpose(1, 0, 2)
        if not self._each and steps.stop == self._steps:
            self.ends[0, samples] = runner.values[self._source].end()

    def room(self, first: int, last: int, begin: int, end: int) -> Any:
        """Return where these samples of these steps go of what the readout reads, [T, B, width].

        None where no step is kept but the last, which `take` does.
        """
        return self.ends[begin:end, first:last] if self._each else None


class Results:
    """Room for the results of a run, [T, B] in all; pieces may come from several threads."""

    def __init__(
        self,
        program: Program,
        size: tuple[int, int],
        *,
        record: Collection[str],
        states: bool,
        timing: bool,
        traffic: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        self._program, self._size, self._progress = program, size, progress
        self._lock, self._done, self._clipped = Lock(), 0, 0
        self._counts: Any = 0
        self._kept = Kept(program, size, record)
        self._states: dict[str, Ints] = {}
        self._sent: dict[str, Ints] = {}
        self._fed_back: dict[str, Ints] = {}
        self._with_states, self._with_traffic = states, traffic
        senders = dict.fromkeys(source for _, _, source in convolved(program))
        self._counted = [node.name for node in program] if traffic else list(senders)
        self._replay = _replay(program) if timing else None

    def room(self, first: int, last: int, begin: int, end: int) -> Any:
        """Return where these samples of these steps go of what the readout reads, as `Kept` has."""
        return self._kept.room(first, last, begin, end)

    @property
    def light(self) -> bool:
        """Whether little is kept of a piece: only what the readout reads."""
        return not (self._kept.values or self._counted or self._replay)

    def take(self, runner: Runner, first: int, begin: int, clipped: int) -> None:
        """Keep what is wanted of a piece: its samples from `first`, its steps from `begin` on."""
        self._kept.take(runner, first, begin)
        if self._replay is not None:
            fired = {name: values.fired() for name, values in runner.values.items()}
            alone = runner.samples == self._size[1]
            self._replay.add(fired, first, thread_count() if alone else 1)
        ended = begin + runner.steps == self._size[0]
        sent = self._count(runner, ended=ended) if self._counted else {}
        with self._lock:
            self._clipped += clipped
            for name, (count, heard) in sent.items():
                self._sent[name] = self._sent.get(name, 0) + count
                if heard is not None:
                    self._fed_back[name] = self._fed_back.get(name, 0) + heard
            self._done += runner.steps * runner.samples
            self._progress(self._done, self._size[0] * self._size[1])

    def _count(self, runner: Runner, *, ended: bool) -> dict[str, tuple[Ints, Ints | None]]:
        """Count by neuron what a piece sent, and what was fed back of it: all but the last step."""
        from neurodeploy.backends.simulator.traffic import count_sent

        found: dict[str, tuple[Ints, Ints | None]] = {}
        for name in self._counted:
            sent, node = runner.values[name].whole(), self._program[name]
            count, heard = count_sent(sent), None
            if any(edge.source == name for edge in edges(node)):
                last = sent[:, :1] if backwards(node) else sent[:, -1:]
                heard = count - count_sent(last) if ended else count
            found[name] = count, heard
        return found

    def finish(self, runner: Runner, first: int) -> None:
        """Keep the states and counts of a runner that has come to the end of its samples."""
        with self._lock:
            self._counts = self._counts + runner.counts
            for name, state in runner.states().items() if self._with_states else ():
                if name not in self._states:
                    shape = len(state), self._size[1], state.shape[2]
                    self._states[name] = np.zeros(shape, np.int64)
                self._states[name][:, first : first + runner.samples] = state

    def run(self, counters: Iterable[Counter], head: Head) -> Run:
        """Return the whole run, whose counts are of these."""
        return Run(
            program=self._program,
            steps=self._size[0],
            samples=self._size[1],
            integers=head.integers(self._kept.ends),
            **tally(self._program, counters, self._counts, self._sent),
            clipped_inputs=self._clipped,
            values=self._kept.values,
            states=self._states,
            sent=self._sent if self._with_traffic else {},
            fed_back=self._fed_back if self._with_traffic else {},
            cycles=self._replay.result() if self._replay is not None else None,
        )


def tally(
    program: Program, counters: Iterable[Counter], counts: Ints, sent: Mapping[str, Ints]
) -> dict[str, dict[Any, Any]]:
    """Return events, spikes and overflows of a run from the counts [counters].

    sent: how often each sender of a Conv did.
    """
    counted: dict[str, dict[Any, Any]] = {"events": {}, "spikes": {}, "overflows": {}}
    for (kind, key), count in zip(counters, counts.tolist(), strict=True):
        found = counted[kind]
        found[key] = found.get(key, 0) + count
    for target, number, source in convolved(program):
        counted["events"][target, number] = sent[source]
    return counted


@lru_cache(maxsize=2)
def convolved(program: Program) -> tuple[tuple[str, int, str], ...]:
    """Return target, number and source of each Conv: what a value costs depends on its sender."""
    return tuple(
        (node.name, number, edge.source)
        for node in program
        for number, edge in enumerate(edges(node))
        if isinstance(edge, Conv)
    )


def _replay(program: Program) -> Replay:
    from neurodeploy.backends.simulator.cycles import Replay

    return Replay(program)
