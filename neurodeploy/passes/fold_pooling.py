"""Pooling as what it is made of.

A sum is a convolution of each map by itself, all weights 1. An average is the same with weights
1 / k for windows of k places; where windows at the border divide by less, a factor per channel
stands behind it. A maximum of spikes worth a > 0 is a sum and a threshold of 1/2, without memory:

    max over i of a s_i  =  a [sum over i of s_i >= 1]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph.ir import (
    Affine,
    Concat,
    Graph,
    Input,
    Neurons,
    Node,
    Population,
    Surrogate,
    vector,
)
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.neurons import SPECS
from neurodeploy.passes.base import GraphPass


@dataclass(frozen=True)
class FoldPooling(GraphPass):
    """Turn every Pool into a Conv, with an Affine or neurons behind it where it takes them."""

    name: ClassVar[str] = "fold-pooling"
    tolerance: ClassVar[float | None] = 1e-9

    def __call__(self, graph: Graph) -> Graph:
        """Return `graph` without Pools; InputError E107 names every maximum that is not of spikes.

        A maximum of maxima is one of spikes.
        """
        if not any(isinstance(node.op, Pool) for node in graph):
            return graph
        made = replace(graph, nodes=())
        problems: list[NeurodeployError] = []
        for node in graph:
            nodes: tuple[Node, ...] = (node,)
            if isinstance(node.op, Pool):
                level = worth(made, node.inputs[0]) if node.op.kind == "max" else 1.0
                problems += [] if level else [_refused(node.name)]
                nodes = _parts(graph, node, node.op, level or 1.0)
            made = replace(made, nodes=(*made.nodes, *nodes))
        if problems:
            raise together(problems)
        return made


def worth(graph: Graph, name: str) -> float | None:
    """Return what each spike of node `name` is worth, all the same and > 0; None for others."""
    node = graph[name]
    op = node.op
    if isinstance(op, Input):
        return 1.0 if op.spiking else None
    if isinstance(op, Concat):
        found = {worth(graph, part) for part in node.inputs}
        return found.pop() if len(found) == 1 else None
    if isinstance(op, Neurons | Population) and not isinstance(op, Surrogate):
        alone = op.model.traced(op.options).most == 1  # at a step
        return op.amplitude if alone and op.amplitude > 0 else None
    return None


def _refused(name: str) -> InputError:
    return InputError(
        "E107",
        "a maximum of what is not spikes, all of one positive amplitude, has no integer form",
        where=f'node "{name}"',
        fix="pool behind spiking neurons, or train with an average",
    )


def _parts(graph: Graph, node: Node, op: Pool, level: float) -> tuple[Node, ...]:
    gain = op.gain
    even = bool(np.all(gain == gain[0]))
    inner = f"{node.name}.sum"
    while inner in graph:
        inner += "_"
    sums = Node(inner, _sums(op, 1.0), node.inputs)
    if op.kind == "max":
        return sums, Node(node.name, _any(len(gain), level), (inner,))
    if even:
        return (replace(node, op=_sums(op, float(gain[0]))),)
    return sums, Node(node.name, Affine(gain, np.zeros_like(gain)), (inner,))


def _sums(op: Pool, weight: float) -> Conv:
    maps = op.shape[0]
    return Conv(
        weight=np.full((maps, 1, *op.kernel), weight),
        bias=np.zeros(maps),
        shape=op.shape,
        stride=op.stride,
        padding=op.padding,
        dilation=(1,) * len(op.kernel),
        groups=maps,
    )


def _any(width: int, level: float) -> Neurons:
    """Return neurons that send spikes worth `level` where their current is at least that."""
    spec = SPECS["spatial"]
    return Neurons(
        spec=spec.name,
        options=spec.options(compare=">="),
        params={"v_th": vector(0.5, width)},
        gain=vector(1 / level, width),
        bias=vector(0.0, width),
        amplitude=level,
    )
