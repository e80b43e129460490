"""Spread the samples of a batch over threads. Kernels release the interpreter lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import Any, TypeVar

T = TypeVar("T")

_SMALL = 20_000  # element updates for which it is not worth it to start a thread


def thread_count() -> int:
    """Return $NEURODEPLOY_THREADS, or the number of processors this process may use."""
    named = os.environ.get("NEURODEPLOY_THREADS")
    if named:
        return max(1, int(named))
    allowed = getattr(os, "sched_getaffinity", None)  # Linux
    return len(allowed(0)) if allowed else os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="neurodeploy")


if hasattr(os, "register_at_fork"):  # a child inherits the pool without its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def threads_for(work: int, samples: int) -> int:
    """Return how many threads so many element updates of so many samples are worth."""
    most = min(samples, work // _SMALL)
    return 1 if most <= 1 else min(thread_count(), most)


def share(
    kernel: Callable[..., None], *args: Any, samples: int, work: int, threads: int = 0
) -> None:
    """Call `kernel(*args, first, last)` for parts of `samples`, `work` element updates in all.

    On at most `threads` threads, and never more than `thread_count()`; 0 means no other bound.
    """
    parts = threads_for(work, min(threads or samples, samples))
    if parts == 1:
        kernel(*args, 0, samples)
        return
    edges = [samples * i // parts for i in range(parts + 1)]
    _spread([partial(kernel, *args, *edge) for edge in pairwise(edges)], parts)


def side_by_side(jobs: Sequence[Callable[[], T]], *, work: int) -> list[T]:
    """Return what each job does, a thread each where the work is worth it."""
    if len(jobs) == 1 or work < _SMALL:
        return [job() for job in jobs]
    return _spread(jobs, len(jobs))


def each_part(job: Callable[[int, int], None], samples: int, *, most: int, work: int) -> None:
    """Call `job(first, last)` for parts of `samples` of at most `most`: one at least, if of none.

    Each thread takes one part after another.
    """
    threads = threads_for(work, samples)
    count = max(threads, -(-samples // max(most, 1)))
    if count == 1:
        job(0, samples)
        return
    edges = [samples * i // count for i in range(count + 1)]
    _spread([partial(job, *edge) for edge in pairwise(edges)], threads)


def _spread(jobs: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """Return what each job does, on so many threads, of which this is one."""
    found: dict[int, T] = {}
    left = deque(enumerate(jobs))

    def work() -> None:
        while left:
            try:
                i, job = left.popleft()
            except IndexError:  # another thread was faster
                return
            found[i] = job()

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:  # who has not begun by now is not needed
        failed = [other.exception() for other in others if not other.cancel()]
    for error in filter(None, failed):
        raise error
    return [found[i] for i in range(len(jobs))]


def alongside(job: Callable[[int], object], threads: int) -> list[Future[object]]:
    """Do `job(0)` here; return those `job(i)`, one on each other thread, that have begun by then.

    They are for work that is shared: one that has not begun when this thread is done is not needed.
    """
    others = [_pool(threads - 1).submit(job, i) for i in range(1, threads)]
    try:
        job(0)
    finally:
        begun = [other for other in others if not other.cancel()]
    return begun
