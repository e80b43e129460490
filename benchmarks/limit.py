"""What this machine can do: int8 weights added to int32 sums that stay in registers.

Rows of bytes, one after another, are widened and added to sums: no addresses to find, no sums to
load or store, nothing but the additions. `widen` does it in the plain way, and is what is called
the limit; `paired` adds 16-bit sums of even and odd bytes, as the simulator does; `vnni` uses the
instruction `vpdpbusd`, four rows at a time, where the processor has it. How many sums stay in
registers depends on the processor: rows have 64, 128 or 256 bytes, and the fastest counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neurodeploy.backends.simulator.memory import address, aligned
from neurodeploy.kernels.lanes import I8, I16, I32, Code, Value, Variable, lanes
from neurodeploy.kernels.native import compiled, features

COLUMNS = (64, 128, 256)
LANES = 16  # int32 of a vector
ADDITIONS = 1 << 25  # of one measurement
PLACES = {"L1": 1 << 14, "L2": 1 << 18}  # bytes that fit the cache: half of one of the smallest

Way = Callable[[Code, Value, list[Variable]], None]


def _widen(code: Code, row: Value, sums: list[Variable]) -> None:
    for n, total in enumerate(sums):
        weights = code.load(row + LANES * n, lanes(I8, LANES))
        total.set(total.get() + weights.signed(lanes(I32, LANES)))


def _paired(code: Code, row: Value, sums: list[Variable]) -> None:
    half = len(sums) // 4
    for n in range(half):
        words = code.load(row + 4 * LANES * n, lanes(I16, 2 * LANES))
        for total, part in zip(sums[2 * n :], (words, words.unsigned_shift(8)), strict=False):
            total.set((total.get().seen_as(words.kind) + part).seen_as(total.get().kind))


def _vnni(code: Code, row: Value, sums: list[Variable]) -> None:
    kind = lanes(I32, LANES)
    ones = code.number(kind, 0x01010101)
    for n, total in enumerate(sums):
        weights = code.load(row + 4 * LANES * n, kind)
        name = "llvm.x86.avx512.vpdpbusd.512"
        total.set(code.call(name, kind, total.get(), ones, weights))


def _source(add: Way, rows: int, columns: int) -> str:
    """Return a function that adds `rows` rows of bytes, again and again, to one sum."""
    code = Code("limit", "weights", "count", "repeats", "out")
    a = code.arguments
    kind = lanes(I32, LANES)
    sums = [code.variable(code.number(kind, 0)) for _ in range(columns // LANES)]
    with code.loop(0, a["repeats"]), code.loop(0, a["count"], rows) as j:
        add(code, a["weights"] + j * columns, sums)
    for n, total in enumerate(sums):
        code.store(total.get(), a["out"] + 4 * LANES * n)
    return code.finished()


def limits(clock: Callable[[], float]) -> dict[str, Callable[[], float]]:
    """Return, for each way and place, what measures it once [additions / s] by a clock."""
    ways = {"widen": (_widen, 1), "paired": (_paired, 1)}
    if "avx512vnni" in features():
        ways["vnni"] = (_vnni, 4)
    return {
        f"{name} {place}": _fastest([_measured(*way, columns, size, clock) for columns in COLUMNS])
        for name, way in ways.items()
        for place, size in PLACES.items()
    }


def _fastest(measures: list[Callable[[], float]]) -> Callable[[], float]:
    return lambda: max(once() for once in measures)


def _measured(
    add: Way, rows: int, columns: int, size: int, clock: Callable[[], float]
) -> Callable[[], float]:
    run = compiled(_source(add, rows, columns), "limit", 4)
    weights = aligned(np.random.default_rng(0).integers(-128, 128, size).astype(np.int8))
    out = aligned(np.zeros((columns, 1), np.int32))
    repeats = ADDITIONS // size

    def once() -> float:
        start = clock()
        run(address(weights), size // columns, repeats, address(out))
        return size * repeats / (clock() - start)

    return once
