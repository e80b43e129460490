"""What placement is worth: packets, hops, cycles of every `--place`, on the same spikes.

    python benchmarks/placement.py [--samples 4]

A: 784-256-256-10 LIF, T 100. C: 64-(128)^4-10, T 200. D: SD-TCM 1-(64)^2-10, T 200, whose residual
streams go from neuron to neuron. E: C on a board of 2 x 2 chips of four cores, with slow links
between them. The others on asic45. 8-bit weights; calibrated on other data than is measured; spikes
are asserted to be the same under every placement, and annealed placements to repeat themselves.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from cycles import network

import neurodeploy as nd
from neurodeploy.passes.place import PLACES
from neurodeploy.program.routes import packet_counts


def board() -> nd.Target:
    """Return 2 x 2 chips of four cores of asic45, a fiftieth as wide between them as within."""
    chip = nd.target("asic45")
    assert chip.cycles is not None
    joined = {"chips_x": 2, "chips_y": 2, "chip_hop_cycles": 40, "chip_flit_cycles": 50}
    cycles = replace(chip.cycles, mesh_x=2, mesh_y=2, **joined)
    small = {"neurons": 64, "weight_kib": 8, "state_kib": 8}
    return replace(
        chip,
        chip=replace(chip.chip, cores=4),
        core=replace(chip.core, **small),
        cycles=cycles,
    )


def works(samples: int) -> dict[str, tuple[nd.Target, nd.Graph, np.ndarray, np.ndarray]]:
    """Return targets and graphs with data to calibrate on and data to measure."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    tcm = nd.trace(nd.nn.SDTCM(1, 64, 2, 10, theta=(0.0, 40.0)).eval())

    def spikes(steps: int, width: int) -> np.ndarray:
        return (rng.random((steps, samples, width)) < 0.1).astype(np.float32)

    def values(steps: int) -> np.ndarray:
        return rng.normal(size=(steps, samples, 1)).astype(np.float32)

    asic, deep = nd.target("asic45"), network((64, 128, 128, 128, 128, 10))
    return {
        "A": (asic, network((784, 256, 256, 10)), spikes(100, 784), spikes(100, 784)),
        "C": (asic, deep, spikes(200, 64), spikes(200, 64)),
        "D": (asic, tcm, values(200), values(200)),
        "E": (board(), deep, spikes(200, 64), spikes(200, 64)),
    }


def main() -> None:
    """Compile and time every work under every placement, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=4, help="default: %(default)s")
    samples = parser.parse_args().samples
    print(
        f"{'work':<5}{'place':<10}{'cores':>6}{'packets':>10}{'hops':>10}{'to chips':>10}", end=""
    )
    print(f"{'cycles':>10}   cycles to naive   seconds to compile")
    for name, (target, graph, calibration, x) in works(samples).items():
        naive: nd.Run | None = None
        for place in PLACES:
            start = time.perf_counter()
            program = nd.compile(graph, target, calibration=calibration, place=place)
            seconds = time.perf_counter() - start
            again = nd.compile(graph, target, calibration=calibration, place=place)
            assert program.placement == again.placement
            run = nd.simulate(program, x, timing=True, traffic=True)
            naive = naive or run
            assert naive.cycles is not None
            assert run.cycles is not None
            assert [node.spikes for node in run.nodes] == [node.spikes for node in naive.nodes]
            assert sum(node.spikes for node in run.nodes) > 0, "a silent network has no traffic"
            routes = packet_counts(program, run.sent)
            packets = sum(count.packets for count in routes) / samples
            chips = sum(count.hops_chip or 0 for count in routes) / samples
            hops = sum(link.packets for link in run.cycles.links) / samples
            print(f"{name:<5}{place:<10}{len(run.cycles.cores):>6}{packets:>10,.0f}", end="")
            print(f"{hops:>10,.0f}{chips:>10,.0f}{run.cycles.total / samples:>10,.0f}", end="")
            print(f"{run.cycles.total / naive.cycles.total:>18.3f}{seconds:>21.1f}")


if __name__ == "__main__":
    main()
