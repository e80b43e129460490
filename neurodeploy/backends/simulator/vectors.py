"""Vector operations of a program on a chunk of samples; an LSTM by a compiled loop over time.

A delay is a shift of all steps at once. The loop is `program/vector/lstm.py` written once more,
number by number; what it hears of itself is event driven. Arrays are [B, T, width].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from neurodeploy.program.ir import Ints, Vector
from neurodeploy.program.synapses import Dense
from neurodeploy.program.vector import delay, over_time, registers
from neurodeploy.program.vector import run as run_vector
from neurodeploy.program.vector.lstm import FRACTION, shifts

_BLOCK = 1 << 14  # values of a block
_FRACTION = FRACTION  # a constant of the compiled loop


class Mapper:
    """A vector operation on so many samples; registers and what it sent last stay between runs.

    kept [registers, B, width] int64; before [B, width] int32.
    """

    def __init__(self, node: Vector, samples: int) -> None:
        self._node = node
        self.kept = np.zeros((len(registers(node)), samples, node.width), np.int64)
        self.before = np.zeros((samples, node.width), np.int32)
        self._shifts = node.kind == delay.NAME
        self._constants = _constants(node) if len(self.kept) and not self._shifts else ()

    @property
    def all_kept(self) -> list[Ints]:
        """What is kept from step to step, all of it 0 at rest."""
        return [self.kept, self.before]

    def run(self, currents: Sequence[Ints]) -> tuple[Ints, int, int]:
        """Return what it sends for its operands' currents [B, T, width], int32.

        And how many values did not fit, and how many that are not zero it heard of itself.
        """
        if self._shifts:
            return *self._shifted(currents[0]), 0
        if not self._constants:
            return *_mapped(self._node, currents), 0
        node, stacked = self._node, np.stack(currents)
        out, lost = np.empty(stacked.shape[1:], np.int32), np.zeros(len(self.before), np.int64)
        heard = int(np.count_nonzero(self.before))
        ends = (node.low, node.high, node.reverse, out, self.kept[0], self.before, lost)
        loop: Any = _loop
        loop(stacked, *self._constants, *ends)
        heard += int(np.count_nonzero(out)) - int(np.count_nonzero(self.before))
        return out, int(lost.sum()), heard

    def _shifted(self, current: Ints) -> tuple[Ints, int]:
        """Return what a delay sends, and how many values did not fit."""
        wide = current.swapaxes(0, 1)
        sent, self.kept[...], lost = over_time(self._node, self.kept.copy(), wide)
        return sent.swapaxes(0, 1).astype(np.int32), lost


def _mapped(node: Vector, currents: Sequence[Ints]) -> tuple[Ints, int]:
    """Return what an operation without registers sends, and how many values did not fit.

    Some steps at a time: what it computes on the way then stays in the processor's caches.
    """
    out, lost = np.empty(currents[0].shape, np.int32), 0
    flat = [each.reshape(-1, node.width) for each in (out, *currents)]
    rows = max(1, _BLOCK // node.width)
    for first in range(0, len(flat[0]), rows):
        sent, *operands = (each[first : first + rows] for each in flat)
        sent[...], over = run_vector(node, operands)
        lost += over
    return out, lost


def _constants(node: Vector) -> tuple[Any, ...]:
    """Return what the loop of an LSTM reads, in its order."""
    width, params = node.width, node.params
    rows = np.zeros((width, 4 * width), np.int32)  # of each sender, exponents multiplied in
    for edge, gate in zip(node.edges, node.operands, strict=True):
        if edge.source == node.name:
            assert isinstance(edge, Dense)
            part = edge.weight.T.astype(np.int64) << edge.exponent
            rows[:, gate * width : (gate + 1) * width] += part.astype(np.int32)
    tables = [params[key].astype(np.int64) for key in ("table_sigmoid", "table_tanh")]
    steps = np.array([int(params[f"{key}_step"]) for key in ("sigmoid", "tanh", "cell")])
    most = (1 << (int(params["state_bits"]) - 1)) - 1
    cell = np.array([*shifts(params), most])
    forms = [np.asarray(a, np.int64) for a in (node.gain, node.offset, node.shift, node.limit)]
    ends = [np.asarray(a, np.int64) for a in (node.out_gain, node.out_shift)]
    return (rows, *forms, *tables, steps, cell, *ends)


@njit(cache=True, nogil=True)
def _rounded(value: Any, shift: Any) -> Any:
    return (value + ((np.int64(1) << shift) >> 1)) >> shift


@njit(cache=True, nogil=True)
def _looked_up(table: Any, position: Any, step: Any) -> Any:
    size = len(table)
    place = min(position, np.int64(size - 1) << step)
    left = min(place >> step, size - 2)
    here = table[left]
    slope = (table[left + 1] - here) * (place - (left << step))
    return _rounded((here << step) + slope, step)


@njit(cache=True, nogil=True)
def _odd(table: Any, value: Any, step: Any) -> Any:
    found = _looked_up(table, abs(value), step)
    return -found if value < 0 else found


@njit(cache=True, nogil=True)
def _loop(
    currents: Any,
    rows: Any,
    gain: Any,
    offset: Any,
    shift: Any,
    limit: Any,
    sigmoids: Any,
    tanhs: Any,
    steps: Any,
    cell: Any,
    out_gain: Any,
    out_shift: Any,
    low: int,
    high: int,
    reverse: bool,
    out: Any,
    kept: Any,
    before: Any,
    lost: Any,
) -> None:
    """Run all samples; kept [B, width] are cells, before [B, width] what was sent last.

    lost [B] counts values cut off.
    """
    length, width = out.shape[1:]
    up, down, most = cell
    half = np.int64(1) << (_FRACTION - 1)
    fed = np.empty(4 * width, np.int32)
    x = np.empty(4, np.int64)
    for b in range(len(out)):
        heard = before[b]
        for k in range(length):
            t = length - 1 - k if reverse else k
            fed[:] = 0
            for j in range(width):
                value = heard[j]
                if value != 0:
                    row = rows[j]
                    for m in range(4 * width):
                        fed[m] += value * row[m]
            for n in range(width):
                for q in range(4):
                    total = np.int64(currents[q, b, t, n]) + np.int64(fed[q * width + n])
                    wide = _rounded(total * gain[q, n] + offset[q, n], shift[q, n])
                    x[q] = min(max(wide, -limit[q]), limit[q])
                    lost[b] += x[q] != wide
                i = half + _odd(sigmoids, x[0], steps[0])
                f = half + _odd(sigmoids, x[1], steps[0])
                g = _odd(tanhs, x[2], steps[1])
                o = half + _odd(sigmoids, x[3], steps[0])
                wide = _rounded(((f * kept[b, n]) << down) + ((i * g) << up), _FRACTION + down)
                c = min(max(wide, -most), most)
                lost[b] += c != wide
                kept[b, n] = c
                whole = _rounded(o * _odd(tanhs, c, steps[2]) * out_gain[n], out_shift[n])
                sent = min(max(whole, low), high)
                lost[b] += sent != whole
                out[b, t, n] = sent
            heard = out[b, t]
        before[b] = heard
