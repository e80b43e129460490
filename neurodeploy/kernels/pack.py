"""Spikes as bits, 64 channels to a word, from arrays that hold a number for each."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from neurodeploy.kernels.lanes import F32, F64, I8, I32, I64, Code, Value, lanes
from neurodeploy.kernels.native import Function, compiled

KINDS: dict[Any, Any] = {np.dtype(bool): I8, np.dtype(np.uint8): I8, np.dtype(np.int8): I8}
KINDS |= {np.dtype(np.int32): I32, np.dtype(np.int64): I64}
KINDS |= {np.dtype(np.float32): F32, np.dtype(np.float64): F64}

#: Addresses, sizes and byte distances: x [T, B, channels], bits uint64 [B, T, words]; others uint64
#: [B], in which a bit is set if there was any other number than 0 and 1.
RECORD = ("x", "step", "sample", "channels", "steps", "bits", "words", "others")


@cache
def kernel(kind: Any) -> Function:
    """Return `run(record, scratch, first, last)` for numbers of a kind; scratch is not used."""
    return compiled(source(kind), "pack", 4)


def source(kind: Any) -> str:
    """Return the module of a kernel as text."""
    number, width = KINDS[kind], kind.itemsize
    code = Code("pack", "record", "scratch", "first", "last")
    a = code.fields(code.arguments["record"], RECORD)
    with code.loop(code.arguments["first"], code.arguments["last"]) as b:
        wrong = code.variable(code.number(I64, 0))
        with code.loop(0, a["steps"]) as t:
            row = a["x"] + t * a["step"] + b * a["sample"]
            out = a["bits"] + (b * a["steps"] + t) * (a["words"] << 3)
            whole = a["channels"] >> 6

            def word(values: Value, kind: Any) -> Value:
                one = values.compare("==", 1).bits().unsigned(I64)
                zero = values.compare("==", 0).bits().unsigned(I64)
                known = code.number(I64, -1).unsigned_shift(64 - kind.count)
                wrong.set(wrong.get() | ((one | zero) ^ known))
                return one

            with code.loop(0, whole) as w:
                kind_ = lanes(number, 64)
                code.store(word(code.load(row + w * (64 * width), kind_), kind_), out + w * 8)
            rest = code.variable(code.number(I64, 0))
            with code.loop(whole << 6, a["channels"]) as c:
                kind_ = lanes(number, 1)
                bit = word(code.load(row + c * width, kind_), kind_)
                rest.set(rest.get() | (bit << (c & 63)))
            with code.when(whole.compare("<", a["words"])):
                code.store(rest.get(), out + whole * 8)
        code.store(wrong.get(), a["others"] + b * 8)
    return code.finished()
