"""The readout's weights, as floats where these hold every sum exactly: processors do these best."""

from __future__ import annotations

import numpy as np

from neurodeploy.backends.simulator.layers import largest
from neurodeploy.backends.simulator.synapses import EXACT
from neurodeploy.matrices import blocks
from neurodeploy.program.ir import Ints, Program, Readout
from neurodeploy.program.limits import current_bounds
from neurodeploy.program.reference import integers


def head(program: Program) -> Head:
    """Return the head of a program."""
    source = program.readout.source
    return Head(program.readout, largest(program, current_bounds(program), source))


class Head:
    """What `program.reference.integers` computes, faster.

    top: the greatest magnitude that the readout's node can send. Every product and every partial
    sum is then an integer below 2^53, or all is computed in integers.
    """

    def __init__(self, readout: Readout, top: int) -> None:
        self.readout = readout
        self._exact = False
        if readout.weight is not None:
            sums = (np.abs(part).sum(axis=1).max(initial=0.0) for _, part in blocks(readout.weight))
            self._exact = max(sums, default=0.0) * top < EXACT

    def integers(self, value: Ints) -> Ints:
        """Return the integers of node values [T, B, n], of which the last step may be enough."""
        weight = self.readout.weight
        if weight is None or not self._exact:
            return integers(self.readout, value)
        read = value if self.readout.kind == "steps" else value[-1]
        flat = read.reshape(-1, read.shape[-1]).astype(np.float64)
        out = np.empty((len(flat), len(weight)), np.int64)
        for rows, part in blocks(weight):
            out[:, rows] = flat @ part.T
        return out.reshape(*read.shape[:-1], len(weight))
