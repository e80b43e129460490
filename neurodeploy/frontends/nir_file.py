"""The graph in a NIR file, as plain data: nodes, edges and metadata, checked for their shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.frontends import nir_child
from neurodeploy.frontends.child import BUDGET_BYTES
from neurodeploy.frontends.nir_walk import Tree, bad
from neurodeploy.graph.forms.nir_net import Net, Part


def read_net(path: Path, budget: int = BUDGET_BYTES) -> Net:
    """Return the graph in the NIR file at `path`, reading at most `budget` bytes of data.

    Raises InputError E101: missing, truncated, not a NIR file, links or data outside the file, more
    data than the budget.
    """
    tree = nir_child.tree(path, budget)
    node = tree.get("node")
    if not isinstance(node, dict) or _kind(node) != "NIRGraph":
        raise bad(path, f"{path.name} holds no NIR graph")
    return _net(node, path, "")


def _kind(node: Tree) -> str:
    kind = node.get("type")
    return kind if isinstance(kind, str) else ""


def _net(node: Tree, path: Path, at: str) -> Net:
    known = {"type", "nodes", "edges", "metadata"}
    nodes, edges = node.get("nodes"), node.get("edges")
    if set(node) - known:
        raise bad(path, f"a graph with unknown entries {sorted(set(node) - known)}", at or "/node")
    if not isinstance(nodes, dict):
        raise bad(path, "a graph without nodes", at or "/node")
    parts = {name: _part(item, path, f"{at}/{name}") for name, item in nodes.items()}
    return Net(parts, tuple(_edges(edges, parts, path, at)), _metadata(node, path, at))


def _edges(
    edges: Any, parts: Mapping[str, Part | Net], path: Path, at: str
) -> Iterator[tuple[str, str]]:
    array = np.asarray(edges)
    if edges is None or (array.size and (array.ndim != 2 or array.shape[1] != 2)):
        raise bad(path, "edges are not pairs of names", at or "/node")
    for source, target in array.reshape(-1, 2).tolist():
        for name in (source, target):
            if name not in parts:
                raise bad(path, f"an edge names {name!r}, which does not exist", at or "/node")
        yield str(source), str(target)


def _metadata(node: Tree, path: Path, at: str) -> Tree:
    metadata = node.get("metadata", {})
    if not isinstance(metadata, dict):
        raise bad(path, "metadata is not a group", at)
    return metadata


def _part(node: Any, path: Path, at: str) -> Part | Net:
    kind = _kind(node) if isinstance(node, dict) else ""
    if not kind:
        raise bad(path, "a node without a type", at)
    if kind == "NIRGraph":
        return _net(node, path, at)
    fields = {k: v for k, v in node.items() if k not in ("type", "metadata")}
    return Part(kind, fields, _metadata(node, path, at))
