"""A NIR file as it stands there: for `inspect`, which shows also what is no graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import nir_stock
from neurodeploy.frontends.contents import field
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


def described(path: Path) -> dict[str, Any]:
    """Return a file as plain data (`contents`). Raises InputError E101."""
    found = read_net(path)
    return {"name": path.name, "writer": _writer(found, path), "nodes": list(_nodes(found, ""))}


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
    if isinstance(value, np.ndarray):
        return field(value, UNITS.get(key, ""))
    return field(value if isinstance(value, str) else "a group")


def _writer(found: Net, path: Path) -> str:
    if OWNER in found.metadata:
        return "neurodeploy"
    try:
        guessed = nir_stock.guess(found, path)
    except NeurodeployError:
        return "unknown"
    return " or ".join(guessed) or "any tool"
