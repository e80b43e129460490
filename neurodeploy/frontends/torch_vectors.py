"""Torch's nonlinear layers and functions without memory, as operations of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx

from neurodeploy import nn
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import Linear, Op, vector
from neurodeploy.graph.nonlinear import Gelu, Glu, LayerNorm, Product, Relu, Ternary

LEAVES = (nn.GSU, nn.Ternary, nn.Delay)
_FUNCTIONS: dict[Any, str] = {
    torch.nn.functional.gelu: "gelu",
    torch.nn.functional.relu: "relu",
    torch.relu: "relu",
    torch.nn.functional.glu: "glu",
    "relu": "relu",
}
_FORMS = {"none": "erf", "tanh": "tanh"}
_LAST = (-1, 2)  #: the axis of the channels


def module_op(module: torch.nn.Module, width: int, kind: torch.dtype) -> Op | None:
    """Return the operation of a module that reads `width` channels, or None if it is not known."""
    if isinstance(module, torch.nn.LayerNorm):
        return _layernorm(module, width)
    if isinstance(module, torch.nn.GELU):
        return Gelu(_FORMS[module.approximate])
    if isinstance(module, torch.nn.ReLU):
        return Relu()
    if isinstance(module, torch.nn.GLU):
        return Glu() if module.dim in _LAST else None
    if isinstance(module, nn.Delay):
        return Delay(vector(module.steps, width))
    if isinstance(module, nn.Ternary):
        constant = module.threshold == "constant"
        level = module.level if constant else torch.tensor(module.ratio, dtype=torch.float64)
        return Ternary(per_step=not constant, level=float(level.to(kind)))
    return None


def _layernorm(module: torch.nn.LayerNorm, width: int) -> LayerNorm | None:
    if tuple(module.normalized_shape) != (width,):
        return None
    gamma = np.ones(width) if module.weight is None else _array(module.weight)
    beta = np.zeros(width) if module.bias is None else _array(module.bias)
    return LayerNorm(gamma, beta, float(module.eps))


def function_op(item: fx.Node) -> Op | None:
    """Return the operation of a call of torch on one tensor, or None if it is not known."""
    name = _FUNCTIONS.get(item.target)
    keywords = dict(item.kwargs)
    keywords.pop("inplace", None)
    if name == "gelu":
        form = keywords.pop("approximate", "none")
        return Gelu(_FORMS[str(form)]) if not keywords and len(item.args) == 1 else None
    if name == "glu":
        dim = keywords.pop("dim", item.args[1] if len(item.args) > 1 else -1)
        return Glu() if not keywords and dim in _LAST else None
    return Relu() if name == "relu" and not keywords else None


def gsu(module: nn.GSU, path: str, source: str, add: Callable[[str, Op, list[str]], str]) -> str:
    """Add the nodes of a GSU that reads node `source`; return the name of the last.

    Ter(W) is a constant here: a Linear with weights -1, 0 and 1.
    """
    kind = module.weight.dtype
    ternary = module_op(module.ternary, module.width, kind)
    assert ternary is not None
    sign = add(f"{path}.ternary", ternary, [source])
    value = add(f"{path}.value", Linear(_array(module.weight), _array(module.bias)), [sign])
    weight = _array(module.ternary_weight())
    gate = add(f"{path}.gate", Linear(weight, _array(module.gate_bias)), [source])
    return add(path, Product(), [value, gate])


def _array(value: Any) -> Any:
    return np.asarray(value.detach().cpu().numpy(), np.float64)
