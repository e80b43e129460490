"""Convolutions of whole numbers in float64, which torch adds up exactly, with gradients.

A map's weights share a unit, so what a row of weights is divided by is one number per map of the
output and one per map of the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.program import synapses
from neurodeploy.tuning.reading import straight


def convolved(value: Tensor, weight: Tensor, edge: synapses.Conv) -> Tensor:
    """Return the convolution of values [T, B, in * inputs], [T, B, out * positions]."""
    axes = len(edge.shape) - 1
    run: Any = (functional.conv1d, functional.conv2d)[axes - 1]
    ends = [edge.padding[i + side] for i in reversed(range(axes)) for side in (0, axes)]
    maps = functional.pad(value.reshape(-1, *edge.shape), ends)
    made: Tensor = run(maps, weight, None, edge.stride, 0, edge.dilation, edge.groups)
    return made.reshape(*value.shape[:2], -1)


def rounded(edge: synapses.Conv, weight: Tensor, groups: int, first: int, units: Any) -> Tensor:
    """Return an edge's integers, with the gradient of the real weights that they stand for.

    weight [out, in / groups, *kernel], of which the edge brings the input maps from `first` on.
    units: what one integer is worth, of the current and of what the edge brings, by channel.
    """
    out, inside = edge.weight.shape[:2]
    if edge.groups != groups or weight.shape[1] != inside:  # a part of a concatenation
        weight = _ungrouped(weight, groups)[:, first : first + inside]
    rows = units[0].reshape(out, -1)[:, :1] * 2.0**edge.exponent
    columns = units[1].reshape(edge.groups, inside, -1)[:, :, 0]
    scale = rows / np.repeat(columns, out // edge.groups, axis=0)
    shape = (out, inside, *(1,) * (edge.weight.ndim - 2))
    exact = weight / torch.from_numpy(scale.reshape(shape))
    return straight(exact, torch.from_numpy(edge.weight.astype(np.float64)))


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """Return weights [out, in / groups, ...] as [out, in, ...]."""
    out, inside = weight.shape[:2]
    full = weight.new_zeros((out, groups, inside, *weight.shape[2:]))
    rows = torch.arange(out)
    full[rows, rows // (out // groups)] = weight
    return full.reshape(out, groups * inside, *weight.shape[2:])
