"""Tensors that an ONNX file keeps in other files, read only where that is asked for, and never far.

A place named by a file has been a way to read any file (CVE-2022-25882, CVE-2024-27318,
CVE-2026-27489, CVE-2026-34446, CVE-2026-34447). So: only where the user allows it, only below the
model's own folder after all links are followed, only ordinary files without other names, only the
bytes that the tensor's shape asks for, and those against a budget.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

from neurodeploy.errors import InputError, NeurodeployError, together

_KEYS = {"location", "offset", "length", "checksum"}
_FIX = "save the model again, with its data inside or in a file beside it"


def inline(tensors: list[Any], path: Path, *, allow: bool, budget: int) -> None:
    """Bring the data of `tensors` of the model at `path` into them.

    Raises InputError E101: data elsewhere without `allow`, and all places that are refused, at
    once; tensors that declare more than `budget` bytes.
    """
    outside = [t for t in tensors if t.data_location or t.external_data]
    if outside and not allow:
        names = ", ".join(sorted(t.name for t in outside)[:5])
        raise InputError(
            "E101",
            f"{path.name} keeps {len(outside)} tensors in other files: {names}",
            where=str(path),
            fix="allow it with --allow-external-data, if you trust the file (they must lie below"
            " its folder); or save the model with its data inside"
            " (onnx.save_model(..., save_as_external_data=False))",
        )
    declared = sum(_bytes(tensor) for tensor in tensors)
    if declared > budget:
        what = f"the file declares {declared} bytes of data, more than the budget of {budget}"
        raise InputError("E101", what, where=str(path), fix=_FIX)
    problems: list[NeurodeployError] = []
    for tensor in outside:
        try:
            tensor.raw_data = _read(tensor, path.parent)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
        except (ValueError, OSError) as error:
            what = f"the data of {tensor.name!r} is refused: {error}"
            problems.append(InputError("E101", what, where=str(path), fix=_FIX))
    if problems:
        raise together(problems)


def _bytes(tensor: Any) -> int:
    """Return how many bytes a tensor declares."""
    from onnx import helper

    try:
        size = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError):
        size = 8  # an unknown type, which is refused where it is read
    return math.prod(max(int(n), 0) for n in tensor.dims) * int(size)


def _read(tensor: Any, folder: Path) -> bytes:
    """Return the bytes of one tensor; raise ValueError or OSError with the reason."""
    entries = {item.key: item.value for item in tensor.external_data}
    if set(entries) - _KEYS or "location" not in entries:
        raise ValueError(f"it has the keys {sorted(entries)}")
    home = folder.resolve()
    place = (home / entries["location"]).resolve()
    if not place.is_relative_to(home):
        raise ValueError(f"{entries['location']!r} is not below the model's folder")
    offset = _whole(entries.get("offset", "0"))
    need = _bytes(tensor)
    length = _whole(entries.get("length", str(need)))
    if length != need:
        raise ValueError(f"{length} bytes for a tensor of {need}")
    how = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(place, how | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise ValueError(f"{entries['location']!r} is no ordinary file with one name")
        if offset + length > found.st_size:
            raise ValueError(f"{entries['location']!r} ends before byte {offset + length}")
        file.seek(offset)
        return file.read(length)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no place in a file")
    return int(text)
