"""Run the network through Lava's own runtime: one operating-system process per Lava process.

Lava's runtime hangs when a process model raises, and shows no traceback. Here every model reports
its exception to the parent before Lava sees it; the parent then ends all children, removes their
shared memory and fails with that traceback. A child that dies without a word is noticed too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from typing import Any

import numpy as np
from bundle.network import Network
from bundle.processes import Recorder
from lava.magma.compiler.builders.py_builder import PyProcessBuilder
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg

from runner import ProcessFailedError
from runner.records import Records, last_steps


def run(net: Network, run_config: Any = None) -> Records:
    """Run all samples; raises ProcessFailedError.

    run_config: Lava's; by default one that simulates in fixed point.
    """
    config = run_config or Loihi2SimCfg(select_tag="fixed_pt")
    _allow_many_files()
    _name_shared_memory()
    with tempfile.TemporaryDirectory(prefix="neurodeploy-lava-") as scratch:
        paths = _record(net, Path(scratch))
        with _children(Path(scratch) / "failure.txt") as failed:
            records = Records({})
            _steps(net, config, records, failed)
        records.values = {name: np.load(path) for name, path in paths.items()}
    return records


def _record(net: Network, scratch: Path) -> dict[str, Path]:
    """Give every node a Recorder; return where each will save."""
    paths = {}
    for i, (name, process) in enumerate(net.nodes.items()):
        paths[name] = scratch / f"{i}.npy"
        width = process.s_out.shape[0]
        recorder = Recorder(
            name=f"{name}.record", width=width, steps=net.total, path=str(paths[name])
        )
        process.s_out.connect(recorder.a_in)
    return paths


def _steps(net: Network, config: Any, records: Records, failed: Path) -> None:
    """Run from one read of states to the next, stop Lava, and leave nothing behind."""
    first = net.order[0]
    executable = first.compile(config)
    for builder in executable.proc_builders.values():
        if isinstance(builder, PyProcessBuilder):
            _report(builder, failed)
    first.create_runtime(executable=executable)
    reads, now = last_steps(net), 0
    for end in sorted({*reads, net.total}):
        first.run(RunSteps(num_steps=end - now))
        now = end
        for name in reads.get(end, ()):
            records.keep_state(name, np.rint(net.state[name].get()).astype(np.int64))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    first.stop()


def _report(builder: Any, failed: Path) -> None:
    """Make the model that `builder` builds, in its own process, report what it raises."""
    build: Callable[[], Any] = builder.build

    def reporting(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except BaseException:
            failed.write_text(traceback.format_exc(), encoding="utf-8")
            os.kill(os.getppid(), signal.SIGUSR1)
            raise

    def built() -> Any:
        model = reporting(build)
        step = model.run_spk
        model.run_spk = lambda: reporting(step)
        return model

    builder.build = built


@contextlib.contextmanager
def _children(failed: Path) -> Iterator[Path]:
    """Turn the failure of a child into an exception here, and end all children after any."""

    def fail(*_: object) -> None:
        for each in (signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(each, signal.SIG_IGN)
        text = failed.read_text(encoding="utf-8") if failed.exists() else ""
        raise ProcessFailedError(text or "a Lava process ended before the run did")

    for each in (signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(each, fail)
    try:
        yield failed
    except BaseException:
        _clean_up()
        raise
    finally:
        for each in (signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)


def _clean_up() -> None:
    """End this process's children, by their ids, and remove the shared memory it made."""
    for child in multiprocessing.active_children():
        child.kill()
    for path in Path("/dev/shm").glob(f"{_prefix().lstrip('/')}*"):
        with contextlib.suppress(OSError):
            path.unlink()
            resource_tracker.unregister(f"/{path.name}", "shared_memory")


def _prefix() -> str:
    """Return what the names of this process's shared memory start with."""
    return f"/nd{os.getpid():x}_"


def _allow_many_files() -> None:
    """Raise the limit on open files as far as allowed: Lava hangs where it is exhausted."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _name_shared_memory() -> None:
    """Let names tell whose shared memory it is: who ends this process must clean up after it."""
    module: Any = shared_memory
    module._SHM_NAME_PREFIX = _prefix()
