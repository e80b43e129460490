"""Where a Python for Lava may be found: lava-nc 0.10.0 is made for 3.10, and patched above.

Candidates come in order of preference, each found only when it is asked for:

    $NEURODEPLOY_LAVA_PYTHON                  taken as it is, or refused
    this interpreter, `python3.10` on PATH, pyenv, uv (which may download one), if they are 3.10
    this interpreter, if it is 3.11 to 3.13   Lava's import is then patched (runner/compat.py)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.errors import ToolError

VARIABLE = "NEURODEPLOY_LAVA_PYTHON"
FIX = (
    f"install Python 3.10 (such as `uv python install 3.10`, or `pyenv install 3.10`),"
    f" or set {VARIABLE} to one; then: neurodeploy doctor --install-lava"
)

_MADE_FOR = (3, 10)
_PATCHED = ((3, 11), (3, 12), (3, 13))
_PROBE_S, _INSTALL_S = 30, 600

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that runs."""

    path: str
    version: tuple[int, int]
    origin: str

    @property
    def patched(self) -> bool:
        """Whether Lava's import needs its patch there."""
        return self.version != _MADE_FOR


HERE = Interpreter(path=sys.executable, version=sys.version_info[:2], origin="this Python")


def candidates(
    say: Say, tried: list[str], environ: Mapping[str, str] = os.environ
) -> Iterator[Interpreter]:
    """Yield interpreters that run Lava, best first; add a line to `tried` for each that does not.

    Raises ToolError E602 if $NEURODEPLOY_LAVA_PYTHON is set and is not one.
    """
    named = environ.get(VARIABLE)
    if named:
        chosen = probe(named, f"${VARIABLE}", tried)
        if chosen is None or chosen.version not in (_MADE_FOR, *_PATCHED):
            raise ToolError(
                "E602",
                f"{VARIABLE} is no Python that Lava runs on",
                where="; ".join(tried) or f"{named}: Python {chosen and chosen.version}",
                fix=FIX,
            )
        yield chosen
        return
    for path, origin in _places(say, environ):
        found = probe(path, origin, tried)
        if found and found.version == _MADE_FOR:
            yield found
        elif found:
            tried.append(f"{origin} ({path}): Python {found.version[0]}.{found.version[1]}")
    if HERE.version in _PATCHED:
        say(
            f"no Python 3.10 found: Lava goes into Python {HERE.version[0]}.{HERE.version[1]}, with"
            " one patch of its import"
        )
        yield HERE


def probe(path: str, origin: str, tried: list[str]) -> Interpreter | None:
    """Return the interpreter at `path` if it runs; else add why not to `tried`."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [path, "-c", code], capture_output=True, text=True, timeout=_PROBE_S, check=True
        )
        major, minor = map(int, done.stdout.split())
    except subprocess.CalledProcessError as error:
        tried.append(f"{origin} ({path}): {(error.stderr or 'does not run').strip()}")
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        tried.append(f"{origin} ({path}): {error}")
    else:
        return Interpreter(path=path, version=(major, minor), origin=origin)
    return None


def _places(say: Say, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield paths where a Python 3.10 may be, with what to call them."""
    if HERE.version == _MADE_FOR:
        yield HERE.path, HERE.origin
    search = environ.get("PATH", os.defpath)
    on_path = shutil.which("python3.10", path=search)
    if on_path:
        yield on_path, "python3.10 on PATH"
    for root in (environ.get("PYENV_ROOT"), Path(environ.get("HOME", "~")).expanduser() / ".pyenv"):
        for path in sorted(Path(root).glob("versions/3.10*/bin/python")) if root else ():
            yield str(path), "pyenv"
    uv = shutil.which("uv", path=search)
    if uv:
        yield from _from_uv(uv, say)


def _from_uv(uv: str, say: Say) -> Iterator[tuple[str, str]]:
    found = _ask(uv, "python", "find", "3.10")
    if found is None:
        say("asking uv to install Python 3.10")
        _ask(uv, "python", "install", "3.10")
        found = _ask(uv, "python", "find", "3.10")
    if found:
        yield found, "uv"


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
