"""Bring a folded graph into the few shapes that lowering knows.

    population input   one Linear of its own, or a stream, or the input   (a sign in between)
    stream             a sum of Linears of its own and other streams
    readout            a Reduce, then nothing or one Linear, then a scaling

Spikes that enter a sum or a neuron directly, and factors that nothing absorbed, become diagonal
Linears; a Linear read twice becomes a stream of its own; several Linears behind the readout become
one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
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
)
from neurodeploy.passes.base import GraphPass


@dataclass(frozen=True)
class Lowerable(GraphPass):
    """Insert diagonal Linears where lowering needs weights."""

    name: ClassVar[str] = "lowerable"
    tolerance: ClassVar[float | None] = 1e-9

    def __call__(self, graph: Graph) -> Graph:
        """Return an equal graph; raise InputError E107 naming every node that cannot be lowered."""
        problems = list(_problems(graph))
        if problems:
            raise together(problems)
        after = behind_readout(graph)
        nodes: list[Node] = []
        for node in graph:
            op, inputs = node.op, node.inputs
            if isinstance(op, Affine) and node.name not in after and not _is_tap(graph, node):
                op = Linear(np.diag(op.gain), op.bias)
            if isinstance(op, Add | Population | Reduce):
                inputs = tuple(_weighted(graph, node, name, nodes) for name in inputs)
            nodes.append(replace(node, op=op, inputs=inputs))
        return replace(graph, nodes=tuple(nodes))


def _is_tap(graph: Graph, node: Node) -> bool:
    """Whether an Affine only keeps, drops or flips the channels of a stream."""
    op, source = node.op, graph[node.inputs[0]].op
    assert isinstance(op, Affine)
    plain = np.all(np.isin(op.gain, (-1, 0, 1))) and np.all(op.bias == 0)
    return bool(plain) and isinstance(source, Add | Linear)


def behind_readout(graph: Graph) -> list[str]:
    """Return the names of the nodes after the Reduce, in order."""
    names: list[str] = []
    for node in graph:
        if any(name in names or isinstance(graph[name].op, Reduce) for name in node.inputs):
            names.append(node.name)
    return names


def head(graph: Graph) -> tuple[Array | None, Array]:
    """Return the one weight [out, n] (or None) and bias [out] of what follows the Reduce."""
    weight: Array | None = None
    bias = np.zeros(1)
    for name in behind_readout(graph):
        op = graph[name].op
        if isinstance(op, Linear):
            bias = op.bias + op.weight @ np.broadcast_to(bias, op.weight.shape[1])
            weight = op.weight if weight is None else op.weight @ weight
        elif isinstance(op, Affine):
            matrix = np.diag(op.gain) if weight is None else op.gain[:, None] * weight
            weight, bias = matrix, op.gain * bias + op.bias
    return weight, bias


def is_head(graph: Graph, name: str) -> bool:
    """Whether `name` is a Linear that the host applies: behind a readout, or the very last."""
    if name in behind_readout(graph):
        return True
    return name == graph.output and graded_source(graph, name) is not None


def graded_source(graph: Graph, name: str) -> str | None:
    """Return the graded node that an output Linear reads: the host then applies the Linear."""
    if not isinstance(graph[name].op, Linear):
        return None
    (source,) = graph[name].inputs
    read = graph[source].op
    graded = isinstance(read, Add | Linear)
    if isinstance(read, Population):
        graded = not read.model.spiking
    return source if graded else None


def _weighted(graph: Graph, reader: Node, name: str, nodes: list[Node]) -> str:
    """Put a diagonal Linear behind spikes that enter a sum or a neuron without weights."""
    op = graph[name].op
    bare = isinstance(op, Population) and isinstance(reader.op, Add | Population)
    if not bare and not (isinstance(op, Input) and isinstance(reader.op, Add)):
        return name
    width = graph.widths[name]
    fresh = f"{reader.name}.from_{name.replace('.', '_')}"
    nodes.append(Node(fresh, Linear(np.eye(width), np.zeros(width)), (name,)))
    return fresh


def _problems(graph: Graph) -> list[NeurodeployError]:
    found: list[NeurodeployError] = []
    for node in graph:
        where = f'node "{node.name}"'
        op = node.op
        if isinstance(op, Population) and op.recurrent is not None and not op.model.spiking:
            found.append(
                InputError(
                    "E107",
                    f"{op.spec} feeds its membrane back: what one unit of it is worth would"
                    " depend on itself",
                    where=where,
                    fix="use recurrent weights on neurons that spike",
                )
            )
        if isinstance(node.op, BatchNorm | Neurons):
            found.append(InputError("E107", f"{type(node.op).__name__} is not folded", where=where))
        if isinstance(node.op, Concat):
            for reader in graph.readers(node.name):
                if not isinstance(reader.op, Linear):
                    found.append(
                        InputError(
                            "E107",
                            f"{type(reader.op).__name__} {reader.name!r} reads a concatenation",
                            where=where,
                            fix="put a Linear between the concatenation and what reads it",
                        )
                    )
    return found
