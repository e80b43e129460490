"""The forms in which one layer of neurons can be trained, as functions of x [T, B, N].

FFT: Huang et al. 2024, arXiv 2410.03530, Eq. 12 (LIF) and 20 (PRF), with real transforms, which
are faster than the complex ones printed there.

Decoupled reset: the same paper's soft reset: the membrane by FFT, the reset as a moving threshold
by Algorithm 2, whose gradient does not pass the reset.

SDN: Shen et al. 2024, arXiv 2408.14909: a network of three convolutions and 153 parameters guesses
the membrane that is left of the step before, tau u[t-1], without gradient; the spike is that of
x + guess, whose gradient does not pass the step before either. Its weights here are random, since
only its time is measured: its spikes are not those of the neuron.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neurodeploy.nn import PRF
from neurodeploy.nn.neurons import Neuron
from neurodeploy.nn.surrogate import Surrogate

Forward = Callable[[Tensor], Tensor]


def spikes(neuron: Neuron, membrane: Tensor, threshold: Tensor) -> Tensor:
    """Return where a membrane reaches the threshold, with the neuron's surrogate gradient."""
    reading = Surrogate(1.0, neuron.surrogate, neuron.steepness)
    found: Tensor = reading.spike(membrane, threshold, ">=")
    return found


def fft(neuron: Neuron) -> Forward:
    """Return the forward function of `neuron` without reset, its membrane by FFT."""
    return lambda x: spikes(neuron, membrane(neuron, x), neuron.params().v_th)


def decoupled(neuron: Neuron) -> Forward:
    """Return the forward function of a LIF neuron with soft reset, the reset decoupled."""

    def forward(x: Tensor) -> Tensor:
        u = membrane(neuron, x)
        return spikes(neuron, u, moving_threshold(neuron, u))

    return forward


def membrane(neuron: Neuron, x: Tensor) -> Tensor:
    """Return the membrane that nothing resets, [T, B, N]."""
    size = 2 * len(x)
    spectrum = torch.fft.rfft(response(neuron, len(x)).to(x.dtype), size, 0)[:, None]
    return torch.fft.irfft(torch.fft.rfft(x, size, 0) * spectrum, size, 0)[: len(x)]


def response(neuron: Neuron, steps: int) -> Tensor:
    """Return the response of the membrane to one unit of current, [steps, N]."""
    p, times = neuron.params(), torch.arange(steps)[:, None]
    if isinstance(neuron, PRF):
        found: Tensor = p.dt * torch.exp(-times * p.dt / p.tau) * torch.cos(times * p.dt * p.theta)
    else:
        found = p.gain * p.beta**times
    return found


@torch.no_grad()
def moving_threshold(neuron: Neuron, u: Tensor) -> Tensor:
    """Return the threshold of Algorithm 2 for membranes u [T, B, N] without reset."""
    p = neuron.params()
    beta, v_th = (value.to(u.dtype) for value in (p.beta, p.v_th))
    bias, rows = torch.zeros_like(u[0]), []
    for row in u:
        rows.append(v_th * (1 + bias))
        bias = beta * (bias + (row >= rows[-1]).to(u.dtype))
    return torch.stack(rows)


class SDN(torch.nn.Module):
    """The surrogate dynamic network, [T, B, N] to [T, B, N]."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = torch.nn.Conv1d(1, 8, 8)
        self.mix = torch.nn.Conv1d(8, 8, 1)
        self.decode = torch.nn.Conv1d(8, 1, 1)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return a guess of what is left of the membrane of the step before."""
        rows = x.permute(1, 2, 0).reshape(-1, 1, len(x))
        h = self.encode(torch.nn.functional.pad(rows, (8, 0)))[..., : len(x)].relu()
        h = (self.mix(h) + h).relu()
        return self.decode(h).view(x.shape[1], x.shape[2], len(x)).permute(2, 0, 1)


def sdn(neuron: Neuron) -> Forward:
    """Return the forward function of a LIF neuron with hard reset, its past guessed."""
    network = SDN()

    def forward(x: Tensor) -> Tensor:
        with torch.no_grad():
            guess = network(x)
        return spikes(neuron, neuron.params().gain.to(x) * x + guess, neuron.params().v_th)

    return forward
