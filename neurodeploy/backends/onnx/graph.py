"""A float graph as an ONNX file that stock onnxruntime runs and `frontends.onnx` reads back.

    input [T, B, C]   ->   output [B, N], or [T, B, N] without a readout over time

The forms are those of `graph.forms.onnx`; states are zero before the first step. Ranges that
calibration attached to the graph are not part of what it computes, and are not written. Bits that
tuning recorded, and grids of weights, stand in the file's metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.backends.onnx.proto import About, Node, Value, model, save
from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph import rules
from neurodeploy.graph.forms.onnx import (
    BITS,
    DOMAIN,
    DOMAIN_VERSION,
    GRIDS,
    STANDARD,
    form_of,
    type_of,
)
from neurodeploy.graph.forms.sheet import Call
from neurodeploy.graph.ir import Graph, Input, Neurons, Op, Population, Reduce

DTYPES = ("float32", "float64")


def write(graph: Graph, path: Path, dtype: str | None = None) -> None:
    """Write `graph` as an ONNX file.

    dtype: "float32" or "float64"; None takes float32 if that holds every constant exactly.
    Raises InputError E105 (dtype), E105 and E107 (a graph that breaks a rule), E108 naming every
    constant that float32 would round, E110; ToolError E601 without the onnx package.
    """
    save(to_model(graph, dtype), path)


def to_model(graph: Graph, dtype: str | None = None) -> Any:
    """Return `graph` as an onnx.ModelProto; raises like `write`."""
    rules.check(graph)
    constants = _constants(graph)
    kind = _choose(constants, dtype)
    used = [form.function for node in graph if (form := form_of(node.op)) is not None]
    return model(
        nodes=_nodes(graph),
        inputs=[Value("input", kind, ("T", "B", graph.widths[graph.input.name]))],
        outputs=[Value("output", kind, _output_axes(graph))],
        constants={
            f"{node}/{name}": value.astype(type_of(name, kind))
            for node, values in constants.items()
            for name, value in values.items()
        },
        functions={function.name: function for function in used}.values(),
        domains={DOMAIN: DOMAIN_VERSION},
        numbers=kind,
        about=_about(graph),
    )


def _about(graph: Graph) -> About:
    order = "T, B, channels: steps, samples, channels"
    return About(
        doc=f"input [{order}]; states are zero before the first step",
        constants={
            f"{node.name}/{name}": unit
            for node in graph
            if isinstance(node.op, Neurons)
            for name, unit in node.op.model.units.items()
        },
        metadata={
            key: json.dumps(dict(value))
            for key, value in ((BITS, graph.bits), (GRIDS, graph.grids))
            if value
        },
    )


def _doc(op: Op, width: int) -> str:
    """Return what a reader of the file should know about a node."""
    if not isinstance(op, Neurons | Population):
        return f"{type(op).__name__} of {width} channels"
    options = "".join(f", {key} {value}" for key, value in op.options.items())
    backwards = ", backwards in time" if op.reverse else ""
    return f"{width} neurons, {op.spec}{options}{backwards}; {op.model.source}"


def _constants(graph: Graph) -> dict[str, dict[str, Any]]:
    """Return the constants of every node by the input that holds them."""
    found: dict[str, dict[str, Any]] = {}
    for node in graph:
        form = form_of(node.op)
        if form is not None:
            found[node.name] = form.constants(node.op)
    return found


def _choose(constants: dict[str, dict[str, Any]], dtype: str | None) -> str:
    if dtype not in (None, *DTYPES):
        raise InputError("E105", f"unknown dtype {dtype!r}", fix=f"use one of {', '.join(DTYPES)}")
    problems: list[NeurodeployError] = []
    for node, values in constants.items():
        for name, value in values.items():
            with np.errstate(over="ignore"):
                lost = np.count_nonzero(value.astype(np.float32) != value)
            if lost and type_of(name, "") == "":
                what = f"{lost} of {value.size} values of {name} are not exact in float32"
                where = f'node "{node}"'
                problems.append(InputError("E108", what, where=where, fix="write float64"))
    if problems and dtype == "float32":
        raise together(problems)
    return dtype or ("float64" if problems else "float32")


def _nodes(graph: Graph) -> list[Node]:
    nodes = []
    standard = {op: (kind, attributes) for kind, (op, attributes) in STANDARD.items()}
    for node in graph:
        result, doc = _value_name(graph, node.name), _doc(node.op, graph.widths[node.name])
        reads = tuple(_value_name(graph, name) for name in node.inputs)
        form = form_of(node.op)
        if form is None:
            kind, attributes = standard[type(node.op)]
            nodes.append(Node(node.name, Call(kind, reads, (result,), attributes), doc=doc))
            continue
        reads = ("input",) if isinstance(node.op, Input) else reads
        own = tuple(f"{node.name}/{name}" for name, _, _ in form.parameters)
        call = Call(form.function.name, (*reads, *own), (result,))
        nodes.append(Node(node.name, call, DOMAIN, doc))
    return nodes


def _value_name(graph: Graph, name: str) -> str:
    """Return the name of what node `name` computes: its own, unless the file's interface has it."""
    if name == graph.output:
        return "output"
    return f"{name}/value" if name in ("input", "output") else name


def _output_axes(graph: Graph) -> tuple[str | int, ...]:
    width = graph.widths[graph.output]
    name = graph.output
    while name != graph.input.name:
        if isinstance(graph[name].op, Reduce):
            return "B", width
        name = graph[name].inputs[0]
    return "T", "B", width
