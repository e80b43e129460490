"""Compiled synapses: add the weight rows of the values that are not zero.

Arrays are [B, T, N]; a kernel runs the samples `first` to `last`. Weights stand transposed,
[in, out], one row per sender, in the narrowest type that holds them. Sums are int32: the
program's limits guarantee that they fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def add_spikes(
    spikes: Any, weight: Any, exponent: int, current: Any, events: Any, first: int, last: int
) -> None:
    """Add (spikes @ weight) << exponent to the current, four senders a pass; count events [B]."""
    steps, senders = spikes.shape[1:]
    width = weight.shape[1]
    total = np.empty(width, np.int32)
    fired = np.empty(senders, np.int64)
    for b in range(first, last):
        for t in range(steps):
            count = 0
            for i in range(senders):
                fired[count] = i
                count += spikes[b, t, i] != 0
            if count == 0:
                continue
            events[b] += count
            total[:] = 0
            whole = count - count % 4
            for j in range(0, whole, 4):
                r0, r1 = weight[fired[j]], weight[fired[j + 1]]
                r2, r3 = weight[fired[j + 2]], weight[fired[j + 3]]
                for n in range(width):
                    low = np.int32(r0[n]) + np.int32(r1[n])
                    high = np.int32(r2[n]) + np.int32(r3[n])
                    total[n] += low + high
            for j in range(whole, count):
                row = weight[fired[j]]
                for n in range(width):
                    total[n] += np.int32(row[n])
            out = current[b, t]
            for n in range(width):
                out[n] += total[n] << exponent


@njit(cache=True, nogil=True)
def add_graded(
    values: Any, weight: Any, exponent: int, current: Any, events: Any, first: int, last: int
) -> None:
    """Add (values @ weight) << exponent to the current, for graded values; count events [B]."""
    steps, senders = values.shape[1:]
    width = weight.shape[1]
    total = np.empty(width, np.int32)
    for b in range(first, last):
        for t in range(steps):
            total[:] = 0
            for i in range(senders):
                value = np.int32(values[b, t, i])
                if value == 0:
                    continue
                events[b] += 1
                row = weight[i]
                for n in range(width):
                    total[n] += value * np.int32(row[n])
            out = current[b, t]
            for n in range(width):
                out[n] += total[n] << exponent


@njit(cache=True, nogil=True)
def add_tapped(
    values: Any, sign: Any, exponent: int, current: Any, events: Any, first: int, last: int
) -> None:
    """Add (sign * values) << exponent to the current, channel by channel; count events [B]."""
    steps, width = values.shape[1:]
    for b in range(first, last):
        for t in range(steps):
            row, out = values[b, t], current[b, t]
            count = 0
            for n in range(width):
                count += (row[n] != 0) & (sign[n] != 0)
                out[n] += (sign[n] * np.int32(row[n])) << exponent
            events[b] += count
