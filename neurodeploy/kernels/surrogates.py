"""Surrogate derivatives of a spike, as functions of the margin `m` and a steepness `a`.

m is the membrane minus its threshold, in the model's own membrane. Plain arithmetic, so that the
same function serves numba scalars and torch tensors. Each integrates to 1 over m, but for window
and superspike, whose height is 1.
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
    """Return a box of height a/2 and half-width 1/a."""
    return a / 2.0 * (a * abs(m) < 1.0)


def window(m: Any, a: Any) -> Any:
    """Return 1 where |m| is below 1/a (CE-LIF, arXiv 2308.15150, Eq. 7, where 1/a is Gamma)."""
    return 1.0 * (a * abs(m) < 1.0)


def fast_sigmoid(m: Any, a: Any) -> Any:
    """Return the derivative of the fast sigmoid a m / (1 + a |m|) / 2 (Zenke & Ganguli 2018)."""
    y = 1.0 + a * abs(m)
    return a / 2.0 / (y * y)


def superspike(m: Any, a: Any) -> Any:
    """Return 1 / (1 + a |m|)^2 (Zenke & Ganguli 2018; Binary S4D, Eq. 13, and snnTorch: a = 25)."""
    y = 1.0 + a * abs(m)
    return 1.0 / (y * y)


SURROGATES: dict[str, Callable[[Any, Any], Any]] = {
    **{slope.__name__: slope for slope in (arctan, triangle, boxcar, window)},
    **{slope.__name__: slope for slope in (fast_sigmoid, superspike)},
    "piecewise_quadratic": triangle,  # by the name of its integral (SpikingSSM, with a = 1)
}
