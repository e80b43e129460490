"""Compiled convolutions: each value that is not zero goes to all windows that see it.

A sender at position p of its map is seen by windows `to[first[p]:first[p + 1]]`, each at a place
of its kernel. Weights stand [in, kernel, out / groups]: a row goes to all maps of a window at once.
Sums are kept likewise, [positions, out], and turned when a step is done. They are int32: the
program's limits guarantee that they fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from neurodeploy.program.ir import Ints
from neurodeploy.program.synapses import Conv
from neurodeploy.windows import Windows


@dataclass(frozen=True, eq=False)
class Convolved:
    """A Conv edge; weight as `rows` has it, of `inside` maps a group."""

    edge: int
    source: str
    weight: Ints
    inside: int
    exponent: int
    lists: tuple[Ints, Ints, Ints]

    def add(self, values: Ints, current: Ints) -> int:
        """Add the convolution of values << exponent."""
        events: int = _add(values, self.weight, self.lists, self.inside, self.exponent, current)
        return events


def convolved(edge: Conv, number: int) -> Convolved:
    """Return an edge made ready."""
    inside = edge.weight.shape[1]
    return Convolved(number, edge.source, rows(edge), inside, edge.exponent, scatter(edge.windows))


def scatter(windows: Windows) -> tuple[Ints, Ints, Ints]:
    """Return where the values of a map go: `first` [inputs + 1], `to` and `place` [pairs]."""
    seen = windows.seen
    window, place = np.nonzero(seen >= 0)
    order = np.argsort(seen[window, place], kind="stable")
    first = np.concatenate([[0], np.cumsum(windows.seen_by(0, windows.positions))])
    return first.astype(np.int64), window[order], place[order]


def rows(edge: Conv) -> Ints:
    """Return an edge's weights [in, kernel, out / groups], narrow and contiguous."""
    out, inside = edge.weight.shape[:2]
    grouped = edge.weight.reshape(edge.groups, out // edge.groups, inside, -1)
    turned = grouped.transpose(0, 2, 3, 1).reshape(edge.groups * inside, -1, out // edge.groups)
    return np.ascontiguousarray(turned)


@njit(cache=True, nogil=True)
def _add(values: Any, weight: Any, lists: Any, inside: int, exponent: int, current: Any) -> int:
    """Add the convolution of values [B, T, in * inputs] << exponent; return the events."""
    inputs, each = len(lists[0]) - 1, weight.shape[2]
    out = len(weight) // inside * each
    total = np.empty((current.shape[2] // out, out), np.int32)
    found = 0
    for b in range(values.shape[0]):
        for t in range(values.shape[1]):
            total[:] = 0
            events = 0
            for n in range(values.shape[2]):
                value = np.int32(values[b, t, n])
                if value != 0:
                    i, p = n // inputs, n % inputs
                    start = i // inside * each
                    _send(value, weight[i], lists, p, total[:, start : start + each])
                    events += 1
            if events:
                _turn(total, exponent, current[b, t])
            found += events
    return found


@njit(cache=True, nogil=True, inline="always")
def _send(value: Any, rows: Any, lists: Any, p: int, total: Any) -> None:
    """Add the weights of a value at position p to the sums [positions, out / groups]."""
    starts, to, place = lists
    for j in range(starts[p], starts[p + 1]):
        row, sums = rows[place[j]], total[to[j]]
        if value == 1:
            for n in range(len(row)):
                sums[n] += np.int32(row[n])
        else:
            for n in range(len(row)):
                sums[n] += value * np.int32(row[n])


@njit(cache=True, nogil=True, inline="always")
def _turn(total: Any, exponent: int, current: Any) -> None:
    """Add sums [positions, out] << exponent to a current [out * positions]."""
    positions, out = total.shape
    for o in range(out):
        for q in range(positions):
            current[o * positions + q] += total[q, o] << exponent
