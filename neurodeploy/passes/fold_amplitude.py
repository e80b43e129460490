"""Fold the amplitude of spikes into the next Linear.

    W (alpha s) = (alpha W) s

(SD-TCM's trained alpha: Huang et al. 2024, arXiv 2410.03530, section 4.4.) What travels is then a
plain spike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from neurodeploy.graph.ir import Graph
from neurodeploy.passes.base import GraphPass
from neurodeploy.passes.push import push


@dataclass(frozen=True)
class FoldAmplitude(GraphPass):
    """Give every neuron the amplitude 1."""

    name: ClassVar[str] = "fold-amplitude"
    tolerance: ClassVar[float | None] = 1e-9

    def __call__(self, graph: Graph) -> Graph:
        """Return `graph` with every amplitude 1 and the next weights multiplied by it."""
        return push(graph, amplitudes=True)
