"""Read the contents of a NIR file as plain data, with h5py, touching nothing outside the file.

The `nir` library's reader follows links and external storage into other files, and allocates what
a file declares. Here every object is looked at before it is read: links other than hard ones,
data stored elsewhere, unknown filters and types, and sizes beyond a budget are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.frontends import nir_child
from neurodeploy.graph.forms.nir_net import Net, Part

BUDGET_BYTES = 2**30
MAX_OBJECTS = 100_000
MAX_DEPTH = 12

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_BROKEN = "write or copy the file again"

Tree = dict[str, Any]


def read_net(path: Path, budget: int = BUDGET_BYTES) -> Net:
    """Return the graph in the NIR file at `path`, reading at most `budget` bytes of data.

    Raises InputError E101: missing, truncated, not a NIR file, links or data outside the file, more
    data than the budget.
    """
    tree = nir_child.tree(path, budget)
    node = tree.get("node")
    if not isinstance(node, dict) or _kind(node) != "NIRGraph":
        raise _bad(path, f"{path.name} holds no NIR graph")
    return _net(node, path, "")


def walk(path: Path, budget: int) -> Tree:
    """Return all that stands in an HDF5 file, as dicts, arrays and strings; raises like `read_net`.

    Runs in a child process: see `nir_child`.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _Walk(h5py, path, budget).tree(file, "", 0)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise _bad(path, f"{path.name} is damaged: {error}") from error


def _unreadable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("E101", f"no such file: {path}", fix="check the path")
    if isinstance(error, IsADirectoryError | PermissionError):
        return InputError("E101", f"cannot read {path}: {error.strerror}", fix="check the path")
    return _bad(path, f"{path.name} is truncated or not a NIR file")


def _bad(path: Path, what: str, at: str = "") -> InputError:
    return InputError("E101", what, where=f"{at} in {path}" if at else str(path), fix=_BROKEN)


@dataclass
class _Walk:
    """One pass over a file: the objects and bytes seen so far, and the most that may be."""

    h5py: Any
    path: Path
    budget: int
    objects: int = 0
    declared: int = 0

    def tree(self, group: Any, at: str, depth: int) -> Tree:
        """Return what stands in a group: dicts, arrays and strings."""
        if depth > MAX_DEPTH:
            raise _bad(self.path, f"groups are nested more than {MAX_DEPTH} deep", at)
        found: Tree = {}
        for name in group:
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                raise _bad(self.path, f"more than {MAX_OBJECTS} objects", at)
            here = f"{at}/{name}"
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise self._outside("a soft or external link", here)
            kind = group.get(name, getclass=True)
            if kind is self.h5py.Group:
                found[name] = self.tree(group[name], here, depth + 1)
            elif kind is self.h5py.Dataset:
                found[name] = self._value(group[name], here)
            else:
                raise _bad(self.path, "an object that NIR does not have", here)
        return found

    def _outside(self, what: str, at: str) -> InputError:
        return InputError(
            "E101",
            f"{what}, which could name any file",
            where=f"{at} in {self.path}",
            fix="copy the data into the file",
        )

    def _value(self, data: Any, at: str) -> Any:
        """Check a dataset before reading it, then return its array or string."""
        layout = data.id.get_create_plist()
        if layout.get_external_count() or layout.get_layout() == self.h5py.h5d.VIRTUAL:
            raise self._outside("data stored outside the file", at)
        filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
        if any(number not in _FILTERS for number in filters):
            raise _bad(self.path, f"an unknown compression filter {filters}", at)
        text = self.h5py.check_string_dtype(data.dtype)
        if text is None and data.dtype.kind not in "fiub":
            raise _bad(self.path, f"data of type {data.dtype}", at)
        if data.shape is None:
            raise _bad(self.path, "an empty dataset", at)
        self.declared += math.prod(data.shape) * data.dtype.itemsize
        if self.declared > self.budget:
            what = f"the file declares more data than the budget of {self.budget} bytes"
            raise _bad(self.path, what, at)
        if text is None:
            return np.asarray(data[()])
        value = data.asstr()[()]
        return value if isinstance(value, str) else np.asarray(value)


def _kind(node: Tree) -> str:
    kind = node.get("type")
    return kind if isinstance(kind, str) else ""


def _net(node: Tree, path: Path, at: str) -> Net:
    known = {"type", "nodes", "edges", "metadata"}
    nodes, edges = node.get("nodes"), node.get("edges")
    if set(node) - known:
        raise _bad(path, f"a graph with unknown entries {sorted(set(node) - known)}", at or "/node")
    if not isinstance(nodes, dict):
        raise _bad(path, "a graph without nodes", at or "/node")
    parts = {name: _part(item, path, f"{at}/{name}") for name, item in nodes.items()}
    return Net(parts, tuple(_edges(edges, parts, path, at)), _metadata(node, path, at))


def _edges(
    edges: Any, parts: Mapping[str, Part | Net], path: Path, at: str
) -> Iterator[tuple[str, str]]:
    array = np.asarray(edges)
    if edges is None or (array.size and (array.ndim != 2 or array.shape[1] != 2)):
        raise _bad(path, "edges are not pairs of names", at or "/node")
    for source, target in array.reshape(-1, 2):
        for name in (source, target):
            if name not in parts:
                raise _bad(path, f"an edge names {name!r}, which does not exist", at or "/node")
        yield str(source), str(target)


def _metadata(node: Tree, path: Path, at: str) -> Tree:
    metadata = node.get("metadata", {})
    if not isinstance(metadata, dict):
        raise _bad(path, "metadata is not a group", at)
    return metadata


def _part(node: Any, path: Path, at: str) -> Part | Net:
    kind = _kind(node) if isinstance(node, dict) else ""
    if not kind:
        raise _bad(path, "a node without a type", at)
    if kind == "NIRGraph":
        return _net(node, path, at)
    fields = {k: v for k, v in node.items() if k not in ("type", "metadata")}
    return Part(kind, fields, _metadata(node, path, at))
