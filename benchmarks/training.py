"""How long one layer of neurons takes to train, forward and backward, in every form there is.

    python benchmarks/training.py [--steps 1024 ... 32768] [--batch 4] [--width 64] [--threads 1]
    python benchmarks/training.py --network --steps 784 --batch 128 --width 128
    python benchmarks/training.py --memory --steps 16384 --batch 4 --width 128

The forms of one length are measured in turn, so that a busy machine slows all of them; medians
are printed. Beside other work one thread is the fairer measure: threads that wait for one another
wait for what else there is to do. The step loop is measured up to `--loop-steps` steps, and beyond
that extrapolated in proportion to the steps, which flatters it: its graph grows with the steps.
`same` is the share of outputs equal to those of the compiled scan (in float32 an FFT rounds
differently, and a spike near its threshold may flip); forms.py says what each form is.

`--network` measures a whole training step of an SD-TCM network, `--memory` what it needs at most,
with activations kept and with blocks recomputed, each in a process of its own.

On Linux about a third of the processor time of a large network (`--network --batch 128`) is the
system handing out fresh pages; this makes the process keep its memory instead:

    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=17179869184 python ...
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import forms
import torch
from torch import Tensor

from neurodeploy.nn import LIF, PRF, SDTCM
from neurodeploy.nn.neurons import Neuron

OURS, LOOP = "compiled scan", "step loop"
BLOCKS = 4


def layers(width: int) -> dict[str, tuple[Neuron, float, str, Callable[[Neuron], forms.Forward]]]:
    """Return (neuron, size of its inputs, name and maker of the other form) by name."""
    lif = {"train_beta": True}
    return {
        "LIF, soft reset": (LIF(width, **lif), 0.8, "decoupled reset", forms.decoupled),
        "LIF, hard reset": (LIF(width, beta=0.125, reset="hard", **lif), 1.0, "SDN", forms.sdn),
        "LIF, no reset": (LIF(width, reset="none", **lif), 0.5, "FFT", forms.fft),
        "PRF": (PRF(width, theta=(0.0, 40.0)), 20.0, "FFT", forms.fft),
    }


def once(forward: forms.Forward, x: Tensor, grad: Tensor) -> tuple[float, float, Tensor]:
    """Return seconds forward, seconds backward, and the output."""
    x = x.detach().requires_grad_()
    start = time.perf_counter()
    y = forward(x)
    middle = time.perf_counter()
    torch.autograd.backward(y, grad)
    return middle - start, time.perf_counter() - middle, y.detach()


def compare(steps: int, batch: int, width: int, runs: int, loop_steps: int) -> None:
    """Measure every layer in each form for one length, and print a row for each."""
    torch.manual_seed(0)
    x, grad = torch.randn(steps, batch, width), torch.randn(steps, batch, width)
    few = min(steps, loop_steps)
    for name, (neuron, size, other, make) in layers(width).items():
        candidates = {
            LOOP: (neuron.sequential_forward, few),
            other: (make(neuron), steps),
            OURS: (neuron.forward, steps),
        }
        times: dict[str, list[tuple[float, float]]] = {form: [] for form in candidates}
        outputs = {}
        for forward, _ in candidates.values():
            once(forward, size * x[:16], grad[:16])  # compiles
        for _ in range(runs):
            for form, (forward, count) in candidates.items():
                forth, back, outputs[form] = once(forward, size * x[:count], grad[:count])
                times[form].append((forth * steps / count, back * steps / count))
        loop = sum(_median(times[LOOP]))
        for form in candidates:
            forth, back = _median(times[form])
            same = (outputs[form] == outputs[OURS][: len(outputs[form])]).double().mean()
            note = " extrapolated" if form == LOOP and few < steps else ""
            shown = "        -" if form == "SDN" else f"{100 * same:8.4f}%"
            print(f"{steps:>6} {name:<16} {form:<16} {1e3 * forth:9.1f} {1e3 * back:9.1f}", end="")
            print(f" {1e3 * (forth + back):9.1f} {loop / (forth + back):8.2f}x {shown}{note}")


def _median(results: list[tuple[float, float]]) -> tuple[float, float]:
    forth, back = zip(*results, strict=True)
    return statistics.median(forth), statistics.median(back)


def table(steps: list[int], batch: int, width: int, runs: int, loop_steps: int) -> None:
    """Measure all lengths, and print the table."""
    print(f"B {batch}, N {width}, float32, {torch.get_num_threads()} threads, ", end="")
    print(f"medians of {runs} runs in turn, milliseconds; ratio: times as fast as the step loop")
    print(f"{'T':>6} {'layer':<16} {'form':<16} {'forward':>9} {'backward':>9} {'both':>9}", end="")
    print(f" {'ratio':>9} {'same':>9}")
    for count in steps:
        compare(count, batch, width, runs, loop_steps)


def training_step(
    steps: int, batch: int, width: int, **how: Any
) -> Callable[[], tuple[float, float, float]]:
    """Return a function that trains one step and returns its parts' seconds.

    The network is SDTCM(1, width, 4, 10); the parts are forward, backward and optimizer.
    """
    torch.manual_seed(0)
    model = SDTCM(1, width, BLOCKS, 10, theta=(0.0, 40.0), **how)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    labels = torch.randint(0, 10, (batch,))

    def run(count: int = steps) -> tuple[float, float, float]:
        x = torch.rand(count, batch, 1)
        marks = [time.perf_counter()]
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        marks.append(time.perf_counter())
        torch.autograd.backward(loss)
        marks.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.perf_counter())
        forth, back, rest = (b - a for a, b in pairwise(marks))
        return forth, back, rest

    run(2)  # compiles
    return run


def network(steps: int, batch: int, width: int, runs: int) -> None:
    """Measure a training step of a network, and print its parts."""
    run = training_step(steps, batch, width)
    parts = [statistics.median(part) for part in zip(*(run() for _ in range(runs)), strict=True)]
    print(
        f"SDTCM(1, {width}, {BLOCKS}, 10), T {steps}, B {batch}, float32: {sum(parts):.2f} s a",
        end="",
    )
    print(f" step (forward {parts[0]:.2f}, backward {parts[1]:.2f}, optimizer {parts[2]:.2f})")


def memory(steps: int, batch: int, width: int, runs: int) -> None:
    """Measure the memory of a training step in processes of their own, and print it."""
    print(f"SDTCM(1, {width}, {BLOCKS}, 10), T {steps}, B {batch}, float32; ", end="")
    print(f"one activation [T, B, N] is {4e-6 * steps * batch * width:.0f} MB")
    sizes = [f"--steps={steps}", f"--batch={batch}", f"--width={width}", f"--runs={runs}"]
    sizes.append(f"--threads={torch.get_num_threads()}")
    for form in ("kept", "recomputed"):
        command = [sys.executable, __file__, "--memory", f"--form={form}", *sizes]
        subprocess.run(command, check=True)


def memory_of(form: str, steps: int, batch: int, width: int, runs: int) -> None:
    """Train, and print the memory that this process needed above what it needed before."""
    how = {"checkpoint_steps": 2 if form == "recomputed" else None}
    run = training_step(steps, batch, width, **how)
    before = _peak()
    seconds = statistics.median(sum(run()) for _ in range(runs))
    print(f"activations {form:<10} {_peak() - before:6.0f} MB a step, {seconds:.2f} s a step")


def _peak() -> float:
    """Return the most memory this process had, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    lengths = [1024 * 2**i for i in range(6)]
    parser.add_argument("--steps", type=int, nargs="+", default=lengths)
    for name, default in (("batch", 4), ("width", 64), ("runs", 3), ("loop-steps", 2048)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--network", action="store_true", help="a whole training step instead")
    parser.add_argument("--memory", action="store_true", help="the memory of a training step")
    parser.add_argument("--form", choices=["kept", "recomputed"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads or torch.get_num_threads())
    sizes = (args.batch, args.width, args.runs)
    if args.form:
        memory_of(args.form, args.steps[0], *sizes)
    elif args.network or args.memory:
        for steps in args.steps:
            (network if args.network else memory)(steps, *sizes)
    else:
        table(args.steps, *sizes, args.loop_steps)


if __name__ == "__main__":
    main()
