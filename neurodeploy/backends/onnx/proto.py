"""From sheets of calls to ONNX messages, and from those to a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, ToolError
from neurodeploy.files import new_file
from neurodeploy.graph.forms.sheet import IR_VERSION, OPSET, Body, Call, Function

_LIMIT = 2**31 - 1  # bytes; what one protobuf message holds


@dataclass(frozen=True)
class Value:
    """A value: its numpy type, and its axes by name or length, None where they are not said."""

    name: str
    dtype: str
    axes: tuple[str | int | None, ...]


@dataclass(frozen=True)
class Node:
    """A call of a model's own graph; domain "" is the standard one."""

    name: str
    call: Call
    domain: str = ""


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
    doc: str,
) -> Any:
    """Return a ModelProto; `functions` belong to the first of `domains`.

    numbers: the type that values have where nothing else is said.
    """
    onnx = library()
    make = onnx.helper
    domain = next(iter(domains))
    graph = make.make_graph(
        [_node(onnx, numbers, node.call, node.name, node.domain) for node in nodes],
        "neurodeploy",
        [_value(onnx, value) for value in inputs],
        [_value(onnx, value) for value in outputs],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
        doc_string=doc,
    )
    imports = {"": OPSET, **domains}
    return make.make_model(
        graph,
        functions=[_function(onnx, numbers, function, domain) for function in functions],
        opset_imports=[make.make_opsetid(key, number) for key, number in imports.items()],
        ir_version=IR_VERSION,
        producer_name="neurodeploy",
        producer_version=_version(),
    )


def save(message: Any, path: Path) -> None:
    """Check a ModelProto and write it, whole or not at all.

    Raises InputError E108 if it is too large for one file, E110 if it cannot be written.
    """
    if message.ByteSize() > _LIMIT:
        raise InputError(
            "E108",
            f"the file would have {message.ByteSize()} bytes; one ONNX file holds {_LIMIT}",
            fix="export a smaller model",
        )
    library().checker.check_model(message, full_check=True)
    with new_file(path) as beside:
        beside.write_bytes(message.SerializeToString(deterministic=True))


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


def _node(onnx: Any, numbers: str, call: Call, name: str = "", domain: str = "") -> Any:
    attributes = {
        key: _body(onnx, numbers, value) if isinstance(value, Body) else value
        for key, value in call.attributes.items()
    }
    return onnx.helper.make_node(
        call.type, call.inputs, call.outputs, name=name or None, domain=domain or None, **attributes
    )


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
