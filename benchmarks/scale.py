"""Time and memory against the length of a sequence, width, depth, batch and parameters.

    python benchmarks/scale.py [--full] [--rows wikitext path-x ...]

Each row runs in a process of its own, so that its peak of memory is its own. `time` and `compute`
are the clock's seconds and the processors' (of all threads), of the run alone; `memory` is how far
the peak of the resident set (getrusage) rose above what was there when it began. Kernels are
compiled before. Firing rates are printed, since silent networks are fast.

    steps      a chain of LIF layers, 256 wide, streamed through a Session in parts of 1,000 steps
    width ..   likewise, run at once by `simulate`
    path-x     SpikingSSM, 6 bidirectional blocks of 256, state 64: one sample of 16,384 pixels
    wikitext   SpikingSSM, 16 blocks of 1,024, state 64, 19,000 tokens in and out, random weights:
               compiled, written, read, and streamed, with logits at every step
    stepping   a Session's own percentiles, one step at a time

Without --full, sequences, batches and the language model are shorter.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import neurodeploy as nd

PART = 1000  # steps of a part of a stream


def roomy() -> nd.Target:
    """Return asic45 with as many cores as it takes; where they stand is not asked."""
    chip = nd.target("asic45")
    return replace(chip, chip=replace(chip.chip, cores=1 << 20), cycles=None)


def resident_mb() -> float:
    """Return the memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_mb() -> float:
    """Return the most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def forget_peak() -> None:
    """Let the peak begin anew, without memory that is free but kept; as far as the system can."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def measured(row: dict[str, Any], name: str = "") -> Iterator[None]:
    """Note in a row what is done inside takes."""
    forget_peak()
    before, clock, compute = resident_mb(), time.perf_counter(), time.process_time()
    yield
    row[f"{name}time_s"] = time.perf_counter() - clock
    row[f"{name}compute_s"] = time.process_time() - compute
    row[f"{name}memory_mb"] = max(peak_mb() - before, 0.0)


def lif_chain(width: int, depth: int) -> nd.Program:
    """Return a program of `depth` LIF layers that fire at a few per cent."""
    import torch

    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for _ in range(depth):
        linear = torch.nn.Linear(width, width)
        torch.nn.init.normal_(linear.weight, 0, 1.7 / width**0.5)
        layers += [linear, nd.nn.LIF(width, reset="hard")]
    model = torch.nn.Sequential(*layers, nd.nn.Readout("mean"), torch.nn.Linear(width, 10))
    return nd.compile(nd.trace(model), roomy(), calibration=spikes(64, 4, width, seed=0))


def spikes(steps: int, batch: int, width: int, seed: int = 1) -> Any:
    """Return inputs [T, B, width] of 0 and 1, a tenth of them 1, made without more memory."""
    rng, x = np.random.default_rng(seed), np.empty((steps, batch, width), np.uint8)
    flat = x.reshape(-1)
    for first in range(0, flat.size, 1 << 20):
        part = flat[first : first + (1 << 20)]
        part[:] = rng.random(part.size, np.float32) < 0.1
    return x


def chain(steps: int, width: int = 256, depth: int = 3, batch: int = 1) -> dict[str, Any]:
    """Run a chain of LIF layers at once on so much data."""
    program = lif_chain(width, depth)
    x = spikes(steps, batch, width)
    nd.simulate(program, x[:1, :1])
    row: dict[str, Any] = {"parameters": parameters(program)}
    with measured(row):
        run = nd.simulate(program, x)
    return row | {"rate": rate(run)}


def stream(steps: int, width: int = 256, depth: int = 3) -> dict[str, Any]:
    """Stream one sample through a chain of LIF layers; no more than a part is ever there."""
    session = nd.Session(lif_chain(width, depth))
    row: dict[str, Any] = {"parameters": parameters(session.program)}
    with measured(row):
        for number in range(steps // PART):
            session.run(spikes(PART, 1, width, number))
    return row | {"rate": rate(session.result())}


def stepping(steps: int, width: int = 256, depth: int = 3) -> dict[str, Any]:
    """Step through a sequence; return the percentiles of the session itself."""
    session = nd.Session(lif_chain(width, depth))
    x = spikes(steps, 1, width)
    row: dict[str, Any] = {"parameters": parameters(session.program)}
    with measured(row):
        for each in x:
            session.step(each)
    found = session.latency
    ends = (found.p50_s, found.p90_s, found.p99_s, found.max_s)
    shown = " ".join(f"{1e6 * value:,.0f}" for value in ends)
    return row | {"note": f"p50 p90 p99 max {shown} us", "rate": rate(session.result())}


def path_x(steps: int, blocks: int, width: int = 256) -> dict[str, Any]:
    """Run one sample of Path-X's size through a bidirectional SpikingSSM."""
    import torch

    torch.manual_seed(0)
    model = nd.nn.SpikingSSM(1, width, blocks, 2, state=64, bidirectional=True).eval()
    x = np.random.default_rng(0).integers(0, 256, (steps, 1, 1)) / 255
    program = nd.compile(nd.trace(model, x[:2]), roomy(), calibration=x[:1024])
    nd.simulate(program, x[:64])
    row: dict[str, Any] = {"parameters": parameters(program)}
    with measured(row):
        run = nd.simulate(program, x)
    best = row["compute_s"] / blocks
    for _ in range(2):
        start = time.process_time()
        nd.simulate(program, x)
        best = min(best, (time.process_time() - start) / blocks)
    return row | {"rate": rate(run), "note": f"{best:.2f} s of compute a layer, best of 3"}


def wikitext(steps: int, blocks: int, width: int, tokens: int) -> dict[str, Any]:
    """Compile, write, read and stream a language model of random weights."""
    import torch

    torch.manual_seed(0)
    layers = (nd.nn.SpikingSSMBlock(width, state=64) for _ in range(blocks))
    ends = nd.nn.BatchNorm(width), nd.nn.Readout("steps"), torch.nn.Linear(width, tokens)
    model = torch.nn.Sequential(nd.nn.Embedding(tokens, width), *layers, *ends).eval()
    rng = np.random.default_rng(0)
    ids = rng.integers(0, tokens, (steps, 1, 1))
    graph = nd.trace(model, ids[:2])
    total = sum(p.numel() for p in model.parameters())
    row: dict[str, Any] = {"parameters": total}
    with measured(row, "compile_"):
        program = nd.compile(graph, roomy(), calibration=ids[:256])
    del model, graph, layers, ends
    with tempfile.TemporaryDirectory() as home:
        nd.emit(program, Path(home) / "program")
        size = sum(p.stat().st_size for p in Path(home).rglob("*") if p.is_file())
    said = np.zeros(tokens, np.int64)
    with measured(row):
        session = nd.Session(program)
        for first in range(0, steps, 128):
            answer = session.run(ids[first : first + 128])
            said += np.bincount(answer.outputs[:, 0].argmax(axis=-1), minlength=tokens)
    note = (
        f"compiled in {row['compile_time_s']:.0f} s ({row['compile_compute_s']:.0f} s of compute)"
        f" with {row['compile_memory_mb'] / (4e-6 * total):.2f}x the weights' float32 bytes;"
        f" on disk {size / 1e6:.0f} MB; {np.count_nonzero(said)} tokens said"
    )
    return row | {"rate": rate(session.result()), "note": note}


def parameters(program: nd.Program) -> int:
    """Return the synapses of a program."""
    return sum(edge.synapses(0, n.width) for n in program for edge in getattr(n, "edges", ()))


def rate(run: nd.Run) -> float:
    """Return the spikes per neuron and step, of all that spike."""
    fired = [node for node in run.nodes if node.spikes]
    return sum(node.spikes for node in fired) / max(sum(node.updates for node in fired), 1)


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "steps": stream,
    "at once": chain,
    "width": chain,
    "depth": chain,
    "batch": chain,
    "path-x": path_x,
    "wikitext": wikitext,
    "stepping": stepping,
}

SHORT: list[tuple[str, dict[str, int]]] = [
    *(("steps", {"steps": steps}) for steps in (1_000, 10_000, 100_000)),
    *(("at once", {"steps": steps}) for steps in (10_000, 100_000)),
    *(("width", {"steps": 1000, "width": width}) for width in (256, 1024, 2048)),
    *(("depth", {"steps": 1000, "depth": depth}) for depth in (3, 12, 48)),
    *(("batch", {"steps": 100, "batch": batch}) for batch in (16, 256, 4096)),
    ("path-x", {"steps": 16_384, "blocks": 1}),
    ("wikitext", {"steps": 512, "blocks": 4, "width": 512, "tokens": 5000}),
    ("stepping", {"steps": 10_000}),
]
FULL: list[tuple[str, dict[str, int]]] = [
    *(("steps", {"steps": 10**n}) for n in (3, 4, 5, 6)),
    *(("at once", {"steps": 10**n}) for n in (4, 5)),
    *(("width", {"steps": 1000, "width": width}) for width in (256, 1024, 4096)),
    *(("depth", {"steps": 1000, "depth": depth}) for depth in (3, 12, 48, 192)),
    *(("batch", {"steps": 100, "batch": batch}) for batch in (16, 256, 4096, 16_384)),
    ("path-x", {"steps": 16_384, "blocks": 6}),
    ("wikitext", {"steps": 8192, "blocks": 16, "width": 1024, "tokens": 19_000}),
    ("stepping", {"steps": 100_000}),
]


def in_child(name: str, size: dict[str, int]) -> dict[str, Any]:
    """Run a row in a process of its own."""
    command = [sys.executable, __file__, "--child", name, json.dumps(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show(name: str, size: dict[str, int], row: dict[str, Any]) -> None:
    """Print a row."""
    what = " ".join(f"{key} {value:,}" for key, value in size.items())
    figures = f"{row['parameters'] / 1e6:8.2f} M {row['time_s']:8.2f} s {row['compute_s']:8.2f} s"
    print(f"{name:<9} {what:<28} {figures} {row['memory_mb']:8.1f} MB {100 * row['rate']:5.1f} %")
    if "note" in row:
        print(f"{'':<9} {row['note']}")
    sys.stdout.flush()


def main() -> None:
    """Run rows, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--full", action="store_true", help="sequences of 1 M steps, and so on")
    parser.add_argument("--rows", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, size = given.child
        print(json.dumps(JOBS[name](**json.loads(size))))
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    head = f"{'parameters':>10} {'time':>10} {'compute':>10} {'memory':>11} {'firing':>7}"
    print(f"{'row':<9} {'size':<28} {head}")
    for name, size in FULL if given.full else SHORT:
        if name in given.rows:
            show(name, size, in_child(name, size))


if __name__ == "__main__":
    main()
