"""The networks that benchmarks run: LIF layers with spikes in, and the spikes that they must give.

    v = beta v + W s,    s' = v >= threshold,    v = 0 where it fired        (hard reset)

A1 and A64: 784-256-256-10, T 100, inputs firing at 10 %, batch 1 and 64. B: six layers of 256,
T 1,024, inputs firing at 4 %, batch 1. Weights are whole numbers of -127 to 127, with both ends in
every row, times one scale: 8 bits hold them exactly. `counts` come from a plain loop in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

import neurodeploy as nd

BETA, THRESHOLD, SCALE = 0.9, 1.0, 1 / 256
WORKS = ("A1", "A64", "B")


@dataclass(frozen=True, eq=False)
class Work:
    """Weights [out, in] of each layer, and inputs x [T, B, C] of 0 and 1."""

    name: str
    weights: tuple[Any, ...]
    x: Any

    @property
    def samples(self) -> int:
        """The batch."""
        return int(self.x.shape[1])

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Spikes of each layer, by the definition above."""
        s, found = self.x.astype(np.float64), []
        for weight in self.weights:
            drive, v, fired = s @ weight.T, 0.0, []
            for row in drive:
                v = BETA * v + row
                fired.append(v >= THRESHOLD)
                v = np.where(fired[-1], 0.0, v)
            s = np.array(fired, np.float64)
            found.append(int(s.sum()))
        return tuple(found)

    @property
    def additions(self) -> int:
        """Synaptic additions: each spike adds a row."""
        spikes = (int(self.x.sum()), *self.counts[:-1])
        return sum(n * len(weight) for n, weight in zip(spikes, self.weights, strict=True))

    @property
    def rates(self) -> str:
        """Spikes per neuron and step of each layer, as text."""
        steps = self.x.shape[0] * self.x.shape[1]
        pairs = zip(self.counts, self.weights, strict=True)
        return " ".join(f"{100 * n / len(weight) / steps:.1f} %" for n, weight in pairs)

    def graph(self) -> nd.Graph:
        """Return the network as a trained model is loaded."""
        import torch

        layers: list[torch.nn.Module] = []
        for weight in self.weights:
            out, inside = weight.shape
            linear = torch.nn.Linear(inside, out, bias=False)
            linear.weight.data[:] = torch.from_numpy(weight)
            neurons = nd.nn.LIF(out, beta=BETA, v_th=THRESHOLD, reset="hard")
            layers += [linear, neurons]
        return nd.trace(torch.nn.Sequential(*layers))


def work(name: str, seed: int = 0) -> Work:
    """Return one of `WORKS`."""
    rng = np.random.default_rng(seed)
    widths, steps, batch, rate, deviation = {
        "A1": ((784, 256, 256, 10), 100, 1, 0.1, 2.15),
        "A64": ((784, 256, 256, 10), 100, 64, 0.1, 2.15),
        "B": ((256,) * 7, 1024, 1, 0.04, 2.02),
    }[name]
    weights = tuple(_weight(rng, shape, deviation) for shape in pairwise(widths))
    x = rng.random((steps, batch, widths[0])) < rate
    return Work(name, weights, x.astype(np.float32))


def _weight(rng: np.random.Generator, shape: tuple[int, int], deviation: float) -> Any:
    """Return weights [out, in] of this deviation, if inputs were one."""
    inside, out = shape
    whole = np.rint(rng.normal(0, deviation / SCALE / inside**0.5, (out, inside)))
    whole = np.clip(whole, -127, 127)
    whole[:, 0], whole[:, 1] = 127, -127
    return (SCALE * rng.permuted(whole, axis=1)).astype(np.float32)
