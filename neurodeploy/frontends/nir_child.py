"""Read an HDF5 file in a child process, since damaged ones can hang or crash the HDF5 library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.frontends import child
from neurodeploy.frontends.nir_walk import Tree, walk

SECONDS = 30


def tree(path: Path, budget: int, seconds: float = SECONDS) -> Tree:
    """Return what `nir_walk.walk(path, budget)` returns, or raise what it raises.

    Raises InputError E101 also if that does not end within `seconds`, or crashes.
    """
    rows, arrays = child.call(leaves, path, child.Limits(seconds, budget), budget=budget)
    found: Tree = {}
    for places, kind, value in rows:
        group = found
        for name in places[:-1]:
            group = group[name]
        group[places[-1]] = arrays[value] if kind == "array" else value
    return found


def leaves(path: Path, budget: int) -> tuple[list[Any], dict[str, Any]]:
    """Return the tree in an HDF5 file as rows (places, kind, value), and the arrays they name."""
    rows: list[Any] = []
    arrays: dict[str, Any] = {}
    for places, value in _leaves(walk(path, budget), ()):
        if isinstance(value, np.ndarray):
            name = str(len(arrays))
            arrays[name] = value.astype(str) if value.dtype.kind == "O" else value
            rows.append([places, "array", name])
        else:
            rows.append([places, "group" if isinstance(value, dict) else "text", value])
    return rows, arrays


def _leaves(found: Tree, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield (*at, name), {}
            yield from _leaves(value, (*at, name))
        else:
            yield (*at, name), value
