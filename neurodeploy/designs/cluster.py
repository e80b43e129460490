"""Where tasks run: processes of this machine, or the workers of a Dask scheduler.

A worker has one thread, on this machine; how many it has elsewhere is for its owner to say.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from neurodeploy.errors import ToolError
from neurodeploy.frontends import require
from neurodeploy.kernels import thread_count

_ANSWER_S, _WORKER_S = 15.0, 60.0  # until a scheduler answers, and until it has a worker
_ADDRESS = re.compile(r"(tcp|tls|wss?)://([^/:]+|\[[0-9a-f:.]+\]):\d+")  # what Dask speaks
#: The scheduler keeps models and data on purpose: they outlive every worker.
_CONFIG: Any = {"distributed.admin.large-graph-warning-threshold": "1 TiB"}
#: Run by workers: Ctrl-C is for the process that owns them.
_PRELOAD = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


@contextmanager
def cluster(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Yield a Dask client.

    scheduler: its address, or None for `workers` processes here (as many as there are processors).
    Raises ToolError E601 without Dask, E605 for a scheduler that does not answer, has no workers,
    or whose workers do not have this version of neurodeploy.
    """
    require("distributed", "distributed")
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(_CONFIG):
        if scheduler is not None:
            with _quiet("distributed.client"), _connected(scheduler) as client:
                _check(client, scheduler)
                yield client
            return
        own: Any = {
            "n_workers": workers or thread_count(),
            "threads_per_worker": 1,
            "dashboard_address": "127.0.0.1:0",
            "silence_logs": logging.CRITICAL,
            "env": {"NEURODEPLOY_THREADS": "1"},
            "preload": _PRELOAD,
        }
        with LocalCluster(**own) as local, Client(local, set_as_default=False) as client:
            yield client


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger from printing a traceback of what E605 says in a line."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _connected(scheduler: str) -> Any:
    from distributed import Client

    start = "start one with `dask scheduler` and give the address it prints, tcp://HOST:8786;"
    fix = f"{start} or leave --scheduler out to use this machine"
    if not _ADDRESS.fullmatch(scheduler):
        raise ToolError("E605", f"{scheduler!r} is no address of a scheduler", fix=fix)
    try:
        return Client(scheduler, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ToolError("E605", f"no scheduler answers at {scheduler!r}", fix=fix) from error


def _check(client: Any, scheduler: str) -> None:
    """Raise ToolError E605 unless there are workers, and all have what this process has."""
    from asyncio import TimeoutError as Late  # another class before Python 3.11

    try:
        client.wait_for_workers(1, timeout=_WORKER_S)
    except (Late, TimeoutError) as error:
        fix = f"start some: dask worker {scheduler}"
        raise ToolError("E605", f"the scheduler at {scheduler} has no workers", fix=fix) from error
    found, own = client.get_versions(packages=["neurodeploy"]), version("neurodeploy")
    everywhere = {"the scheduler": found["scheduler"], **found["workers"]}
    for place, what in everywhere.items():
        theirs = what["packages"]["neurodeploy"]
        if theirs != own:
            has = f"neurodeploy {theirs}" if theirs else "no neurodeploy"
            raise ToolError(
                "E605",
                f"{place} has {has}; this is {own}",
                where=scheduler,
                fix=f"pip install neurodeploy=={own} there, and start it again",
            )
