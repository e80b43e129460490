"""What stands in a model file, whether it is a graph or not: for `inspect`.

A file is plain data: `name`, `writer`, the tool that may have written it, and `nodes`, each with

    name     of the file; those of graphs in a graph have slashes
    type     the kind of node, in the words of the format
    known    whether the reader of the format has a meaning for it
    reads    what it reads
    fields   its constants and settings: shape, dtype, low, high and unit of arrays, else a value
    sends    where the format says so, what it computes: shape and dtype by name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def field(value: Any, unit: str = "") -> dict[str, Any]:
    """Return an array's shape, type, unit and range of finite numbers; of anything else, itself."""
    if not isinstance(value, np.ndarray):
        return {"value": value}
    found: dict[str, Any] = {"shape": list(value.shape), "dtype": str(value.dtype)}
    if value.dtype.kind in "fiu":
        finite = value[np.isfinite(value)]
        if finite.size:
            found |= {"low": float(finite.min()), "high": float(finite.max())}
        if finite.size < value.size:
            found["not_finite"] = value.size - finite.size
    return found | ({"unit": unit} if unit else {})


def text(file: Mapping[str, Any]) -> str:
    """Return a file as text, its nodes one after the other."""
    rows = [f"{file['name']}, written by: {file['writer']}"]
    rows += [f"{key} {value}" for key in ("inputs", "outputs") for value in _sent(file, key)]
    return "\n".join([*rows, *(row for node in file["nodes"] for row in _node(node))])


def _node(node: Mapping[str, Any]) -> Iterator[str]:
    reads = f" <- {', '.join(node['reads'])}" if node["reads"] else ""
    sends = f" -> {', '.join(_sent(node, 'sends'))}" if node.get("sends") else ""
    opaque = "" if node["known"] else " (not known: opaque)"
    yield f"{node['name']}: {node['type']}{opaque}{reads}{sends}"
    for key, value in node["fields"].items():
        yield f"    {key} = {_shown(value)}"


def _sent(holder: Mapping[str, Any], key: str) -> list[str]:
    return [
        name if shape is None else f"{name} [{', '.join(map(str, shape))}]"
        for name, shape in ((name, value["shape"]) for name, value in holder.get(key, {}).items())
    ]


def _shown(value: Mapping[str, Any]) -> str:
    if "shape" not in value:
        return str(value["value"])
    unit = f" [{value['unit']}]" if "unit" in value else ""
    named = f" ({value['constant']})" if "constant" in value else ""
    rest = f"{value['shape']} {value['dtype']}{named}"
    if "not_finite" in value:
        rest += f", {value['not_finite']} NaN or infinite"
    if "low" not in value:
        return rest
    low, high = value["low"], value["high"]
    span = f"{low:g}" if low == high else f"{low:g} .. {high:g}"
    return f"{span}{unit}, {rest}"
