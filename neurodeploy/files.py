"""Write files and folders whole or not at all: beside their place first, then renamed into it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from neurodeploy.errors import InputError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; move it to `path` if the block succeeds, else remove it.

    Raises InputError E110 if the place cannot be written.
    """
    beside = _beside(path)
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty temporary folder; move it to `path` if the block succeeds, else remove it.

    A folder that stands there is replaced if it is empty, or if `ours(folder)` says that it is an
    earlier output; anything else is left alone. Raises InputError E110.
    """
    if path.exists() and not (path.is_dir() and (ours(path) or not any(path.iterdir()))):
        raise InputError(
            "E110",
            f"{str(path)!r} exists and is not an earlier output",
            where=str(path),
            fix="choose another folder with -o, or remove it",
        )
    beside = _beside(path)
    try:
        beside.mkdir()
        beside.chmod(0o755)
        yield beside
        _swap(beside, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def writable(path: Path) -> None:
    """Make the folder of `path`; raises InputError E110 if no file can be written there."""
    _beside(path)


def _beside(path: Path) -> Path:
    """Return an unused name in the folder of `path`, made if it is missing."""
    home = path.absolute().parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=home, prefix=f".{path.name}.") as probe:
            return Path(f"{probe.name}.partial")
    except OSError as error:
        raise _unwritable(path, error) from error


def _swap(fresh: Path, path: Path) -> None:
    if not path.exists():
        fresh.rename(path)
        return
    old = fresh.with_suffix(".old")
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        "E110",
        f"cannot write {str(path)!r}: {error.strerror or error}",
        where=str(path),
        fix="choose a place that can be written with -o",
    )
