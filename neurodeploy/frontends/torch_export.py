"""Programs of `torch.export`, as modules that the trace follows.

An exported program is ATen calls on weights by name. Those that a layer stands for become that
layer again, once per weight, so that one with several places has one name; others become the
function of torch that they are. What is left is refused by the trace.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

_ATEN: Any = torch.ops.aten
_FUNCTIONS: dict[Any, Any] = {
    _ATEN.add.Tensor: operator.add,
    _ATEN.mul.Tensor: operator.mul,
    _ATEN.relu.default: torch.relu,
    _ATEN.gelu.default: torch.nn.functional.gelu,
    _ATEN.glu.default: torch.nn.functional.glu,
    _ATEN.cat.default: torch.cat,
    _ATEN.mean.dim: torch.mean,
    _ATEN.sum.dim_IntList: torch.sum,
    _ATEN.flatten.using_ints: torch.flatten,
    _ATEN.reshape.default: torch.reshape,
    _ATEN.view.default: torch.reshape,
}


def _linear(weight: Any, bias: Any = None) -> torch.nn.Module:
    outs, ins = weight.shape
    layer = torch.nn.Linear(ins, outs, bias=bias is not None, device="meta")
    return _with(layer, weight, bias)


def _norm(shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    how: Any = {"elementwise_affine": weight is not None, "bias": bias is not None}
    return _with(torch.nn.LayerNorm(tuple(shape), eps, device="meta", **how), weight, bias)


def _conv(
    kind: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.nn.Module:
    def each(value: Any) -> Any:
        one = not isinstance(value, list | tuple)
        return value if one else tuple(value) * (kind[1] if len(value) == 1 else 1)

    how: Any = {"stride": each(stride), "padding": each(padding), "dilation": each(dilation)}
    channels = weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:])
    layer = kind[0](*channels, groups=groups, bias=bias is not None, device="meta", **how)
    return _with(layer, weight, bias)


def _with(layer: torch.nn.Module, weight: Any, bias: Any) -> torch.nn.Module:
    """Return a layer with the program's own weights."""
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            layer.register_parameter(name, torch.nn.Parameter(value.detach(), requires_grad=False))
    return layer


_LAYERS: dict[Any, Callable[..., torch.nn.Module]] = {
    _ATEN.linear.default: _linear,
    _ATEN.layer_norm.default: _norm,
    _ATEN.conv1d.default: lambda *args: _conv((torch.nn.Conv1d, 1), *args),
    _ATEN.conv2d.default: lambda *args: _conv((torch.nn.Conv2d, 2), *args),
    _ATEN.dropout.default: lambda *args: torch.nn.Dropout(args[0]),
}


def module_of(program: torch.export.ExportedProgram) -> torch.nn.Module:
    """Return the program as layers and functions of torch."""
    whole: Any = program.module(check_guards=False)
    layers: dict[str, tuple[str, torch.nn.Module]] = {}
    for item in list(whole.graph.nodes):
        if item.target in _LAYERS:
            _as_layer(item, whole, layers)
        elif item.target is _ATEN.select.int and item.args[1] == 0:
            item.target, item.args = operator.getitem, (item.args[0], item.args[2])
        elif item.target is _ATEN.sym_size.int:
            item.op, item.target = "call_method", "size"
        elif item.target in _FUNCTIONS:
            item.target = _FUNCTIONS[item.target]
    for item in reversed(list(whole.graph.nodes)):
        if item.op == "get_attr" and not item.users:
            whole.graph.erase_node(item)
    return fx.GraphModule(_Root(whole, {n: layer for n, (_, layer) in layers.items()}), whole.graph)


def _as_layer(item: fx.Node, whole: Any, layers: dict[str, tuple[str, torch.nn.Module]]) -> None:
    """Let a call of weights be a call of the layer that they belong to."""

    def value(each: Any) -> Any:
        at = isinstance(each, fx.Node) and each.op == "get_attr"
        return operator.attrgetter(str(each.target))(whole) if at else each

    rest = [value(each) for each in item.args[1:]]
    if item.kwargs or any(isinstance(each, fx.Node) for each in rest):
        return
    weights = [str(each.target) for each in item.args[1:] if isinstance(each, fx.Node)]
    path = weights[0].removesuffix(".weight") if weights else item.name
    what = f"{item.target}{item.args[1:]}"  # the same weights may have another bias elsewhere
    if path in weights or (path in layers and layers[path][0] != what):
        path = f"{path}_{item.name}"
    layers.setdefault(path, (what, _LAYERS[item.target](*rest)))
    item.op, item.target, item.args = "call_module", path, item.args[:1]


class _Root(torch.nn.Module):
    """What the graph takes its layers and other weights from."""

    def __init__(self, whole: torch.nn.Module, layers: dict[str, torch.nn.Module]) -> None:
        super().__init__()
        for name, value in (*whole.named_parameters(), *whole.named_buffers()):
            if not any(name.startswith(f"{path}.") for path in layers):
                self.register_buffer(name.replace(".", "_"), value.detach())
        for path, layer in layers.items():
            home: torch.nn.Module = self
            *folders, leaf = path.split(".")
            for folder in folders:
                if not hasattr(home, folder):
                    home.add_module(folder, torch.nn.Module())
                home = home.get_submodule(folder)
            home.add_module(leaf, layer)
