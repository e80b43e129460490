"""neurodeploy: deploy trained spiking networks, and prove that they still compute the same."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurodeploy import nn
    from neurodeploy.api import (
        compare,
        compile,
        emit,
        export,
        interpret,
        load,
        report,
        save,
        search,
        simulate,
        sweep,
        target,
        trace,
        tune,
    )
    from neurodeploy.backends.simulator import Session
    from neurodeploy.errors import NeurodeployError
    from neurodeploy.graph.ir import Graph
    from neurodeploy.program.ir import Program
    from neurodeploy.program.run import Run
    from neurodeploy.reports.compare import Comparison
    from neurodeploy.targets.schema import Target

__all__ = [
    "Comparison",
    "Graph",
    "NeurodeployError",
    "Program",
    "Run",
    "Session",
    "Target",
    "compare",
    "compile",
    "emit",
    "export",
    "interpret",
    "load",
    "nn",
    "report",
    "save",
    "search",
    "simulate",
    "sweep",
    "target",
    "trace",
    "tune",
]

_HOMES = {
    "Comparison": "neurodeploy.reports.compare",
    "Graph": "neurodeploy.graph.ir",
    "NeurodeployError": "neurodeploy.errors",
    "Program": "neurodeploy.program.ir",
    "Run": "neurodeploy.program.run",
    "Session": "neurodeploy.backends.simulator",
    "Target": "neurodeploy.targets.schema",
}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used, so that `import neurodeploy` costs nothing."""
    if name == "nn":
        return import_module("neurodeploy.nn")
    if name not in __all__:
        raise AttributeError(f"module 'neurodeploy' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES.get(name, "neurodeploy.api")), name)
    return found


def __dir__() -> list[str]:
    return __all__
