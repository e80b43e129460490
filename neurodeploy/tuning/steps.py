"""Integer neurons over a whole sequence: compiled, and as the loop that this is tested against.

Coefficients are real, [N], [T, N] or [modes, N]: dimensionless ones are multiples of 2^-coef_frac,
the others whole numbers. Where neurons hear themselves, x and `heard` [N, N] are on the scale of
the state, with a fraction where that is coarser than the current's: it is dropped from their sum,
before the bias [N] is added. All receive gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.arith import Fixed
from neurodeploy.nn.scan import compiled
from neurodeploy.nn.surrogate import looped
from neurodeploy.program.ir import Population
from neurodeploy.tuning.reading import Quantized

Heard = tuple[Tensor, Tensor]  #: recurrent weights [receivers, senders], and bias


def steps(
    node: Population,
    fixed: Fixed,
    coefs: Any,
    x: Tensor,
    surrogate: str,
    steepness: float,
    heard: Heard | None = None,
) -> Tensor:
    """Return what neurons of a program send, whole numbers [T, B, N], for x [T, B, N]."""
    unit = torch.tensor(node.unit)
    how = (surrogate, steepness, node.reverse)
    extra = (unit, torch.ones_like(unit))
    return compiled(node.model, node.options, coefs, extra, x, how, heard, fixed)


def sequential(
    node: Population,
    fixed: Fixed,
    coefs: Any,
    x: Tensor,
    surrogate: str,
    steepness: float,
    heard: Heard | None = None,
) -> Tensor:
    """Return what `steps` returns, by the plain loop over the model's `step`: the reference."""
    reading = Quantized(torch.tensor(node.unit), surrogate, steepness, fixed)

    def drive(row: Tensor, sent: Tensor) -> Tensor:
        if heard is None:
            return row
        weight, bias = heard
        return placed(row + sent @ weight.T, 1.0, bias, fixed)

    how: Any = {"reverse": node.reverse, "drive": drive}
    return looped(reading, node.model, node.options, coefs, x, **how)


class _Placed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, factor: Tensor, bias: Tensor, fixed: Fixed) -> Tensor:
        ctx.save_for_backward(factor)
        moved = current * factor
        if fixed.rounding == "nearest":
            moved += 0.5
        cut = moved.trunc_ if fixed.rounding == "toward_zero" else moved.floor_
        return cut().add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (factor,) = ctx.saved_tensors
        return grad * factor, None, grad.flatten(0, -2).sum(0), None


def placed(current: Tensor, factor: Any, bias: Tensor, fixed: Fixed) -> Tensor:
    """Return currents [..., N] at the scale of the state: times `factor`, a fraction dropped.

    Plus bias [N]; the gradient of what is dropped goes straight through.
    """
    run: Any = _Placed.apply
    moved: Tensor = run(current, torch.as_tensor(factor), bias, fixed)
    return moved
