"""Spikes as bits, 64 channels to a word, from and to arrays that hold a number for each."""

from __future__ import annotations

from functools import cache
from math import inf
from typing import Any

import numpy as np

from neurodeploy.kernels.lanes import BIT, F32, F64, I8, I16, I32, I64, Code, Value, lanes
from neurodeploy.kernels.native import Function, compiled

KINDS: dict[Any, Any] = {np.dtype(bool): I8, np.dtype(np.uint8): I8, np.dtype(np.int8): I8}
KINDS |= {np.dtype(np.int32): I32, np.dtype(np.int64): I64}
KINDS |= {np.dtype(np.float32): F32, np.dtype(np.float64): F64}
_AT_ONCE = 16  # bits that become numbers together

#: Addresses, sizes and byte distances, those of x first: x [T, B, channels], bits uint64
#: [B, T, words]. The last two are added to: how many numbers are neither 0 nor 1, and of floats
#: how often 64 channels hold one that is not finite.
RECORD = ("x", "step", "sample", "channels", "steps", "bits", "words", "clipped", "broken")

#: Of the way back: out int32 [T, B, channels] and its byte distances; bits uint64 [B, T, words].
BACK = ("out", "step", "sample", "bits", "words", "steps", "channels")


@cache
def kernel(kind: Any) -> Function:
    """Return `run(record, scratch, first, last)` for numbers of a kind; scratch is not used.

    A number's bit is that of the nearer of 0 and 1, as `to_integers` has it: 0.5 is 0.
    """
    return compiled(source(kind), "pack", 4)


def source(kind: Any) -> str:
    """Return the module of a kernel as text."""
    number, width = KINDS[kind], kind.itemsize
    code = Code("pack", "record", "scratch", "first", "last")
    a = code.fields(code.arguments["record"], RECORD)
    clipped, broken = (code.variable(code.number(I64, 0)) for _ in range(2))
    sign, least = {"f": (">", 0.5), "i": (">", 0)}.get(kind.kind, ("!=", 0))

    def mask(conditions: Value) -> Value:
        return conditions.bits().unsigned(I64)

    def word(address: Value, count: int) -> Value:
        """Return the bits of so many channels; count those that are neither 0 nor 1."""
        values = code.load(address, lanes(number, count))
        spikes = mask(values.compare("==", 0)) | mask(values.compare("==", 1))
        others = spikes ^ code.number(I64, -1).unsigned_shift(64 - count)
        with code.when(others.compare("!=", 0)):
            clipped.set(clipped.get() + others.ones())
            if kind.kind == "f":
                finite = values.compare("<", inf).bits() & values.compare(">", -inf).bits()
                whole = finite.unsigned(I64).compare("==", (1 << count) - 1 if count < 64 else -1)
                broken.set(broken.get() + 1 - whole.unsigned(I64))
        return mask(values.compare(sign, least))

    samples = code.arguments["first"], code.arguments["last"]
    with code.loop(0, a["steps"]) as t, code.loop(*samples) as b:
        row = a["x"] + t * a["step"] + b * a["sample"]
        out = a["bits"] + (b * a["steps"] + t) * (a["words"] << 3)
        whole = a["channels"] >> 6
        with code.loop(0, whole) as w:
            code.store(word(row + w * (64 * width), 64), out + w * 8)
        rest, done = code.variable(code.number(I64, 0)), whole << 6
        for count in (16, 1):
            until = a["channels"] & -count
            with code.loop(done, until, count) as c:
                rest.set(rest.get() | (word(row + c * width, count) << (c & 63)))
            done = until
        with code.when(whole.compare("<", a["words"])):
            code.store(rest.get(), out + whole * 8)
    code.add_at_once(clipped.get(), a["clipped"])
    code.add_at_once(broken.get(), a["broken"])
    return code.finished()


@cache
def back() -> Function:
    """Return `run(record, scratch, first, last)`: bits become int32. Scratch is not used."""
    code = Code("unpack", "record", "scratch", "first", "last")
    a = code.fields(code.arguments["record"], BACK)
    samples = code.arguments["first"], code.arguments["last"]
    with code.loop(0, a["steps"]) as t, code.loop(*samples) as b:
        row = a["bits"] + (b * a["steps"] + t) * (a["words"] << 3)
        out = a["out"] + t * a["step"] + b * a["sample"]
        whole = a["channels"] & -_AT_ONCE
        with code.loop(0, whole, _AT_ONCE) as c:
            fired = code.load(row + c.unsigned_shift(3), I16).seen_as(lanes(BIT, _AT_ONCE))
            code.store(fired.unsigned(lanes(I32, _AT_ONCE)), out + c * 4)
        with code.loop(whole, a["channels"]) as c:
            word = code.load(row + (c.unsigned_shift(6) << 3), I64)
            code.store((word.unsigned_shift(c & 63) & 1).cut(I32), out + c * 4)
    return compiled(code.finished(), "unpack", 4)
