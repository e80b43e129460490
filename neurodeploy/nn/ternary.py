"""Ternary values and the gated spiking unit (Stan and Rhodes 2024, arXiv 2401.00955, Eq. 17-18).

    Ter(x) = 1 where x >= t,  else -1 where x <= -t,  else 0;      t = ratio max |x|
    GSU(x) = (Ter(x) W + b) * (x Ter(W) + c)                       W shared, * channel by channel

The maximum is over the channels of one step, for W over all weights. Backward, Ter is the identity
(straight through), or has the surrogate derivative of two thresholds, in units of t; the threshold
itself receives no gradient. Both matrix products need additions only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurodeploy.errors import InputError
from neurodeploy.kernels.surrogates import SURROGATES
from neurodeploy.nn.arguments import positive, require_choice, require_sizes, within

THRESHOLDS = ("step", "constant")
STRAIGHT = "straight"


class _Ternarise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, level: Tensor, surrogate: str, steepness: float) -> Tensor:
        ctx.save_for_backward(x, level)
        ctx.how = surrogate, steepness
        one = torch.ones_like(x)
        return torch.where(x >= level, one, torch.where(x <= -level, -one, torch.zeros_like(x)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        x, level = ctx.saved_tensors
        name, steepness = ctx.how
        if name == STRAIGHT:
            return grads[0], None, None, None
        unit = torch.where(level > 0, level, torch.ones_like(level))
        slope = SURROGATES[name]
        both = slope((x - level) / unit, steepness) + slope((x + level) / unit, steepness)
        return grads[0] * both / unit, None, None, None


def ternarise(
    x: Tensor, level: Tensor, surrogate: str = STRAIGHT, steepness: float = 2.0
) -> Tensor:
    """Return -1, 0 and 1 in the type of x, by the threshold `level`, which broadcasts to x."""
    run: Any = _Ternarise.apply
    ternary: Tensor = run(x, level.detach(), surrogate, steepness)
    return ternary


class Ternary(torch.nn.Module):
    """Ter(x) of [T, B, width].

    threshold: "step", ratio times the largest |x| of each step; or "constant", ratio times the
    mean over training of those largest, which `level` keeps (with `momentum`, as a norm keeps its
    statistics), so that a step needs no maximum when deployed. surrogate: "straight", or one of
    `kernels.surrogates.SURROGATES` with its `steepness`, in units of the threshold. Raises
    InputError E105 for values that are not known.
    """

    level: Tensor

    def __init__(
        self,
        *,
        ratio: float = 0.15,
        threshold: str = "step",
        momentum: float = 0.1,
        surrogate: str = STRAIGHT,
        steepness: float = 2.0,
    ) -> None:
        super().__init__()
        require_choice(self, "threshold", threshold, THRESHOLDS)
        require_choice(self, "surrogate", surrogate, (STRAIGHT, *SURROGATES))
        self.ratio, self.threshold = within(self, "ratio", ratio, 0), threshold
        self.momentum = within(self, "momentum", momentum, 0, 1)
        self.surrogate, self.steepness = surrogate, positive(self, "steepness", steepness)
        constant = threshold == "constant"
        self.register_buffer("level", torch.full((), self.ratio) if constant else None)

    def forward(self, x: Tensor) -> Tensor:
        """Return -1, 0 and 1, [T, B, width]."""
        level = self.ratio * x.detach().abs().amax(-1, keepdim=True)
        if self.threshold == "constant":
            if self.training:
                with torch.no_grad():
                    self.level.lerp_(level.mean().to(self.level), self.momentum)
            level = self.level.to(x)
        return ternarise(x, level, self.surrogate, self.steepness)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        names = ("ratio", "threshold", "momentum", "surrogate", "steepness")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        """Return the arguments, for `repr`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items())


class GSU(torch.nn.Module):
    """The gated spiking unit: [T, B, width] to [T, B, features].

    `weight` [features, width] is W; `bias` is b, `gate_bias` c. The arguments after `features` are
    those of `Ternary`; ratio serves x and W, whose threshold is always that of its own maximum.
    Raises InputError E105 for values that are not known, E106 for another shape.
    """

    def __init__(self, width: int, features: int | None = None, **ternary: Any) -> None:
        super().__init__()
        self.width, self.features = width, width if features is None else features
        require_sizes(self, width=self.width, features=self.features)
        self.ternary = Ternary(**ternary)
        bound = self.width**-0.5
        self.weight = torch.nn.Parameter(torch.empty(self.features, width).uniform_(-bound, bound))
        self.bias = torch.nn.Parameter(torch.empty(self.features).uniform_(-bound, bound))
        self.gate_bias = torch.nn.Parameter(torch.empty(self.features).uniform_(-bound, bound))

    def ternary_weight(self) -> Tensor:
        """Return Ter(W) [features, width]; its gradient goes straight through to W."""
        return ternarise(self.weight, self.ternary.ratio * self.weight.detach().abs().amax())

    def forward(self, x: Tensor) -> Tensor:
        """Return (Ter(x) W + b) * (x Ter(W) + c), [T, B, features]."""
        if x.dim() != 3 or x.shape[-1] != self.width:
            what = f"GSU got {x.dtype} of shape {list(x.shape)}"
            raise InputError("E106", what, fix=f"give floats of shape [T, B, {self.width}]")
        linear = torch.nn.functional.linear
        value = linear(self.ternary(x), self.weight, self.bias)
        return value * linear(x, self.ternary_weight(), self.gate_bias)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {"width": self.width, "features": self.features, **self.ternary.config()}
