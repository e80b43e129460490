"""A NIR graph as plain data: primitives, graphs in graphs, and edges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]  #: of values in a file: (channels,) or (maps, *size)


@dataclass(frozen=True, eq=False)
class Part:
    """A primitive. The fields in `own` are constants of the graph; others are derived."""

    type: str
    fields: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    own: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Net:
    """A NIRGraph."""

    parts: Mapping[str, Part | Net]
    edges: tuple[tuple[str, str], ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Builder:
    """The parts and edges of one Net so far."""

    def __init__(self, shape: Shape, taken: Sequence[str] = ()) -> None:
        self.shape = shape  #: of the input
        self.parts: dict[str, Part | Net] = {"input": _end("Input", shape)}
        self.edges: list[tuple[str, str]] = []
        self.taken = {*taken, "input", "output"}

    def add(self, name: str, part: Part | Net, *sources: str, fresh: bool = True) -> str:
        """Add a part that reads `sources`; return its name, made unique where `fresh`."""
        while fresh and name in self.taken:
            name += "_"
        self.taken.add(name)
        self.parts[name] = part
        self.edges += [(source, name) for source in sources]
        return name

    def net(self, output: str, shape: Shape, metadata: Mapping[str, Any]) -> Net:
        """Return the finished graph, whose output is that of part `output`."""
        self.parts["output"] = _end("Output", shape)
        edges = sorted({*self.edges, (output, "output")})
        return Net(self.parts, tuple(edges), metadata)


def _end(kind: str, shape: Shape) -> Part:
    return Part(kind, {"shape": np.array(shape, np.int64)})


def digest(form: Net, values: Net) -> str:
    """Return a fingerprint of the derived numbers of `form`, as they stand in `values`."""
    found = hashlib.sha256()
    for path, part, actual in walk(form, values):
        for key in sorted(set(part.fields) - set(part.own)):
            value = np.ascontiguousarray(actual.fields[key])
            found.update(repr((path, key, value.dtype.str, value.shape)).encode())
            found.update(value.tobytes())
    return found.hexdigest()


def walk(form: Net, values: Net, path: str = "") -> Iterator[tuple[str, Part, Part]]:
    """Yield (path, part of `form`, the same part of `values`), in order of path."""
    for name in sorted(form.parts):
        mine, theirs = form.parts[name], values.parts[name]
        if isinstance(mine, Net) and isinstance(theirs, Net):
            yield from walk(mine, theirs, f"{path}{name}/")
        elif isinstance(mine, Part) and isinstance(theirs, Part):
            yield f"{path}{name}", mine, theirs
