"""Delays: y[t] = x[t - d], channel by channel, and zeros before the first that was sent.

d is a whole number of steps. What is kept from one part of a sequence to the next are the last
inputs, as many as the longest delay has steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.graph.ir import Array
from neurodeploy.graph.nonlinear import VectorOp

LONGEST = 1 << 16  #: steps


@dataclass(frozen=True, eq=False)
class Delay(VectorOp):
    """y[t] = x[t - steps], zeros before; steps [width], whole numbers from 0 to LONGEST."""

    steps: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = np.all((self.steps >= 0) & (self.steps <= LONGEST))
        if not whole or np.any(self.steps != np.rint(self.steps)):
            what = f"a delay of {_shown(self.steps)} steps"
            fix = f"a delay is a whole number of steps, from 0 to {LONGEST}"
            raise InputError("E105", what, fix=fix)

    @property
    def longest(self) -> int:
        """The longest delay [steps]."""
        return int(self.steps.max(initial=0))


def delayed(op: Delay, x: Array, before: Array | None = None) -> tuple[Array, Array]:
    """Return what comes out while x [T, B, width] goes in, and the inputs to keep.

    before: the inputs that were kept of the part before, [longest, B, width]; None: at the start.
    """
    longest = op.longest
    if before is None:
        before = np.zeros((longest, *x.shape[1:]))
    whole = np.concatenate([before, x])
    steps = longest - op.steps.astype(np.int64)
    rows = np.arange(len(x))[:, None, None] + steps
    return np.take_along_axis(whole, rows, axis=0), whole[len(x) :]


def _shown(steps: Array) -> str:
    low, high = (float(end(steps)) if steps.size else 0.0 for end in (np.min, np.max))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
