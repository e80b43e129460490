"""Put the exact neurons where training had a surrogate dynamic network in their place.

    s[t] = sdn(x[t-8 ... t-1]) + x[t] >= v_th     becomes     the neurons' own step

(Shen et al. 2024, arXiv 2408.14909.) This is the one pass that changes what the network computes:
the surrogate predicts the membrane of the neurons it was trained on, and where it is wrong near
the threshold, spikes differ. `agreement` says how often, on data.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.ir import Array, Graph, Neurons, Surrogate
from neurodeploy.passes.base import GraphPass


@dataclass(frozen=True)
class DropSurrogate(GraphPass):
    """Replace every surrogate by the neurons that it stands for."""

    name: ClassVar[str] = "drop-surrogate"
    tolerance: ClassVar[float | None] = None

    def __call__(self, graph: Graph) -> Graph:
        """Return `graph` with exact neurons."""
        for node in graph:
            if isinstance(node.op, Surrogate):
                graph = graph.replace(node.name, exact(node.op))
        return graph


def exact(op: Surrogate) -> Neurons:
    """Return the neurons that a surrogate stands for."""
    return Neurons(**{item.name: getattr(op, item.name) for item in fields(Neurons)})


def agreement(graph: Graph, x: Array) -> dict[str, float]:
    """Return, by node, the share of spikes on which a surrogate and the neurons agree on x.

    Each surrogate is compared on what it hears in the graph as it was trained.
    """
    names = [node.name for node in graph if isinstance(node.op, Surrogate)]
    if not names:
        return {}
    found = {}
    _, trained = interpret(graph, x, names)
    for name in names:
        op = graph[name].op
        assert isinstance(op, Surrogate)
        _, values = interpret(graph.replace(name, exact(op)), x, [name])
        found[name] = float(np.mean((values[name] != 0) == (trained[name] != 0)))
    return found
