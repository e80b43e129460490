"""Fold BatchNorm and other diagonal maps away.

    y = gamma (x - mean) / s + beta = g x + b,    s = sqrt(var + eps)
    g = gamma / s,  b = beta - g mean

After a Linear: (g W) x + (g c + b). Before a Linear: (W diag(g)) x + (c + W b). Before a neuron:
the neuron's input gain and bias. On a residual stream: the stream changes its unit, and whatever
adds to it or reads from it makes up for it (`push.py` has the algebra). Exact up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from neurodeploy.graph.ir import Graph
from neurodeploy.passes.base import GraphPass
from neurodeploy.passes.push import push


@dataclass(frozen=True)
class FoldBatchNorm(GraphPass):
    """Absorb every BatchNorm and Affine."""

    name: ClassVar[str] = "fold-batchnorm"
    tolerance: ClassVar[float | None] = 1e-9

    def __call__(self, graph: Graph) -> Graph:
        """Return `graph` without BatchNorm; an Affine is left only where nothing can absorb it."""
        return push(graph)
