r"""The soft-reset LIF with its reset decoupled (Huang et al. 2024, arXiv 2410.03530, section 4.1).

Unrolled, the membrane of a LIF is one without resets, U, less what the spikes have taken:

    u[t] = U[t] - v_th A[t],    A[t] = beta (A[t-1] + s[t-1])
    s[t] = U[t] >= v_th (1 + A[t])                                   (Eq. 5-11)

U is a convolution, computed by FFT over the whole sequence; A is scanned. The spikes are those of
the sequential neuron, and so are the gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurodeploy.nn.arguments import invalid, require_choice
from neurodeploy.nn.neurons import LIF
from neurodeploy.nn.surrogate import Surrogate

METHODS = ("scan", "decoupled")


class ParallelLIF(LIF):
    """LIF with soft reset, by the compiled scan or by the paper's decoupled reset.

    method: "scan" is what every neuron here runs through; "decoupled" is Eq. 5-11 in plain torch,
    for comparison (an FFT rounds otherwise, so exact ties may differ). The released code fires at
    >=, Eq. 6 at > (`compare`). `lif` are the keyword arguments of `LIF` but reset. Raises
    InputError E105 for values the model does not have, or recurrent weights with "decoupled".
    """

    def __init__(self, width: int, *, method: str = "scan", **lif: Any) -> None:
        if lif.pop("reset", "soft") != "soft":
            raise invalid(self, "a reset that is not soft", "the others are those of nn.LIF")
        super().__init__(width, reset="soft", **lif)
        require_choice(self, "method", method, METHODS)
        if method == "decoupled" and self.recurrent is not None:
            fix = 'the membrane is known ahead only without recurrence; use method="scan"'
            raise invalid(self, "decoupled with recurrent weights", fix)
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs [T, B, width] for currents x [T, B, width]; errors as of `LIF`."""
        return super().forward(x) if self.method == "scan" else self._decoupled(x)

    def _decoupled(self, x: Tensor) -> Tensor:
        self._accept(x)
        p = self.params()
        beta, v_th, gain = (value.to(x) for value in (p.beta, p.v_th, p.gain))
        reading = Surrogate(1.0, self.surrogate, self.steepness)
        taken, spikes = torch.zeros_like(x[0]), []
        for free in self._free_membrane(x.flip(0) if self.reverse else x, beta, gain):
            level = v_th * (1 + taken)
            spikes.append(reading.spike(free, level, self.options["compare"]))
            taken = beta * (taken + spikes[-1])
        y = self.alpha().to(x) * torch.stack(spikes)
        return y.flip(0) if self.reverse else y

    def _free_membrane(self, x: Tensor, beta: Tensor, gain: Tensor) -> Tensor:
        """Return the membrane [T, B, width] of a neuron that never resets, by FFT."""
        times, size = torch.arange(len(x), dtype=x.dtype, device=x.device)[:, None], 2 * len(x)
        kernel = gain * beta.expand(self.width) ** times
        spectrum = torch.fft.rfft(kernel, size, 0)[:, None] * torch.fft.rfft(x, size, 0)
        free: Tensor = torch.fft.irfft(spectrum, size, 0)
        return free[: len(x)]

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        shared = {key: value for key, value in super().config().items() if key != "reset"}
        return {**shared, "method": self.method}
