"""Surrogate derivatives of a spike, as functions of the margin `m` and a steepness `a`.

m is the membrane minus its threshold, in the model's own membrane. Plain arithmetic, so that the
same function serves numba scalars and torch tensors. Each integrates to 1 over m.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HALF_PI = 1.5707963267948966


def arctan(m: Any, a: Any) -> Any:
    """Return the derivative of an arctan of slope a (Fang et al. 2021, arXiv 2007.05785)."""
    y = HALF_PI * a * m
    return a / 2.0 / (1.0 + y * y)


def triangle(m: Any, a: Any) -> Any:
    """Return a triangle of height a and half-width 1/a: the slope of a piecewise quadratic."""
    return a * (1.0 - a * abs(m)) * (a * abs(m) < 1.0)


def boxcar(m: Any, a: Any) -> Any:
    """Return a box of height a/2 and half-width 1/a (CE-LIF's Gamma is 1/a)."""
    return a / 2.0 * (a * abs(m) < 1.0)


def fast_sigmoid(m: Any, a: Any) -> Any:
    """Return the derivative of the fast sigmoid a m / (1 + a |m|) / 2 (Zenke & Ganguli 2018)."""
    y = 1.0 + a * abs(m)
    return a / 2.0 / (y * y)


SURROGATES: dict[str, Callable[[Any, Any], Any]] = {
    **{function.__name__: function for function in (arctan, triangle, boxcar, fast_sigmoid)},
    "piecewise_quadratic": triangle,  # by the name of its integral (SpikingSSM, with a = 1)
}
