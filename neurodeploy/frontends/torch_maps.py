"""Torch's convolutions, poolings and norms of maps, as operations of a graph.

Ours (`nn.Conv`, `nn.Pool`) take flat maps [T, B, C * P]; torch's take [N, C, *size], which the
layout of their input has to be (`torch_layout`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from neurodeploy import nn
from neurodeploy.errors import InputError
from neurodeploy.frontends.torch_layout import VIEWS, Axis, Layout, heads, shown, sizes
from neurodeploy.graph.ir import BatchNorm, Op
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.windows import Windows, per_axis, same

LEAVES = (nn.Conv, nn.Pool)
_CONVS: dict[Any, int] = {torch.nn.Conv1d: 1, torch.nn.Conv2d: 2}
_POOLS: dict[Any, tuple[str, int]] = {
    torch.nn.AvgPool1d: ("avg", 1),
    torch.nn.AvgPool2d: ("avg", 2),
    torch.nn.MaxPool1d: ("max", 1),
    torch.nn.MaxPool2d: ("max", 2),
    torch.nn.AdaptiveAvgPool1d: ("adaptive", 1),
    torch.nn.AdaptiveAvgPool2d: ("adaptive", 2),
}
_FUNCTIONS: dict[Any, tuple[str, int]] = {
    torch.nn.functional.avg_pool1d: ("avg", 1),
    torch.nn.functional.avg_pool2d: ("avg", 2),
    torch.nn.functional.max_pool1d: ("max", 1),
    torch.nn.functional.max_pool2d: ("max", 2),
}
_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)


def needs_layout(item: fx.Node, module: torch.nn.Module | None) -> bool:
    """Whether what a module or call of torch does depends on how its input is laid out."""
    if module is None:
        name = getattr(item.target, "__name__", item.target)
        return item.target in _FUNCTIONS or name in (*VIEWS, "mean", "sum")
    own = (*LEAVES, *_CONVS, *_POOLS, *_NORMS, torch.nn.Flatten, torch.nn.Unflatten)
    return isinstance(module, own)


def op_of(item: fx.Node, module: torch.nn.Module | None, layout: Layout) -> Op | None:
    """Return the operation of a module, or else call, over maps; None if it is none.

    Raises InputError E104 for a layout or a setting that it cannot be followed in.
    """
    if module is None:
        return _function_op(item, layout)
    if isinstance(module, nn.Conv):
        return _conv(module, module.shape, module.windows)
    if isinstance(module, nn.Pool):
        return _pool(module.kind, module.shape, module.windows, count=module.count_padding)
    if type(module) in _CONVS:
        return _torch_conv(module, layout, _CONVS[type(module)])
    if type(module) in _POOLS:
        kind, axes = _POOLS[type(module)]
        if kind == "adaptive":
            return _adaptive(module, maps_of(layout, axes))
        return _torch_pool(kind, maps_of(layout, axes), vars(module))
    if type(module) in _NORMS:
        return _norm(module, layout)
    return None


def _function_op(item: fx.Node, layout: Layout) -> Op | None:
    if item.target not in _FUNCTIONS:
        return None
    kind, axes = _FUNCTIONS[item.target]
    names = ("kernel_size", "stride", "padding")
    settings = {**dict(zip(names, item.args[1:], strict=False)), **item.kwargs}
    if len(item.args) > 1 + len(names):
        raise _refused("its settings behind padding are not named", "name them")
    return _torch_pool(kind, maps_of(layout, axes), settings)


def maps_of(layout: Layout, axes: int) -> tuple[int, ...]:
    """Return (maps, *size) of values [N, maps, *size]; raises InputError E104 for others."""
    if len(heads(layout)) != 1 or len(sizes(layout)) != 1 + axes:
        size = "height, width" if axes == 2 else "length"
        raise _refused(
            f"it reads {shown(layout)}, not [N, maps, {size}]",
            f"reshape: y = x.flatten(0, 1).unflatten(1, (maps, {size})), and later"
            " y.reshape(T, B, -1), with T and B of x.shape; or use neurodeploy.nn.Conv and Pool",
        )
    return sizes(layout)


def _refused(what: str, fix: str) -> InputError:
    return InputError("E104", what, fix=fix)


def _conv(module: Any, shape: tuple[int, ...], windows: Windows) -> Conv:
    return Conv(
        weight=_array(module.weight),
        bias=np.zeros(len(module.weight)) if module.bias is None else _array(module.bias),
        shape=shape,
        stride=windows.stride,
        padding=windows.padding,
        dilation=windows.dilation,
        groups=module.groups,
    )


def _torch_conv(module: Any, layout: Layout, axes: int) -> Conv:
    shape, kernel, dilation = maps_of(layout, axes), module.kernel_size, module.dilation
    if module.padding_mode != "zeros":
        raise _refused(f"padding_mode {module.padding_mode!r}", "train with padding_mode='zeros'")
    paddings = {"valid": (0,) * 2 * axes, "same": same(kernel, dilation)}
    named = isinstance(module.padding, str)
    padding = paddings[module.padding] if named else tuple(module.padding) * 2
    settings: Any = {"kernel": kernel, "stride": module.stride, "dilation": dilation}
    return _conv(module, shape, Windows(size=shape[1:], padding=padding, **settings))


def _pool(kind: str, shape: tuple[int, ...], windows: Windows, *, count: bool) -> Pool:
    return Pool(kind, shape, windows.kernel, windows.stride, windows.padding, count)


def _torch_pool(kind: str, shape: tuple[int, ...], settings: Any) -> Pool:
    """Return a pooling with torch's settings, by name."""
    axes = len(shape) - 1
    if settings.get("divisor_override") is not None or settings.get("return_indices"):
        raise _refused("divisor_override or return_indices", "train without them")
    if set(per_axis(settings.get("dilation", 1), axes)) != {1}:
        raise _refused("a pooling with dilation", "train without dilation")
    kernel = per_axis(settings["kernel_size"], axes)
    own = settings.get("stride")
    stride = kernel if own is None else per_axis(own, axes)
    before = per_axis(settings.get("padding", 0), axes)
    count = bool(settings.get("count_include_pad", True))
    ones = (1,) * axes
    windows = Windows(
        size=shape[1:], kernel=kernel, stride=stride, padding=before * 2, dilation=ones
    )
    if settings.get("ceil_mode"):
        behind = _rounded_up(windows)
        if behind != before and kind == "avg" and count:
            raise _refused(
                "ceil_mode with count_include_pad: windows at the end are divided by fewer places",
                "train with ceil_mode=False, or count_include_pad=False",
            )
        windows = Windows(
            size=shape[1:], kernel=kernel, stride=stride, padding=before + behind, dilation=ones
        )
    return _pool(kind, shape, windows, count=count)


def _rounded_up(windows: Windows) -> tuple[int, ...]:
    """Return the padding behind each axis that gives the windows of torch's ceil_mode.

    The last window begins inside the map, or in the padding before it.
    """
    found = []
    rows = zip(windows.size, windows.kernel, windows.stride, windows.padding, strict=False)
    for size, kernel, stride, pad in rows:
        count = -(-(size + 2 * pad - kernel) // stride) + 1
        count -= (count - 1) * stride >= size + pad
        found.append(max(pad, (count - 1) * stride + kernel - size - pad))
    return tuple(found)


def _adaptive(module: Any, shape: tuple[int, ...]) -> Pool:
    axes = len(shape) - 1
    wanted = module.output_size
    wanted = (wanted,) * axes if isinstance(wanted, int) else tuple(wanted)
    outputs = [size if n is None else n for n, size in zip(wanted, shape[1:], strict=True)]
    if any(size % n for size, n in zip(shape[1:], outputs, strict=True)):
        what = f"adaptive windows of {shape[1:]} to {tuple(outputs)} differ in size"
        raise _refused(what, "choose an output size that divides the map's")
    kernel = tuple(size // n for size, n in zip(shape[1:], outputs, strict=True))
    return Pool("avg", shape, kernel, kernel, (0,) * 2 * axes, True)


def _norm(module: Any, layout: Layout) -> BatchNorm:
    """Return the norm of maps [N, maps, *size], or of channels [N, maps]."""
    inner = sizes(layout)
    axes = (2,) if isinstance(module, torch.nn.BatchNorm2d) else (0, 1)
    if len(heads(layout)) != 1 or len(inner) - 1 not in axes or inner[0] != module.num_features:
        what = f"it reads {shown(layout)}, not [N, {module.num_features}, ...]"
        raise _refused(what, "use neurodeploy.nn.BatchNorm, with positions= for maps")
    if module.running_mean is None:
        raise _refused("a norm without running statistics", "train with track_running_stats=True")
    one, zero = np.ones(inner[0]), np.zeros(inner[0])
    gamma = one if module.weight is None else _array(module.weight)
    beta = zero if module.bias is None else _array(module.bias)
    values = gamma, beta, _array(module.running_mean), _array(module.running_var)
    positions = int(np.prod(inner[1:]))
    gamma, beta, mean, var = (np.repeat(value, positions) for value in values)
    return BatchNorm(gamma, beta, mean, var, float(module.eps))


def _array(value: Any) -> Any:
    return np.asarray(value.detach().cpu().numpy(), np.float64)


def over_positions(item: fx.Node, layout: Layout) -> tuple[Pool, Layout] | None:
    """Return the pooling that a mean or sum over all positions of maps is, and its layout."""
    name = getattr(item.target, "__name__", str(item.target))
    inner, first = sizes(layout), len(heads(layout))
    dims = item.kwargs.get("dim", item.args[1] if len(item.args) > 1 else None)
    keep = bool(item.kwargs.get("keepdim", item.args[2] if len(item.args) > 2 else False))
    if name not in ("mean", "sum") or len(inner) < 2 or not isinstance(dims, int | list | tuple):
        return None
    each = (dims,) if isinstance(dims, int) else dims
    axes = sorted(int(dim) % len(layout) for dim in each)
    if axes != list(range(first + 1, len(layout))):
        return None
    zeros = (0,) * 2 * len(inner[1:])
    op = Pool({"mean": "avg", "sum": "sum"}[name], inner, inner[1:], inner[1:], zeros, True)
    ones = (Axis("", 1),) * len(inner[1:]) if keep else ()
    return op, (*heads(layout), Axis("", inner[0]), *ones)
