"""Fold a neuron's trained parameters and its input gain into the constants of its `step`.

The model's own `fold` gives the constants (PRF: step length, decay and frequency become two
coefficients, the step length moves into the threshold). The input gain g moves into threshold
and resets by homogeneity: a neuron driven by g x + b spikes like one driven by

    sign(g) x + b/|g|     with threshold and resets divided by |g|

and rows of recurrent weights too, which add to the drive behind g and so keep their sign. It is
checked by running the step, not assumed. Where the neuron alone reads a Linear, the sign goes
into its rows. A neuron that sends its membrane sends it |g| times smaller: its output weights
take the factor, or an Affine behind it gives it back, for the next pass to push on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from neurodeploy.arith import Real
from neurodeploy.errors import InputError
from neurodeploy.graph.ir import Affine, Array, Graph, Linear, Neurons, Node, Population
from neurodeploy.graph.weights import Weighted, in_front, matrix, spread
from neurodeploy.neurons.spec import Kind, NeuronSpec, scaled
from neurodeploy.passes.base import GraphPass


@dataclass(frozen=True)
class FoldDynamics(GraphPass):
    """Turn every Neurons node into a Population."""

    name: ClassVar[str] = "fold-dynamics"
    tolerance: ClassVar[float | None] = 1e-9

    def __call__(self, graph: Graph) -> Graph:
        """Return `graph` with folded neurons; raise InputError E107 for one that cannot be."""
        for node in graph:
            if isinstance(node.op, Neurons):
                graph = graph.replace(node.name, folded(node.op, node.name))
                graph = _absorb(graph, node.name)
                weighted = Kind.OUTPUT in node.op.model.kinds.values()
                small = not (node.op.model.spiking or weighted)
                if small and np.any(_size(node.op) != 1):
                    graph = _enlarged(graph, node.name, _size(node.op))
        return graph


def _size(op: Neurons) -> Array:
    return np.where(op.gain == 0, 1.0, np.abs(op.gain))


def _enlarged(graph: Graph, name: str, factor: Array) -> Graph:
    """Put an Affine behind node `name`, which all that read it read instead."""
    fresh = f"{name}.enlarged"
    nodes: list[Node] = []
    for node in graph:
        inputs = tuple(fresh if source == name else source for source in node.inputs)
        nodes.append(replace(node, inputs=inputs))
        if node.name == name:
            nodes.append(Node(fresh, Affine(factor, np.zeros_like(factor)), (name,)))
    output = fresh if graph.output == name else graph.output
    return replace(graph, nodes=tuple(nodes), output=output)


def folded(op: Neurons, where: str) -> Population:
    """Return the folded form of a Neurons operation."""
    spec, width = op.model, len(op.gain)
    params = spec.params(**op.params)
    coefs = spec.arranged(op.folded, width)
    if not is_homogeneous(spec, op, coefs):
        raise InputError(
            "E107",
            f"{spec.name} is not homogeneous: its input gain cannot move into its constants",
            where=f'node "{where}"',
        )
    size, weighted = _size(op), Kind.OUTPUT in spec.kinds.values()
    heard = op.recurrent
    if heard is not None:
        heard = (heard if spec.spiking or weighted else heard * size) / size[:, None]
    coefs = scaled(spec, coefs, 1 / size)
    values = {
        name: value * size if spec.kinds[name] is Kind.OUTPUT else value
        for name, value in coefs._asdict().items()
    }
    return Population(
        spec=op.spec,
        options=op.options,
        coefs=values,
        sign=np.sign(op.gain),
        bias=op.bias / size,
        unit=np.broadcast_to(spec.unit(params, op.options, np), width)
        * (1.0 if weighted else size),
        amplitude=op.amplitude,
        reverse=op.reverse,
        recurrent=heard,
    )


def is_homogeneous(spec: NeuronSpec, op: Neurons, coefs: Any) -> bool:
    """Run the step at two scales (a power of two, so that equality is exact) and compare.

    Of a table, which may be shorter than the run, the rows are read in turn.
    """
    rng, width, o, factor = np.random.default_rng(0), len(op.gain), Real(), 8.0
    larger = scaled(spec, coefs, factor)
    modes = spec.modes(coefs._asdict())
    rest = np.zeros((spec.rows(spec.state._fields, modes), width))
    z = big = spec.parts(spec.state, rest, modes)
    rows = spec.longest(coefs._asdict(), op.options) or 1
    drive = rng.normal(size=(16, width)) * 3 / spec.unit(spec.params(**op.params), op.options, np)
    for t, x in enumerate(drive):
        s, z = spec.step(o, spec.at(coefs, t % rows), z, x, op.options)
        s_big, big = spec.step(o, spec.at(larger, t % rows), big, x * factor, op.options)
        out = s if spec.spiking else s * factor
        same = [np.array_equal(a * factor, b) for a, b in zip(z, big, strict=True)]
        if not (np.array_equal(out, s_big) and all(same)):
            return False
    return True


def _absorb(graph: Graph, name: str) -> Graph:
    node = graph[name]
    source = graph[node.inputs[0]]
    op, linear = node.op, source.op
    if not isinstance(linear, Weighted) or len(graph.readers(source.name)) > 1:
        return graph
    assert isinstance(op, Population)
    rows = in_front(linear, op.sign)
    if rows is None:  # signs that differ within a map: its positions have weights of their own
        rows = Linear(matrix(linear) * op.sign[:, None], spread(linear, linear.bias) * op.sign)
    graph = graph.replace(name, replace(op, sign=np.ones_like(op.sign)))
    return graph.replace(source.name, rows)
