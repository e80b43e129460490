"""What placement is worth: packets, hops, cycles of every `--place`, on the same spikes.

    python benchmarks/placement.py [--samples 4]

A: 784-256-256-10 LIF, T 100. C: 64-(128)^4-10, T 200. D: SD-TCM 1-(64)^2-10, T 200, whose residual
streams go from neuron to neuron. All on asic45 with 8-bit weights. Calibrated on other data than is
measured; spikes are asserted to be the same under every placement.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from cycles import network

import neurodeploy as nd
from neurodeploy.passes.place import PLACES


def works(samples: int) -> dict[str, tuple[nd.Graph, np.ndarray, np.ndarray]]:
    """Return graphs with data to calibrate on and data to measure."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    tcm = nd.trace(nd.nn.SDTCM(1, 64, 2, 10, theta=(0.0, 40.0)).eval())

    def spikes(steps: int, width: int) -> np.ndarray:
        return (rng.random((steps, samples, width)) < 0.1).astype(np.float32)

    def values(steps: int) -> np.ndarray:
        return rng.normal(size=(steps, samples, 1)).astype(np.float32)

    return {
        "A": (network((784, 256, 256, 10)), spikes(100, 784), spikes(100, 784)),
        "C": (network((64, 128, 128, 128, 128, 10)), spikes(200, 64), spikes(200, 64)),
        "D": (tcm, values(200), values(200)),
    }


def main() -> None:
    """Compile and time every work under every placement, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=4, help="default: %(default)s")
    samples = parser.parse_args().samples
    print(f"{'work':<5}{'place':<10}{'cores':>6}{'packets':>10}{'hops':>10}{'cycles':>10}", end="")
    print("   cycles to naive   seconds to compile")
    for name, (graph, calibration, x) in works(samples).items():
        naive: nd.Run | None = None
        for place in PLACES:
            start = time.perf_counter()
            program = nd.compile(graph, nd.target("asic45"), calibration=calibration, place=place)
            seconds = time.perf_counter() - start
            run = nd.simulate(program, x, timing=True)
            naive = naive or run
            assert naive.cycles is not None
            assert run.cycles is not None
            assert [node.spikes for node in run.nodes] == [node.spikes for node in naive.nodes]
            assert sum(node.spikes for node in run.nodes) > 0, "a silent network has no traffic"
            packets = sum(load.received for load in run.cycles.cores) / samples
            hops = sum(link.packets for link in run.cycles.links) / samples
            print(f"{name:<5}{place:<10}{len(run.cycles.cores):>6}{packets:>10,.0f}", end="")
            print(f"{hops:>10,.0f}{run.cycles.total / samples:>10,.0f}", end="")
            print(f"{run.cycles.total / naive.cycles.total:>18.3f}{seconds:>21.1f}")


if __name__ == "__main__":
    main()
