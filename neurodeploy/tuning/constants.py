"""The constants of a folded graph that tuning trains.

A constant is trained as a change from where it starts, counted in `scale`: what is a small change
for it. One rate then serves all of them, whatever folding has made of their sizes.

    weights          the largest weight of their row
    biases           the same of the Linear in front, or the largest bias
    thresholds, ...  their own size
    coefficients     1 - |pole|: the relative change of a time constant is of the order of the step
    tables, output   the largest of their channel
    weights of modes

What is not there stays away: a bias that is zero everywhere costs no addition, and gets none. What
needs additions only stays so: poolings, and weights that are all of one size, or 0. Convolutions
behind a readout, which the host applies, stay too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurodeploy.graph.ir import Affine, Array, Graph, Node, Op, Population, Range, Reduce
from neurodeploy.graph.maps import Conv
from neurodeploy.graph.nonlinear import Lstm
from neurodeploy.graph.weights import Weighted, one_size, per_row, spread
from neurodeploy.matrices import blocks
from neurodeploy.neurons import Kind
from neurodeploy.passes.lowerable import is_head

_LARGEST = 1 - 1e-12  # of a coefficient; beyond 1 it does not compile

Key = tuple[str, str]  #: a node, and a constant of it: "weight", "bias", "recurrent", "coefs.beta"


Accept = Callable[[str, Op, Op], Array]


@dataclass(frozen=True, eq=False)
class Constant:
    """Where a constant of a node starts, and what a small change of it is; of one shape.

    most: the greatest magnitude that it can have.
    """

    key: Key
    start: Array
    scale: Array
    most: float = math.inf


def constants(graph: Graph) -> tuple[Constant, ...]:
    """Return the constants of a folded graph that can be trained."""
    return tuple(found for node in graph for found in _of(graph, node))


def _of(graph: Graph, node: Node) -> Iterator[Constant]:
    op, name = node.op, node.name
    if isinstance(op, Weighted):
        if isinstance(op, Conv) and (is_head(graph, name) or _pools(op)):
            return
        size = _row_sizes(op)
        if not one_size(part for _, part in blocks(op.stored)):
            yield Constant((name, "weight"), op.weight, np.ones_like(op.weight) * per_row(op, size))
        if np.any(op.bias):
            yield Constant((name, "bias"), op.bias, size)
    elif isinstance(op, Reduce) and np.any(op.bias):
        yield Constant((name, "bias"), op.bias, np.full_like(op.bias, np.abs(op.bias).max()))
    elif isinstance(op, Population):
        if np.any(op.bias):
            yield Constant((name, "bias"), op.bias, _bias_scale(graph, node, op))
        for key, value in op.coefs.items():
            if value.size:  # else a table that this variant does not have
                most = _LARGEST if op.model.kinds[key] is Kind.UNIT else math.inf
                yield Constant((name, f"coefs.{key}"), value, _coef_scale(op, key, value), most)
    again = getattr(op, "recurrent", None)
    if again is not None:
        size = _filled(np.abs(again).max(axis=1, initial=0.0))
        yield Constant((name, "recurrent"), again, np.ones_like(again) * size[:, None])


def _coef_scale(op: Population, key: str, value: Array) -> Array:
    kind = op.model.kinds[key]
    if kind is Kind.UNIT and key not in op.model.tables:
        return _slack(op, value)
    return np.broadcast_to(_filled(np.abs(np.atleast_2d(value)).max(axis=0)), value.shape)


def _bias_scale(graph: Graph, node: Node, op: Population) -> Array:
    linear = graph[node.inputs[0]].op
    if isinstance(linear, Weighted):
        return spread(linear, _row_sizes(linear))
    return np.full_like(op.bias, np.abs(op.bias).max())


def _row_sizes(op: Weighted) -> Array:
    return _filled(np.abs(op.weight).reshape(len(op.bias), -1).max(axis=1, initial=0.0))


def _pools(op: Conv) -> bool:
    """Whether a convolution is a pooling: it stays one."""
    return op.groups == op.shape[0] == len(op.bias) and len(np.unique(op.weight)) == 1


def _slack(op: Population, value: Array) -> Array:
    """Return how far a dimensionless coefficient is from a state that never decays."""
    poles = op.model.poles(op.model.coefs(**op.coefs))
    size = np.abs(value if poles is None else poles)
    if size.shape != value.shape:  # several poles of each channel
        size = np.broadcast_to(np.atleast_2d(size).max(axis=0), value.shape)
    return np.asarray(np.maximum(1 - size, 0.0))


def _filled(size: Array) -> Array:
    """Give constants that are zero the size of the others (or 1)."""
    used = size[size > 0]
    return np.where(size > 0, size, float(np.median(used)) if used.size else 1.0)


class Constants(torch.nn.Module):
    """The constants of a graph as parameters, in float64; they start at zero change."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.source, self.all = replace(graph, grids={}), constants(graph)
        self.changes = torch.nn.ParameterList(
            torch.nn.Parameter(torch.zeros(c.start.shape, dtype=torch.float64)) for c in self.all
        )

    def tensors(self) -> dict[Key, Tensor]:
        """Return the constants as they are now."""
        pairs = zip(self.all, self.changes, strict=True)
        return {c.key: torch.tensor(c.start) + torch.tensor(c.scale) * p for c, p in pairs}

    def graph(self) -> Graph:
        """Return the graph with the constants as they are now."""
        values = {key: tensor.detach().numpy() for key, tensor in self.tensors().items()}
        nodes = (replace(node, op=_updated(node, values)) for node in self.source)
        return replace(self.source, nodes=tuple(nodes))

    def set_ranges(self, ranges: Mapping[str, Range]) -> None:
        """Give the graph other ranges."""
        self.source = replace(self.source, ranges=ranges)

    @torch.no_grad()
    def restrain(self, accept: Accept, last: Mapping[Key, Tensor]) -> None:
        """Take back, channel by channel, what `accept(name, op at first, op now)` does not.

        Constants that have a greatest magnitude stay within it.

        last: the changes before, as `changes_now` returns them.
        """
        for c, change in zip(self.all, self.changes, strict=True):
            if c.most < math.inf:
                start, scale = torch.tensor(c.start), torch.tensor(c.scale)
                low, high = ((side * c.most - start) / scale for side in (-1, 1))
                change.copy_(torch.where(scale > 0, change.clamp(low, high), change))
        now, kept = self.graph(), {}
        for c, change in zip(self.all, self.changes, strict=True):
            name, field = c.key
            if field.startswith("coefs."):
                if name not in kept:
                    kept[name] = torch.from_numpy(accept(name, self.source[name].op, now[name].op))
                change.copy_(torch.where(kept[name], change, last[c.key]))

    def changes_now(self) -> dict[Key, Tensor]:
        """Return a copy of all changes."""
        pairs = zip(self.all, self.changes, strict=True)
        return {c.key: change.detach().clone() for c, change in pairs}


def _updated(node: Node, values: Mapping[Key, Array]) -> Op:
    op, name = node.op, node.name
    if isinstance(op, Affine):
        return op
    if isinstance(op, Population):
        coefs = {key: values.get((name, f"coefs.{key}"), own) for key, own in op.coefs.items()}
        bias = values.get((name, "bias"), op.bias)
        heard = values.get((name, "recurrent"), op.recurrent)
        return replace(op, coefs=coefs, bias=bias, recurrent=heard)
    if isinstance(op, Weighted) and {(name, "weight"), (name, "bias")} & values.keys():
        own: Any = {"bias": values.get((name, "bias"), op.bias)}
        if (name, "weight") in values:
            own["weight"] = values[name, "weight"]
        return replace(op, **own)
    if isinstance(op, Lstm):
        return replace(op, recurrent=values[name, "recurrent"])
    if isinstance(op, Reduce):
        return replace(op, bias=values.get((name, "bias"), op.bias))
    return op
