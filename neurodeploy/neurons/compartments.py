"""The linear algebra that the two-compartment neurons share."""

from __future__ import annotations

from typing import Any

import numpy as np


def two_poles(alpha1: Any, alpha2: Any, beta1: Any, beta2: Any) -> Any:
    r"""Return the poles of the undriven update of two coupled compartments, complex [2, channels].

        d' = alpha1 d + beta1 s,    s' = alpha2 s + beta2 d'

    has the trace alpha1 + alpha2 + beta1 beta2 and the determinant alpha1 alpha2. The first pole is
    the one of greater magnitude or, of a conjugate pair, of positive angle.
    """
    half = (np.asarray(alpha1, float) + alpha2 + np.multiply(beta1, beta2)) / 2
    product = np.multiply(alpha1, alpha2)
    root = np.sqrt(half * half - product + 0j)
    root = np.where((root.imag == 0) & (half < 0), -root, root)
    return np.stack([half + root, half - root])
