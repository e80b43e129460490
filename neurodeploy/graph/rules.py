"""What must hold for every graph, between any two passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from math import prod
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph.ir import (
    NETWORK,
    Add,
    Affine,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Op,
    Population,
    Reduce,
    Surrogate,
)
from neurodeploy.graph.maps import Conv, Maps, Pool
from neurodeploy.graph.nonlinear import LayerNorm, Product, Quantize, Ternary, VectorOp
from neurodeploy.matrices import Scaled
from neurodeploy.neurons import SPECS

_BEHIND = (Linear, Affine, Conv, Pool)  #: a readout over time
_INPUTS = {Input: (0, 0), Add: (2, None), Concat: (2, None), Product: (2, 2)}


def check(graph: Graph) -> Graph:
    """Return `graph`, or raise every broken rule at once (InputError E105, E107)."""
    problems = list(_wiring(graph)) or [p for node in graph for p in _node(graph, node)]
    if problems:
        raise together(problems)
    return graph


def _wiring(graph: Graph) -> Iterator[NeurodeployError]:
    seen: set[str] = set()
    for node in graph:
        if node.name in seen:
            yield InputError("E107", "two nodes have the same name", where=f'node "{node.name}"')
        for name in node.inputs:
            if name not in seen:
                yield InputError(
                    "E107",
                    f"{name!r} is read before it is computed, or does not exist",
                    where=f'node "{node.name}"',
                    fix="order nodes so that inputs come first; the one loop there is are the"
                    " `recurrent` weights of a layer of neurons",
                )
        seen.add(node.name)
        low, high = _INPUTS.get(type(node.op), (1, 1))
        if len(node.inputs) < low or (high is not None and len(node.inputs) > high):
            yield InputError(
                "E107",
                f"{type(node.op).__name__} reads {len(node.inputs)} nodes",
                where=f'node "{node.name}"',
                fix=f"it reads {low}" + ("" if high == low else " or more"),
            )
    if graph.output not in seen:
        yield InputError("E107", f"the output {graph.output!r} does not exist")
    if sum(isinstance(node.op, Input) for node in graph) != 1:
        yield InputError("E107", "a graph has exactly one input", fix="merge or split the model")


def _node(graph: Graph, node: Node) -> Iterator[NeurodeployError]:
    where = f'node "{node.name}"'
    unknown = list(_model(node.op, where))
    if unknown:
        yield from unknown
        return
    widths = [graph.widths[name] for name in node.inputs]
    if isinstance(node.op, Add | Product) and len(set(widths)) > 1:
        verb = "add" if isinstance(node.op, Add) else "multiply"
        yield InputError("E107", f"cannot {verb} widths {widths}", where=where)
    yield from _vector(node.op, widths, where)
    yield from _reads(node.op, widths, where)
    for key, value in _arrays(node.op):
        if not np.all(np.isfinite(value)):
            yield InputError(
                "E105",
                f"{key} has {np.count_nonzero(~np.isfinite(value))} NaN or infinite values",
                where=where,
                fix="train again, or restore an earlier checkpoint",
            )
        elif not isinstance(node.op, Linear | Conv):
            need = _shape(node.op, key, value, widths)
            if value.shape != need:
                yield InputError("E107", f"{key} has shape {value.shape}, not {need}", where=where)
    for source in node.inputs:
        if isinstance(graph[source].op, Reduce) and not isinstance(node.op, _BEHIND):
            yield InputError(
                "E107",
                f"{type(node.op).__name__} follows a readout over time",
                where=where,
                fix="only Linear and scaling layers, convolutions and pooling may follow it",
            )
    if isinstance(node.op, BatchNorm) and np.any(node.op.var + node.op.eps <= 0):
        yield InputError("E105", "variance + eps must be > 0", where=where)
    if isinstance(node.op, Neurons):
        yield from _parameters(node.op, where)
    if isinstance(node.op, Population):
        yield from _coefficients(node.op, where)


def _reads(op: Op, widths: list[int], where: str) -> Iterator[NeurodeployError]:
    """Check that an operation with a width of its own is given that width."""
    if isinstance(op, Linear) and widths[0] != op.stored.shape[1]:
        what = f"weight has {op.stored.shape[1]} columns, its input {widths[0]} channels"
        yield InputError("E107", what, where=where)
    if isinstance(op, Maps) and widths[0] != prod(op.shape):
        what = f"it reads maps {op.shape}, {prod(op.shape)} values; its input has {widths[0]}"
        fix = "give the shape (maps, *size) of what it reads"
        yield InputError("E107", what, where=where, fix=fix)


def _shape(op: Op, key: str, value: Any, widths: list[int]) -> tuple[int, ...]:
    """Return the shape of an array of a channelwise operation; a table has any number of rows."""
    if isinstance(op, Surrogate) and key in NETWORK:
        return NETWORK[key]
    if isinstance(op, Neurons | Population) and key in op.model.tables:
        return (*value.shape[:1], widths[0])
    if isinstance(op, Neurons | Population) and key in op.model.modal:
        values = op.params if isinstance(op, Neurons) else op.coefs
        return max(op.model.modes(values), 1), widths[0]
    return (widths[0], op.width_of(widths)) if key == "recurrent" else (widths[0],)


def _vector(op: Op, widths: list[int], where: str) -> Iterator[NeurodeployError]:
    if isinstance(op, VectorOp) and widths[0] % op.parts:
        what = f"{type(op).__name__} reads {op.parts} groups of channels; there are {widths[0]}"
        yield InputError("E107", what, where=where)
    if isinstance(op, Ternary) and op.level < 0:
        yield InputError("E105", f"the ternary level is {op.level}; it must be >= 0", where=where)
    if isinstance(op, Quantize) and not (op.scale > 0 and op.low <= 0 <= op.high):
        what = f"a quantizer of scale {op.scale} from {op.low} to {op.high}"
        yield InputError("E105", what, where=where, fix="use a scale > 0, and ends around 0")
    if isinstance(op, LayerNorm) and op.eps <= 0:
        yield InputError("E105", f"eps is {op.eps}; it must be > 0", where=where)


def _model(op: Op, where: str) -> Iterator[NeurodeployError]:
    """Check that numbers outside arrays are possible, and that a neuron's model exists as named."""
    for key in ("amplitude", "eps", "level", "scale"):
        value = getattr(op, key, 0.0)
        if not np.isfinite(value):
            yield InputError("E105", f"{key} is {value}", where=where, fix="use a finite number")
    if isinstance(op, Input) and op.width < 1:
        yield InputError("E107", f"the input has width {op.width}", where=where)
    if not isinstance(op, Neurons | Population):
        return
    spec = SPECS.get(op.spec)
    if spec is None:
        known = f"known: {', '.join(SPECS)}"
        yield InputError("E107", f"unknown neuron model {op.spec!r}", where=where, fix=known)
        return
    choices = {key: list(values) for key, values in spec.choices.items()}
    if set(op.options) != set(choices) or any(op.options[k] not in v for k, v in choices.items()):
        what = f"{spec.name} has no options {dict(op.options)}"
        yield InputError("E107", what, where=where, fix=f"choose from {choices}")
    if isinstance(op, Population) and set(op.coefs) != set(spec.coefs._fields):
        yield InputError("E107", f"{spec.name} has coefficients {spec.coefs._fields}", where=where)


def _coefficients(op: Population, where: str) -> Iterator[NeurodeployError]:
    """Check signs, and that coefficients which no step reads say nothing."""
    if not np.all(np.isin(op.sign, (-1, 0, 1))):
        yield InputError("E107", "signs are -1, 0 or 1", where=where)
    read, fix = op.model.traced(op.options).used, "fold the trained neurons again"
    for key, value in op.coefs.items():
        if key in op.model.tables and bool(len(value)) != (key in read):
            what = f"the table {key} of {op.spec} has {len(value)} rows, and is "
            what += "read" if key in read else "not read"
            yield InputError("E107", f"{what} with {dict(op.options)}", where=where, fix=fix)
        elif key not in read and not (np.all(value == 0) or np.all(value == 1)):
            what = f"{op.spec} with {dict(op.options)} does not read its {key}, which is not 0 or 1"
            yield InputError("E107", what, where=where, fix=fix)


def _parameters(op: Neurons, where: str) -> Iterator[NeurodeployError]:
    if isinstance(op, Surrogate) and set(op.network) != set(NETWORK):
        yield InputError("E107", f"a surrogate network has {tuple(NETWORK)}", where=where)
    if set(op.params) != set(op.model.params._fields):
        yield InputError("E107", f"{op.spec} has parameters {op.model.params._fields}", where=where)
        return
    values = op.model.params(**op.params)
    if all(np.all(np.isfinite(value)) for value in values):
        for wrong in op.model.check(values, op.options):
            yield InputError("E105", f"{op.spec}: {wrong}", where=where, fix="see its parameters")


def _arrays(op: Op) -> Iterator[tuple[str, Any]]:
    for item in fields(op):
        value = vars(op)[item.name]  # as it is kept
        if isinstance(value, np.ndarray):
            yield item.name, value
        elif isinstance(value, Scaled):
            yield from (
                (item.name, part) for part in (value.matrix, *(f for _, f in value.factors))
            )
        elif isinstance(value, Mapping):
            yield from ((k, v) for k, v in value.items() if isinstance(v, np.ndarray))
