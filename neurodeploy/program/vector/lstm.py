r"""LSTM: c <- s(f) c + s(i) tanh(g), y = s(o) tanh(c), with s the sigmoid; c stays in a register.

The four operands come in units of 2**-11. Half tables of s - 1/2 and of tanh, in units of 2**-15,
are interpolated; behind their ends s and tanh are 1. The cell is in units of 2**-k:

    c <- clip((s(f) c 2**p + s(i) tanh(g) 2**q) >> (15 + p), -most, most)

with most = 2**(bits - 1) - 1, p = max(15 - k, 0), q = max(k - 15, 0): both products are exact,
their sum is rounded once, to nearest. The register saturates, on every target. y = s(o) tanh(c) is
exact, in units of 2**-30.

With h between entries, a sigmoid is off by at most es = h^2/8 max|s''| + 1 - s(end) + 2**-15, and a
tanh by et, likewise: max|s''| = 0.0963, max|tanh''| = 0.770. So one step moves a cell by at most

    |c' - c_exact'|  <=  s(f) |c - c_exact| + es (|c| + 1) + et + 2**(-k - 1)

and y by et + es (1 + et) plus what the cell is off, tanh having a slope of at most 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.vector.base import Ints, Kind, Params, looked_up, rounded

FRACTION = 15  #: fractional bits of sigmoids and tanhs
GATE = 11  #: fractional bits of the operands


def run(params: Params, cell: Ints, *gates: Ints) -> tuple[Ints, Ints, int]:
    """Return y in units of 2**-30, the cell, and how many cells did not fit."""
    i, f, o = (_sigmoid(params, gates[k]) for k in (0, 1, 3))
    g = _tanh(params, gates[2], int(params["tanh_step"]))
    up, down = shifts(params)
    wide = rounded(((f * cell) << down) + ((i * g) << up), np.int64(FRACTION + down))
    most = (1 << (int(params["state_bits"]) - 1)) - 1
    kept = np.clip(wide, -most, most)
    y = o * _tanh(params, kept, int(params["cell_step"]))
    return y, kept, int(np.count_nonzero(kept != wide))


def shifts(params: Params) -> tuple[int, int]:
    """Return q and p: what brings s(i) tanh(g) and s(f) c to one scale."""
    ahead = int(params["cell_fraction"]) - FRACTION
    return max(ahead, 0), max(-ahead, 0)


def _sigmoid(params: Params, x: Ints) -> Any:
    table = np.asarray(params["table_sigmoid"], np.int64)
    above = looked_up(table, np.abs(x), int(params["sigmoid_step"]))
    return (1 << (FRACTION - 1)) + np.where(x < 0, -above, above)


def _tanh(params: Params, x: Ints, step: int) -> Any:
    above = looked_up(np.asarray(params["table_tanh"], np.int64), np.abs(x), step)
    return np.where(x < 0, -above, above)


def cost(width: int) -> dict[str, float]:  # noqa: ARG001
    """Five look-ups as in a GLU, half a unit for the sigmoids, three products, a sum, a write."""
    return {"cmp": 10, "read": 10, "mul": 8, "add": 14, "write": 1}


KIND = Kind(
    "lstm",
    4,
    run,
    cost,
    (
        *("table_sigmoid", "sigmoid_step", "table_tanh", "tanh_step"),
        *("cell_step", "cell_fraction", "state_bits"),
    ),
    registers=lambda params: ("cell",),
    loops=True,
)
