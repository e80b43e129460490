r"""LayerNorm over n channels, without gain and bias (they are folded into what follows).

    S = sum x,  Q = sum x^2,  D = n x - S,  V = n Q - S^2 + eps n^2      exact sums
    R = floor(sqrt(V 4^guard)),  I = floor(dividend / R)                 one root, one division
    y = (D I) >> shift

since (x - mean) / sqrt(var + eps) = D / sqrt(V). With `dividend` = 2**(guard + shift) / u, y is in
units u; z being the true value for this `eps`,

    |y u - z|  <=  u/2 + |z| (1/R + (R + 1) / dividend)

the result's rounding, the root's floor, and the reciprocal's. If any two channels differ,
V >= n - 1 and R >= 2**guard sqrt(n - 1) - 1. Where all are equal, D is 0 and so is y.
|D| <= sqrt(n - 1) sqrt(V), so `guard` and `shift` can keep V 4^guard and D I below 2**62.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.vector.base import Ints, Kind, Params, isqrt, rounded


def run(params: Params, x: Ints) -> Any:
    """Return the normalised x."""
    n = x.shape[-1]
    total = x.sum(axis=-1, keepdims=True)
    squares = (x * x).sum(axis=-1, keepdims=True)
    spread = n * squares - total * total + int(params["eps"])
    root = np.maximum(isqrt(spread << int(params["guard"]) << int(params["guard"])), 1)
    inverse = int(params["dividend"]) // root
    return rounded((n * x - total) * inverse, np.int64(params["shift"]))


def cost(width: int) -> dict[str, float]:
    """Per channel x^2, n x and D I, two running sums, a difference; per step a root, a division."""
    return {"mul": 3 + 2 / width, "add": 3 + 2 / width, "sqrt": 1 / width, "div": 1 / width}


KIND = Kind("layernorm", 1, run, cost, ("eps", "guard", "dividend", "shift"))
