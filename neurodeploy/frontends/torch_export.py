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
    _ATEN.unflatten.int: torch.unflatten,
    _ATEN.unsqueeze.default: torch.unsqueeze,
    _ATEN.squeeze.dim: torch.squeeze,
    _ATEN.transpose.int: torch.transpose,
    _ATEN.permute.default: torch.permute,
    _ATEN.contiguous.default: torch.clone,
    _ATEN.clone.default: torch.clone,
    _ATEN.relu_.default: torch.relu,
    _ATEN.add_.Tensor: operator.add,
    _ATEN.mul_.Tensor: operator.mul,
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


def _batch_norm(
    axes: int, weight: Any, bias: Any, mean: Any, var: Any, training: bool, _: float, eps: float
) -> torch.nn.Module | None:
    """Return a norm by statistics that training left; None for one that takes its own."""
    if training or mean is None or var is None:
        return None
    kind = torch.nn.BatchNorm2d if axes == 4 else torch.nn.BatchNorm1d
    layer = kind(len(mean), eps=eps, affine=False, device="meta")
    layer.running_mean, layer.running_var = mean.detach(), var.detach()
    one, zero = torch.ones_like(mean), torch.zeros_like(mean)
    return _with(layer, one if weight is None else weight, zero if bias is None else bias)


def _pool(kind: Any, names: tuple[str, ...], *args: Any) -> torch.nn.Module:
    settings = dict(zip(names, args, strict=False))
    if settings.get("stride") == []:  # as large as the kernel
        del settings["stride"]
    return kind(**settings)  # type: ignore[no-any-return]


_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVG = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")


_LAYERS: dict[Any, Callable[..., torch.nn.Module | None]] = {
    _ATEN.linear.default: _linear,
    _ATEN.layer_norm.default: _norm,
    _ATEN.conv1d.default: lambda *args: _conv((torch.nn.Conv1d, 1), *args),
    _ATEN.conv2d.default: lambda *args: _conv((torch.nn.Conv2d, 2), *args),
    _ATEN.conv1d.padding: lambda *args: _conv((torch.nn.Conv1d, 1), *args),
    _ATEN.conv2d.padding: lambda *args: _conv((torch.nn.Conv2d, 2), *args),
    _ATEN.dropout.default: lambda *args: torch.nn.Dropout(args[0]),
    _ATEN.feature_dropout.default: lambda *args: torch.nn.Dropout(args[0]),
    _ATEN.max_pool1d.default: lambda *args: _pool(torch.nn.MaxPool1d, _MAX, *args),
    _ATEN.max_pool2d.default: lambda *args: _pool(torch.nn.MaxPool2d, _MAX, *args),
    _ATEN.avg_pool1d.default: lambda *args: _pool(torch.nn.AvgPool1d, _AVG, *args),
    _ATEN.avg_pool2d.default: lambda *args: _pool(torch.nn.AvgPool2d, _AVG, *args),
    _ATEN.adaptive_avg_pool1d.default: lambda size: torch.nn.AdaptiveAvgPool1d(size[0]),
    _ATEN.adaptive_avg_pool2d.default: lambda size: torch.nn.AdaptiveAvgPool2d(tuple(size)),
}
#: What becomes a layer or a function; all else is refused by its name.
KNOWN = (
    *(*_FUNCTIONS, *_LAYERS),
    *(_ATEN.select.int, _ATEN.sym_size.int, _ATEN.batch_norm.default),
)


def module_of(program: torch.export.ExportedProgram) -> torch.nn.Module:
    """Return the program as layers and functions of torch."""
    return as_layers(program.module(check_guards=False))


def as_layers(whole: Any) -> torch.nn.Module:
    """Return calls of ATen as layers and functions of torch."""
    layers: dict[str, tuple[str, torch.nn.Module]] = {}
    for item in list(whole.graph.nodes):
        if item.target in _LAYERS or item.target is _ATEN.batch_norm.default:
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
    path = weights[0].rpartition(".")[0] or item.name if weights else item.name
    what = f"{item.target}{item.args[1:]}"  # the same weights may have another bias elsewhere
    if path in weights or (path in layers and layers[path][0] != what):
        path = f"{path}_{item.name}"
    if item.target is _ATEN.batch_norm.default:
        layer = _batch_norm(item.args[0].meta["val"].ndim, *rest[:7])  # type: ignore[union-attr]
    else:
        layer = _LAYERS[item.target](*rest)
    if layer is None:
        return
    layers.setdefault(path, (what, layer))
    item.op, item.target, item.args = "call_module", path, item.args[:1]


class _Root(torch.nn.Module):
    """What the graph takes its layers and other weights from."""

    def __init__(self, whole: torch.nn.Module, layers: dict[str, torch.nn.Module]) -> None:
        super().__init__()
        for name, value in (*whole.named_parameters(), *whole.named_buffers()):
            if not any(name.startswith(f"{path}.") for path in layers):
                home, leaf = self._home(name)
                home.register_buffer(leaf, value.detach())
        for path, layer in layers.items():
            home, leaf = self._home(path)
            home.add_module(leaf, layer)

    def _home(self, path: str) -> tuple[torch.nn.Module, str]:
        """Return the module that `path` is in, made where it is missing, and its last name."""
        home: torch.nn.Module = self
        *folders, leaf = path.split(".")
        for folder in folders:
            if not hasattr(home, folder):
                home.add_module(folder, torch.nn.Module())
            home = home.get_submodule(folder)
        return home, leaf
