"""What follows a readout over time, as one Linear: `passes.lowerable.head` over tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurodeploy.graph.ir import Affine, Graph, Linear, Node, Reduce
from neurodeploy.graph.maps import Conv
from neurodeploy.graph.weights import Weighted, matrix, spread
from neurodeploy.passes.lowerable import behind_readout, is_head


@dataclass(frozen=True, eq=False)
class Head:
    """y = weight @ x + bias; weight [out, n] or None, bias [out] or [1]."""

    weight: Tensor | None
    bias: Tensor


def head(graph: Graph, tensors: Mapping[tuple[str, str], Tensor]) -> Head:
    """Return what the host applies at the end of a lowered graph, as its constants are now."""

    def now(node: Node, field: str) -> Tensor:
        kept = torch.tensor(getattr(node.op, field))
        return tensors.get((node.name, field), kept)

    weight: Tensor | None = None
    bias = torch.zeros(1, dtype=torch.float64)
    reduce = next((node for node in graph if isinstance(node.op, Reduce)), None)
    if reduce is not None and isinstance(reduce.op, Reduce) and reduce.op.kind == "last":
        bias = now(reduce, "bias")
    last = graph[graph.output]
    if reduce is None and not is_head(graph, last.name):
        op = last.op
        if isinstance(op, Conv):
            return Head(None, now(last, "bias").repeat_interleave(op.windows.positions))
        return Head(None, now(last, "bias") if isinstance(op, Linear) else bias)
    names = behind_readout(graph) if reduce is not None else [last.name]
    for node in (graph[name] for name in names):
        if isinstance(node.op, Weighted):
            op, tuned = node.op, isinstance(node.op, Linear)
            own = now(node, "weight") if tuned else torch.tensor(matrix(op))
            more = now(node, "bias") if tuned else torch.tensor(spread(op, op.bias))
            bias = more + own @ bias.expand(own.shape[1])
            weight = own if weight is None else own @ weight
        elif isinstance(node.op, Affine):
            gain, offset = (torch.tensor(part) for part in (node.op.gain, node.op.bias))
            weight = torch.diag(gain) if weight is None else gain[:, None] * weight
            bias = gain * bias + offset
    return Head(weight, bias)
