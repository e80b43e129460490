"""Compiled batch normalisation over rows [M, N]: one pass for sums, one for values, each way.

Rows are summed in float64 by a fixed number of parts, so results do not depend on threads. This
file imports numba at once: import it where it is used.
"""

from __future__ import annotations

from typing import Any

from numba import njit

PARTS = 64  # into which rows are divided, whatever the number of threads


@njit(cache=True, nogil=True, error_model="numpy")
def moments(x: Any, shift: Any, sums: Any, first: int, last: int) -> None:
    """Write to sums [PARTS, 2, N] the sums of d and d * d, d = x - shift, for parts of x [M, N]."""
    rows, width = x.shape
    for part in range(first, last):
        plain, square = sums[part, 0], sums[part, 1]
        for r in range(rows * part // PARTS, rows * (part + 1) // PARTS):
            row = x[r]
            for n in range(width):
                d = row[n] - shift[n]
                plain[n] += d
                square[n] += d * d


@njit(cache=True, nogil=True, error_model="numpy")
def products(x: Any, mean: Any, g: Any, sums: Any, first: int, last: int) -> None:
    """Write to sums [PARTS, 2, N] the sums of g and g * (x - mean), for parts of [M, N]."""
    rows, width = x.shape
    for part in range(first, last):
        plain, moment = sums[part, 0], sums[part, 1]
        for r in range(rows * part // PARTS, rows * (part + 1) // PARTS):
            row, g_row = x[r], g[r]
            for n in range(width):
                plain[n] += g_row[n]
                moment[n] += g_row[n] * (row[n] - mean[n])


@njit(cache=True, nogil=True, error_model="numpy")
def affine(x: Any, mean: Any, scale: Any, bias: Any, y: Any, first: int, last: int) -> None:
    """Write y = (x - mean) * scale + bias, rows `first` to `last` of [M, N]."""
    for r in range(first, last):
        row, out = x[r], y[r]
        for n in range(x.shape[1]):
            out[n] = (row[n] - mean[n]) * scale[n] + bias[n]


@njit(cache=True, nogil=True, error_model="numpy")
def gradient(
    x: Any, mean: Any, g: Any, scale: Any, slope: Any, bias: Any, g_x: Any, first: int, last: int
) -> None:
    """Write g_x = scale * g + slope * (x - mean) + bias, rows `first` to `last` of [M, N]."""
    for r in range(first, last):
        row, g_row, out = x[r], g[r], g_x[r]
        for n in range(x.shape[1]):
            out[n] = scale[n] * g_row[n] + slope[n] * (row[n] - mean[n]) + bias[n]
