"""A program that runs as its input comes, a step or some steps at a time.

States stay between calls, so the parts of a sequence give what `simulate` gives on the whole, bit
for bit, in memory that does not grow with it. A layer that runs backwards in time needs the last
step before it can do the first: programs with one have no session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from neurodeploy.backends.simulator.inputs import known, readable
from neurodeploy.backends.simulator.results import Kept, convolved, tally
from neurodeploy.backends.simulator.run import Track, pieces, simulator
from neurodeploy.errors import FitError, InputError
from neurodeploy.kernels.threads import side_by_side, thread_count
from neurodeploy.program.ir import Ints, Program, Reals, backwards
from neurodeploy.program.reference import check_finite, check_length, worth
from neurodeploy.program.run import Run

_TIMES = 100_000  # steps whose times are kept


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """What is known after a step, or after some.

    integers, outputs: the readout of all steps so far, [B, N], as integers and in real units; of a
    readout per step those of these steps, [T, B, N]. values: by name, what each node that is
    recorded sent, [T, B, width]. After a single step there is no axis T; for a single sample given
    as x [C] no axis B.
    """

    integers: Ints
    outputs: Reals
    values: Mapping[str, Ints] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """How long steps took, from input to answer, in seconds; `steps` of them."""

    steps: int
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float

    @classmethod
    def of(cls, seconds: Collection[float]) -> Latency:
        """Return the percentiles of so many seconds; NaN if there are none."""
        if not seconds:
            return cls(0, *[float("nan")] * 4)
        found = np.percentile(np.fromiter(seconds, np.float64), [50, 90, 99, 100])
        return cls(len(seconds), *found.tolist())


class Session:
    """A program at work on `samples` sequences side by side; one thread at a time may use it.

    record: names of nodes whose outputs are in every answer. All that has to be compiled is, when
    the session is there. Raises FitError E303 for a program with a layer that runs backwards,
    E301 if a current does not fit 32 bits, InputError E105 for an unknown name, or no program.

        session = nd.Session(program)
        for x in sensor:                     # x [C], or [B, C]
            answer = session.step(x)
    """

    def __init__(self, program: Program, samples: int = 1, *, record: Collection[str] = ()) -> None:
        self._simulator = simulator(program)
        _check_forwards(program)
        if samples < 1 or samples != int(samples):
            raise InputError("E105", f"{samples} samples", fix="give a whole number, one or more")
        samples = int(samples)
        self.program, self.samples = program, samples
        self._names = known(program, record)
        parts = min(thread_count(), samples)
        ends = [samples * i // parts for i in range(parts + 1)]
        self._spans = [slice(*ends[i : i + 2]) for i in range(parts)]
        self._tracks = [Track(self._simulator, s.stop - s.start) for s in self._spans]
        self._senders = dict.fromkeys(source for _, _, source in convolved(program))
        self._seconds: deque[float] = deque(maxlen=_TIMES)
        self.reset()
        self._run(_silence(program, samples))
        self.reset()

    @property
    def steps(self) -> int:
        """How many steps were run since the session began, or was reset."""
        return self._steps

    @property
    def latency(self) -> Latency:
        """How long the last steps took (`step`, not `run`): up to 100,000 of them."""
        return Latency.of(self._seconds)

    @property
    def states(self) -> dict[str, Ints]:
        """The states of all populations now, [states, B, width]."""
        found = [track.runner.states() for track in self._tracks]
        return {name: np.concatenate([own[name] for own in found], axis=1) for name in found[0]}

    def reset(self) -> None:
        """Begin anew: all states at rest, no steps, no counts."""
        for track in self._tracks:
            track.reset()
        self._steps = self._clipped = 0
        self._integers: Ints = np.zeros(0, np.int64)
        self._sent: dict[str, Any] = dict.fromkeys(self._senders, 0)

    def step(self, x: Any) -> Answer:
        """Run one step, x [B, C] (token ids [B, 1]), or [C] of a single sample.

        Raises InputError E106 if x does not fit, and then is where it was.
        """
        start = perf_counter()
        data = np.asarray(x)
        alone = data.ndim == 1
        if data.ndim not in (1, 2):
            fix = f"give x [{self.samples}, {self.program.source.width}], or a sequence to `run`"
            raise InputError("E106", f"a step has shape {data.shape}", fix=fix)
        answer = self._run(data[None, None] if alone else data[None])
        answer = _only(answer, each=self.program.readout.kind == "steps", alone=alone)
        self._seconds.append(perf_counter() - start)
        return answer

    def run(self, x: Any) -> Answer:
        """Run the next steps x [T, B, C], as so many calls of `step` do, but faster.

        Raises InputError E106 if x does not fit, and then is where it was.
        """
        return self._run(x)

    def result(self) -> Run:
        """Return all steps so far as a run: its readout, and counts of what was done.

        Of a readout per step there are the integers of the last call only.
        """
        counts: Any = sum(track.runner.counts for track in self._tracks)
        counted: Any = tally(self.program, self._simulator.counters, counts, self._sent)
        return Run(
            program=self.program,
            steps=self._steps,
            samples=self.samples,
            integers=self._integers,
            **counted,
            clipped_inputs=self._clipped,
        )

    def _run(self, x: Any) -> Answer:
        data = self._checked(x)
        steps = len(data)
        kept = Kept(self.program, (steps, self.samples), self._names)
        jobs = [
            partial(self._part, track, span, data[:, span], kept)
            for track, span in zip(self._tracks, self._spans, strict=True)
        ]
        work = steps * self.samples * self._simulator.bytes_per_step
        for clipped, sent in side_by_side(jobs, work=work):
            self._clipped += clipped
            for name, counts in sent.items():
                self._sent[name] = self._sent[name] + counts
        self._steps += steps
        self._integers = self._simulator.head.integers(kept.ends)
        outputs = worth(self.program.readout, self._integers, self._steps)
        return Answer(integers=self._integers, outputs=outputs, values=kept.values)

    def _checked(self, x: Any) -> Any:
        """Return the next steps as an array or `Tokens`, if they can be run as they are."""
        data = readable(self.program.source, x)
        if data.shape[1] != self.samples:
            fix = f"give as many, or make a Session(program, samples={data.shape[1]})"
            what = f"{data.shape[1]} samples in a session of {self.samples}"
            raise InputError("E106", what, fix=fix)
        check_length(self.program, self._steps + len(data))
        check_finite(data)
        return data

    def _part(self, track: Track, span: slice, x: Any, kept: Kept) -> tuple[int, dict[str, Ints]]:
        """Run the samples of a track; return the clipped inputs, and how often senders sent."""
        clipped = 0
        sent: dict[str, Any] = dict.fromkeys(self._senders, 0)
        for begin, end in pieces(len(x), max(1, self._simulator.room // track.samples)):
            ends = kept.room(span.start, span.stop, begin, end)
            clipped += track.advance(x[begin:end], ends)
            kept.take(track.runner, span.start, begin)
            if self._senders:
                self._count(track, sent)
        return clipped, sent

    def _count(self, track: Track, sent: dict[str, Any]) -> None:
        """Add how often the senders of a piece sent."""
        from neurodeploy.backends.simulator.traffic import count_sent

        for name in self._senders:
            sent[name] = sent[name] + count_sent(track.runner.values[name].whole())


def _check_forwards(program: Program) -> None:
    found = [f'{type(node).__name__.lower()} "{node.name}"' for node in program if backwards(node)]
    if found:
        raise FitError(
            "E303",
            "a layer runs backwards in time: it cannot answer a step before it has the last one",
            where=", ".join(found),
            fix="give whole sequences to `simulate`, or train with bidirectional=False",
        )


def _silence(program: Program, samples: int) -> Any:
    source = program.source
    return np.full((1, samples, 1), -1) if source.tokens else np.zeros((1, samples, source.width))


def _only(answer: Answer, *, each: bool, alone: bool) -> Answer:
    """Return an answer of one step without its axis, and of one sample without its own."""
    at = (0, 0) if alone else (0,)
    end = at if each else at[1:]
    values = {name: value[at] for name, value in answer.values.items()}
    return Answer(integers=answer.integers[end], outputs=answer.outputs[end], values=values)
