"""Count what every neuron sends: a value that is not zero, at any step, of any sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from neurodeploy.program.ir import Ints


def count_sent(values: Ints) -> Ints:
    """Return how often each channel of values [B, T, N] is not zero, [N]."""
    counts = np.zeros(values.shape[2], np.int64)
    _count(values, counts)
    return counts


@njit(cache=True, nogil=True)
def _count(values: Any, counts: Any) -> None:
    for b in range(values.shape[0]):
        for t in range(values.shape[1]):
            for n in range(values.shape[2]):
                counts[n] += values[b, t, n] != 0
