"""The edges of a convolution, whose input may be several nodes one after the other.

Each part brings its own maps, and has the weights of these. Groups then no longer divide what a
part brings: all weights are written out, those between groups as zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neurodeploy.graph.maps import Conv
from neurodeploy.program import ir, synapses


def convolutions(
    op: Conv, weight: ir.Ints, parts: Sequence[tuple[str, int]], how: Mapping[str, Any]
) -> tuple[synapses.Conv, ...]:
    """Return one edge per part of the input, (name, channels), with integer weights."""
    groups, size = op.groups, op.shape[1:]
    if len(parts) > 1 and groups > 1:
        weight, groups = ungrouped(weight, groups), 1
    settings = {key: getattr(op, key) for key in ("stride", "padding", "dilation")}
    maps = [width // op.windows.inputs for _, width in parts]
    columns = np.split(weight, np.cumsum(maps)[:-1], axis=1) if len(parts) > 1 else [weight]
    return tuple(
        synapses.Conv(
            source=name, weight=own, shape=(count, *size), **settings, groups=groups, **how
        )
        for (name, _), count, own in zip(parts, maps, columns, strict=True)
    )


def ungrouped(weight: ir.Ints, groups: int) -> ir.Ints:
    """Return weights [out, in / groups, ...] as [out, in, ...]."""
    out, inside = weight.shape[:2]
    full = np.zeros((out, groups, inside, *weight.shape[2:]), weight.dtype)
    rows = np.arange(out)
    full[rows, rows // (out // groups)] = weight
    return full.reshape(out, groups * inside, *weight.shape[2:])
