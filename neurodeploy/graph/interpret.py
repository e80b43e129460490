"""What a graph means, in float64.

`interpret` is the reference for every pass. Neurons run through kernels compiled from their
`step`; `compiled=False` runs the `Real` reading itself, step by step: the two are equal to the
last bit, and a test holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, overload

import numpy as np

from neurodeploy.arith import Real
from neurodeploy.errors import InputError, require_rows
from neurodeploy.graph.ir import (
    Add,
    Affine,
    Array,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Lstm,
    Neurons,
    Node,
    Population,
    Reduce,
    Surrogate,
    VectorOp,
)
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.graph.surrogate import predicted
from neurodeploy.graph.vectors import lstm, values_of
from neurodeploy.kernels import packed, real_kernel, share
from neurodeploy.neurons.spec import over_batch
from neurodeploy.tokens import one_hot


@overload
def interpret(graph: Graph, x: Any, record: tuple[()] = (), *, compiled: bool = True) -> Array: ...


@overload
def interpret(
    graph: Graph, x: Any, record: Collection[str], *, compiled: bool = True
) -> tuple[Array, dict[str, Array]]: ...


def interpret(
    graph: Graph, x: Any, record: Collection[str] = (), *, compiled: bool = True
) -> Array | tuple[Array, dict[str, Array]]:
    """Run `graph` on x [T, B, C]; return its output [B, N], or [T, B, N] without a readout.

    With `record`, names of nodes, return also their outputs by name. Raises InputError E106 if x
    does not have the shape the graph reads.
    """
    output, kept, _ = run(graph, x, record, compiled=compiled)
    return (output, kept) if record else output


def run(
    graph: Graph,
    x: Any,
    record: Collection[str] = (),
    *,
    compiled: bool = True,
    reach: dict[str, Array] | None = None,
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Run `graph`; return its output, the recorded outputs, and the membranes of recorded nodes.

    A membrane [T, B, N] is what each spike was decided on: the folded or unfolded state that is
    compared with the threshold, before reset. `reach`, if given, receives the greatest magnitude
    [N] of it and of all registers of each recorded neuron.
    """
    x = checked_input(graph, x)
    values: dict[str, Array] = {}
    membranes: dict[str, Array] = {}
    last_use = {name: node.name for node in graph for name in node.inputs}
    kept: dict[str, Array] = {}
    for node in graph:
        inputs = [x] if isinstance(node.op, Input) else [values[name] for name in node.inputs]
        probe = node.name in record
        values[node.name], membrane, top = _evaluate(node, inputs, probe=probe, compiled=compiled)
        if reach is not None and top is not None:
            reach[node.name] = top
        if probe:
            kept[node.name] = values[node.name]
            if membrane is not None:
                membranes[node.name] = membrane
        for name in set(node.inputs):
            if last_use[name] == node.name and name != graph.output:
                del values[name]
    return values[graph.output], kept, membranes


def checked_input(graph: Graph, x: Any) -> Array:
    """Return x as float64 [T, B, C], token ids as spikes.

    Raises InputError E106 if the graph cannot read it.
    """
    op = graph.input.op
    assert isinstance(op, Input)
    data, width = one_hot(x, op.width) if op.tokens else np.asarray(x, np.float64), op.width
    if data.ndim != 3 or data.shape[2] != width or data.shape[0] < 1:
        raise InputError(
            "E106",
            f"input has shape {data.shape}",
            fix=f"give x [T, B, {width}]: steps, samples, channels",
        )
    if not np.all(np.isfinite(data)):
        raise InputError("E106", "input has NaN or infinite values", fix="clean the data")
    for node in graph:
        if isinstance(node.op, Neurons | Population):
            require_rows(len(data), node.op.longest, f'node "{node.name}"')
    return data


def _evaluate(
    node: Node, inputs: Sequence[Array], *, probe: bool, compiled: bool
) -> tuple[Array, Array | None, Array | None]:
    op = node.op
    if isinstance(op, Surrogate):
        drive = inputs[0] * op.gain + op.bias
        membrane = predicted(op.network, drive) + drive
        return np.where(membrane >= 1.0, op.amplitude, 0.0), membrane, None
    if isinstance(op, Neurons | Population):
        return _neurons(op, inputs[0], probe=probe, compiled=compiled)
    if isinstance(op, Lstm):
        out, cells = lstm(op, inputs[0])
        return out, None, np.abs(cells).max(axis=(0, 1), initial=0.0)
    if isinstance(op, VectorOp):
        return values_of(op, inputs), None, None
    return _STATELESS[type(op)](op, inputs), None, None


_STATELESS: dict[type, Callable[[Any, Sequence[Array]], Array]] = {
    Input: lambda op, v: v[0],
    Linear: lambda op, v: v[0] @ op.weight.T + op.bias,
    Conv: lambda op, v: op.apply(v[0]),
    Pool: lambda op, v: op.apply(v[0]),
    Affine: lambda op, v: v[0] * op.gain + op.bias,
    BatchNorm: lambda op, v: op.gamma * (v[0] - op.mean) / np.sqrt(op.var + op.eps) + op.beta,
    Add: lambda op, v: sum(v[1:], start=v[0]),
    Concat: lambda op, v: np.concatenate(v, axis=-1),
    Reduce: lambda op, v: _reduce(op, v[0] + op.bias),
}


def _reduce(op: Reduce, x: Array) -> Array:
    if op.kind == "mean":
        return np.asarray(x.mean(axis=0))
    return np.asarray(x.sum(axis=0)) if op.kind == "sum" else x[-1]


def _neurons(
    op: Neurons | Population, x: Array, *, probe: bool, compiled: bool
) -> tuple[Array, Array | None, Array | None]:
    spec, width = op.model, x.shape[2]
    drive = x * (op.gain if isinstance(op, Neurons) else op.sign) + op.bias
    coefs = spec.arranged(op.folded, width)
    rows = spec.rows(spec.state._fields, spec.modes(coefs._asdict()))
    state = np.zeros((rows, x.shape[1], width))
    reach = np.zeros(x.shape[1:] if probe else (0, 0))
    out, membrane = np.empty_like(drive), np.empty_like(drive if probe else drive[:0])
    if compiled:
        loop = _loop(op)
        options = tuple(sorted(op.options.items()))
        kernel = real_kernel(spec.name, options, probe=probe, recurrent=bool(loop))
        packs = packed(spec.traced(op.options), coefs._asdict(), len(x), np.float64)
        held = (state, out, membrane, reach)
        args = (*loop, np.ascontiguousarray(drive), *packs, *held, op.reverse)
        share(kernel, *args, samples=x.shape[1], work=x.size * (width if loop else 1))
    else:
        _by_step(op, drive, coefs, state, out)
    if not (probe and compiled):
        return out * op.amplitude, None, None
    return out * op.amplitude, membrane, reach.max(axis=0, initial=0.0)


def _loop(op: Neurons | Population) -> tuple[Any, ...]:
    """Return what a kernel needs to feed the output back; nothing where it is not."""
    if op.recurrent is None:
        return ()
    return np.ascontiguousarray(op.recurrent.T), float(op.amplitude)


def _by_step(op: Neurons | Population, drive: Array, coefs: Any, state: Array, out: Array) -> None:
    spec, o = op.model, Real()
    z = spec.parts(spec.state, state, spec.modes(coefs._asdict()))
    coefs = over_batch(spec, coefs)
    steps, sent = range(len(drive)), np.zeros_like(drive[0])
    for i, t in enumerate(reversed(steps) if op.reverse else steps):
        x = drive[t]
        if op.recurrent is not None:
            x = x + _fed(op.recurrent, sent)
        out[t], z = spec.step(o, spec.at(coefs, i), z, x, op.options)
        sent = out[t] * op.amplitude


def _fed(weight: Array, sent: Array) -> Array:
    """Return weight @ sent for each sample of sent [B, width], summed in the senders' order."""
    total = np.zeros_like(sent)
    for column, value in zip(weight.T, sent.T, strict=True):
        total = total + value[:, None] * column
    return total
