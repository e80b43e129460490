"""Read an HDF5 file into plain data, looking at every object before it is read.

The `nir` library's reader follows links and external storage into other files, and allocates what
a file declares. Here links other than hard ones, data stored elsewhere, unknown filters and types,
and sizes beyond a budget are refused. It runs in a child process (`nir_child`), since damaged files
can hang or crash the HDF5 library itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError

MAX_OBJECTS = 100_000
MAX_DEPTH = 12

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_BROKEN = "write or copy the file again"

Tree = dict[str, Any]


def walk(path: Path, budget: int) -> Tree:
    """Return all that stands in an HDF5 file, at most `budget` bytes, as dicts, arrays and strings.

    Raises InputError E101: missing, truncated or damaged, links or data outside the file, more
    data than the budget.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _Walk(h5py, path, budget).tree(file, "", 0)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise bad(path, f"{path.name} is damaged: {error}") from error


def _unreadable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("E101", f"no such file: {path}", fix="check the path")
    if isinstance(error, IsADirectoryError | PermissionError):
        return InputError("E101", f"cannot read {path}: {error.strerror}", fix="check the path")
    return bad(path, f"{path.name} is truncated or not a NIR file")


def bad(path: Path, what: str, at: str = "") -> InputError:
    """Return the error for a file that is not what it should be; `at` is a place in it."""
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
            raise bad(self.path, f"groups are nested more than {MAX_DEPTH} deep", at)
        found: Tree = {}
        for name in group:
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                raise bad(self.path, f"more than {MAX_OBJECTS} objects", at)
            here = f"{at}/{name}"
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise self._outside("a soft or external link", here)
            kind = group.get(name, getclass=True)
            if kind is self.h5py.Group:
                found[name] = self.tree(group[name], here, depth + 1)
            elif kind is self.h5py.Dataset:
                found[name] = self._value(group[name], here)
            else:
                raise bad(self.path, "an object that NIR does not have", here)
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
            raise bad(self.path, f"an unknown compression filter {filters}", at)
        text = self.h5py.check_string_dtype(data.dtype)
        if text is None and data.dtype.kind not in "fiub":
            raise bad(self.path, f"data of type {data.dtype}", at)
        if data.shape is None:
            raise bad(self.path, "an empty dataset", at)
        self.declared += math.prod(data.shape) * data.dtype.itemsize
        if self.declared > self.budget:
            what = f"the file declares more data than the budget of {self.budget} bytes"
            raise bad(self.path, what, at)
        if text is None:
            return np.asarray(data[()])
        value = data.asstr()[()]
        return value if isinstance(value, str) else np.asarray(value)
