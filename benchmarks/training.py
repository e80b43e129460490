"""How long one neuron layer takes to train: step loop, FFT form of the paper, compiled scan.

    python benchmarks/training.py [--steps 784] [--batch 64] [--width 128] [--runs 7] [--network]

The rows of one run are measured in turn, so that a busy machine slows all of them; medians are
printed. `same` is the share of spikes equal to those of the compiled scan (in float32 an FFT
rounds differently, and a spike near its threshold may flip).

FFT form: Huang et al. 2024, arXiv 2410.03530, Eq. 12 (LIF) and 20 (PRF), with real transforms,
which are faster than the complex ones printed there. With soft reset it is the paper's decoupled
reset: the membrane by FFT, the threshold by Algorithm 2, whose gradient does not pass the reset.

On Linux about a third of the processor time of a large network (`--network --batch 128`) is the
system handing out fresh pages; this makes the process keep its memory instead:

    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=17179869184 python ...
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from neurodeploy.nn import LIF, PRF, SDTCM
from neurodeploy.nn.neurons import Neuron
from neurodeploy.nn.surrogate import Surrogate

Forward = Callable[[Tensor], Tensor]


def fft_form(neuron: Neuron) -> Forward:
    """Return the forward function of `neuron` in the parallel form of the paper."""

    def forward(x: Tensor) -> Tensor:
        size = 2 * len(x)
        spectrum = torch.fft.rfft(kernel(neuron, len(x)).to(x.dtype), size, 0)[:, None]
        u = torch.fft.irfft(torch.fft.rfft(x, size, 0) * spectrum, size, 0)[: len(x)]
        soft = neuron.options.get("reset") == "soft"
        threshold = decoupled(neuron, u) if soft else neuron.params().v_th
        spikes: Tensor = Surrogate(1.0, neuron.surrogate, neuron.steepness).spike(
            u, threshold, ">="
        )
        return spikes

    return forward


def kernel(neuron: Neuron, steps: int) -> Tensor:
    """Return the response of the membrane to one unit of current, [steps, N]."""
    p, times = neuron.params(), torch.arange(steps)[:, None]
    if isinstance(neuron, PRF):
        response: Tensor = (
            p.dt * torch.exp(-times * p.dt / p.tau) * torch.cos(times * p.dt * p.theta)
        )
    else:
        response = p.gain * p.beta**times
    return response


@torch.no_grad()
def decoupled(neuron: Neuron, u: Tensor) -> Tensor:
    """Return the moving threshold of Algorithm 2 for membranes u [T, B, N] without reset."""
    p = neuron.params()
    beta, v_th = (value.to(u.dtype) for value in (p.beta, p.v_th))
    bias, rows = torch.zeros_like(u[0]), []
    for row in u:
        rows.append(v_th * (1 + bias))
        bias = beta * (bias + (row >= rows[-1]).to(u.dtype))
    return torch.stack(rows)


def once(forward: Forward, x: Tensor, grad: Tensor) -> tuple[float, float, Tensor]:
    """Return seconds forward, seconds backward, and the output."""
    x = x.detach().requires_grad_()
    start = time.perf_counter()
    y = forward(x)
    middle = time.perf_counter()
    torch.autograd.backward(y, grad)
    return middle - start, time.perf_counter() - middle, y.detach()


def layers(steps: int, batch: int, width: int, runs: int) -> None:
    """Measure each layer in each form, and print the table."""
    torch.manual_seed(0)
    x, grad = torch.randn(steps, batch, width), torch.randn(steps, batch, width)
    models = {
        "LIF, no reset": (LIF(width, reset="none", train_beta=True), 0.5),
        "LIF, soft reset": (LIF(width, reset="soft", train_beta=True), 0.8),
        "PRF": (PRF(width, theta=(0.0, 40.0)), 20.0),
    }
    print(f"T {steps}, B {batch}, N {width}, float32, {torch.get_num_threads()} threads, ", end="")
    print(f"medians of {runs} runs, milliseconds")
    print(
        f"{'layer':<16} {'form':<14} {'forward':>9} {'backward':>9} {'both':>9} {'ratio':>7}   same"
    )
    for name, (neuron, size) in models.items():
        forms = {
            "step loop": neuron.sequential_forward,
            "FFT (paper)": fft_form(neuron),
            "compiled scan": neuron.forward,
        }
        rows: dict[str, list[tuple[float, float, Tensor]]] = {form: [] for form in forms}
        for run in range(runs + 1):
            for form, forward in forms.items():
                result = once(forward, size * x, grad)
                rows[form] += [result] if run else []  # the first compiles
        ours, spikes = _median(rows["compiled scan"]), rows["compiled scan"][0][2]
        for form, results in rows.items():
            forth, back = _median(results)
            ratio, same = (forth + back) / sum(ours), (results[0][2] == spikes).double().mean()
            print(f"{name:<16} {form:<14} {1e3 * forth:9.1f} {1e3 * back:9.1f}", end="")
            print(f" {1e3 * (forth + back):9.1f} {ratio:6.1f}x   {100 * same:.4f} %")


def _median(results: list[tuple[float, float, Tensor]]) -> tuple[float, float]:
    forth, back, _ = zip(*results, strict=True)
    return statistics.median(forth), statistics.median(back)


def network(steps: int, batch: int, width: int, runs: int) -> None:
    """Measure a training step of SDTCM(1, width, 2, 10), and print its parts."""
    torch.manual_seed(0)
    model = SDTCM(1, width, 2, 10, theta=(0.0, 40.0))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    x, labels = torch.rand(steps, batch, 1), torch.randint(0, 10, (batch,))
    times = []
    for _ in range(runs + 1):
        marks = [time.perf_counter()]
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        marks.append(time.perf_counter())
        torch.autograd.backward(loss)
        marks.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.perf_counter())
        times.append([b - a for a, b in pairwise(marks)])
    parts = [statistics.median(part) for part in zip(*times[1:], strict=True)]
    print(
        f"SDTCM(1, {width}, 2, 10), T {steps}, B {batch}, float32: {sum(parts):.2f} s a step",
        end="",
    )
    print(f" (forward {parts[0]:.2f}, backward {parts[1]:.2f}, optimizer {parts[2]:.2f})")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    for name, default in (("steps", 784), ("batch", 64), ("width", 128), ("runs", 7)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--network", action="store_true", help="a whole training step instead")
    args = vars(parser.parse_args())
    (network if args.pop("network") else layers)(**args)


if __name__ == "__main__":
    main()
