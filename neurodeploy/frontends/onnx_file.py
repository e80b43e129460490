"""ONNX messages as plain data, and the refusal of files that are not whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.frontends.child import BUDGET_BYTES
from neurodeploy.frontends.onnx_external import inline
from neurodeploy.graph.forms.sheet import Body, Call, Double, Function

STANDARD_DOMAINS = ("", "ai.onnx")
_DOUBLE = 11  # onnx.TensorProto
_INT64 = 7
_SPELLINGS = {"value", "value_int", "value_ints", "value_float"}  #: of constants in functions
_BROKEN = "write or copy the file again"


def load(path: Path, *, allow_external_data: bool = False, budget: int = BUDGET_BYTES) -> Any:
    """Return the ModelProto in the file at `path`, with all its data in it.

    Raises InputError E101 if it cannot be read, is not an ONNX model, declares more than `budget`
    bytes, or keeps data elsewhere (`onnx_external`).
    """
    import onnx

    broken = import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        what = f"cannot read {path.name}: {error.strerror or error}"
        raise InputError("E101", what, where=str(path), fix="check the path") from error
    except broken as error:
        what = f"{path.name} is truncated or not an ONNX file"
        raise InputError("E101", what, where=str(path), fix=_BROKEN) from error
    complete = model.ir_version and model.graph.output and model.opset_import
    if not complete or not _readable(model):
        what = f"{path.name} is truncated or not an ONNX model"
        raise InputError("E101", what, where=str(path), fix=_BROKEN)
    inline(list(_tensors(model)), path, allow=allow_external_data, budget=budget)
    return model


def _readable(message: Any) -> bool:
    """Whether every text in a message is one: protobuf hands out damaged ones as bytes."""
    for field, value in message.ListFields():
        several = isinstance(value, list) or hasattr(value, "extend")
        if field.type == field.TYPE_MESSAGE:
            if not all(_readable(item) for item in (value if several else [value])):
                return False
        elif field.type == field.TYPE_STRING and not all(
            isinstance(item, str) for item in (value if several else [value])
        ):
            return False
    return True


def _tensors(model: Any) -> Iterator[Any]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _graph_tensors(graph)


def array(tensor: Any, where: str) -> Any:
    """Return a tensor as a numpy array; raise InputError E101 if data and shape disagree."""
    from onnx import numpy_helper

    try:
        return np.array(numpy_helper.to_array(tensor))
    except Exception as error:  # the onnx package raises many kinds for malformed tensors
        what = f"the tensor {tensor.name!r} is damaged: {error}"
        raise InputError("E101", what, where=where, fix=_BROKEN) from error


def function(proto: Any) -> Function:
    """Return a function as plain data; what plain data has no place for makes it differ."""
    calls = tuple(call(node) for node in proto.node)
    if proto.attribute or proto.attribute_proto or proto.overload:
        calls = (*calls, Call("attributes", (), ()))
    return Function(proto.name, tuple(proto.input), tuple(proto.output), calls)


def canonical(function: Function) -> Function:
    """Return a function with its calls in the order of their results, constants spelled alike.

    Names are written once, so that their order says nothing; and what an operator reads as a scalar
    is the same number as a tensor and as an attribute.
    """
    return replace(function, calls=_sorted(function.calls))


def _sorted(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    return tuple(sorted(map(_spelled, calls), key=lambda call: call.outputs))


def _spelled(call: Call) -> Call:
    found = {
        key: replace(value, calls=_sorted(value.calls)) if isinstance(value, Body) else value
        for key, value in call.attributes.items()
    }
    if call.type == "Constant" and len(found) == 1 and set(found) <= _SPELLINGS:
        (value,) = found.values()
        found = {"value": value.value if isinstance(value, Double) else value}
    return replace(call, attributes=found)


def kind_of(node: Any) -> str:
    """Return the operator of a node, with its domain where that is not ONNX's own."""
    domain = "" if node.domain in STANDARD_DOMAINS else f"{node.domain}::"
    return f"{domain}{node.op_type}"


def call(node: Any) -> Call:
    """Return a node as plain data."""
    kind = node.op_type
    if node.domain not in STANDARD_DOMAINS or node.overload:
        kind = f"{node.domain}::{kind}"
    attributes = {item.name: _attribute(item) for item in node.attribute}
    return Call(kind, tuple(node.input), tuple(node.output), attributes)


def _attribute(item: Any) -> Any:
    kinds = type(item)
    if item.ref_attr_name:
        return ("reference", item.ref_attr_name)
    if item.type == kinds.INT:
        return int(item.i)
    if item.type == kinds.FLOAT:
        return float(item.f)
    if item.type == kinds.STRING:
        return item.s.decode("utf-8", "replace")
    if item.type == kinds.INTS:
        return tuple(item.ints)
    if item.type == kinds.TENSOR and (item.t.data_type, len(item.t.dims)) == (_DOUBLE, 0):
        return Double(float(array(item.t, item.name)))
    if item.type == kinds.TENSOR and item.t.data_type == _INT64 and len(item.t.dims) < 2:
        whole = array(item.t, item.name).tolist()
        return tuple(whole) if isinstance(whole, list) else whole
    if item.type == kinds.GRAPH and not (item.g.initializer or item.g.sparse_initializer):
        inputs, outputs = (tuple(v.name for v in part) for part in (item.g.input, item.g.output))
        return Body(inputs, outputs, tuple(call(node) for node in item.g.node))
    return ("other", item.SerializeToString(deterministic=True))
