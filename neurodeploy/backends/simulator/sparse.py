"""Synapses as compiled loops: rows of weights of sparse graded values, and taps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def add_rows(values: Any, weight: Any, exponent: int, current: Any) -> None:
    """Add (values @ weight) << exponent to the current, [B, T, N]; weight [in, out] of floats."""
    samples, steps, senders = values.shape
    width = weight.shape[1]
    total = np.empty(width, weight.dtype)
    for b in range(samples):
        for t in range(steps):
            total[:] = 0
            for i in range(senders):
                value = weight.dtype.type(values[b, t, i])
                if value == 0:
                    continue
                row = weight[i]
                for n in range(width):
                    total[n] += value * row[n]
            out = current[b, t]
            for n in range(width):
                out[n] += np.int32(total[n]) << exponent


@njit(cache=True, nogil=True)
def add_signed(values: Any, sign: Any, exponent: int, current: Any) -> int:
    """Add (sign * values) << exponent to the current, [B, T, N]; return how many are not zero."""
    found = 0
    for b in range(values.shape[0]):
        for t in range(values.shape[1]):
            heard, out = values[b, t], current[b, t]
            for n in range(len(sign)):
                value = np.int32(heard[n]) * sign[n]
                found += value != 0
                out[n] += value << exponent
    return found
