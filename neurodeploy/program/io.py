"""A program on disk: a folder with `manifest.json` and one .npy file per array.

The same program gives the same bytes. Arrays are stored in the narrowest integer type, without
pickle; the manifest carries the digest of each. A folder is written beside its place and renamed,
so that a half-written one never stands there.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.program.ir import Population, Program, Readout, Slice, Source, Stream, Vector
from neurodeploy.program.synapses import Conv, Dense, Tap
from neurodeploy.program.words import Word
from neurodeploy.targets.schema import Numbers, target_from

FORMAT, VERSION = "neurodeploy.program", 3

_TYPES: dict[str, Any] = {
    c.__name__: c for c in (Conv, Dense, Tap, Source, Stream, Population, Word, Vector, Readout)
}


def write(program: Program, folder: Path) -> str:
    """Write `program` into the existing, empty `folder`; return the program's digest."""
    arrays: dict[str, Any] = {}
    body = {
        "format": FORMAT,
        "version": VERSION,
        "name": program.name,
        "target": asdict(program.target),
        "numbers": asdict(program.numbers),
        "nodes": [_plain(node, f"{i:03d}", arrays) for i, node in enumerate(program.nodes)],
        "readout": _plain(program.readout, "readout", arrays),
        "placement": [[s.node, s.first, s.last, s.core] for s in program.placement],
        "notes": program.notes,
    }
    home = folder / "arrays"
    home.mkdir()
    digests = {}
    for key, value in arrays.items():
        digests[key] = _write_array(value, home / f"{key}.npy")
    text = json.dumps({**body, "arrays": digests}, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def read(folder: Path) -> Program:
    """Read the program in `folder`.

    Raises InputError E101 if there is none, and E109 if files are missing, changed or malformed.
    """
    path = folder / "manifest.json"
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            "E101",
            f"no program in {str(folder)!r}",
            where=str(path),
            fix="give the folder that `neurodeploy compile` wrote",
        ) from error
    if not isinstance(body, dict) or body.get("format") != FORMAT or body.get("version") != VERSION:
        raise InputError(
            "E101",
            f"not a program of format {FORMAT} {VERSION}",
            where=str(path),
            fix="compile the model again with this version of neurodeploy",
        )
    try:
        arrays = {
            key: _array(folder / "arrays" / f"{key}.npy", digest)
            for key, digest in body["arrays"].items()
        }
        return Program(
            name=body["name"],
            target=target_from(body["target"]),
            numbers=Numbers(**body["numbers"]),
            nodes=tuple(_object(item, arrays) for item in body["nodes"]),
            readout=_object(body["readout"], arrays),
            placement=tuple(
                Slice(node=n, first=a, last=b, core=c) for n, a, b, c in body["placement"]
            ),
            notes=body["notes"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise InputError(
            "E109",
            f"the program is damaged: {error}",
            where=str(folder),
            fix="compile the model again",
        ) from error


def _plain(value: Any, key: str, arrays: dict[str, Any]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {"array": key}
    if is_dataclass(value) and not isinstance(value, type):
        own = {
            f.name: _plain(getattr(value, f.name), f"{key}.{f.name}", arrays) for f in fields(value)
        }
        return {"type": type(value).__name__, **own}
    if isinstance(value, Mapping):
        return {k: _plain(v, f"{key}.{k}", arrays) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v, f"{key}.{i}", arrays) for i, v in enumerate(value)]
    return value


def _object(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return tuple(_object(v, arrays) for v in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {"array"}:
        return arrays[value["array"]]
    inner = {k: _object(v, arrays) for k, v in value.items() if k != "type"}
    return _TYPES[value["type"]](**inner) if "type" in value else inner


class _Hashing:
    """A file that is written and hashed at once, as it comes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.found = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.found.update(data)
        return self.file.write(data)


def _write_array(value: Any, path: Path) -> str:
    """Write an array, integers in the narrowest type; return the digest of the file."""
    array = np.asarray(value)
    if np.issubdtype(array.dtype, np.integer):
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        kind = next(t for t in _WIDTHS if _holds(t, low, high))
        array = array.astype(kind, copy=False)
    with path.open("wb") as file:
        both = _Hashing(file)
        np.lib.format.write_array(both, np.ascontiguousarray(array), allow_pickle=False)
    return both.found.hexdigest()


_WIDTHS = (np.int8, np.int16, np.int32, np.int64)


def _holds(kind: Any, low: int, high: int) -> bool:
    return bool(np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)


def _array(path: Path, digest: str) -> Any:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path.name} has changed since it was written")
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
