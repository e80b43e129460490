"""A program in memory, for so many samples and steps at a time.

Nodes run one after another, each over all steps, from buffers that are made once. States stay where
they are between calls of `advance`, so a sequence may come in pieces: of any length, or of a
single step. All arrays are [B, T, ...]; times are those of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neurodeploy.backends.simulator import inputs
from neurodeploy.backends.simulator.chain import NONE, Call, Chain, Scratch
from neurodeploy.backends.simulator.layers import Layer
from neurodeploy.backends.simulator.memory import Values, padded
from neurodeploy.backends.simulator.stage import Extent, Stage, Work, room
from neurodeploy.kernels import pack
from neurodeploy.kernels.layer import list_bytes
from neurodeploy.program.ir import Ints, Program


class Runner:
    """Runs a program on inputs of this many samples and steps; one call at a time.

    `values` are what every node sent at the last `advance`, which the next one overwrites; counts
    [counters] are those of all layers, in their order.
    """

    def __init__(
        self,
        program: Program,
        layers: Mapping[str, tuple[Layer, ...]],
        samples: int,
        steps: int,
    ) -> None:
        senders = max((each.senders for own in layers.values() for each in own), default=0)
        widest = max(padded(node.width) for node in program)
        extent = Extent(samples, steps, list_bytes(senders))
        self.samples, self.steps = samples, steps
        self._source = program.source
        self._input = room(program, program.source, extent)
        self.values: dict[str, Values] = {program.source.name: self._input}
        lengths = [len(each.counters) for own in layers.values() for each in own]
        self.counts = np.zeros(sum(lengths), np.int64)
        counts = iter(np.split(self.counts, np.cumsum(lengths[:-1])))
        self._stages: list[Stage] = []
        for name, own in layers.items():
            rows = [next(counts) for _ in own]
            stage = Stage(program, program[name], own, self.values, rows, extent)
            self._stages.append(stage)
            self.values[name] = stage.values
        self._read = self.values[program.readout.source]
        calls = [call for stage in self._stages for call in stage.calls]
        self._kept = [self.counts, *(array for stage in self._stages for array in stage.kept)]
        self._rows = [call.row for call in calls if call.row is not None]
        work = [each for stage in self._stages for each in stage.work]
        scratch = Scratch(extent.listed + 4 * widest)
        self._first, self._rest = _chained(work, samples, scratch)

    def reset(self) -> None:
        """Put all states back to rest, and all counts to zero."""
        for array in self._kept:
            array.fill(0)

    def go_on_from(self, other: Runner) -> None:
        """Take over states and counts from one of as many samples."""
        for own, before in zip(self._kept, other._kept, strict=True):
            own[...] = before

    def advance(self, x: Any, ends: Any, threads: int = 1) -> int:
        """Run the next steps x [T, B, C] from where the states are, kernels on so many threads.

        ends: where to write what the readout reads, int32 [T, B, N], or None. Return how many
        inputs were clipped; raise InputError E106 for numbers that are none.
        """
        packing = inputs.packing(self._source, x, self._input)
        front, back, clipped = NONE, NONE, 0
        if packing is None:
            clipped = inputs.convert(self._source, x, self._input)
        else:
            front = packing.address, self._input.packing.place
        if ends is not None and self._read.bits is not None:
            back = pack.back().address, self._read.writing(ends)
        held = self, x, ends
        self._first.run(threads, front, NONE if self._rest else back, held)
        for i, (between, chain) in enumerate(self._rest, 1):
            between()
            chain.run(threads, NONE, back if i == len(self._rest) else NONE, held)
        if ends is not None and self._read.bits is None:
            ends[...] = self._read.whole().transpose(1, 0, 2)
        for row in self._rows:
            row[0] += self.steps
        return clipped if packing is None else inputs.packed(x, self._input)

    def states(self) -> dict[str, Ints]:
        """Return the states of all populations, [states, B, width] int64."""
        found = ((stage.node.name, stage.states) for stage in self._stages)
        return {name: state for name, state in found if state is not None}


def _chained(
    work: Sequence[Work], samples: int, scratch: Scratch
) -> tuple[Chain, list[tuple[Callable[[], None], Chain]]]:
    """Return calls that follow each other as chains: the first, and what each other is behind."""
    calls: list[list[Call]] = [[]]
    between: list[Callable[[], None]] = []
    for each in work:
        if callable(each):
            between.append(each)
            calls.append([])
        else:
            calls[-1].append(each)
    first, *others = (Chain(own, samples, scratch) for own in calls)
    return first, list(zip(between, others, strict=True))
