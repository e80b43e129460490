"""The simulator beside other simulators, and beside what the machine can do.

    make bench
    .venv-peers/bin/python benchmarks/simulate.py [--runs 7] [--works A1 A64 B] [--busy]

Runs the networks of `works.py` here (`nd.simulate`, all output spikes returned), in torch written
out by hand, in snnTorch, norse, SpikingJelly, sinabs and SANA-FE (`peers.py`), all on one thread,
and measures `limit.py` between them: in turn, in one run, each turn after 0.2 s of calls that are
not timed, since it takes the system up to 0.1 s to give a thread that slept a processor of its own.
Medians are printed, and their ratios.
What each computes is checked first, since silent networks are fast: the spikes of every layer, here
against the reference to the last one, in peers within rounding.

On a machine that does other things too, `--busy` takes the processor's time instead of the clock's:
on one thread these are the same but for the waiting. Two threads are always timed by the clock.

Then the first run of a network in a new process, with an empty cache of kernels and a full one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from limit import limits
from peers import PEERS, sanafe
from works import WORKS, Work, work

import neurodeploy as nd
from neurodeploy.program.reference import execute

HERE, LIMIT = "neurodeploy", "widen L2"
BESIDE, THREADED = "neurodeploy, by the clock", "neurodeploy, 2 threads"
AIMS = {"A1": 10, "A64": 10, "B": 25}  # times as fast as the best peer
SHORT = 0.02  # s: what takes less is called more than once and divided
WARM = 0.2  # s of calls before those that are timed
NEAR = 0.01  # of the spikes of a layer: how far float32 may lead
FIRST = """
import json, sys, time
from pathlib import Path
import numpy as np
start = time.perf_counter()
import neurodeploy as nd
from neurodeploy.program import io
program, x = io.read(Path(sys.argv[1])), np.load(sys.argv[2])
ready = time.perf_counter()
nd.simulate(program, x)
done = time.perf_counter()
nd.simulate(program, x)
print(json.dumps([ready - start, done - ready, time.perf_counter() - done]))
"""

Timed = Callable[[], float]  #: one measurement [s]
Clock = Callable[[], float]  #: the time [s]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let the simulator use so many threads."""
    os.environ["NEURODEPLOY_THREADS"] = str(count)
    try:
        yield
    finally:
        del os.environ["NEURODEPLOY_THREADS"]


def timed(call: Callable[[], Any], clock: Clock) -> Timed:
    """Return what times a call; one that is short is made many times over."""
    start = clock()
    call()
    count = max(1, int(SHORT / (clock() - start)))

    def once() -> float:
        ready = time.perf_counter() + WARM
        while time.perf_counter() < ready:
            call()
        start = clock()
        for _ in range(count):
            call()
        return (clock() - start) / count

    return once


def own(given: Work, program: nd.Program, count: int, clock: Clock) -> Timed:
    """Return what times the simulator, once its spikes are those of the reference."""
    x = given.x.astype(np.uint8)
    names = [node.name for node in program.populations]

    def call() -> nd.Run:
        return nd.simulate(program, x)

    with threads(count):
        run, expected = nd.simulate(program, x, record=names), execute(program, x)
        for name in names:
            np.testing.assert_array_equal(run.values[name], expected.values[name])
        near(HERE, [run.spikes[name] for name in names], given.counts)
        once = timed(call, clock)

    def on_threads() -> float:
        with threads(count):
            return once()

    return on_threads


def near(name: str, found: list[int], expected: tuple[int, ...]) -> None:
    """Raise AssertionError if a layer does not spike as it should."""
    for got, want in zip(found, expected, strict=True):
        assert abs(got - want) <= max(NEAR * want, 5), f"{name}: {found}, not {expected}"


def contenders(
    given: Work, program: nd.Program, stack: ExitStack, clock: Clock
) -> dict[str, Timed]:
    """Return all that runs a work, checked and warm."""
    found = {HERE: own(given, program, 1, clock)}
    if given.samples > 1:
        found[BESIDE] = own(given, program, 1, time.perf_counter)
        found[THREADED] = own(given, program, 2, time.perf_counter)
    for name, make in PEERS.items():
        call = make(given)
        near(name, [int(layer.sum()) for layer in call()], given.counts)
        found[name] = timed(call, clock)
    if given.samples == 1:
        run = stack.enter_context(sanafe(given))
        total = int(given.x.sum()) + sum(given.counts)
        near("SANA-FE", [int(run()["spikes"])], (total,))
        kind = "seconds" if clock is time.perf_counter else "processor"
        found["SANA-FE, detailed"] = lambda: float(run()[kind])
    return found


def measure(name: str, runs: int, clock: Clock) -> dict[str, float]:
    """Run one work everywhere; print its table; return the medians of the limits."""
    given = work(name)
    program = nd.compile(given.graph(), nd.target("asic45"), calibration=given.x)
    bounds = limits(clock)
    with ExitStack() as stack, torch.inference_mode():
        racers = contenders(given, program, stack, clock)
        seconds: dict[str, list[float]] = {racer: [] for racer in racers}
        speeds: dict[str, list[float]] = {bound: [] for bound in bounds}
        for _ in range(runs):
            for racer, once in racers.items():
                seconds[racer].append(once())
            for bound, speed in bounds.items():
                speeds[bound].append(speed())
    medians = {racer: statistics.median(values) for racer, values in seconds.items()}
    top = {bound: statistics.median(values) for bound, values in speeds.items()}
    table(given, medians, top)
    return top


def table(given: Work, medians: dict[str, float], top: dict[str, float]) -> None:
    """Print one work's results."""
    print(f"\n{given.name}: {given.additions / 1e6:.1f} M additions; firing {given.rates}")
    for racer, median in medians.items():
        speed = given.additions / median
        share = f"{100 * speed / top[LIMIT]:6.1f} % of the limit"
        print(f"  {racer:<28}{1e3 * median:10.3f} ms{median / medians[HERE]:9.1f}x", end="")
        print(f"{speed / 1e9:8.2f} G/s {share}")
    others = {racer: median for racer, median in medians.items() if HERE not in racer}
    best = min(others, key=lambda racer: others[racer])
    ratio = others[best] / medians[HERE]
    print(f"  against the best peer, {best}: {ratio:.1f}x (aim {AIMS[given.name]}x)")
    if THREADED in medians:
        print(f"  two threads: {medians[BESIDE] / medians[THREADED]:.2f}x (aim 1.8x)")


def first_run(given: Work) -> None:
    """Print what the first run takes in a new process, without and with kernels in the cache."""
    program = nd.compile(given.graph(), nd.target("asic45"), calibration=given.x)
    with tempfile.TemporaryDirectory() as home:
        folder, data = Path(home) / "program", Path(home) / "x.npy"
        nd.emit(program, folder)
        np.save(data, given.x)
        env = {**os.environ, "NEURODEPLOY_CACHE": str(Path(home) / "cache")}
        for label in ("empty cache", "kernels cached"):
            command = [sys.executable, "-c", FIRST, str(folder), str(data)]
            done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
            ready, first, second = json.loads(done.stdout)
            print(f"  {label:<16} import and load {ready:.2f} s, first run {first:.2f} s", end="")
            print(f", second {1e3 * second:.2f} ms")


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--busy", action="store_true", help="take the processor's time")
    given = parser.parse_args()
    clock = time.process_time if given.busy else time.perf_counter
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", end="")
    print(f", medians of {given.runs}, torch {torch.__version__}", end="")
    print(", processor time" if given.busy else "")
    tops = [measure(name, given.runs, clock) for name in given.works]
    print("\nthe machine, int8 added to int32 in registers (the limit: " + LIMIT + ")")
    for bound in tops[0]:
        values = " ".join(f"{top[bound] / 1e9:7.1f}" for top in tops)
        print(f"  {bound:<12}{values} G/s")
    print("\nthe first run of a network, in a new process")
    first_run(work("A1"))


if __name__ == "__main__":
    main()
