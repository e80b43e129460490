"""Functions of real numbers that numpy does not have."""

from __future__ import annotations

import math
from typing import Any

from numba import njit


@njit(cache=True, nogil=True)
def erf_into(x: Any, out: Any) -> None:
    """Write the error function of x [n], float64, to `out`."""
    for i in range(len(x)):
        out[i] = math.erf(x[i])
