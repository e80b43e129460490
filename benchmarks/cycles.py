"""What timing costs: `simulate` alone and with `timing=True`, in turn, on the same data.

    python benchmarks/cycles.py [--runs 7] [--queues 4]

A1 and A64: 784-256-256-10 LIF, T 100, inputs firing at 10 %, batch 1 and 64. B: six layers of 256,
T 1,024, batch 1. On asic45 with 8-bit weights a layer covers several cores, whose packets share
links; `one core a layer` has memories so large that no link is shared. --queues: places in front of
each link and core, any number by default. Medians, of the last of 0.2 s of runs; spike rates are
printed, since silent networks are fast.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np

import neurodeploy as nd

WARM = 0.2  # s of runs before those that count: a thread that slept gets a processor of its own


def network(widths: tuple[int, ...], seed: int = 0) -> nd.Graph:
    """Return a chain of Linear and LIF layers as a graph."""
    import torch

    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    for wide, own in pairwise(widths[:-1]):
        linear = torch.nn.Linear(wide, own)
        torch.nn.init.normal_(linear.weight, 0, 1.7 / wide**0.5)
        torch.nn.init.zeros_(linear.bias)
        layers += [linear, nd.nn.LIF(own)]
    return nd.trace(torch.nn.Sequential(*layers, torch.nn.Linear(*widths[-2:])))


def one_core_a_layer(chip: nd.Target) -> nd.Target:
    """Return the target with cores that hold a whole layer, each its own."""
    core = replace(chip.core, neurons=256, weight_kib=1024, state_kib=1024)
    return replace(chip, core=core)


def measure(program: nd.Program, x: np.ndarray, runs: int) -> tuple[float, float, nd.Run]:
    """Return the median seconds of a plain and of a timed run, and the last."""
    plain, timed = [], []
    ready = time.perf_counter() + WARM
    while len(plain) < runs or time.perf_counter() < ready:
        start = time.perf_counter()
        nd.simulate(program, x)
        middle = time.perf_counter()
        run = nd.simulate(program, x, timing=True)
        plain.append(middle - start)
        timed.append(time.perf_counter() - middle)
    return statistics.median(plain[-runs:]), statistics.median(timed[-runs:]), run


def main() -> None:
    """Measure every work on both chips and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--queues", type=int, help="places of each queue; default: any number")
    given = parser.parse_args()
    runs, base = given.runs, nd.target("asic45")
    if given.queues is not None:
        assert base.cycles is not None
        base = replace(base, cycles=replace(base.cycles, queues=given.queues))
    rng = np.random.default_rng(0)
    works = {
        "A1": ((784, 256, 256, 10), 100, 1),
        "A64": ((784, 256, 256, 10), 100, 64),
        "B": ((256,) * 7 + (10,), 1024, 1),
    }
    print(f"{'work':<6}{'chip':<18}{'plain ms':>10}{'timed ms':>10}{'ratio':>7}  cycles, rates")
    for name, (widths, steps, batch) in works.items():
        graph = network(widths)
        x = (rng.random((steps, batch, widths[0])) < 0.1).astype(np.float32)
        for label, chip in (
            ("asic45", base),
            ("one core a layer", one_core_a_layer(base)),
        ):
            program = nd.compile(graph, chip, calibration=x)
            plain, timed, run = measure(program, x, runs)
            rates = [f"{node.rate:.3f}" for node in run.nodes if node.spikes]
            assert rates, "a silent network is fast"
            assert run.cycles is not None
            print(f"{name:<6}{label:<18}{1e3 * plain:10.2f}{1e3 * timed:10.2f}", end="")
            print(f"{timed / plain:6.1f}x  {run.cycles.total / batch:,.0f}, {' '.join(rates)}")


if __name__ == "__main__":
    main()
