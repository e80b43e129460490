r"""Delay: y[t] = x[t - d], d steps of each channel; exact, all rounding is that of the formats.

A channel keeps its last d values: one is read and one is written at every step, in a ring. Here
they are a line of registers, as long as that of the longest delay:

    y = x where d = 0, else ago_d;      ago_1, ago_2, ... <- x, ago_1, ...
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.vector.base import Ints, Kind, Params

NAME = "delay"


def run(params: Params, *values: Ints) -> tuple[Any, ...]:
    """Return y, the line of registers [B, width] each, youngest first, and that all of them fit."""
    *line, x = values
    kept = [x, *line]
    ago = np.asarray(params["steps"], np.int64)[None, None]
    y = np.take_along_axis(np.stack(kept), np.broadcast_to(ago, (1, *x.shape)), axis=0)[0]
    return y, *kept[:-1], 0


def over_time(params: Params, line: Ints, x: Ints) -> tuple[Ints, Ints]:
    """Return y [T, B, width] of x, and the registers [longest, B, width], from those before it."""
    whole = np.concatenate([line[::-1], x])
    rows = np.arange(len(x))[:, None, None] + (len(line) - np.asarray(params["steps"], np.int64))
    return np.take_along_axis(whole, rows, axis=0), whole[len(x) :][::-1]


def registers(params: Params) -> tuple[str, ...]:
    """Return the names of the registers; one stands there even where nothing waits."""
    longest = max(1, int(np.max(params["steps"], initial=0)))
    return tuple(f"ago_{k}" for k in range(1, longest + 1))


KIND = Kind(NAME, 1, run, lambda width: {}, ("steps", "state_bits"), 16, registers)
