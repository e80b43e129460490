"""A program in memory, for so many samples and steps at a time.

Nodes run one after another, each over all steps, from buffers that are made once. States stay where
they are between calls of `advance`, so a sequence may come in pieces: of any length, or of a
single step. All arrays are [B, T, ...]; times are those of the input.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurodeploy.backends.simulator.layers import Layer
from neurodeploy.backends.simulator.memory import Values, address, padded, zeros
from neurodeploy.backends.simulator.stage import Extent, Stage, room
from neurodeploy.kernels.layer import list_bytes
from neurodeploy.program.ir import Ints, Program


class Runner:
    """Runs a program on inputs of this many samples and steps; in one thread at a time.

    `input` takes the next input; `values` are what every node sent at the last `advance`, which
    the next one overwrites; counts [counters] are those of all layers, in their order.
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
        listed = list_bytes(senders)
        self._scratch = zeros((listed + 4 * widest,), np.uint8)
        extent = Extent(samples, steps, address(self._scratch), listed)
        self.samples, self.steps = samples, steps
        self.input = room(program, program.source, extent)
        self.values: dict[str, Values] = {program.source.name: self.input}
        lengths = [len(each.counters) for own in layers.values() for each in own]
        self.counts = np.zeros(sum(lengths), np.int64)
        counts = iter(np.split(self.counts, np.cumsum(lengths[:-1])))
        self._stages: list[Stage] = []
        for name, own in layers.items():
            rows = [next(counts) for _ in own]
            stage = Stage(program, program[name], own, self.values, rows, extent)
            self._stages.append(stage)
            self.values[name] = stage.values
        self._kept = [self.counts, *(array for stage in self._stages for array in stage.kept)]
        self._runs = [stage.plain or stage.run for stage in self._stages]

    def reset(self) -> None:
        """Put all states back to rest, and all counts to zero."""
        for array in self._kept:
            array.fill(0)

    def go_on_from(self, other: Runner) -> None:
        """Take over states and counts from one of as many samples."""
        for own, before in zip(self._kept, other._kept, strict=True):
            own[...] = before

    def advance(self) -> None:
        """Run all steps of `input` from where the states are."""
        for run in self._runs:
            run()

    def states(self) -> dict[str, Ints]:
        """Return the states of all populations, [states, B, width] int64."""
        found = ((stage.node.name, stage.states) for stage in self._stages)
        return {name: state for name, state in found if state is not None}
