"""How maps stand in a NIR file: the shape of every node's values, convolutions and pooling.

The values of a graph are flat, those of a file have shapes: (channels,), (maps, length) or (maps,
height, width). What works on every value by itself leaves a shape as it is; a Flatten stands
between maps and what reads them flat, and nothing in NIR makes maps of channels.

What is written runs as it is meant in tools that read NIR, which is less than the format could say:
nir 1.0.8 takes every kernel for square and every convolution for one of one group when it checks
shapes, and stops at others; and all leave out the padding of a SumPool2d. So

    groups                  one group, with zeros between them
    other kernels           zeros around the kernel, until one size and one padding per axis hold
    uneven padding          "same" where it is that, else zeros around the kernel as well
    other sums and means    a Conv of equal weights

each of which computes the same sums. Weights that are no field as they are stand in the metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.graph.forms.nir_net import Part, Shape
from neurodeploy.graph.ir import (
    Array,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Population,
)
from neurodeploy.graph.maps import Conv, Maps, Pool
from neurodeploy.windows import Windows, same

_ELSE = "export .onnx, or --nir extension"
#: Names of the nodes that are of types of our own, which read and give channels.
Own = frozenset[str]


def shapes(graph: Graph, own: Own) -> dict[str, Shape]:
    """Return the shape of every node's values in a file."""
    found: dict[str, Shape] = {}
    for node in graph:
        flat = (graph.widths[node.name],)
        if isinstance(node.op, Input):
            found[node.name] = _read_as(graph, own) or flat
        else:
            read = [found[name] for name in node.inputs]
            found[node.name] = flat if _is_flat(node, own) else _given(node, read, flat)
    return found


def _given(node: Node, read: Sequence[Shape], flat: Shape) -> Shape:
    if isinstance(node.op, Maps):
        return node.op.out_shape
    if isinstance(node.op, Concat):
        sizes = {shape[1:] for shape in read}
        maps = sum(shape[0] for shape in read)
        return (maps, *sizes.pop()) if len(sizes) == 1 else flat
    return read[0] if set(read) == {read[0]} and prod(read[0]) == flat[0] else flat


def _is_flat(node: Node, own: Own) -> bool:
    """Whether a node reads and gives channels, whatever they were before."""
    op = node.op
    hears = isinstance(op, Neurons | Population) and op.recurrent is not None
    return node.name in own or hears or isinstance(op, Linear)


def _read_as(graph: Graph, own: Own) -> Shape | None:
    """Return the maps that convolutions and pooling take the input for, if any do.

    Of several those with most axes, since a Flatten makes fewer of them.
    """
    asked: dict[str, Shape] = {}
    for node in reversed(graph.nodes):
        shape = node.op.shape if isinstance(node.op, Maps) else asked.get(node.name)
        if shape is not None and not _is_flat(node, own) and not isinstance(node.op, Concat):
            asked |= {
                name: max(shape, asked.get(name, ()), key=lambda s: (len(s), s))
                for name in node.inputs
            }
    return asked.get(graph.input.name)


def wanted(node: Node, read: Sequence[Shape], given: Shape, own: Own) -> list[Shape]:
    """Return the shapes in which a node reads its inputs, which have the shapes `read`."""
    if isinstance(node.op, Maps) and node.name not in own:
        return [node.op.shape]
    if isinstance(node.op, Concat) and len(given) > 1:
        return list(read)
    if _is_flat(node, own) or isinstance(node.op, Concat):
        return [(prod(shape),) for shape in read]
    return [given] * len(read)


def flatten(have: Shape, want: Shape) -> Part:
    """Return the Flatten from one shape to another; InputError E108 if none is.

    Its axes count from the last: so they are the same to tools that count an axis of samples.
    """
    axes = len(have)
    for first in range(axes):
        for last in range(first + 1, axes):
            if (*have[:first], prod(have[first : last + 1]), *have[last + 1 :]) == want:
                shape = np.array(have, np.int64)
                ends = {"start_dim": first - axes, "end_dim": last - axes}
                return Part("Flatten", {"input_type": shape, **ends})
    what = f"it reads maps of shape {want}, and gets values of shape {have}: NIR has no node that"
    raise InputError("E108", f"{what} makes these of those", fix=_ELSE)


def conv(op: Conv, metadata: Mapping[str, Any]) -> Part:
    """Return a convolution. Raises InputError E108 if NIR has none like it."""
    part = _written(op)
    if part.fields["weight"].shape == op.stored.shape and op.groups == 1:
        return Part(part.type, part.fields, own=("weight", "bias"))
    return Part(part.type, part.fields, metadata)


def _written(op: Conv) -> Part:
    w, axes = op.windows, len(op.windows.size)
    if axes > 2:
        raise InputError("E108", f"a kernel of {axes} axes: NIR has Conv1d and Conv2d", fix=_ELSE)
    kernel, fronts, padding = _placed(w)
    weight = np.zeros((*op.stored.shape[:2], *kernel))
    inside = tuple(slice(f, f + k) for f, k in zip(fronts, w.kernel, strict=True))
    weight[(slice(None), slice(None), *inside)] = op.weight
    per_axis = {"stride": w.stride, "dilation": w.dilation, "input_shape": w.size}
    per_axis |= {} if isinstance(padding, str) else {"padding": padding}
    numbers = {key: _numbers(value) for key, value in per_axis.items()}
    fields = {"padding": padding, **numbers, "groups": 1, "bias": op.bias}
    return Part(f"Conv{axes}d", {**fields, "weight": _one_group(weight, op.groups)})


def _numbers(values: Shape) -> Any:
    """Return settings as the file has them: a number for one axis, an array for several."""
    return values[0] if len(values) == 1 else np.array(values, np.int64)


def _one_group(weight: Array, groups: int) -> Array:
    """Return weights of one group that convolve as `weight` [out, in / groups, ...] does."""
    if groups == 1:
        return weight
    out, inside = weight.shape[0] // groups, weight.shape[1]
    wide = np.zeros((len(weight), groups * inside, *weight.shape[2:]))
    for i in range(groups):
        rows = slice(i * out, (i + 1) * out)
        wide[rows, i * inside : (i + 1) * inside] = weight[rows]
    return wide


def _placed(w: Windows) -> tuple[Shape, Shape, Shape | str]:
    """Return a kernel, the zeros in front of ours in it, and padding: the same on both ends."""
    axes, least = len(w.size), max(w.kernel)
    before, after = w.padding[:axes], w.padding[axes:]
    plain = set(w.kernel) == {least} and before == after
    if not plain and set(w.stride) == {1} and w.padding == same(w.kernel, w.dilation):
        return w.kernel, (0,) * axes, "same"
    uneven = max(abs(b - a) for b, a in zip(before, after, strict=True))
    for side in range(least, least + uneven + 2):
        found = [_front(w, axis, side) for axis in range(axes)]
        fronts = tuple(front for front in found if front is not None)
        if len(fronts) == axes:
            ways = zip(before, fronts, w.dilation, strict=True)
            return (side,) * axes, fronts, tuple(p + f * d for p, f, d in ways)
    what = (
        f"kernel {w.kernel} with padding {w.padding}, stride {w.stride} and dilation {w.dilation}:"
        " NIR pads both ends of an axis alike, and its library takes kernels for square"
    )
    raise InputError("E108", what, fix=f"train with a square kernel padded evenly, or {_ELSE}")


def _front(w: Windows, axis: int, side: int) -> int | None:
    """Return how many zeros in front make a kernel of `side` see what ours does, evenly padded."""
    size, before, dilation = w.size[axis], w.padding[axis], w.dilation[axis]
    for front in range(side - w.kernel[axis] + 1):
        room = size + 2 * (before + front * dilation) - dilation * (side - 1) - 1
        if room // w.stride[axis] + 1 == w.outputs[axis]:
            return front
    return None


def pool(op: Pool, metadata: Mapping[str, Any]) -> Part:
    """Return a pooling. Raises InputError E108 if NIR has none like it."""
    if op.kind == "max":
        fix = f"train with average or sum pooling, or {_ELSE}"
        raise InputError("E108", "max pooling (kind) has no form in NIR", fix=fix)
    if np.any(op.gain != op.gain[0]):
        what = (
            "averages whose windows at the edge divide by fewer places (count_padding) have no form"
        )
        fix = f"train with count_include_pad=True, or {_ELSE}"
        raise InputError("E108", f"{what} in NIR", fix=fix)
    padding = _pool_padding(op)
    if padding is not None:
        fields = {"kernel_size": op.kernel, "stride": op.stride, "padding": padding}
        arrays = {key: np.array(value, np.int64) for key, value in fields.items()}
        return Part("SumPool2d" if op.kind == "sum" else "AvgPool2d", arrays, metadata)
    maps = op.shape[0]
    form = _written(
        Conv(
            weight=np.full((maps, 1, *op.kernel), op.gain[0]),
            bias=np.zeros(maps),
            shape=op.shape,
            stride=op.stride,
            padding=op.padding,
            dilation=op.windows.dilation,
            groups=maps,
        )
    )
    return Part(form.type, form.fields, metadata)


def _pool_padding(op: Pool) -> Shape | None:
    """Return the padding of the SumPool2d or AvgPool2d that this is, if it is one."""
    w = op.windows
    plain = op.kind == "sum" or np.all(op.gain == 1 / prod(op.kernel))
    if len(op.kernel) != 2 or not plain:
        return None
    padding, even = w.padding[:2], replace(w, padding=w.padding[:2] * 2)
    narrow = all(2 * p <= k for p, k in zip(padding, w.kernel, strict=True))  # else torch refuses
    unpadded = op.kind == "avg" or not any(padding)
    fits = narrow and unpadded and not list(even.problems()) and even.outputs == w.outputs
    return padding if fits else None


def affine(gain: Array, bias: Array, shape: Shape) -> Part:
    """Return gain * x + bias on maps, as a kernel of one place. Raises InputError E108 if none is.

    gain and bias: of every value, [maps * positions].
    """
    rows = [value.reshape(shape[0], -1) for value in (gain, bias)]
    if any(np.any(value != value[:, :1]) for value in rows):
        what = "gains and biases that differ within a map (gain, bias) have no form in NIR"
        raise InputError("E108", what, fix=f"give a map one gain and one bias, or {_ELSE}")
    return _pointwise(np.diag(rows[0][:, 0]), rows[1][:, 0], shape)


def part_of(shape: Shape, first: int, maps: int) -> Part:
    """Return what puts maps of `shape` behind the `first` of all `maps`."""
    return _pointwise(np.eye(maps, shape[0], k=-first), np.zeros(maps), shape)


def _pointwise(matrix: Array, bias: Array, shape: Shape) -> Part:
    axes = len(shape) - 1
    one, none = (1,) * axes, (0,) * 2 * axes
    weight = matrix.reshape(*matrix.shape, *one)
    return _written(Conv(weight, bias, shape, one, none, one, 1))
