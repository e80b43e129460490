"""Read an HDF5 file in a child process, since damaged ones can hang or crash the HDF5 library.

The child has a time limit and, where the system knows them, limits of processor time and memory. It
sends back strings and numbers only. It sees this process's module path, but not the folder it was
started in.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.frontends.nir_walk import Tree, bad, walk

SECONDS = 30
_OWN_MEMORY = 2**32  # bytes of address space that libraries take before any data

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from neurodeploy.frontends import nir_child; nir_child.main(sys.argv[2], int(sys.argv[3]))"
)


def tree(path: Path, budget: int, seconds: float = SECONDS) -> Tree:
    """Return what `nir_walk.walk(path, budget)` returns, or raise what it raises.

    Raises InputError E101 also if that does not end within `seconds`, or crashes.
    """
    modules = [place for place in sys.path if os.path.isabs(place)]
    command = [sys.executable, "-I", "-c", _START, json.dumps(modules), str(path), str(budget)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=seconds, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise bad(
            path, f"{path.name} is damaged: reading it did not end within {seconds:g} s"
        ) from error
    if done.returncode != 0:
        raise bad(path, f"{path.name} is damaged: reading it ended with code {done.returncode}")
    return _unpacked(done.stdout)


def main(path: str, budget: int) -> None:
    """Run in the child: read, and write the result to standard output."""
    _limit(budget)
    try:
        result = _packed(walk(Path(path), budget))
    except InputError as error:
        result = _bundle({"error": error.records()[0]}, [])
    sys.stdout.buffer.write(result)


def _limit(budget: int) -> None:
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    memory = _OWN_MEMORY + 4 * budget
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _packed(found: Tree) -> bytes:
    rows: list[Any] = []
    arrays: list[Any] = []
    for places, value in _leaves(found, ()):
        if isinstance(value, np.ndarray):
            arrays.append(value.astype(str) if value.dtype.kind == "O" else value)
            rows.append([places, "array", len(arrays) - 1])
        else:
            rows.append([places, "group" if isinstance(value, dict) else "text", value])
    return _bundle({"rows": rows}, arrays)


def _leaves(found: Tree, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield (*at, name), {}
            yield from _leaves(value, (*at, name))
        else:
            yield (*at, name), value


def _bundle(head: Any, arrays: list[Any]) -> bytes:
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(stream, allow_pickle=False, head=text, **{f"a{i}": v for i, v in enumerate(arrays)})
    return stream.getvalue()


def _unpacked(data: bytes) -> Tree:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        head = json.loads(file["head"].tobytes().decode())
        if "error" in head:
            error = head["error"]
            raise InputError(error["code"], error["what"], where=error["where"], fix=error["fix"])
        found: Tree = {}
        for places, kind, value in head["rows"]:
            group = found
            for name in places[:-1]:
                group = group[name]
            group[places[-1]] = file[f"a{value}"] if kind == "array" else value
        return found
