"""Put every node on cores.

Nodes are taken in execution order and cut into slices that fit, filling a core before the next is
opened. Placement never changes spikes. Sources stay outside the chip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from neurodeploy.program.ir import Program, Slice, Source
from neurodeploy.program.memory import Footprint, footprint
from neurodeploy.targets import Target


@dataclass(frozen=True)
class Place:
    """Fill cores one after the other."""

    target: Target
    name: str = "place"

    def __call__(self, program: Program) -> Program:
        """Return the placed program; whether it fits is for `limits.check` to say."""
        slices: list[Slice] = []
        core, used = 0, Footprint()
        for node in program:
            if isinstance(node, Source):
                continue
            each = footprint(node, program.numbers)
            first = 0
            while first < node.width:
                room = min(self._room(used, each), node.width - first)
                if room == 0 and used.neurons:
                    core, used = core + 1, Footprint()
                    continue
                count = max(room, 1)  # one neuron too large for any core: limits will say so
                slices.append(Slice(node=node.name, first=first, last=first + count, core=core))
                used = used + each.times(count)
                first += count
        return replace(program, placement=tuple(slices))

    def _room(self, used: Footprint, each: Footprint) -> int:
        """Return how many more neurons of size `each` the core holds."""
        core = self.target.core
        rooms = [core.neurons - used.neurons]
        for kib, taken, one in (
            (core.weight_kib, used.weight_bits, each.weight_bits),
            (core.state_kib, used.state_bits, each.state_bits),
            (core.memory_kib, used.total_bits, each.total_bits),
        ):
            if kib is not None and one:
                rooms.append((kib * 8192 - taken) // one)
        return max(0, min(rooms))
