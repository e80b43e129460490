r"""The reading of a step that tuning trains: the chip's integers, differentiated as real numbers.

Forward, every value is the integer that `Fixed` computes, held in a float64 tensor. Backward, a
rounded product p = drop(k v) has the gradient of k v, a register write that of the value it stores
("straight through"), and a spike a surrogate derivative of its margin in the model's own membrane,
as in training. The training kernels are the same, compiled (`steps.py`); this is what they are
tested against.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.arith import MOST_SPIKES, Fixed
from neurodeploy.nn.surrogate import Surrogate


class _Straight(torch.autograd.Function):
    """The second argument, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, rounded: Tensor) -> Tensor:  # noqa: ARG004
        return rounded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # noqa: ARG004
        return grad, None


def straight(exact: Tensor, rounded: Tensor) -> Tensor:
    """Return `rounded`, with the gradient of `exact`."""
    run: Any = _Straight.apply
    out: Tensor = run(exact, rounded)
    return out


@dataclass(frozen=True)
class Quantized(Surrogate):
    """`Fixed` over float64 tensors that hold whole numbers, with straight-through gradients.

    Dimensionless coefficients are multiples of 2^-coef_frac; `unit` is the membrane per unit of
    integer state.
    """

    fixed: Fixed = field(default_factory=lambda: Fixed(15, 32))

    def mul(self, coef: Any, value: Any) -> Any:
        """Multiply and drop `coef_frac` bits."""
        whole = self.fixed.mul(_integers(coef * 2.0**self.fixed.coef_frac), _integers(value))
        return straight(coef * value, torch.from_numpy(whole).to(value))

    def count(self, value: Any, threshold: Any) -> Any:
        """Divide, drop what is left, and send `MOST_SPIKES` at most."""
        sent = super().count(value, threshold)
        return straight(sent, sent.detach().clamp(max=MOST_SPIKES))

    def write(self, value: Any) -> Any:
        """Store in the register."""
        return straight(value, torch.from_numpy(self.fixed.write(_integers(value))).to(value))


def _integers(value: Tensor) -> Any:
    return value.detach().numpy().astype(np.int64)
