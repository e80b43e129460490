"""Run a program in a process group of its own, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.errors import ToolError

_TAIL_LINES = 30


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a child ended: its exit code and all it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def tail(self) -> str:
        """The last lines on its standard error."""
        return tail(self.stderr)


def run(command: Sequence[str], *, cwd: Path, timeout_s: float, what: str) -> Finished:
    """Run `command` and return how it ended, whatever its exit code.

    Output goes to files, since a pipe would stay open as long as any grandchild lives. The child's
    Python does not see this one's environment. Raises ToolError E604 if it cannot be started or
    has not ended after `timeout_s`; its whole process group is then killed, as it is on any
    exception here.
    """
    quiet = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env=quiet,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(
                "E604",
                f"{what} cannot be started: {error.strerror}",
                where=command[0],
                fix="neurodeploy doctor",
            ) from error
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            kill_group(child)
            raise ToolError(
                "E604",
                f"{what} did not end within {timeout_s:g} s, and was stopped",
                where=tail(_text(err)),
                fix="give it more time, or fewer samples",
            ) from error
        finally:
            kill_group(child)
        return Finished(code=code, stdout=_text(out), stderr=_text(err))


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill every process of the child's group, reap it, and remove its shared memory.

    The bundle names its shared memory after its process id (template/runner/runtime.py).
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for path in Path("/dev/shm").glob(f"nd{child.pid:x}_*"):
        with contextlib.suppress(OSError):
            path.unlink()


def tail(text: str) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


def _text(file: object) -> str:
    file.seek(0)  # type: ignore[attr-defined]
    return str(file.read().decode("utf-8", "replace"))  # type: ignore[attr-defined]
