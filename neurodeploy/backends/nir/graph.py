"""A float graph as a NIR file that the stock `nir` library reads and `frontends.nir` reads back.

The forms are those of `graph.forms.nir`. NIR has no BatchNorm and no spikes worth other than 1, so
both are folded first: what is written, and read back, is `exported_form(graph)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import ToolError
from neurodeploy.files import new_file
from neurodeploy.graph import rules, weights
from neurodeploy.graph.forms.nir import is_own, net
from neurodeploy.graph.forms.nir_net import Net, Part
from neurodeploy.graph.ir import (
    Affine,
    Array,
    BatchNorm,
    Graph,
    Linear,
    Neurons,
    Node,
    Op,
    Population,
    Reduce,
)
from neurodeploy.graph.maps import Conv
from neurodeploy.passes.fold_amplitude import FoldAmplitude
from neurodeploy.passes.fold_batchnorm import FoldBatchNorm


def exported_form(graph: Graph, tier: str = "composite") -> Graph:
    """Return the equal graph that is written: without BatchNorm, amplitudes and unread nodes.

    In the tier `stock`, what scales and shifts the input of neurons is in the Linear in front of
    them, or else an Affine of its own.
    """
    graph = _with_norms_in_front(graph)
    if any(isinstance(node.op, BatchNorm) for node in graph):
        graph = rules.check(FoldBatchNorm()(graph))
    neurons = [node.op for node in graph if isinstance(node.op, Neurons | Population)]
    if any(op.amplitude != 1 for op in neurons):
        graph = rules.check(FoldAmplitude()(graph))
    needed = {graph.output}
    for node in reversed(graph.nodes):
        needed |= set(node.inputs) if node.name in needed else set()
    nodes = tuple(node for node in graph if node.name in needed)
    form = replace(graph, nodes=nodes, ranges={}, calibration="none")
    return _with_plain_drives(form) if tier == "stock" else form


def _with_norms_in_front(graph: Graph) -> Graph:
    """Return the graph with each BatchNorm in the weights that it alone reads.

    What is left is pushed forward with all biases, which padded convolutions make differ by place.
    """
    nodes: dict[str, Node] = {}
    moved: dict[str, str] = {}
    for old in graph:
        node = replace(old, inputs=tuple(moved.get(name, name) for name in old.inputs))
        op, front = node.op, nodes[node.inputs[0]] if node.inputs else node
        alone = isinstance(op, BatchNorm) and len(graph.readers(old.inputs[0])) == 1
        if alone and isinstance(op, BatchNorm) and isinstance(front.op, Linear | Conv):
            gain = op.gamma / np.sqrt(op.var + op.eps)
            folded = weights.in_front(front.op, gain, op.beta - gain * op.mean)
            if folded is not None:
                nodes[front.name] = replace(front, op=folded)
                moved[node.name] = front.name
                continue
        nodes[node.name] = node
    output = moved.get(graph.output, graph.output)
    return replace(graph, nodes=tuple(nodes.values()), output=output) if moved else graph


def _with_plain_drives(graph: Graph) -> Graph:
    """Return the graph with gain 1 and bias 0 in all neurons and sums over time."""
    nodes: dict[str, Node] = {node.name: node for node in graph}
    order: list[str] = []
    for node in graph:
        drive = _drive_of(node)
        if drive is not None:
            (source,) = node.inputs
            front = nodes[source]
            name = f"{node.name}.drive"
            while name in nodes:
                name += "_"
            alone = len(graph.readers(source)) == 1
            op = None
            if alone and isinstance(front.op, Linear | Conv):
                op = weights.in_front(front.op, *drive)
            if op is not None:
                nodes[source] = replace(front, op=op)
            else:
                nodes[name] = Node(name, Affine(*drive), node.inputs)
                order.append(name)
                node = replace(node, inputs=(name,))  # noqa: PLW2901
            nodes[node.name] = replace(node, op=_undriven(node.op))
        order.append(node.name)
    return replace(graph, nodes=tuple(nodes[name] for name in order))


def _drive_of(node: Node) -> tuple[Array, Array] | None:
    """Return gain and bias of what a node makes of its input first; None if that is nothing."""
    op = node.op
    if isinstance(op, Neurons | Population):
        gain, bias = op.gain if isinstance(op, Neurons) else op.sign, op.bias
    elif isinstance(op, Reduce) and op.kind == "sum":
        gain, bias = np.ones_like(op.bias), op.bias
    else:
        return None
    return None if np.all(gain == 1) and not np.any(bias) else (gain, bias)


def _undriven(op: Op) -> Op:
    if isinstance(op, Neurons):
        return replace(op, gain=np.ones_like(op.gain), bias=np.zeros_like(op.bias))
    if isinstance(op, Population):
        return replace(op, sign=np.ones_like(op.sign), bias=np.zeros_like(op.bias))
    assert isinstance(op, Reduce)
    return replace(op, bias=np.zeros_like(op.bias))


def write(graph: Graph, path: Path, *, tier: str = "composite") -> None:
    """Write `exported_form(graph, tier)` as a NIR file, of one of `forms.nir.TIERS`.

    Raises InputError E105 and E107 (a graph that breaks a rule), E108 naming every node that cannot
    be written in this tier, E110; ToolError E601 without the nir package.
    """
    form = net(exported_form(rules.check(graph), tier), tier)
    try:
        import nir
    except ImportError as error:
        fix = "pip install nir"
        raise ToolError("E601", "the package 'nir' is not installed", fix=fix) from error
    stock = _stock(nir, form)
    with new_file(path) as beside:
        nir.write(str(beside), stock)


def _stock(nir: Any, form: Part | Net) -> Any:
    """Return the object of the nir library."""
    metadata = _plain(form.metadata)
    if isinstance(form, Net):
        nodes = {name: _stock(nir, part) for name, part in form.parts.items()}
        return nir.NIRGraph(nodes, list(form.edges), metadata=metadata)
    if form.type in ("Input", "Output"):
        shape = np.asarray(form.fields["shape"])
        return getattr(nir, form.type)({form.type.lower(): shape})
    if is_own(form.type):
        return _own(nir, form, metadata)
    return getattr(nir, form.type)(**form.fields, metadata=metadata)


def _own(nir: Any, form: Part, metadata: dict[str, Any]) -> Any:
    """Return a node of a type that the nir library does not know; it writes what `to_dict` says."""

    class Own(nir.ir.node.NIRNode):  # type: ignore[misc]
        def __init__(self) -> None:
            self.input_type = {"input": form.fields["input_shape"]}
            self.output_type = {"output": form.fields["output_shape"]}
            self.metadata = metadata

        def to_dict(self) -> dict[str, Any]:
            return {"type": form.type, **form.fields, "metadata": metadata}

    return Own()


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in metadata.items()}
