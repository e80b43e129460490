r"""S4D: diagonal state spaces, trained in continuous time (Gu et al. 2022, arXiv 2206.11893).

    u' = A u + B x,    y = 2 Re(C u) + D x,    one complex A_n, B_n, C_n per conjugate pair

    lin    A_n = -1/2 + i pi n                          n = 0 ... N/2 - 1
    inv    A_n = -1/2 + i N/pi (N / (2n + 1) - 1)       (arXiv 2206.11893, Eq. 9 and 8)

    zoh        a = exp(dt A),                     b = (a - 1) / A  B
    bilinear   a = (1 + dt A/2) / (1 - dt A/2),   b = dt / (1 - dt A/2)  B

Re A is -exp(log_decay), so that no mode ever grows. B is 1 unless it is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neurodeploy.neurons import SPECS
from neurodeploy.nn.arguments import invalid, require_choice, require_flags, two, whole
from neurodeploy.nn.neurons import Neuron

INITS = ("lin", "inv")
DISCRETIZATIONS = ("zoh", "bilinear")
METHODS = ("scan", "fft")


class S4D(Neuron):
    """A state space per channel: currents [T, B, width] to real outputs [T, B, width].

    state: N, the size of the real system; its N/2 conjugate pairs are the modes. dt: range of the
    step lengths, drawn log-uniformly and trained as `log_dt` [width]. Trained too: `log_decay` and
    `frequency` (A, with `train_a`), `input_re` and `input_im` (B, with `train_b`; else B = 1),
    `output_re` and `output_im` (C), each [modes, width], and `skip_weight` (D [width], with
    `skip`). With train_dt=False or train_a=False the values stay where they start.

    method: "scan", the compiled recurrence, or "fft", a convolution with the kernel of the whole
    sequence, which computes the same up to rounding. Raises InputError E105 for values that the
    model does not have.
    """

    spec = SPECS["s4d"]
    log_dt: Tensor
    log_decay: Tensor
    frequency: Tensor

    def __init__(
        self,
        width: int,
        *,
        state: int = 64,
        init: str = "lin",
        discretization: str = "zoh",
        dt: Sequence[float] = (0.001, 0.1),
        skip: bool = True,
        train_dt: bool = True,
        train_a: bool = True,
        train_b: bool = False,
        reverse: bool = False,
        method: str = "scan",
    ) -> None:
        require_flags(self, skip=skip, train_dt=train_dt, train_a=train_a, train_b=train_b)
        super().__init__(width, {"skip": skip}, reverse=reverse)
        for name, value, known in (
            ("init", init, INITS),
            ("discretization", discretization, DISCRETIZATIONS),
            ("method", method, METHODS),
        ):
            require_choice(self, name, value, known)
        if not whole(state) or state < 2 or state % 2:
            raise invalid(self, f"state is {state}", "an even number: two for each mode")
        fix = "give a range of step lengths > 0, (lowest, highest)"
        self.dt_range = two(self, "dt", dt, fix)
        if not 0 < self.dt_range[0] <= self.dt_range[1] < math.inf:
            raise invalid(self, f"dt is {dt}", fix)
        self.state, self.init, self.discretization, self.method = (
            state,
            init,
            discretization,
            method,
        )
        self.train_dt, self.train_a, self.train_b = train_dt, train_a, train_b
        self._start()

    @property
    def modes(self) -> int:
        """How many conjugate pairs a channel has."""
        return self.state // 2

    def _start(self) -> None:
        shape = (self.modes, self.width)
        low, high = (math.log(end) for end in self.dt_range)
        self._keep("log_dt", torch.empty(self.width).uniform_(low, high), self.train_dt)
        self._keep("log_decay", torch.full(shape, math.log(0.5)), self.train_a)
        turn = frequencies(self.init, self.state)[:, None].expand(shape)
        self._keep("frequency", turn.to(torch.get_default_dtype()).clone(), self.train_a)
        if self.train_b:
            self.input_re = torch.nn.Parameter(torch.ones(shape))
            self.input_im = torch.nn.Parameter(torch.zeros(shape))
        self.output_re = torch.nn.Parameter(torch.randn(shape) * math.sqrt(0.5))
        self.output_im = torch.nn.Parameter(torch.randn(shape) * math.sqrt(0.5))
        if self.options["skip"]:
            self.skip_weight = torch.nn.Parameter(torch.randn(self.width))

    def _keep(self, name: str, value: Tensor, trained: bool) -> None:
        if trained:
            self.register_parameter(name, torch.nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def params(self) -> Any:
        """Return the discretised system: a, b and c [modes, width], d [width] or []."""
        dt = self.log_dt.double().exp()
        a = torch.complex(-self.log_decay.double().exp(), self.frequency.double())
        if self.discretization == "zoh":
            transition = torch.exp(dt * a)
            b = (transition - 1) / a
        else:
            transition = (1 + dt * a / 2) / (1 - dt * a / 2)
            b = dt / (1 - dt * a / 2)
        if self.train_b:
            b = b * torch.complex(self.input_re.double(), self.input_im.double())
        d = self.skip_weight.double() if self.options["skip"] else dt.new_zeros(())
        c = (self.output_re.double(), self.output_im.double())
        return self.spec.params(transition.real, transition.imag, b.real, b.imag, *c, d)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs [T, B, width] for currents x [T, B, width]; see `Neuron.forward`."""
        if self.method == "fft":
            return self.fft_forward(x)
        y: Tensor = super().forward(x)
        return y

    def fft_forward(self, x: Tensor) -> Tensor:
        """Return what `forward` returns, as a convolution with the kernel of len(x) steps."""
        self._accept(x)
        coefs, _ = self.folded()
        ordered = x.flip(0) if self.reverse else x
        y: Tensor = (
            convolve(impulse_response(coefs, len(x)).to(x), ordered) + coefs.d.to(x) * ordered
        )
        return y.flip(0) if self.reverse else y

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = ("width", "state", "init", "discretization", "train_dt", "train_a", "train_b")
        named = {name: getattr(self, name) for name in (*own, "reverse", "method")}
        return {**named, **self.options, "dt": self.dt_range}


def frequencies(init: str, state: int) -> Tensor:
    """Return Im A of each mode, float64 [modes]."""
    n = torch.arange(state // 2, dtype=torch.float64)
    if init == "lin":
        return math.pi * n
    return state / math.pi * (state / (2 * n + 1) - 1)


def impulse_response(coefs: Any, steps: int) -> Tensor:
    """Return sum_n Re(c_n a_n^t) for t < steps, float64 [steps, width]."""
    times = torch.arange(steps, dtype=torch.float64)[:, None]
    total: Tensor = coefs.a_re.new_zeros(steps, coefs.a_re.shape[1])
    for a_re, a_im, c_re, c_im in zip(*coefs[:4], strict=True):
        rate = torch.complex(a_re, a_im).log()
        total = total + (torch.complex(c_re, c_im) * torch.exp(rate * times)).real
    return total


def convolve(kernel: Tensor, x: Tensor) -> Tensor:
    """Return kernel [T, N] convolved with x [T, B, N] along time, causally."""
    size = 2 * len(x)
    product = torch.fft.rfft(x, size, 0) * torch.fft.rfft(kernel, size, 0)[:, None]
    y: Tensor = torch.fft.irfft(product, size, 0)
    return y[: len(x)]
