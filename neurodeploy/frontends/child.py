"""Read an untrusted file in a child process: damaged ones can hang or crash the reading library.

`call` runs a function of this package there and brings back what it returns: plain data (what JSON
holds) and arrays. The child has a time limit and, where the system knows them, limits of processor
time and memory. It sees this process's module path, but not the folder it was started in.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, together

BUDGET_BYTES = 2**30  # of the data that a file may declare
_OWN_MEMORY = 2**32  # bytes of address space that libraries take before any data

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from neurodeploy.frontends import child; child.main(json.loads(sys.argv[2]))"
)

Arrays = Mapping[str, Any]
Reader = Callable[..., tuple[Any, Arrays]]


@dataclass(frozen=True)
class Limits:
    """What a child may take: seconds, and bytes of data, of which it may hold four copies."""

    seconds: float = 30.0
    budget: int = BUDGET_BYTES


def call(reader: Reader, path: Path, limits: Limits, **more: Any) -> tuple[Any, Arrays]:
    """Return `reader(path, **more)`, run in a child: plain data, and arrays by name.

    reader: a function of a module of this package. Raises the InputErrors that it raises, and E101
    if it does not end in time, or crashes.
    """
    order = {
        "module": reader.__module__,
        "name": reader.__name__,
        "path": str(path),
        "more": more,
        "limits": [limits.seconds, limits.budget],
    }
    modules = [place for place in sys.path if os.path.isabs(place)]
    command = [sys.executable, "-I", "-c", _START, json.dumps(modules), json.dumps(order)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=limits.seconds, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        what = f"reading it did not end within {limits.seconds:g} s"
        raise _damaged(path, what) from error
    if done.returncode != 0:
        raise _damaged(path, f"reading it ended with code {done.returncode}")
    return _unpacked(done.stdout)


def _damaged(path: Path, what: str) -> InputError:
    what = f"{path.name} is damaged: {what}"
    return InputError("E101", what, where=str(path), fix="write or copy the file again")


def main(order: Any) -> None:
    """Run in the child: read, and write the result to standard output."""
    _limit(*order["limits"])
    reader = getattr(import_module(order["module"]), order["name"])
    try:
        result = _packed({"result": None}, *reader(Path(order["path"]), **order["more"]))
    except InputError as error:
        result = _packed({"errors": error.records()}, None, {})
    sys.stdout.buffer.write(result)


def _limit(seconds: float, budget: int) -> None:
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    whole = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    memory = _OWN_MEMORY + 4 * budget
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _packed(head: Any, result: Any, arrays: Arrays) -> bytes:
    stream = io.BytesIO()
    names = list(arrays)
    text = json.dumps({**head, "result": result, "names": names})
    values = {f"a{i}": arrays[name] for i, name in enumerate(names)}
    np.savez(stream, allow_pickle=False, head=np.frombuffer(text.encode(), np.uint8), **values)
    return stream.getvalue()


def _unpacked(data: bytes) -> tuple[Any, Arrays]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        head = json.loads(file["head"].tobytes().decode())
        if "errors" in head:
            raise together(
                [
                    InputError(item["code"], item["what"], where=item["where"], fix=item["fix"])
                    for item in head["errors"]
                ]
            )
        return head["result"], {name: file[f"a{i}"] for i, name in enumerate(head["names"])}
