"""Random convolutions and poolings, of every setting."""

from __future__ import annotations

import numpy as np

from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.windows import Windows


def windows(rng, *, axes, dilated=True, empty=True):
    """Return random windows that fit; padding is asymmetric at times, or larger than the kernel.

    empty: windows may lie outside of the map altogether.
    """
    while True:
        found = Windows(
            size=tuple(rng.integers(1, 6, axes).tolist()),
            kernel=tuple(rng.integers(1, 4, axes).tolist()),
            stride=tuple(rng.integers(1, 4, axes).tolist()),
            padding=tuple(rng.integers(0, 3, 2 * axes).tolist()),
            dilation=tuple(rng.integers(1, 3 if dilated else 2, axes).tolist()),
        )
        if not list(found.problems()) and (empty or np.all(found.real)):
            return found


def conv(rng, *, axes=2, maps=None, **more):
    """Return a random convolution; groups and maps divide."""
    w = windows(rng, axes=axes, **more)
    groups = int(rng.integers(1, 3)) if maps is None or maps % 2 == 0 else 1
    maps = maps or groups * int(rng.integers(1, 3))
    out = groups * int(rng.integers(1, 3))
    weight = rng.normal(size=(out, maps // groups, *w.kernel))
    shape = (maps, *w.size)
    settings = {"stride": w.stride, "padding": w.padding, "dilation": w.dilation}
    return Conv(weight, rng.normal(size=out), shape, **settings, groups=groups)


def pool(rng, *, kind, axes=2):
    """Return a random pooling whose windows are not empty."""
    w = windows(rng, axes=axes, dilated=False, empty=False)
    shape, count = (int(rng.integers(1, 4)), *w.size), bool(rng.integers(2))
    return Pool(kind, shape, w.kernel, w.stride, w.padding, count)
