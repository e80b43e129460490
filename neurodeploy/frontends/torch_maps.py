"""Torch's convolutions and pooling, as operations of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neurodeploy import nn
from neurodeploy.graph.ir import Op
from neurodeploy.graph.maps import Conv, Pool

LEAVES = (nn.Conv, nn.Pool)


def module_op(module: torch.nn.Module) -> Op | None:
    """Return the operation of a module over flat maps, or None if it is none."""
    if isinstance(module, nn.Conv):
        windows = module.windows
        return Conv(
            weight=_array(module.weight),
            bias=np.zeros(len(module.weight)) if module.bias is None else _array(module.bias),
            shape=module.shape,
            stride=windows.stride,
            padding=windows.padding,
            dilation=windows.dilation,
            groups=module.groups,
        )
    if isinstance(module, nn.Pool):
        windows = module.windows
        return Pool(
            kind=module.kind,
            shape=module.shape,
            kernel=windows.kernel,
            stride=windows.stride,
            padding=windows.padding,
            count_padding=module.count_padding,
        )
    return None


def _array(value: Any) -> Any:
    return np.asarray(value.detach().cpu().numpy(), np.float64)
