"""Read data sets: DATA.npz with `x` [T, B, C] and, if labels are known, `y` [B]."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError

_FIX = "write it with np.savez(path, x=x, y=y): x [T, B, C] numbers, y [B] class indices"


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs x [T, B, C] and labels y [B], or None."""

    x: Any
    y: Any


def read_data(path: Path) -> Data:
    """Read the data set at `path`.

    Raises InputError E101 for a file that is missing, truncated or not .npz, E102 for one that
    holds pickled objects, and E106 for wrong shapes or values.
    """
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise EOFError("not a zip archive")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                found = {key: file[key] for key in ("x", "y") if key in file.files}
    except ValueError as error:
        if "pickle" in str(error):
            what = f"{path.name} holds pickled objects, which are never loaded"
            raise InputError("E102", what, where=str(path), fix=_FIX) from error
        raise _unreadable(path, error) from error
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    if "x" not in found:
        raise InputError("E106", f"{path.name} has no array x", where=str(path), fix=_FIX)
    return Data(_inputs(found["x"], path), _labels(found.get("y"), found["x"], path))


def _inputs(x: Any, path: Path) -> Any:
    if x.ndim != 3 or 0 in x.shape:
        what = f"x has shape {x.shape}, not [T, B, C] with at least one of each"
        raise InputError("E106", what, where=str(path), fix=_FIX)
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == bool) or np.iscomplexobj(x):
        raise InputError("E106", f"x holds {x.dtype}, not numbers", where=str(path), fix=_FIX)
    if not np.all(np.isfinite(x)):
        raise InputError(
            "E106", "x has NaN or infinite values", where=str(path), fix="clean the data"
        )
    return x


def _labels(y: Any, x: Any, path: Path) -> Any:
    if y is None:
        return None
    if y.shape != x.shape[1:2] or not np.issubdtype(y.dtype, np.integer):
        what = f"y has shape {y.shape} and type {y.dtype}; x has {x.shape[1]} samples"
        raise InputError("E106", what, where=str(path), fix=_FIX)
    return y


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("E101", f"no such file: {path}", fix="check the path")
    if isinstance(error, IsADirectoryError | PermissionError):
        return InputError("E101", f"cannot read {path}: {error.strerror}", fix="check the path")
    what = f"{path.name} is truncated or not an .npz file"
    return InputError("E101", what, where=str(path), fix=_FIX)
