"""Synapses that are no feeds of a kernel: graded values, convolutions, and taps.

Arrays are [B, T, N]. Sums are int32: the program's limits guarantee that they fit. A product of
graded values with weights is one of floats, which processors do best. Every product and every
partial sum is an integer below 2^24 (in float32) or 2^53 (in float64), so it is exact in any order.
Where few values are not zero, the rows of those are added instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from neurodeploy.program.ir import Ints
from neurodeploy.program.synapses import Conv, Edge, Tap

EXACT = 1 << 53  # below it, every integer is a float64
_SPARSE = 8  # a row that is added costs as much as so many of a product


class Synapses(Protocol):
    """An edge made ready to deliver what its source sends; `edge` is its number in the node."""

    @property
    def edge(self) -> int:
        """Its number in the node."""

    @property
    def source(self) -> str:
        """The name of the node that sends."""

    def add(self, values: Ints, current: Ints) -> int:
        """Add to currents [B, T, N]; return how many values were not zero."""


@dataclass(frozen=True, eq=False)
class Graded:
    """A Dense edge of graded values; weight [in, out], as floats that hold all sums exactly."""

    edge: int
    source: str
    weight: Any
    exponent: int

    def add(self, values: Ints, current: Ints) -> int:
        """Add (values @ weight) << exponent."""
        events = int(np.count_nonzero(values))
        if events * _SPARSE < values.size:
            from neurodeploy.backends.simulator.sparse import add_rows

            add_rows(values, self.weight, self.exponent, current)
        else:
            product = values.astype(self.weight.dtype) @ self.weight
            current += product.astype(np.int32) << self.exponent
        return events


@dataclass(frozen=True, eq=False)
class Tapped:
    """A Tap; sign [width] int32."""

    edge: int
    source: str
    sign: Ints
    exponent: int

    def add(self, values: Ints, current: Ints) -> int:
        """Add (sign * values) << exponent, channel by channel."""
        from neurodeploy.backends.simulator.sparse import add_signed

        events: int = add_signed(values, self.sign, self.exponent, current)
        return events


def ready(edge: Edge, number: int, top: int) -> Synapses:
    """Return an edge made ready; `top` is the greatest magnitude that its source can send."""
    if isinstance(edge, Conv):
        from neurodeploy.backends.simulator.convolution import convolved

        return convolved(edge, number)
    if isinstance(edge, Tap):
        return Tapped(number, edge.source, edge.sign.astype(np.int32), edge.exponent)
    sums = np.abs(edge.weight.astype(np.int64)).sum(axis=1)
    kind = np.float32 if int(sums.max(initial=0)) * top < 1 << 24 else np.float64
    weight = np.ascontiguousarray(edge.weight.T.astype(kind))
    return Graded(number, edge.source, weight, edge.exponent)
