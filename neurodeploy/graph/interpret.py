"""What a graph means, in float64.

`interpret` is the reference for every pass. Neurons run through kernels compiled from their
`step`; `compiled=False` runs the `Real` reading itself, step by step: the two are equal to the
last bit, and a test holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from neurodeploy.arith import Real
from neurodeploy.errors import InputError, require_rows
from neurodeploy.graph.delay import Delay, delayed
from neurodeploy.graph.ir import (
    Add,
    Affine,
    Array,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Population,
    Reduce,
    Surrogate,
)
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.graph.nonlinear import Lstm, VectorOp
from neurodeploy.graph.surrogate import predicted
from neurodeploy.graph.vectors import lstm, values_of
from neurodeploy.kernels import packed, real_kernel, share
from neurodeploy.matrices import blocks
from neurodeploy.neurons.spec import over_batch
from neurodeploy.tokens import Tokens, tokens


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


Value = Array | Tokens
Watch = Callable[[str, Value, Array | None], None]


@dataclass(eq=False)
class Carry:
    """What a graph keeps from one part of a sequence to the next: steps, states, sums over time."""

    steps: int = 0
    states: dict[str, Array] = field(default_factory=dict)
    sums: dict[str, Array] = field(default_factory=dict)


def comes_in_parts(graph: Graph) -> bool:
    """Whether a sequence may come in parts: no layer runs backwards, or hears itself."""
    for node in graph:
        op = node.op
        if isinstance(op, Surrogate | Lstm) or getattr(op, "recurrent", None) is not None:
            return False
        if isinstance(op, Neurons | Population) and op.reverse:
            return False
    return True


def run(
    graph: Graph,
    x: Any,
    record: Collection[str] = (),
    *,
    compiled: bool = True,
    watch: Watch | None = None,
    carry: Carry | None = None,
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Run `graph`; return its output, the recorded outputs, and the membranes of recorded nodes.

    A membrane [T, B, N] is what each spike was decided on: the folded or unfolded state that is
    compared with the threshold, before reset. `watch`, if given, is called with each node's name,
    its output, and the greatest magnitude [N] of membrane and all registers of neurons. `carry`:
    x is the next part of a sequence (`comes_in_parts`); a readout then is that of all so far.
    """
    carry = carry or Carry()
    x = read_input(graph, x, after=carry.steps)
    values: dict[str, Value] = {}
    membranes: dict[str, Array] = {}
    last_use = {name: node.name for node in graph for name in node.inputs}
    kept: dict[str, Array] = {}
    for node in graph:
        inputs = [x] if isinstance(node.op, Input) else [values[name] for name in node.inputs]
        probe = node.name in record or watch is not None
        made = _evaluate(node, inputs, carry, probe=probe, compiled=compiled)
        values[node.name], membrane, top = made
        if watch is not None:
            watch(node.name, values[node.name], top)
        if node.name in record:
            kept[node.name] = dense(values[node.name])
            if membrane is not None:
                membranes[node.name] = membrane
        for name in set(node.inputs):
            if last_use[name] == node.name and name != graph.output:
                del values[name]
    carry.steps += len(x)
    return dense(values[graph.output]), kept, membranes


def dense(value: Value) -> Array:
    """Return tokens as spikes, and all else as it is."""
    return value.one_hot() if isinstance(value, Tokens) else value


def checked_input(graph: Graph, x: Any) -> Array:
    """Return x as float64 [T, B, C], token ids as spikes; raises as `read_input` does."""
    return dense(read_input(graph, x))


def read_input(graph: Graph, x: Any, after: int = 0) -> Value:
    """Return x as float64 [T, B, C], or as tokens; `after` so many steps.

    Raises InputError E106 if the graph cannot read it.
    """
    op = graph.input.op
    assert isinstance(op, Input)
    ids = x if isinstance(x, Tokens) else tokens(x, op.width) if op.tokens else None
    data, width = np.asarray(x, np.float64) if ids is None else ids, op.width
    if len(data.shape) != 3 or data.shape[2] != width or data.shape[0] < 1:
        raise InputError(
            "E106",
            f"input has shape {data.shape}",
            fix=f"give x [T, B, {width}]: steps, samples, channels",
        )
    if isinstance(data, np.ndarray) and not np.all(np.isfinite(data)):
        raise InputError("E106", "input has NaN or infinite values", fix="clean the data")
    for node in graph:
        if isinstance(node.op, Neurons | Population):
            require_rows(after + len(data), node.op.longest, f'node "{node.name}"')
    return data


def _evaluate(
    node: Node, given: Sequence[Value], carry: Carry, *, probe: bool, compiled: bool
) -> tuple[Value, Array | None, Array | None]:
    op = node.op
    if isinstance(op, Input):
        return given[0], None, None
    if isinstance(op, Linear):
        return _linear(op, given[0]), None, None
    inputs = [dense(value) for value in given]
    if isinstance(op, Surrogate):
        drive = inputs[0] * op.gain + op.bias
        membrane = predicted(op.network, drive) + drive
        return np.where(membrane >= 1.0, op.amplitude, 0.0), membrane, None
    if isinstance(op, Neurons | Population):
        return _neurons(node.name, op, inputs[0], carry, probe=probe, compiled=compiled)
    if isinstance(op, Lstm):
        out, cells = lstm(op, inputs[0])
        return out, None, np.abs(cells).max(axis=(0, 1), initial=0.0)
    if isinstance(op, Delay):
        out, carry.states[node.name] = delayed(op, inputs[0], carry.states.get(node.name))
        return out, None, None
    if isinstance(op, VectorOp):
        return values_of(op, inputs), None, None
    if isinstance(op, Reduce):
        return _reduce(node.name, op, inputs[0] + op.bias, carry), None, None
    return _STATELESS[type(op)](op, inputs), None, None


_STATELESS: dict[type, Callable[[Any, Sequence[Array]], Array]] = {
    Conv: lambda op, v: op.apply(v[0]),
    Pool: lambda op, v: op.apply(v[0]),
    Affine: lambda op, v: v[0] * op.gain + op.bias,
    BatchNorm: lambda op, v: op.gamma * (v[0] - op.mean) / np.sqrt(op.var + op.eps) + op.beta,
    Add: lambda op, v: sum(v[1:], start=v[0]),
    Concat: lambda op, v: np.concatenate(v, axis=-1),
}


def _linear(op: Linear, x: Value) -> Array:
    """Return x @ weight.T + bias, some rows of the weight at a time."""
    if isinstance(x, Tokens):
        return x.times(op.stored) + op.bias
    flat = x.reshape(-1, x.shape[-1])
    out = np.empty((len(flat), len(op.bias)))
    for rows, part in blocks(op.stored):
        np.matmul(flat, part.T, out=out[:, rows])
    return np.asarray(out + op.bias).reshape(*x.shape[:-1], len(op.bias))


def _reduce(name: str, op: Reduce, x: Array, carry: Carry) -> Array:
    if op.kind == "last":
        return np.asarray(x[-1])
    total = np.asarray(x.sum(axis=0))
    if name in carry.sums:
        total = total + carry.sums[name]
    carry.sums[name] = total
    return np.asarray(total / (carry.steps + len(x))) if op.kind == "mean" else total


def _neurons(
    name: str, op: Neurons | Population, x: Array, carry: Carry, *, probe: bool, compiled: bool
) -> tuple[Array, Array | None, Array | None]:
    spec, width = op.model, x.shape[2]
    drive = x * (op.gain if isinstance(op, Neurons) else op.sign) + op.bias
    coefs = spec.arranged(op.folded, width)
    rows = spec.rows(spec.state._fields, spec.modes(coefs._asdict()))
    state = carry.states.setdefault(name, np.zeros((rows, x.shape[1], width)))
    reach = np.zeros(x.shape[1:] if probe else (0, 0))
    out, membrane = np.empty_like(drive), np.empty_like(drive if probe else drive[:0])
    if compiled:
        loop = _loop(op)
        options = tuple(sorted(op.options.items()))
        kernel = real_kernel(spec.name, options, probe=probe, recurrent=bool(loop))
        values = coefs._asdict()
        values |= {key: values[key][carry.steps :] for key in spec.tables & set(values)}
        packs = packed(spec.traced(op.options), values, len(x), np.float64)
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
