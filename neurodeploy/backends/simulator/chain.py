"""Calls of kernels that follow each other, made as one: `kernels.chain`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from concurrent.futures import wait
from functools import lru_cache, partial
from typing import Any

import numpy as np

from neurodeploy.backends.simulator.memory import address, zeros
from neurodeploy.kernels import chain
from neurodeploy.kernels.threads import alongside

Call = tuple[int, int]  #: the addresses of a kernel and of its record

NONE: Call = (0, 0)
_PARTS, _DONE, _LEFT = (chain.RECORD.index(name) for name in ("parts", "done", "left"))
_PATIENCE = 200_000  # looks, some 100 us: as long as it takes to wait by sleeping


class Scratch:
    """Memory for kernels, so many bytes for each thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._made: list[Any] = []
        self.places: list[int] = []  #: addresses

    def reserve(self, threads: int) -> None:
        """Make room for so many threads."""
        while len(self._made) < threads:
            self._made.append(zeros((self._size,), np.uint8))
            self.places.append(address(self._made[-1]))


class Chain:
    """Calls for so many samples, between two that may be others each time, or none."""

    def __init__(self, calls: Sequence[Call], samples: int, scratch: Scratch) -> None:
        self._samples, self._scratch = samples, scratch
        self._calls = array("q", [each for call in (NONE, *calls, NONE) for each in call])
        self._start, self._end = address(self._calls), len(calls) + 2
        self._kernel = chain.kernel().call

    def run(self, threads: int, first: Call = NONE, last: Call = NONE, held: object = None) -> None:
        """Make the calls on so many threads, this one among them.

        held: who has the memory that the calls use; it lives as long as a thread is at work.
        """
        calls = self._calls
        calls[0], calls[1] = first
        calls[-2], calls[-1] = last
        begin, end = int(first == NONE), self._end - int(last == NONE)
        if begin == end:
            return
        self._scratch.reserve(threads)
        edges, parts = _edges(self._samples, threads)
        start = self._start + 8 * len(chain.CALL) * begin
        # one for each run: a thread that comes late finds its own run done
        record = array("q", (start, end - begin, address(edges), parts, 0, 0, 0))
        if threads == 1:
            self._kernel(address(record), self._scratch.places[0], 0, 0, 0)
            return
        begun = alongside(partial(self._share, record, (held, edges)), threads)
        if record[_DONE] < parts:
            wait(begun)

    def _share(self, record: array[int], _held: object, thread: int) -> None:
        """Do what is left of a run.

        The first thread waits for the others by looking, which is faster than to sleep. Others wait
        until it has the interpreter again: it has more to do than they.
        """
        place, scratch = address(record), self._scratch.places[thread]
        if thread:
            self._kernel(place, scratch, place + 8 * _LEFT, 1, _PATIENCE)
        else:
            self._kernel(place, scratch, place + 8 * _DONE, record[_PARTS], _PATIENCE)
            record[_LEFT] = 1


@lru_cache(maxsize=64)
def _edges(samples: int, threads: int) -> tuple[array[int], int]:
    """Return where parts begin and end, and how many they are.

    They become smaller, so that all threads end together.
    """
    edges, left = array("q", [0]), samples
    while left > 0:
        left -= -(-left // (1 if threads == 1 else 2 * threads))
        edges.append(samples - left)
    return edges, len(edges) - 1
