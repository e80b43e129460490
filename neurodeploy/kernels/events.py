r"""Synapses of spikes: find who fired, add their rows of weights.

Spikes of a step are bits, 64 senders to a word. A weight of n bytes is stored as the bytes of
w + 2^(8 n - 1), each byte in a plane of its own, one row per sender; with s_p the sum of plane p,

    sum of weights  =  sum_p 2^(8 p) s_p  -  2^(8 n - 1) spikes

A row is read as 16-bit words, two columns in each. For up to 256 rows both sums fit 16 bits:

    all = sum of words mod 2^16,   odd = sum of (word >> 8),   even = all - (odd << 8)  mod 2^16

which takes three operations for 64 weights, where widening each to 32 bits takes eight. Columns
are stored so that the even ones of 64 are the first 32, and the odd ones the last. If more than
half of the senders fired, the rows of the silent ones are subtracted from the sum of all: a step
costs at most half of the rows, and a layer where all fire costs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.kernels.lanes import BIT, I8, I16, I32, I64, Code, Value, Variable, lanes
from neurodeploy.kernels.native import features

COLUMNS = 64  # of one vector of weights: what a width is padded to
GROUP = 16  # neurons updated at once
MOST_SENDERS = 1 << 16  # whose numbers fit the 16 bits of a list
_MOST_ROWS = 256  # whose sums fit 16 bits
_TOGETHER = 4  # rows in one turn of a loop


def planes(weight: Any) -> Any:
    """Return weights [out, in] as planes [bytes, in, padded out] of uint8, and their sums.

    The sums [bytes, padded out] int32 are those of all senders, column by column, each byte but
    the highest unsigned, as the kernels add them.
    """
    width, senders = weight.shape
    padded = -(-width // COLUMNS) * COLUMNS
    count = byte_count(weight)
    whole = np.zeros((senders, padded), np.int64)
    whole[:, :width] = weight.T
    whole += 1 << (8 * count - 1)
    parts = np.stack([(whole >> (8 * p)) & 255 for p in range(count)])
    sums = parts.sum(axis=1) - np.array([0] * (count - 1) + [128])[:, None] * senders
    order = np.arange(COLUMNS).reshape(2, -1).T.reshape(-1)
    paired = parts.reshape(count, senders, -1, COLUMNS)[..., order].reshape(parts.shape)
    return paired.astype(np.uint8, order="C"), sums.astype(np.int32)


def byte_count(weight: Any) -> int:
    """Return how many bytes the weights take."""
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    return (max(high, -low - 1).bit_length() + 8) // 8


@dataclass(frozen=True)
class Fired:
    """Who adds their rows in this step: a list of senders, or, if `silent`, all others do."""

    count: Value
    silent: Value
    events: Value


def listed(code: Code, bits: Value, senders: Value, place: Value, *, compress: bool) -> Fired:
    """List at `place` the numbers of the senders whose bit is set, or of those whose is not."""
    words = (senders + 63) >> 6
    count = code.variable(code.number(I64, 0))
    write, together = (_compressed, 32) if compress else (_looked_up, 8)
    none = code.number(lanes(I16, together), 0)
    first = code.variable(none)

    def write_all(word: Callable[[Value], Value]) -> None:
        count.set(code.number(I64, 0))
        first.set(none)
        with code.loop(0, words) as w:
            write(code, word(w), first.get(), place, count)
            first.set(first.get() + 64)

    def silent_ones(w: Value) -> Value:
        there = (w + 1).compare("==", words).where(rest, code.number(I64, -1))
        return (code.load(bits + w * 8, I64) ^ -1) & there

    write_all(lambda w: code.load(bits + w * 8, I64))
    events = count.get()
    silent = (events * 2).compare(">", senders)
    with code.when(silent):
        rest = code.number(I64, -1).unsigned_shift((words << 6) - senders)
        write_all(silent_ones)
    return Fired(count.get(), silent, events)


def can_compress() -> bool:
    """Say whether this processor moves the chosen lanes of a vector together, in one go."""
    return "avx512vbmi2" in features()


def _side_by_side() -> int:
    """Return how many vectors of a row, a power of two, have sums that stay in registers."""
    return 4 if "avx512bw" in features() else 2


def _compressed(code: Code, word: Value, first: Value, place: Value, written: Variable) -> None:
    """Write the numbers of the bits of a word, of which that of the first is `first`, in all."""
    kind, count = lanes(I8, 64), word.ones()
    numbers, mask = code.numbers(I8, range(64)), word.seen_as(lanes(BIT, 64))
    name = "llvm.experimental.vector.compress.v64i8"
    together = code.call(name, kind, numbers, mask, code.number(kind, 0))
    end = place + written.get() * 2

    def put(at: int) -> None:
        code.store(together.lanes(at, 32).unsigned(lanes(I16, 32)) + first, end + 2 * at)

    put(0)
    with code.when(count.compare(">", 32)):
        put(32)
    written.set(written.get() + count)


def _looked_up(code: Code, word: Value, first: Value, place: Value, written: Variable) -> None:
    """Write the numbers of the bits of a word, of which that of the first is `first`, in all."""
    table = code.table("set_bits", _set_bits())
    for at in range(0, 64, 8):
        byte = word.unsigned_shift(at) & 255
        numbers = code.load(table + byte * 8, lanes(I8, 8)).unsigned(lanes(I16, 8))
        code.store(numbers + (first + at), place + written.get() * 2)
        written.set(written.get() + byte.ones())


def _set_bits() -> list[int]:
    """Return, for each byte, the positions of its set bits, eight entries each."""
    rows = ([i for i in range(8) if byte >> i & 1] for byte in range(256))
    return [entry for row in rows for entry in row + [0] * (8 - len(row))]


@dataclass(frozen=True)
class Rows:
    """Where the weights of one edge are: addresses, and how many columns a row has."""

    weights: Value
    sums: Value
    senders: Value
    columns: Value
    shift: Value | None  #: of the sums, if any
    planes: int


def add_rows(
    code: Code, rows: Rows, fired: Fired, place: Value, base: Value | None, out: Value
) -> None:
    """Write base + (sum of the rows) << shift to `out`, int32 [columns]; base None is nothing."""
    most = _side_by_side()
    whole = rows.columns - (rows.columns & (COLUMNS * most - 1))
    for start, stop, wide in ((code.number(I64, 0), whole, most), (whole, rows.columns, 1)):
        with code.loop(start, stop, COLUMNS * wide) as column:
            for p in range(rows.planes):
                below = base if p == 0 else out
                _add_plane(code, rows, p, fired, place, column, wide, below, out)


def _add_plane(
    code: Code,
    rows: Rows,
    plane: int,
    fired: Fired,
    place: Value,
    column: Value,
    wide: int,
    base: Value | None,
    out: Value,
) -> None:
    weights = rows.weights + rows.senders * rows.columns * plane + column
    signed = plane == rows.planes - 1
    there, kind = column << 2, lanes(I32, GROUP)
    shift = rows.shift
    if plane:
        shift = code.number(I64, 8 * plane) if shift is None else shift + 8 * plane

    def stored(values: list[Value], below: Value | None, *, subtracted: bool = False) -> None:
        for n, value in enumerate(values):
            at = there + 4 * GROUP * n
            moved = value if shift is None else value << shift.cut(I32).to_all(GROUP)
            if below is not None:
                before = code.load(below + at, kind)
                moved = before - moved if subtracted else before + moved
            code.store(moved, out + at)

    def sums(first: Value) -> list[Value]:
        return _sums(code, weights, rows.columns, (first, fired.count), place, wide, signed)

    found = sums(code.number(I64, 0))
    with code.either(fired.silent) as (most, few):
        with most:
            total = rows.sums + (rows.columns << 2) * plane + there
            all_ = [code.load(total + 4 * GROUP * n, kind) for n in range(len(found))]
            stored([a - value for a, value in zip(all_, found, strict=True)], base)
        with few:
            stored(found, base)
    with code.loop(_MOST_ROWS, fired.count, _MOST_ROWS) as first:
        more = sums(first)
        with code.either(fired.silent) as (most, few):
            with most:
                stored(more, out, subtracted=True)
            with few:
                stored(more, out)


def add_counts(code: Code, rows: Rows, sent: Value, base: Value | None, out: Value) -> Value:
    """Write base + the sum of the rows, int32, each times what its sender sent, to `out`.

    sent: the address of int32 [senders]. Return how many senders sent anything.
    """
    kind = lanes(I32, GROUP)
    events = code.variable(code.number(I64, 0))
    with code.loop(0, rows.columns, GROUP) as column:
        first = code.number(kind, 0) if base is None else code.load(base + column * 4, kind)
        code.store(first, out + column * 4)
    with code.loop(0, rows.senders) as sender:
        number = code.load(sent + sender * 4, I32)
        with code.when(number.compare("!=", 0)):
            events.set(events.get() + 1)
            row = rows.weights + sender * rows.columns * 4
            with code.loop(0, rows.columns, GROUP) as column:
                added = code.load(row + column * 4, kind) * number.to_all(GROUP)
                code.store(code.load(out + column * 4, kind) + added, out + column * 4)
    return events.get()


def _sums(
    code: Code,
    weights: Value,
    stride: Value,
    listed: tuple[Value, Value],
    place: Value,
    wide: int,
    signed: bool,
) -> list[Value]:
    """Return the sums of at most 256 rows over `wide` vectors of columns, in groups.

    listed: which are added, from one number in the list to before another, or until there are 256.
    """
    kind = lanes(I32, GROUP)
    first, end = listed
    last = (first + _MOST_ROWS).least(end)
    below = ((last - first) << 7).cut(I16).to_all(2 * GROUP)
    groups = []
    for part in _paired_sums(code, weights, stride, place, first, last, wide):
        for at in (0, GROUP):
            if signed:
                groups.append((part - below).lanes(at, GROUP).signed(kind))
            else:
                groups.append(part.lanes(at, GROUP).unsigned(kind))
    return groups


def _paired_sums(
    code: Code, weights: Value, stride: Value, place: Value, first: Value, last: Value, wide: int
) -> list[Value]:
    """Return the 16-bit sums of at most 256 rows: of even and odd columns of each vector."""
    kind = lanes(I16, 2 * GROUP)
    zero = code.number(kind, 0)
    all_, odd = ([code.variable(zero) for _ in range(wide)] for _ in range(2))

    def added(senders: list[Value]) -> None:
        rows = [weights + each.unsigned(I64) * stride for each in senders]
        for n in range(wide):
            for row in rows:
                words = code.load(row + COLUMNS * n, kind)
                all_[n].set(all_[n].get() + words)
                odd[n].set(odd[n].get() + words.unsigned_shift(8))

    start, stop = place + first * 2, place + last * 2
    whole = start + ((stop - start) & -(2 * _TOGETHER))
    with code.loop(start, whole, 2 * _TOGETHER) as sender:
        added([code.load(sender + 2 * n, I16) for n in range(_TOGETHER)])
    with code.loop(whole, stop, 2) as sender:
        added([code.load(sender, I16)])
    pairs = ((a.get() - (o.get() << 8), o.get()) for a, o in zip(all_, odd, strict=True))
    return [part for pair in pairs for part in pair]
