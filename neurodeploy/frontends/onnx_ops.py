"""What ONNX operators on sequences mean, as operations of a graph.

Each reader takes a `Call` and returns the values that the node computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neurodeploy.frontends.onnx_axes import permuted, reshaped, shown, sizes
from neurodeploy.frontends.onnx_lstm import lstm
from neurodeploy.frontends.onnx_maps import READERS as MAPS
from neurodeploy.frontends.onnx_quant import READERS as QUANTIZERS
from neurodeploy.frontends.onnx_values import (
    Call,
    Const,
    Dims,
    Filled,
    Part,
    Refused,
    Seq,
    Sigmoid,
    axis_of,
    heads,
    over_time,
    spread,
)
from neurodeploy.graph.ir import Add, Affine, BatchNorm, Concat, Linear, Op, Reduce
from neurodeploy.graph.nonlinear import Gelu, Glu, LayerNorm, Product, Relu

Reader = Callable[[Call], Any]


def _matmul(call: Call) -> Seq:
    x, weight = call.seq(), np.asarray(call.const(1), np.float64)
    if weight.ndim != 2 or weight.shape[0] != x.channels:
        what = f"a weight {list(weight.shape)} behind {shown(x.axes)}"
        raise Refused(what, "multiply by one matrix [channels, out] from the right")
    op = Linear(np.ascontiguousarray(weight.T), np.zeros(weight.shape[1]))
    return call.emit(op, x, (*heads(x.axes), weight.shape[1]))


def _gemm(call: Call) -> Seq:
    x, weight = call.seq(), np.asarray(call.const(1), np.float64)
    call.expect(transA=(0,))
    weight = weight if call.attributes.get("transB", 0) else weight.T
    weight = np.ascontiguousarray(weight) * float(call.attributes.get("alpha", 1.0))
    if len(x.axes) != 2 or weight.shape[1] != x.channels:
        what = f"a weight {list(weight.shape)} behind {shown(x.axes)}"
        raise Refused(what, "give it [samples, channels]")
    bias = np.asarray(call.const(2, np.zeros(1)), np.float64)
    bias = np.broadcast_to(bias.reshape(-1), (len(weight),))
    scaled = bias * float(call.attributes.get("beta", 1.0))
    return call.emit(Linear(weight, scaled), x, (*heads(x.axes), len(weight)))


def _affine(call: Call, x: Seq, gain: Any, bias: Any) -> Seq:
    width = int(np.prod(sizes(x.axes)))
    ones, zeros = np.ones(width), np.zeros(width)
    return call.emit(Affine(gain * ones, bias + zeros), x, x.axes)


def _two(call: Call) -> tuple[Seq, Any] | None:
    """Return the sequence and the constant that a node reads, or None for two sequences."""
    for index in (0, 1):
        if isinstance(call.inputs[index], Const):
            x = call.seq(1 - index)
            return x, spread(call.const(index), x)
    return None


def _same_axes(call: Call) -> tuple[Seq, Seq]:
    a, b = call.seq(0), call.seq(1)
    if a.axes != b.axes:
        fix = "bring both to the same axes"
        raise Refused(f"it reads {shown(a.axes)} and {shown(b.axes)}", fix)
    return a, b


def _add(call: Call) -> Seq:
    if len(call.inputs) == 2 and (pair := _two(call)) is not None:
        return _affine(call, pair[0], 1.0, pair[1])
    if len(call.inputs) < 2:
        return call.seq()
    terms = [call.seq(i) for i in range(len(call.inputs))]
    if len({term.axes for term in terms}) > 1:
        what = f"it adds {', '.join(shown(term.axes) for term in terms)}"
        raise Refused(what, "bring all to the same axes")
    return call.emit(Add(), terms, terms[0].axes)


def _sub(call: Call) -> Seq:
    if (pair := _two(call)) is not None:
        first = isinstance(call.inputs[0], Const)
        gain, bias = (-1.0, pair[1]) if first else (1.0, -pair[1])
        return _affine(call, pair[0], gain, bias)
    a, b = _same_axes(call)
    width = int(np.prod(sizes(b.axes)))
    negative = call.emit(Affine(-np.ones(width), np.zeros(width)), b, b.axes, ".negative")
    return call.emit(Add(), [a, negative], a.axes)


def _mul(call: Call) -> Any:
    if all(isinstance(value, Dims) for value in call.inputs):
        numbers = [number for value in call.inputs for number in value.axes]
        return Dims((int(np.prod(numbers)),)) if sizes(tuple(numbers)) == tuple(numbers) else None
    gates = [value for value in call.inputs if isinstance(value, Sigmoid)]
    if gates:
        return _gated(call, gates[0])
    if (pair := _two(call)) is not None:
        return _affine(call, pair[0], pair[1], 0.0)
    a, b = _same_axes(call)
    return call.emit(Product(), [a, b], a.axes)


def _gated(call: Call, gate: Sigmoid) -> Seq:
    """Read a * sigmoid(b) as a GLU: of the halves of one value, or of a and b, concatenated."""
    (value,) = [v for v in call.inputs if v is not gate] or [None]
    a, b = value, gate.source
    if isinstance(a, Part) and b == Part(a.whole, 1, 2) and a == Part(a.whole, 0, 2):
        return call.emit(Glu(), a.whole, (*heads(a.whole.axes), a.whole.channels // 2))
    if not isinstance(a, Seq) or not isinstance(b, Seq) or a.axes != b.axes:
        fix = "gate the first half of the channels by the sigmoid of the second (torch.nn.GLU)"
        raise Refused("a product with a sigmoid of something else", fix)
    both = call.emit(Concat(), [a, b], (*heads(a.axes), a.channels + b.channels), ".both")
    return call.emit(Glu(), both, a.axes)


def _div(call: Call) -> Seq:
    x, by = call.seq(), call.const(1)
    values = spread(by, x)
    if np.any(values == 0):
        raise Refused("it divides by 0", "export the model again")
    return _affine(call, x, 1 / values, 0.0)


def _batchnorm(call: Call) -> Seq:
    x = call.seq()
    call.expect(training_mode=(0,))
    where = 1 if isinstance(axis_of(x, 1), int) else -1
    if where == -1 and len(x.axes) > 2:
        raise Refused(f"channels are axis 1, which is {x.axes[1]}", "give it [B, channels, ...]")
    width = axis_of(x, where)
    each = int(np.prod(sizes(x.axes))) // int(width)
    gamma, beta, mean, var = (np.repeat(call.const(i), each) for i in (1, 2, 3, 4))
    op = BatchNorm(gamma, beta, mean, var, _number(call, "epsilon", 1e-5))
    return call.emit(op, x, x.axes)


def _layernorm(call: Call) -> Seq:
    x = call.seq()
    call.expect(axis=(-1, len(x.axes) - 1))
    if call.used > 1:
        raise Refused("its mean or deviation is used", "use its first output only")
    width = x.channels
    gamma = np.broadcast_to(call.const(1), (width,))
    beta = np.broadcast_to(call.const(2, np.zeros(width)), (width,))
    return call.emit(LayerNorm(gamma, beta, _number(call, "epsilon", 1e-5)), x, x.axes)


def _number(call: Call, key: str, default: float) -> float:
    """Return a float attribute as the decimal number that float32 was rounded from."""
    return float(str(np.float32(call.attributes.get(key, default))))


def _gelu(call: Call) -> Seq:
    form = {"none": "erf", "tanh": "tanh"}[call.attributes.get("approximate", "none")]
    return call.emit(Gelu(form), call.seq(), call.seq().axes)


def _plain(op: Op) -> Reader:
    return lambda call: call.emit(op, call.seq(), call.seq().axes)


def _sigmoid(call: Call) -> Sigmoid:
    value = call.inputs[0]
    return Sigmoid(value if isinstance(value, Part) else call.seq())


def _split(call: Call) -> tuple[Part, ...]:
    x = call.seq()
    call.expect(axis=(-1, len(x.axes) - 1))
    counts = call.const(1, np.zeros(0)).reshape(-1)
    if x.channels % call.outputs or len(set(counts.tolist())) > 1:
        raise Refused("parts of different sizes", "split into equal parts")
    return tuple(Part(x, index, call.outputs) for index in range(call.outputs))


def _concat(call: Call) -> Any:
    if any(isinstance(value, Dims) for value in call.inputs):
        axes: list[Any] = []
        for index, value in enumerate(call.inputs):
            axes += value.axes if isinstance(value, Dims) else _whole(call.const(index))
        return Dims(tuple(axes))
    parts = [call.seq(i) for i in range(len(call.inputs))]
    if {heads(part.axes) for part in parts} != {heads(parts[0].axes)}:
        what = f"it joins {', '.join(shown(part.axes) for part in parts)}"
        raise Refused(what, "join channels of the same steps and samples")
    call.expect(axis=(-1, len(parts[0].axes) - 1))
    width = sum(part.channels for part in parts)
    return call.emit(Concat(), parts, (*heads(parts[0].axes), width))


def _whole(array: Any) -> list[int]:
    return [int(value) for value in np.asarray(array).reshape(-1)]


def _reduce(kind: str) -> Reader:
    def read(call: Call) -> Any:
        x = call.seq()
        axes = call.attributes.get("axes") or _whole(call.const(1, np.zeros(0)))
        keep = int(call.attributes.get("keepdims", 1))
        if kind == "mean" and (pooled := MAPS["over positions"](call, x, axes, keep)) is not None:
            return pooled
        if len(axes) != 1 or keep:
            raise Refused(f"it reduces axes {list(axes)}", "reduce over time, keepdims=0")
        rest = over_time(x, int(axes[0]))
        return call.emit(Reduce(kind, np.zeros(int(np.prod(sizes(x.axes))))), x, rest)

    return read


def _gather(call: Call) -> Any:
    source, index = call.inputs[0], call.const(1)
    axis = int(call.attributes.get("axis", 0))
    if isinstance(source, Dims):
        whole = np.ndim(index) == 0
        return Dims(tuple(source.axes[i] for i in _whole(index)), whole=whole)
    x = call.seq()
    if index.shape != () or int(index) != -1:
        raise Refused(f"it takes entries {index.tolist()}", "take the last step: x[-1]")
    rest = over_time(x, axis)
    return call.emit(Reduce("last", np.zeros(int(np.prod(sizes(x.axes))))), x, rest)


def _slice(call: Call) -> Any:
    source = call.inputs[0]
    if isinstance(source, Filled):
        return source
    starts, ends = _whole(call.const(1)), _whole(call.const(2))
    axes = _whole(call.const(3, np.arange(len(starts))))
    steps = _whole(call.const(4, np.ones(len(starts))))
    if steps != [1] * len(starts) or len(starts) != 1:
        raise Refused("a slice with steps, or of several axes", "slice one axis, step 1")
    if isinstance(source, Dims):
        return Dims(source.axes[starts[0] : ends[0]])
    x = call.seq()
    if axes[0] % len(x.axes) == len(x.axes) - 1 and x.channels % 2 == 0:
        first, last, _ = slice(starts[0], ends[0]).indices(x.channels)
        half = x.channels // 2
        if (first, last) in ((0, half), (half, 2 * half)):
            return Part(x, first // half, 2)
    raise Refused("a slice of other values than half of the channels", "split with torch.chunk")


def _transpose(call: Call) -> Seq:
    x = call.seq()
    order = call.attributes.get("perm") or range(len(x.axes))[::-1]
    axes = permuted(x.axes, list(order))
    if axes is None:
        what = f"it moves values of {shown(x.axes)} by {list(order)}"
        raise Refused(what, "leave channels and positions in their order")
    return Seq(x.name, axes)


def _reshape(call: Call) -> Any:
    if isinstance(call.inputs[0], Dims):
        return Dims(call.inputs[0].axes)
    x, shape = call.seq(), call.inputs[1]
    wanted = list(shape.axes) if isinstance(shape, Dims) else _whole(call.const(1))
    if not call.attributes.get("allowzero", 0):
        wanted = [x.axes[i] if n == 0 and i < len(x.axes) else n for i, n in enumerate(wanted)]
    return _viewed(x, wanted, call)


def _viewed(x: Seq, wanted: list[Any], call: Call) -> Seq:
    axes = reshaped(x.axes, wanted, call.fixed)
    if axes is None:
        what = f"it makes {wanted} of {shown(x.axes)}"
        raise Refused(what, "keep steps, samples and values apart, and in their order")
    return Seq(x.name, axes)


def _flatten(call: Call) -> Seq:
    x = call.seq()
    at = int(call.attributes.get("axis", 1)) % (len(x.axes) + 1)
    front, back = x.axes[:at], x.axes[at:]
    if any(isinstance(axis, int) and axis != 1 for axis in front) or not sizes(back):
        raise Refused(f"it merges {shown(front)}", "flatten what stands behind the samples")
    merged = "".join(axis for axis in front if isinstance(axis, str))
    return _viewed(x, [merged, int(np.prod(sizes(back)))], call)


def _squeeze(call: Call) -> Any:
    x = call.seq()
    axes = call.attributes.get("axes") or _whole(call.const(1))
    gone = {int(axis) % len(x.axes) for axis in axes}
    if any(x.axes[i] != 1 for i in gone):
        raise Refused(f"it drops axes {list(axes)} of {shown(x.axes)}", "drop axes of size 1")
    return Seq(x.name, tuple(axis for i, axis in enumerate(x.axes) if i not in gone))


def _unsqueeze(call: Call) -> Any:
    source = call.inputs[0]
    if isinstance(source, Dims):
        return Dims(source.axes)
    x = call.seq()
    places = call.attributes.get("axes") or _whole(call.const(1))
    axes = list(x.axes)
    for place in sorted(int(p) % (len(axes) + len(places)) for p in places):
        axes.insert(place, 1)
    return Seq(x.name, tuple(axes))


def _shape(call: Call) -> Dims:
    axes = call.seq().axes
    start, end = call.attributes.get("start", 0), call.attributes.get("end", len(axes))
    return Dims(axes[int(start) : int(end)])


def _filled(call: Call) -> Filled:
    value = call.attributes.get("value")
    if call.type == "Expand":
        value = call.const(0)
    numbers = np.zeros(1) if value is None else np.asarray(value)
    if numbers.size != 1:
        raise Refused("it repeats several numbers", "use one number")
    return Filled(float(numbers.reshape(-1)[0]))


def _cast(call: Call) -> Any:
    if isinstance(call.inputs[0], Seq) and call.attributes.get("to") not in (1, 11):
        fix = "keep values in float32 or float64"
        raise Refused(f"a cast to type {call.attributes.get('to')}", fix)
    return call.inputs[0]


def _dropout(call: Call) -> Any:
    if call.has(2) and bool(np.any(call.const(2))):
        raise Refused("dropout in training", "export the model in evaluation mode")
    return call.seq()


READERS: dict[str, Reader] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Add": _add,
    "Sum": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Neg": lambda call: _affine(call, call.seq(), -1.0, 0.0),
    "BatchNormalization": _batchnorm,
    "LayerNormalization": _layernorm,
    "Relu": _plain(Relu()),
    "Gelu": _gelu,
    "Sigmoid": _sigmoid,
    "Split": _split,
    "Concat": _concat,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Gather": _gather,
    "Slice": _slice,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Shape": _shape,
    "ConstantOfShape": _filled,
    "Expand": _filled,
    "Cast": _cast,
    "Identity": lambda call: call.inputs[0],
    "Dropout": _dropout,
    "LSTM": lstm,
    **QUANTIZERS,
    **{key: reader for key, reader in MAPS.items() if key[0].isupper()},
}

FIXES = {
    "Softmax": "export the network without the last Softmax: the largest output is the same",
    "LogSoftmax": "export the network without the last LogSoftmax: the largest output is the same",
    "Tanh": "use ReLU, GELU or GLU, or an LSTM as one operator",
    "Erf": "export with opset 20 or later, where GELU is one operator",
    "GRU": "use an LSTM, or recurrent spiking neurons",
    "RNN": "use an LSTM, or recurrent spiking neurons",
    "LeakyRelu": "use ReLU or GELU",
}
