"""A NIR file as it stands there: for `inspect`, which shows also what cannot be read as a graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import nir_stock
from neurodeploy.frontends.nir_file import read_net
from neurodeploy.graph.forms.nir import OWNER
from neurodeploy.graph.forms.nir_net import Net, Part

#: As NIR means them; a file does not state its unit of time, and tools write seconds or steps.
UNITS = {
    "tau": "time",
    "tau_mem": "time",
    "tau_syn": "time",
    "delay": "time",
    "r": "membrane / input",
    "v_leak": "membrane",
    "v_threshold": "membrane",
    "v_reset": "membrane",
    "w_in": "current / input",
}


def described(path: Path) -> list[dict[str, Any]]:
    """Return the nodes of a file: name, type, known (to NIR), fields and what they read.

    Names of nodes in graphs in the graph have slashes. Raises InputError E101.
    """
    return list(_nodes(read_net(path), ""))


def _nodes(found: Net, at: str) -> Iterator[dict[str, Any]]:
    for name, part in sorted(found.parts.items()):
        kind = part.type if isinstance(part, Part) else "NIRGraph"
        yield {
            "name": f"{at}{name}",
            "type": kind,
            "known": kind in nir_stock.KNOWN,
            "reads": sorted(f"{at}{source}" for source, target in found.edges if target == name),
            "fields": _fields(part) if isinstance(part, Part) else {},
        }
        if isinstance(part, Net):
            yield from _nodes(part, f"{at}{name}/")


def _fields(part: Part) -> dict[str, Any]:
    return {key: _field(key, value) for key, value in sorted(part.fields.items())}


def _field(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        return {"value": value if isinstance(value, str) else "a group"}
    found: dict[str, Any] = {"shape": list(value.shape), "dtype": str(value.dtype)}
    if value.size and value.dtype.kind in "fiu":
        found |= {"low": float(value.min()), "high": float(value.max())}
    return found | ({"unit": UNITS[key]} if key in UNITS else {})


def writer(path: Path) -> str:
    """Say who may have written a file. Raises InputError E101 and E107."""
    found = read_net(path)
    if OWNER in found.metadata:
        return "neurodeploy"
    try:
        guessed = nir_stock.guess(found, path)
    except NeurodeployError:
        return "unknown"
    return " or ".join(guessed) or "any tool"


def text(path: Path) -> str:
    """Return the nodes of a file as text. Raises InputError E101."""
    rows = [f"{path.name}, written by: {writer(path)}"]
    for node in described(path):
        reads = f" <- {', '.join(node['reads'])}" if node["reads"] else ""
        opaque = "" if node["known"] else " (not known: opaque)"
        rows.append(f"{node['name']}: {node['type']}{opaque}{reads}")
        rows += [f"    {key} = {_shown(value)}" for key, value in node["fields"].items()]
    return "\n".join(rows)


def _shown(value: dict[str, Any]) -> str:
    if "shape" not in value:
        return str(value["value"])
    unit = f" [{value['unit']}]" if "unit" in value else ""
    if "low" not in value:
        return f"{value['dtype']}, {value['shape']}"
    low, high = value["low"], value["high"]
    span = f"{low:g}" if low == high else f"{low:g} .. {high:g}"
    return f"{span}{unit}, {value['shape']} {value['dtype']}"
