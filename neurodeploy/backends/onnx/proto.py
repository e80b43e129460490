"""From sheets of calls to ONNX messages, and from those to a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, ToolError
from neurodeploy.files import new_file
from neurodeploy.graph.forms.sheet import IR_VERSION, OPSET, Body, Call, Double, Function

_LIMIT = 2**31 - 1  # bytes; what one protobuf message holds


@dataclass(frozen=True)
class Value:
    """A value: its numpy type, and its axes by name or length, None where they are not said."""

    name: str
    dtype: str
    axes: tuple[str | int | None, ...]


@dataclass(frozen=True)
class Node:
    """A call of a model's own graph; domain "" is the standard one. `doc` is for readers."""

    name: str
    call: Call
    domain: str = ""
    doc: str = ""


@dataclass(frozen=True)
class About:
    """What a file says beside what it computes.

    doc: of the whole; constants: of initializers, by name; metadata: for machines.
    """

    doc: str
    constants: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def library() -> Any:
    """Return the onnx package; raise ToolError E601 if it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise ToolError(
            "E601",
            "the package 'onnx' is not installed",
            fix="pip install 'neurodeploy[onnx]'",
        ) from error
    return onnx


def model(
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, Any],
    functions: Iterable[Function],
    domains: Mapping[str, int],
    numbers: str,
    about: About,
) -> Any:
    """Return a ModelProto with the shapes of all values; `functions` are of the first of `domains`.

    numbers: the type that values have where nothing else is said. Raises InputError E108 if it is
    too large for one file.
    """
    onnx = library()
    make = onnx.helper
    domain = next(iter(domains))
    graph = make.make_graph(
        [_node(onnx, numbers, node.call, node.name, node.domain, node.doc) for node in nodes],
        "neurodeploy",
        [_value(onnx, value) for value in inputs],
        [_value(onnx, value) for value in outputs],
        [_constant(onnx, name, v, about.constants) for name, v in constants.items()],
        doc_string=about.doc,
    )
    imports = {"": OPSET, **domains}
    made = make.make_model(
        graph,
        functions=[_function(onnx, numbers, function, domain) for function in functions],
        opset_imports=[make.make_opsetid(key, number) for key, number in imports.items()],
        ir_version=IR_VERSION,
        producer_name="neurodeploy",
        producer_version=_version(),
    )
    if about.metadata:
        make.set_model_props(made, about.metadata)
    if made.ByteSize() > _LIMIT:
        what = f"the file would have {made.ByteSize()} bytes; one ONNX file holds {_LIMIT}"
        raise InputError("E108", what, fix="export a smaller model")
    how = {"check_type": True, "strict_mode": True, "data_prop": True}
    return onnx.shape_inference.infer_shapes(made, **how)


def save(message: Any, path: Path) -> None:
    """Check a ModelProto and write it, whole or not at all; raises InputError E110."""
    library().checker.check_model(message, full_check=True)
    with new_file(path) as beside:
        beside.write_bytes(message.SerializeToString(deterministic=True))


@cache
def _version() -> str:
    try:
        return version("neurodeploy")
    except PackageNotFoundError:
        return "0"


def _value(onnx: Any, value: Value) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return onnx.helper.make_tensor_value_info(value.name, kind, value.axes)


def _function(onnx: Any, numbers: str, function: Function, domain: str) -> Any:
    return onnx.helper.make_function(
        domain,
        function.name,
        function.inputs,
        function.outputs,
        [_node(onnx, numbers, call) for call in function.calls],
        [onnx.helper.make_opsetid("", OPSET)],
        doc_string=function.doc,
    )


def _constant(onnx: Any, name: str, value: Any, docs: Mapping[str, str]) -> Any:
    tensor = onnx.numpy_helper.from_array(np.asarray(value), name)
    tensor.doc_string = docs.get(name, "")
    return tensor


def _node(
    onnx: Any, numbers: str, call: Call, name: str = "", domain: str = "", doc: str = ""
) -> Any:
    """Return a node, which has the name of what it computes if it is not given one."""
    attributes = {key: _attribute(onnx, numbers, value) for key, value in call.attributes.items()}
    return onnx.helper.make_node(
        call.type,
        call.inputs,
        call.outputs,
        name=name or call.outputs[0],
        domain=domain or None,
        doc_string=doc or None,
        **attributes,
    )


def _attribute(onnx: Any, numbers: str, value: Any) -> Any:
    if isinstance(value, Body):
        return _body(onnx, numbers, value)
    if isinstance(value, Double):
        return onnx.numpy_helper.from_array(np.asarray(value.value, np.float64))
    return value


def _body(onnx: Any, numbers: str, body: Body) -> Any:
    """Return a subgraph over rows [B, N], or [modes, B, N]."""
    sent = numbers if body.sends == "number" else body.sends
    kinds = [*(numbers for _ in body.outputs[:-1]), sent]
    return onnx.helper.make_graph(
        [_node(onnx, numbers, call) for call in body.calls],
        "step",
        [onnx.ValueInfoProto(name=name) for name in body.inputs],
        [
            _value(onnx, Value(name, kind, (None,) * (3 if name in body.modal else 2)))
            for name, kind in zip(body.outputs, kinds, strict=True)
        ],
    )
