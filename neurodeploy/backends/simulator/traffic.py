"""Count what every neuron sends: a value that is not zero, at any step, of any sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from neurodeploy.kernels import share
from neurodeploy.program.ir import Ints


def count_sent(values: Ints) -> Ints:
    """Return how often each channel of values [B, T, N] is not zero, [N]."""
    samples, _, width = values.shape
    counts = np.zeros((samples, width), np.int64)
    share(_count, values, counts, samples=samples, work=values.size)
    return np.asarray(counts.sum(axis=0))


@njit(cache=True, nogil=True)
def _count(values: Any, counts: Any, first: int, last: int) -> None:
    for b in range(first, last):
        for t in range(values.shape[1]):
            for n in range(values.shape[2]):
                counts[b, n] += values[b, t, n] != 0
