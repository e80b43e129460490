"""Bring a folded graph into the few shapes that lowering knows.

    population input   one Linear of its own, or a stream, a graded output, or the input
                       (a sign in between)
    stream             a sum of Linears of its own and other streams, or one of weighted outputs
    readout            a Reduce, then nothing or one Linear, then a scaling

Spikes that enter a sum or a neuron directly, and factors that nothing absorbed, become diagonal
Linears; a Linear read twice becomes a stream of its own; several Linears behind the readout become
one. A ReLU that a quantizer alone reads becomes its lower end. A convolution of values that differ
in unit from position to position, membranes, becomes the equal Linear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph.delay import Delay
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
    Op,
    Population,
    Reduce,
)
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.graph.nonlinear import Lstm, Quantize, Relu, Rescale, Ternary, VectorOp
from neurodeploy.graph.weights import Weighted, matrix, one_size, spread
from neurodeploy.matrices import Matrix, times
from neurodeploy.neurons import Kind
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
        graph = _rectified(graph)
        after = behind_readout(graph)
        nodes: list[Node] = []
        for node in graph:
            op, inputs = node.op, node.inputs
            if isinstance(op, Affine) and node.name not in after and not _is_kept(graph, node):
                op = Linear(np.diag(op.gain), op.bias)
            if isinstance(op, Conv) and not _shares(graph, op, inputs[0]):
                op = Linear(np.asarray(matrix(op)), spread(op, op.bias))
            if isinstance(op, Add | Population | Reduce | VectorOp):
                inputs = tuple(_weighted(graph, node, name, nodes) for name in inputs)
            inputs = tuple(_one_unit(graph, name, nodes) for name in inputs)
            nodes.append(replace(node, op=op, inputs=inputs))
        return replace(graph, nodes=tuple(nodes))


def _rectified(graph: Graph) -> Graph:
    """Let quantizers that alone read a ReLU do what it does: end at 0."""
    sources: dict[str, str] = {}
    for node in graph:
        source = node.inputs[0] if isinstance(node.op, Quantize) else node.name
        alone = source != node.name and len(graph.readers(source)) == 1
        if alone and isinstance(graph[source].op, Relu):
            sources[node.name] = source
    nodes = []
    for node in graph:
        if node.name in sources:
            assert isinstance(node.op, Quantize)
            inputs = graph[sources[node.name]].inputs
            node = replace(node, op=replace(node.op, low=0), inputs=inputs)  # noqa: PLW2901
        if node.name not in sources.values():
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _is_kept(graph: Graph, node: Node) -> bool:
    """Whether an Affine needs no weights of its own.

    It stands in front of vector operations, which scale their inputs, or only keeps, drops or
    flips the channels of a stream.
    """
    op, source = node.op, graph[node.inputs[0]].op
    assert isinstance(op, Affine)
    readers = graph.readers(node.name)
    if any(isinstance(reader.op, Weighted) for reader in readers):
        return False
    if readers and all(_scales(r.op) for r in readers):
        return True
    plain = np.all(np.isin(op.gain, (-1, 0, 1))) and np.all(op.bias == 0)
    return bool(plain) and isinstance(source, Add | Weighted)


def _scales(op: Op) -> bool:
    """Whether an operation multiplies what it reads anyway; a delay hands its integers on."""
    return isinstance(op, VectorOp) and op.parts == 1 and not isinstance(op, Delay)


def _shares(graph: Graph, op: Conv, source: str) -> bool:
    """Whether what a convolution reads has one unit for all positions of a map.

    The membranes of neurons, and what is summed from them alone, have one each.
    """
    node = graph[source]
    if isinstance(node.op, Concat):
        whole = all(graph.widths[part] % op.windows.inputs == 0 for part in node.inputs)
        return whole and all(_shares(graph, op, part) for part in node.inputs)
    spikes = not isinstance(node.op, Population) or node.op.model.spiking
    return spikes and not joint(graph, node)


def behind_readout(graph: Graph) -> list[str]:
    """Return the names of the nodes after the Reduce, in order."""
    names: list[str] = []
    for node in graph:
        if any(name in names or isinstance(graph[name].op, Reduce) for name in node.inputs):
            names.append(node.name)
    return names


def head(graph: Graph) -> tuple[Matrix | None, Array]:
    """Return the one weight [out, n] (or None) and bias [out] of what follows the Reduce."""
    weight: Matrix | None = None
    bias = np.zeros(1)
    for name in behind_readout(graph):
        op = graph[name].op
        if isinstance(op, Weighted):
            own = matrix(op)
            bias = spread(op, op.bias) + times(own, np.broadcast_to(bias, own.shape[1]))
            weight = own if weight is None else np.asarray(own, np.float64) @ weight
        elif isinstance(op, Affine):
            weight = np.diag(op.gain) if weight is None else op.gain[:, None] * weight
            bias = op.gain * bias + op.bias
    return weight, bias


def is_head(graph: Graph, name: str) -> bool:
    """Whether `name` is a Linear that the host applies: behind a readout, or the very last."""
    if name in behind_readout(graph):
        return True
    return name == graph.output and graded_source(graph, name) is not None


def graded_source(graph: Graph, name: str) -> str | None:
    """Return the graded node that an output Linear reads: the host then applies the Linear."""
    if not isinstance(graph[name].op, Weighted):
        return None
    (source,) = graph[name].inputs
    read = graph[source].op
    graded = isinstance(read, Add | Weighted | VectorOp)
    if isinstance(read, Population):
        graded = not read.model.spiking
    return source if graded else None


def _weighted(graph: Graph, reader: Node, name: str, nodes: list[Node]) -> str:
    """Put a diagonal Linear behind spikes that enter a sum or a neuron without weights.

    And behind an LSTM or a quantizer that enters a sum, since what it sends has one unit, and in
    front of operations on parts of their channels that do not read a Linear of their own.
    """
    op = graph[name].op
    bare = isinstance(op, Population) and isinstance(reader.op, Add | Population)
    bare = bare or (isinstance(op, Input | Lstm | Quantize) and isinstance(reader.op, Add))
    if isinstance(op, Population) and not op.model.spiking and isinstance(reader.op, Population):
        return name
    if joint(graph, reader):
        return name
    if isinstance(reader.op, VectorOp) and reader.op.parts > 1:
        bare = not isinstance(op, Linear | Affine) or len(graph.readers(name)) > 1
    if not bare:
        return name
    width = graph.widths[name]
    fresh = f"{reader.name}.from_{name.replace('.', '_')}"
    nodes.append(Node(fresh, Linear(np.eye(width), np.zeros(width)), (name,)))
    return fresh


def _one_unit(graph: Graph, name: str, nodes: list[Node]) -> str:
    """Give the membranes of neurons, or a sum of them, one unit, if a ternary operation needs it.

    Each channel has its own otherwise: a maximum would have to scale them first, and the weights
    -1, 0 and 1 that also read them in a gated spiking unit would become any.
    """
    op = graph[name].op if name in graph else None
    membrane = isinstance(op, Population) and not op.model.spiking
    if not membrane and not (isinstance(op, Add) and joint(graph, graph[name])):
        return name
    readers = [reader.op for reader in graph.readers(name)]
    ternaries = [op for op in readers if isinstance(op, Ternary)]
    if not any(op.per_step or any(map(_plain, readers)) for op in ternaries):
        return name
    fresh = f"{name}.rescaled"
    if fresh not in [node.name for node in nodes]:
        nodes.append(Node(fresh, Rescale(), (name,)))
    return fresh


def _plain(op: Op) -> bool:
    """Whether weights are -1, 0 and 1, times one size."""
    return isinstance(op, Weighted) and one_size([np.asarray(matrix(op))])


def joint(graph: Graph, node: Node) -> bool:
    """Whether a node sums graded outputs whose weights can bring them to one unit.

    Nothing else may read them, nor add to the sum.
    """
    if not isinstance(node.op, Add):
        return False
    for name in node.inputs:
        op = graph[name].op
        if not isinstance(op, Population) or Kind.OUTPUT not in op.model.kinds.values():
            return False
        if len(graph.readers(name)) > 1 or node.inputs.count(name) > 1 or name == graph.output:
            return False
    return not any(isinstance(reader.op, Add | Affine) for reader in graph.readers(node.name))


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
        if isinstance(node.op, BatchNorm | Neurons | Pool):
            found.append(InputError("E107", f"{type(node.op).__name__} is not folded", where=where))
        if isinstance(node.op, Concat):
            for reader in graph.readers(node.name):
                if not isinstance(reader.op, Weighted):
                    found.append(
                        InputError(
                            "E107",
                            f"{type(reader.op).__name__} {reader.name!r} reads a concatenation",
                            where=where,
                            fix="put a Linear between the concatenation and what reads it",
                        )
                    )
    return found
