"""Ternarisation: 1 where x >= t, else -1 where x <= -t, else 0. Exact, in integers.

    ternary_step   t = ratio times the largest |x| among the step's channels, ratio = num / den;
                   x >= t is x den >= num max, and so x >= ceil(num max / den)
    ternary        x >= upper, x <= lower: a constant threshold, per channel in the units of x

Where all channels are 0, so is t, and all become 1: the cases are taken in their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.vector.base import Ints, Kind, Params


def _per_step(params: Params, x: Ints) -> Any:
    top = np.abs(x).max(axis=-1, keepdims=True)
    level = -((-int(params["num"]) * top) // int(params["den"]))
    return _sign(x, level, -level)


def _constant(params: Params, x: Ints) -> Any:
    return _sign(x, params["upper"], params["lower"])


def _sign(x: Ints, upper: Ints, lower: Ints) -> Any:
    return np.where(x >= upper, np.int64(1), np.where(x <= lower, np.int64(-1), np.int64(0)))


def _cost_per_step(width: int) -> dict[str, float]:
    """Count a running maximum and two compares; for the whole step a product and a division."""
    return {"cmp": 3, "mul": 1 / width, "div": 1 / width}


KINDS = (
    Kind("ternary_step", 1, _per_step, _cost_per_step, ("num", "den")),
    Kind("ternary", 1, _constant, lambda width: {"cmp": 2}, ("upper", "lower"), own_bits=64),
)
