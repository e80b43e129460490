"""ONNX's convolutions and pooling as operations of a graph over flat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.frontends.onnx_axes import Axes, letters, shown, sizes
from neurodeploy.frontends.onnx_values import Call, Refused, Seq
from neurodeploy.graph.maps import Conv, Pool


def _maps(x: Seq) -> tuple[Axes, tuple[int, ...]]:
    """Return the axes in front of maps, and the shape (maps, *size)."""
    shape = sizes(x.axes)
    front = x.axes[: len(x.axes) - len(shape)]
    if not letters(front) or letters(x.axes[len(front) :]) or not 2 <= len(shape) <= 3:
        fix = "give it [B, maps, height, width], or [B, maps, length]"
        raise Refused(f"it reads {shown(x.axes)}", fix)
    return front, shape


def _windows(call: Call, size: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """Return stride, padding (first what is in front, as ONNX has it) and dilation."""
    n = len(kernel)
    stride = tuple(call.attributes.get("strides", (1,) * n))
    dilation = tuple(call.attributes.get("dilations", (1,) * n))
    padding = tuple(call.attributes.get("pads", (0,) * 2 * n))
    auto = str(call.attributes.get("auto_pad", "NOTSET"))
    if auto.startswith("SAME"):
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        rows = zip(size, stride, reach, strict=True)
        both = [max((-(-m // s) - 1) * s + r - m, 0) for m, s, r in rows]
        less, more = [b // 2 for b in both], [b - b // 2 for b in both]
        padding = (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
    return {"stride": stride, "padding": padding, "dilation": dilation}


def _conv(call: Call) -> Seq:
    x, weight = call.seq(), np.asarray(call.const(1), np.float64)
    front, shape = _maps(x)
    bias = np.asarray(call.const(2, np.zeros(len(weight))), np.float64)
    windows = _windows(call, shape[1:], weight.shape[2:])
    groups = int(call.attributes.get("group", 1))
    op = _made(Conv, weight=weight, bias=bias, shape=shape, groups=groups, **windows)
    return call.emit(op, x, (*front, *op.out_shape))


def _pool(kind: str) -> Any:
    def read(call: Call) -> Seq:
        x = call.seq()
        front, shape = _maps(x)
        kernel = tuple(call.attributes["kernel_shape"])
        windows = _windows(call, shape[1:], kernel)
        call.expect(storage_order=(0,))
        if any(d != 1 for d in windows.pop("dilation")):
            raise Refused("windows with gaps", "pool without dilation")
        counted = bool(call.attributes.get("count_include_pad", 0))
        how = {"kind": kind, "shape": shape, "kernel": kernel, "count_padding": counted}
        op = _made(Pool, **how, **windows)
        if call.attributes.get("ceil_mode", 0) and _ragged(shape[1:], kernel, windows):
            raise Refused("windows that reach beyond the padded map", "pool with ceil_mode=False")
        return call.emit(op, x, (*front, *op.out_shape))

    return read


def _ragged(size: Sequence[int], kernel: Sequence[int], windows: dict[str, Any]) -> bool:
    padding, n = windows["padding"], len(kernel)
    rows = zip(size, kernel, windows["stride"], padding[:n], padding[n:], strict=True)
    return any((m + a + b - k) % s for m, k, s, a, b in rows)


def _global(kind: str) -> Any:
    return lambda call: _over_all(call, call.seq(), kind)


def _over_all(call: Call, x: Seq, kind: str) -> Seq:
    """Return the average or maximum of each map over all its positions."""
    front, shape = _maps(x)
    n = len(shape) - 1
    how = {"stride": (1,) * n, "padding": (0,) * 2 * n, "count_padding": False}
    op = _made(Pool, kind=kind, shape=shape, kernel=shape[1:], **how)
    return call.emit(op, x, (*front, *op.out_shape))


def _over_positions(call: Call, x: Seq, axes: Sequence[int], keep: int) -> Seq | None:
    """Return the mean over axes of one value, or over all positions; None of other axes."""
    count = len(x.axes)
    places = sorted(int(axis) % count for axis in axes)
    if all(x.axes[i] == 1 for i in places):
        return Seq(x.name, tuple(a for i, a in enumerate(x.axes) if keep or i not in places))
    behind = [i for i, axis in enumerate(x.axes) if isinstance(axis, int)][1:]
    if not behind or places != behind:
        return None
    pooled = _over_all(call, x, "avg")
    return pooled if keep else Seq(pooled.name, pooled.axes[: count - len(behind)])


def _made(make: Any, **how: Any) -> Any:
    try:
        return make(**how)
    except InputError as error:
        raise Refused(error.what, error.fix) from error


READERS: dict[str, Any] = {
    "Conv": _conv,
    "MaxPool": _pool("max"),
    "AveragePool": _pool("avg"),
    "GlobalAveragePool": _global("avg"),
    "GlobalMaxPool": _global("max"),
    "over positions": _over_positions,
}
