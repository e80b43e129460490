"""What a pass is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from neurodeploy.graph.ir import Graph


@dataclass(frozen=True)
class GraphPass(ABC):
    """A pure function from graph to graph, with its options as fields.

    The graph is valid before and after. `tolerance` is how far a membrane may move on the
    calibration data, relative to its channel's largest value (or threshold, where that is
    larger); None where the pass does not touch the network.
    """

    name: ClassVar[str]
    tolerance: ClassVar[float | None]

    @abstractmethod
    def __call__(self, graph: Graph) -> Graph:
        """Return the transformed graph."""
