"""ReLU, y = max(x, 0), and rescale, y = x: exact, all rounding is that of the formats around them.

A rescale gives the channels of a graded value one unit; only the compiler makes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.vector.base import Ints, Kind, Params

KIND = Kind("relu", 1, lambda params, x: np.maximum(x, 0), lambda width: {"cmp": 1})


def _same(params: Params, x: Ints) -> Any:  # noqa: ARG001
    return x


RESCALE = Kind("rescale", 1, _same, lambda width: {})
