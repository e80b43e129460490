"""The environment that Lava lives in: a Python of its own, found or made, driven as a child.

It is $NEURODEPLOY_LAVA_ENV, or `lava-0.10.0` in the cache folder. One that neurodeploy makes has a
file `neurodeploy-lava.json`, which says "building" until everything is installed and has been
imported once; an unfinished one is removed and built again. One that the user made has no such
file, and is used if it holds the right version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.backends.lava import child, interpreters
from neurodeploy.backends.lava.interpreters import Interpreter
from neurodeploy.errors import ToolError
from neurodeploy.kernels.cache import cache_folder

VERSION = "0.10.0"
VARIABLE = "NEURODEPLOY_LAVA_ENV"
TEMPLATE = Path(__file__).parent / "template"

_MARKER = "neurodeploy-lava.json"
_REQUIREMENTS = TEMPLATE / "requirements-lava.txt"
_VENV_S, _INSTALL_S, _PROBE_S = 300, 1800, 120


@dataclass(frozen=True, kw_only=True)
class LavaEnv:
    """A Python with Lava: the interpreter, versions by name, and whether its import is patched."""

    python: Path
    versions: Mapping[str, str]
    patched: bool


def location() -> Path:
    """Return where the environment is, or would be made."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else cache_folder() / f"lava-{VERSION}"


def find() -> LavaEnv | None:
    """Return the environment if it is there, finished and up to date."""
    home = location()
    python = _python(home)
    if not python.exists():
        return None
    record = _record(home)
    if record is None:
        return _foreign(python)
    if record.get("ready") != _wanted():
        return None
    return LavaEnv(python=python, versions=record["versions"], patched=record["patched"])


def ensure(say: Callable[[str], None]) -> LavaEnv:
    """Return the environment, made if it is missing; raises like `create`."""
    return find() or create(say)


def create(say: Callable[[str], None]) -> LavaEnv:
    """Make the environment (about half a minute, 300 MB) and return it.

    `say` is told what happens. Where another process is making it, wait for that. Raises
    ToolError E602 with everything that was tried.
    """
    home = location()
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(home, say):
            return find() or _create(home, say)
    except OSError as error:
        raise ToolError(
            "E602",
            f"the Lava environment cannot be written: {error.strerror or error}",
            where=str(home),
            fix=f"set {VARIABLE} to a folder that can be written",
        ) from error


def _create(home: Path, say: Callable[[str], None]) -> LavaEnv:
    if home.exists() and _record(home) is None and any(home.iterdir()):
        raise ToolError(
            "E602",
            f"the folder is neither empty nor a Python with lava-nc {VERSION}",
            where=str(home),
            fix=f"set {VARIABLE} to another folder, or remove this one",
        )
    tried: list[str] = []
    for interpreter in interpreters.candidates(say, tried):
        try:
            return _build(home, interpreter, say)
        except ToolError as error:
            tried.append(f"{interpreter.origin} ({interpreter.path}): {error.what}\n{error.where}")
            shutil.rmtree(home, ignore_errors=True)
    raise ToolError(
        "E602",
        "no Python could be made to run Lava",
        where="\n".join(tried) or "no Python 3.10 to 3.13 found",
        fix=interpreters.FIX,
    )


def _build(home: Path, interpreter: Interpreter, say: Callable[[str], None]) -> LavaEnv:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    marker = home / _MARKER
    marker.write_text(json.dumps({"ready": "building"}), encoding="utf-8")
    say(f"making the Lava environment in {home}, with {interpreter.origin} ({interpreter.path})")
    python = _python(home)
    _run([interpreter.path, "-m", "venv", str(home)], home, _VENV_S, "python -m venv")
    say(f"installing lava-nc {VERSION}")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--no-deps", "--ignore-requires-python", "-r", str(_REQUIREMENTS)]
    _run(install, home, _INSTALL_S, "pip install")
    facts = about(python)
    body = {"ready": _wanted(), "versions": facts["versions"], "patched": facts["patched"]}
    beside = marker.with_suffix(".new")
    beside.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(marker)
    return LavaEnv(python=python, versions=facts["versions"], patched=facts["patched"])


def about(python: Path) -> dict[str, Any]:
    """Import Lava in a child; return versions, patched, and what of a board can be reached.

    Raises ToolError E602 if it cannot be imported there, E604 if the child does not answer.
    """
    command = [str(python), "-B", "-m", "runner.about"]
    done = child.run(command, cwd=TEMPLATE, timeout_s=_PROBE_S, what="importing Lava")
    if done.code:
        raise ToolError("E602", "Lava cannot be imported", where=done.tail, fix=interpreters.FIX)
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def _run(command: list[str], home: Path, timeout_s: float, what: str) -> None:
    done = child.run(command, cwd=home, timeout_s=timeout_s, what=what)
    if done.code:
        raise ToolError("E602", f"{what} failed", where=done.tail, fix=interpreters.FIX)


def _foreign(python: Path) -> LavaEnv | None:
    """Return an environment that the user made, if it holds the right Lava."""
    try:
        facts = about(python)
    except ToolError:
        return None
    if facts["versions"]["lava-nc"] != VERSION:
        return None
    return LavaEnv(python=python, versions=facts["versions"], patched=facts["patched"])


def _record(home: Path) -> dict[str, Any] | None:
    """Return what the marker says; None without one. A broken one counts as unfinished."""
    path = home / _MARKER
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _wanted() -> str:
    """Return the digest of the pinned requirements: an environment of older pins is not ready."""
    return hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()


def _python(home: Path) -> Path:
    return home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@contextlib.contextmanager
def _only_one(home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock beside `home`; the system drops it when a process ends, however it ends."""
    if sys.platform == "win32":  # no flock there
        yield
        return
    import fcntl

    with (home.parent / f".{home.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that is making the Lava environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
