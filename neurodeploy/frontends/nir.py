"""Read NIR files: those that neurodeploy wrote, back to the identical graph, and other tools'.

Our files carry the graph's constants in their metadata, and primitives derived from those. The
primitives are derived again and compared with what stands in the file: a number edited in either
place is used or refused, never ignored. Files of other tools: `nir_stock`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.frontends import Reading, nir_stock
from neurodeploy.frontends.nir_file import read_net
from neurodeploy.frontends.nir_stated import STATEMENTS, Stated, option
from neurodeploy.graph.forms.nir import OWNER, is_own, keys, net
from neurodeploy.graph.forms.nir_net import Net, Part, digest
from neurodeploy.graph.ir import Graph
from neurodeploy.graph.record import from_record

_CLOSE = 1e-6  # derived numbers of another machine's exp and cos; edits are found by the digest
_PASSING = ("Add", "Concat", "Reduce")  # what may be no node of its own
_FIX = "export the model again; numbers derived from others cannot be edited alone"


def read(path: Path, reading: Reading = Reading()) -> Graph:  # noqa: B008 (it is frozen)
    """Return the graph in a NIR file; reading: what the user states about another tool's.

    Raises InputError E101 (unreadable, truncated, reaches outside itself, too large), E104 (every
    node that is not known), E105, E107 (constants and wiring), E108 (nodes that disagree with the
    metadata, or do not say all that matters).
    """
    found = read_net(path)
    nir_stock.check_types(found, path)
    if OWNER not in found.metadata:
        given = {key: getattr(reading, key) for key in STATEMENTS}
        stated = Stated.of(given, defaults=reading.defaults)
        return nir_stock.graph(found, path, reading.source, stated)
    _nothing_open(reading, path)
    head = found.metadata[OWNER]
    record = _record(head, path)
    graph = from_record(record, _arrays(found, record, path), str(path))
    expected = net(graph, own=_of_our_types(graph, found))
    problems: list[NeurodeployError] = [
        InputError("E108", what, where=str(path), fix=_FIX)
        for what in (*_differences(expected, found, ""), *_head_differences(expected, head))
    ]
    if problems:
        raise together(problems)
    if digest(expected, found) != _words(head.get("digest")):
        what = "numbers of nodes were edited that derive from the metadata, or the digest was"
        raise InputError("E108", what, where=str(path), fix=_FIX)
    return graph


def _of_our_types(graph: Graph, found: Net) -> frozenset[str]:
    """Return the names of the graph's nodes that stand in the file as types of our own."""
    names = keys([(node.name, type(node.op).__name__) for node in graph])
    parts = {name: found.parts.get(key) for name, key in names.items()}
    return frozenset(n for n, p in parts.items() if isinstance(p, Part) and is_own(p.type))


def _nothing_open(reading: Reading, path: Path) -> None:
    for key in ("source", "defaults", *STATEMENTS):
        if getattr(reading, key) not in (None, False):
            what = (
                f"{option(key)} has no meaning: a file that neurodeploy wrote leaves nothing open"
            )
            raise InputError("E101", what, where=str(path), fix="leave it out")


def _record(head: Any, path: Path) -> Any:
    text = head.get("graph") if isinstance(head, dict) else None
    try:
        if isinstance(text, str):
            return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        pass
    raise InputError(
        "E101",
        f"the metadata {OWNER!r} of {path.name} is damaged",
        where=str(path),
        fix="export the model again",
    )


def _arrays(found: Net, record: Any, path: Path) -> dict[str, Any]:
    """Return the graph's constants by the name the record gives them."""
    arrays: dict[str, Any] = {}
    passed = found.metadata[OWNER].get("passed", {})  # constants of nodes that are not there
    try:
        names = keys([(item["name"], item["op"]) for item in record["nodes"]])
        for item in record["nodes"]:
            name = item["name"]
            part = found.parts.get(names[name])
            if part is None and item["op"] not in _PASSING:
                raise KeyError(name)
            own = passed.get(name, {}) if part is None else part.metadata.get(OWNER, {})
            arrays |= {f"{name}:{k}": v for k, v in own.items() if isinstance(v, np.ndarray)}
            weighted = item["op"] in ("Linear", "Conv") and f"{name}:weight" not in arrays
            if weighted and isinstance(part, Part):
                weight = arrays[f"{name}:weight"] = part.fields["weight"]
                arrays[f"{name}:bias"] = part.fields.get("bias", np.zeros(len(weight)))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "E101",
            f"the metadata and the nodes of {path.name} do not belong together: {error}",
            where=str(path),
            fix="export the model again",
        ) from error
    return arrays


def _head_differences(expected: Net, head: Mapping[str, Any]) -> Iterator[str]:
    mine, head = _words(expected.metadata[OWNER]), _words(head)
    free = ("graph", "about", "digest")
    for key in sorted((set(mine) | set(head)) - set(free)):
        if mine.get(key) != head.get(key):
            yield f"metadata {key!r} is {head.get(key)!r}, and the graph says {mine.get(key)!r}"


def _differences(mine: Net, theirs: Net, at: str) -> Iterator[str]:
    """Say where a file's graph is not what its metadata means."""
    for name in sorted(set(mine.parts) ^ set(theirs.parts)):
        yield f'node "{at}{name}" is ' + ("missing" if name in mine.parts else "not expected")
    for edge in sorted(set(mine.edges) ^ set(theirs.edges)):
        yield f"edge {edge} is " + ("missing" if edge in mine.edges else "not expected")
    if len(theirs.edges) != len(set(theirs.edges)):
        yield f'graph "{at}" has an edge twice'
    for name in sorted(set(mine.parts) & set(theirs.parts)):
        a, b = mine.parts[name], theirs.parts[name]
        yield from _told(a.metadata, b.metadata, at + name)
        if isinstance(a, Net) and isinstance(b, Net):
            yield from _differences(a, b, f"{at}{name}/")
        elif isinstance(a, Part) and isinstance(b, Part) and a.type == b.type:
            yield from _fields(a, b, at + name)
        else:
            kinds = [item.type if isinstance(item, Part) else "NIRGraph" for item in (b, a)]
            yield f'node "{at}{name}" is a {kinds[0]}, not a {kinds[1]}'


def _told(mine: Mapping[str, Any], theirs: Mapping[str, Any], at: str) -> Iterator[str]:
    """Compare the words of a node's metadata; its numbers are what the graph was read from."""
    words = [_words(item.get(OWNER, {})) for item in (mine, theirs)]
    if words[0] != words[1]:
        yield f'metadata of node "{at}" says {words[1]}, and the graph {words[0]}'


def _words(own: Any) -> Any:
    """Return metadata without its numbers."""
    if isinstance(own, Mapping):
        return {key: _words(value) for key, value in own.items()}
    return "numbers" if isinstance(own, np.ndarray) else own


def _fields(mine: Part, theirs: Part, at: str) -> Iterator[str]:
    if set(mine.fields) != set(theirs.fields):
        yield f'node "{at}" has the fields {sorted(theirs.fields)}, not {sorted(mine.fields)}'
        return
    for key in sorted(set(mine.fields) - set(mine.own)):
        a, b = np.asarray(mine.fields[key]), np.asarray(theirs.fields[key])
        same = a.shape == b.shape and (b.dtype.kind in "fiu" or a.dtype == b.dtype)
        word = a.dtype.kind == "U"
        if not same or not (a == b if word else np.allclose(a, b, rtol=_CLOSE, atol=0)):
            yield f'{key} of node "{at}" disagrees with the metadata it derives from'
