"""How wide the registers of neurons are, and how many guard bits their states get.

The shift from current to state is the greatest that keeps what calibration saw (with a margin) and
every constant inside the register; it is negative where a threshold is far above the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neurodeploy.graph.ir import Add, Array, Graph, Population, Reduce
from neurodeploy.graph.weights import Weighted
from neurodeploy.neurons import Kind
from neurodeploy.passes.lowerable import is_head, joint
from neurodeploy.passes.units import EXPONENT_MAX, Units
from neurodeploy.targets.schema import Numbers

_MARGIN = 2.0  # a register holds this many times what calibration saw


@dataclass(frozen=True, eq=False)
class Registers:
    """The registers of a calibrated graph's neurons."""

    graph: Graph
    units: Units
    numbers: Numbers

    @property
    def margin(self) -> float:
        """How many times what was seen must fit: once, where it is a bound."""
        return 1.0 if self.graph.calibration.startswith("bounds") else _MARGIN

    def shift(self, name: str, op: Population, unit: Array, bias: Array, scale: Array) -> Array:
        """Return the shift from current to state; arrays [width], `unit` that of the current."""
        spec, seen = op.model, self.graph.ranges[name]
        reach = [self.margin * seen.peak, np.abs(bias)]
        if Kind.OUTPUT in spec.kinds.values():
            reach.append(self.margin * np.maximum(np.abs(seen.low), np.abs(seen.high)) / scale)
        reach += [
            self.margin * np.abs(value).max(axis=0, initial=0.0)
            if key in spec.tables
            else self.margin * np.abs(value)
            for key, value in op.coefs.items()
            if not spec.kinds[key].dimensionless
        ]
        need = np.maximum(np.max(reach, axis=0) / unit, 1.0)
        shift = np.floor(np.log2((2 ** (self.bits(name, op) - 1) - 1) / need))
        return np.asarray(np.clip(shift, self.numbers.shift_min, self.numbers.shift_max))

    def bits(self, name: str, op: Population) -> int:
        """Return the register width: narrower where the membrane itself travels on.

        The sum over the synapses behind it must fit the current register, whatever it reaches.
        """
        bits = self.numbers.state_bits
        if op.model.spiking:
            return bits
        for reader in self.graph.readers(name):
            if isinstance(reader.op, Population | Add):  # one to one
                room = min(self.numbers.message_bits, self.numbers.current_bits)
                carry = math.ceil(math.log2(len(reader.inputs)))
                bits = min(bits, room - carry)
                if joint(self.graph, reader):  # Linears behind a sum of membranes read all of it
                    bits = min((bits, *(room - carry for room in self._rooms(reader.name))))
        return min((bits, *self._rooms(name)))

    def _rooms(self, name: str) -> Iterator[int]:
        """Yield how wide what node `name` sends may be for each Linear that reads it."""
        for reader in self.graph.readers(name):
            if not isinstance(reader.op, Weighted) or is_head(self.graph, reader.name):
                continue
            sums = reader.op.stored[:1].size * self.units.weight_max(reader.name)
            exponent = EXPONENT_MAX if self._may_shift(reader.name) else 0
            yield self.numbers.message_bits
            yield self.numbers.current_bits - math.ceil(math.log2(sums * 2**exponent))
            if not self.units.private(reader.name):  # the sums travel on, as a stream of their own
                yield self.numbers.message_bits - math.ceil(math.log2(sums))

    def _may_shift(self, name: str) -> bool:
        """Whether a Linear adds to weights of others, where its own may get an exponent."""
        op = self.graph.readers(name)[0].op
        alone = isinstance(op, Reduce) or (isinstance(op, Population) and op.recurrent is None)
        return not (self.units.private(name) and alone)
