"""A graph as text, one node a line: for `inspect` and `--dump-after`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from neurodeploy.graph.ir import Graph, Neurons, Node, Op, Population


def text(graph: Graph, *, full: bool = False) -> str:
    """Return `graph` as text; `full` prints every constant, else its range."""
    rows = [_line(graph, node, full=full) for node in graph]
    notes = [f"output {graph.output}"]
    if graph.ranges:
        notes.append(f"ranges from {graph.calibration}")
    notes += [
        f"{name} has {bits} bits" + (", on a grid" if name in graph.grids else "")
        for name, bits in graph.bits.items()
    ]
    return "\n".join([*rows, *notes])


def constants(op: Op) -> dict[str, dict[str, Any]]:
    """Return shape, least and greatest value and unit of every array of an operation, by name."""
    units = op.model.units if isinstance(op, Neurons | Population) else {}
    found: dict[str, dict[str, Any]] = {}
    for item in fields(op):
        value = getattr(op, item.name)
        for key, array in (value if isinstance(value, Mapping) else {item.name: value}).items():
            if isinstance(array, np.ndarray):
                ends = (float(array.min()), float(array.max())) if array.size else (None, None)
                found[key] = {"shape": list(array.shape), "least": ends[0], "greatest": ends[1]}
                found[key]["unit"] = units.get(key)
    return found


def _line(graph: Graph, node: Node, *, full: bool) -> str:
    reads = f" <- {', '.join(node.inputs)}" if node.inputs else ""
    head = f"{node.name}: {type(node.op).__name__} [{graph.widths[node.name]}]{reads}"
    units = node.op.model.units if isinstance(node.op, Neurons | Population) else {}
    parts = [part for item in fields(node.op) for part in _parts(item.name, node.op, units, full)]
    seen = graph.ranges.get(node.name)
    if seen is not None:
        parts.append(f"values {_range(np.stack([seen.low, seen.high]))}")
    return "\n".join([head, *(f"    {part}" for part in parts)])


def _parts(name: str, op: Any, units: Mapping[str, str], full: bool) -> list[str]:
    value = getattr(op, name)
    if isinstance(value, Mapping):
        return [
            f"{key} = {_value(item, full)}{_unit(units.get(key))}" for key, item in value.items()
        ]
    if (
        value is None
        or name == "width"
        or (name, value) in (("amplitude", 1.0), ("reverse", False))
    ):
        return []
    return [f"{name} = {_value(value, full)}"]


def _unit(unit: str | None) -> str:
    return f" [{unit}]" if unit else ""


def _value(value: Any, full: bool) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    if full:
        return np.array2string(value, threshold=value.size + 1, max_line_width=100)
    return f"{_range(value)}, {list(value.shape)}"


def _range(value: Any) -> str:
    if not value.size:
        return "none"
    low, high = float(np.min(value)), float(np.max(value))
    return f"{low:.6g}" if low == high else f"{low:.6g} .. {high:.6g}"
