r"""GLU: y = x s(b), with s the sigmoid of the second operand b from a table of s - 1/2.

s(-b) = 1 - s(b), so half a table does; behind its end s is 1. Entries are in units of 2**-15, with
h between them:

    |y - x sigmoid(b)|  <=  |x| (h^2/8 max|s''| + 1 - s(end) + 2**-15),    max|s''| = 0.0963

the interpolation, what is cut off, and half a unit each for the table's and the result's rounding;
the product is exact, in units of x 2**-15.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.vector.base import Ints, Kind, Params, looked_up

FRACTION = 15  #: fractional bits of the sigmoid


def run(params: Params, x: Ints, gate: Ints) -> Any:
    """Return y in units of x / 2**15."""
    above = looked_up(params["table"].astype(np.int64), np.abs(gate), int(params["step"]))
    return x * ((1 << (FRACTION - 1)) + np.where(gate < 0, -above, above))


def cost(width: int) -> dict[str, float]:  # noqa: ARG001
    """Two compares, two entries, their difference, two products and three sums."""
    return {"cmp": 2, "read": 2, "mul": 2, "add": 4}


KIND = Kind("glu", 2, run, cost, ("table", "step"))
