"""Kernels one after another, some samples at a time, on as many threads as call.

    i = next part;   while i < parts:   run all kernels on the samples of part i;   i = next part

An atomic addition decides who takes which part, so that threads need no lock, may come late, and
end together. Who comes when all parts are taken only reads the record. The samples of a part stay
in one processor's caches from kernel to kernel.
"""

from __future__ import annotations

from functools import cache

from neurodeploy.kernels.lanes import I64, Code, Value
from neurodeploy.kernels.native import Function, compiled

#: The address of the calls and how many there are; the address of where parts begin and end, and
#: how many parts there are; three that are updated: the part that is next, how many are done, and
#: whether the first thread has left.
RECORD = ("calls", "count", "edges", "parts", "next", "done", "left")

#: Of each call: the address of a kernel `run(record, scratch, first, last)`, and its record.
CALL = ("kernel", "record")


@cache
def kernel() -> Function:
    """Return `run(record, scratch, event, aim, patience)`.

    scratch: the calling thread's own memory. At the end a thread waits until the integer at the
    address `event` is `aim`, and looks so many times.
    """
    code = Code("chain", "record", "scratch", "event", "aim", "patience")
    place, scratch = code.arguments["record"], code.arguments["scratch"]
    a = code.fields(place, RECORD)
    to_next, to_done = (place + 8 * RECORD.index(name) for name in ("next", "done"))
    size = 8 * len(CALL)

    def taken() -> Value:
        return code.add_at_once(code.number(I64, 1), to_next)

    part = code.variable(taken())
    with code.during(lambda: part.get().compare("<", a["parts"])):
        edge = a["edges"] + part.get() * 8
        first, last = code.load(edge, I64), code.load(edge + 8, I64)
        with code.loop(a["calls"], a["calls"] + a["count"] * size, size) as call:
            kernel, record = (code.load(call + 8 * i, I64) for i in range(len(CALL)))
            code.go(kernel, record, scratch, first, last)
        code.add_at_once(code.number(I64, 1), to_done)
        part.set(taken())
    looks = code.variable(code.arguments["patience"])
    with code.during(lambda: looks.get().compare(">", 0)):
        there = code.load_at_once(code.arguments["event"]).compare("==", code.arguments["aim"])
        looks.set(there.where(code.number(I64, 0), looks.get() - 1))
    return compiled(code.finished(), "chain", 5)
