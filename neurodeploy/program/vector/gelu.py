r"""GELU: y = max(x, 0) - g(|x|), with g(a) = a Phi(-a) in a table, interpolated.

Both forms of GELU are even up to max(x, 0), so half a table does; beyond its end g is 0. With a
step of 2**step units u of x between entries (h = u 2**step) and entries in units of u / 2**fine,

    |y - GELU(x)|  <=  h^2/8 max|g''| + g(end) + 1 unit of y

the interpolation, what is cut off, and half a unit each for the table's and the result's rounding.
g'' = (a^2 - 2) phi(a) for the exact form: at most 2 phi(0) = 0.798; for the tanh form at most 0.80.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.vector.base import Ints, Kind, Params, looked_up


def run(params: Params, x: Ints) -> Any:
    """Return y in units of x / 2**fine."""
    fine, step = int(params["fine"]), int(params["step"])
    table = params["table"].astype(np.int64)
    return (np.maximum(x, 0) << fine) - looked_up(table, np.abs(x), step)


def cost(width: int) -> dict[str, float]:  # noqa: ARG001
    """Two compares, two entries, their difference, a product and two sums."""
    return {"cmp": 2, "read": 2, "mul": 1, "add": 3}


KIND = Kind("gelu", 1, run, cost, ("table", "step", "fine"))
