"""Read ONNX files: those that neurodeploy wrote, and plain networks of other tools.

The file is parsed in a child process with limits (`child`), which sends back the graph as plain
data. Files of ours are recognised by their domain and give the identical graph (`onnx_own`); in all
others every standard operator is taken as what it means, or refused by name (`onnx_net`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.errors import InputError
from neurodeploy.frontends import Reading, child, require
from neurodeploy.graph.ir import Graph
from neurodeploy.graph.record import from_record, to_record

LIMITS = child.Limits(seconds=60)


def read(path: Path, reading: Reading = Reading()) -> Graph:  # noqa: B008 (it is frozen)
    """Return the graph in an ONNX file.

    Raises InputError E101 (unreadable, truncated, data elsewhere, too much data, another version),
    E104 (every node that is not known, with its type), E105, E107, E108 (what would be ignored);
    ToolError E601 without onnx.
    """
    require("onnx", "onnx")
    how = {"layout": reading.layout, "allow_external_data": reading.allow_external_data}
    record, arrays = child.call(parsed, path, LIMITS, budget=LIMITS.budget, **how)
    return from_record(record, arrays, str(path))


def parsed(
    path: Path, *, layout: str | None, allow_external_data: bool, budget: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the graph in an ONNX file as plain data; runs in the child."""
    from neurodeploy.frontends import onnx_file, onnx_net, onnx_own

    model = onnx_file.load(path, allow_external_data=allow_external_data, budget=budget)
    if not onnx_own.is_own(model):
        return to_record(onnx_net.graph_of(model, path, layout))
    if layout is not None:
        what = f"{path.name} was written by neurodeploy, and says its own layout"
        raise InputError("E101", what, where=str(path), fix="leave --layout out")
    return to_record(onnx_own.graph_of(model, path))
