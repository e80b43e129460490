r"""The trainable reading of a step, and the plain loop over it.

Forward it computes what `Real` computes. Backward, a spike s = (v >= threshold) has the derivative

    ds/dm = surrogate(m),    m = unit (v - threshold)

with the margin m in the model's own membrane (`NeuronSpec.unit`), so the steepness means the same
for every channel. Value, threshold and unit all receive their part, and nothing is detached: a
reset passes gradient through its spike. `scan.py` is the same function, compiled; this loop is
what it is tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.kernels.surrogates import SURROGATES
from neurodeploy.neurons import NeuronSpec
from neurodeploy.neurons.spec import over_batch


@dataclass(frozen=True)
class Surrogate:
    """Reading over torch tensors, with a surrogate derivative where a spike has none.

    unit: membrane per unit of folded state, a tensor that broadcasts to the states, or a float.
    surrogate, steepness: one of `kernels.surrogates.SURROGATES`, and its `a` [1 / membrane].
    """

    unit: Any = 1.0
    surrogate: str = "arctan"
    steepness: float = 2.0

    def mul(self, coef: Any, value: Any) -> Any:
        """Multiply."""
        return coef * value

    def write(self, value: Any) -> Any:
        """Keep the value: real registers have no edge."""
        return value

    def spike(self, value: Any, threshold: Any, compare: str) -> Any:
        """Compare; the result is 0 or 1 in the type of `value`."""
        threshold, unit = (torch.as_tensor(part).to(value) for part in (threshold, self.unit))
        run: Any = _Spike.apply
        return run(value, threshold, unit, compare, self.surrogate, self.steepness)

    def count(self, value: Any, threshold: Any) -> Any:
        """Divide, and drop what is left: a step at every whole threshold."""
        threshold, unit = (torch.as_tensor(part).to(value) for part in (threshold, self.unit))
        run: Any = _Count.apply
        return run(value, threshold, unit, self.surrogate, self.steepness)

    def times(self, number: Any, amount: Any) -> Any:
        """Multiply."""
        return number * amount

    def largest(self, a: Any, b: Any) -> Any:
        """Choose element by element; where both are equal, the first."""
        return torch.where(a >= b, a, b)

    def select(self, condition: Any, yes: Any, no: Any) -> Any:
        """Choose element by element; the condition is a spike, and receives gradient too."""
        yes, no = (torch.as_tensor(part).to(condition) for part in (yes, no))
        run: Any = _Select.apply
        return run(condition, yes, no)

    def read(self, table: Any) -> Any:
        """Return the row."""
        return table

    def total(self, value: Any) -> Any:
        """Sum over the modes."""
        return value.sum(0)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        threshold: Tensor,
        unit: Tensor,
        compare: str,
        surrogate: str,
        steepness: float,
    ) -> Tensor:
        ctx.save_for_backward(value, threshold, unit)
        ctx.surrogate, ctx.steepness = surrogate, steepness
        fires = value >= threshold if compare == ">=" else value > threshold
        return fires.to(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        value, threshold, unit = ctx.saved_tensors
        gap = value - threshold
        steepness = value.new_tensor(ctx.steepness)
        slope = grad * SURROGATES[ctx.surrogate](unit * gap, steepness)
        flow = slope * unit
        return (
            flow.sum_to_size(value.shape),
            -flow.sum_to_size(threshold.shape),
            (slope * gap).sum_to_size(unit.shape),
            None,
            None,
            None,
        )


class _Count(torch.autograd.Function):
    """Whole thresholds in a value; of the steps at all of them, backward takes the nearest."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, threshold: Tensor, unit: Tensor, surrogate: str, steepness: float
    ) -> Tensor:
        ctx.save_for_backward(value, threshold, unit)
        ctx.surrogate, ctx.steepness = surrogate, steepness
        return (value / threshold).floor().clamp(min=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        value, threshold, unit = ctx.saved_tensors
        level = (value / threshold + 0.5).floor().clamp(min=1)
        gap = value - level * threshold
        slope = grad * SURROGATES[ctx.surrogate](unit * gap, value.new_tensor(ctx.steepness))
        return (
            (slope * unit).sum_to_size(value.shape),
            -(slope * level * unit).sum_to_size(threshold.shape),
            (slope * gap).sum_to_size(unit.shape),
            None,
            None,
        )


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
        ctx.save_for_backward(condition, yes, no)
        return torch.where(condition != 0, yes, no)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        condition, yes, no = ctx.saved_tensors
        chosen, zero = condition != 0, torch.zeros_like(grad)
        return (
            (grad * (yes - no)).sum_to_size(condition.shape),
            torch.where(chosen, grad, zero).sum_to_size(yes.shape),
            torch.where(chosen, zero, grad).sum_to_size(no.shape),
        )


def sequential(
    spec: NeuronSpec,
    options: Mapping[str, Any],
    coefs: Any,
    unit: Any,
    x: Tensor,
    surrogate: str = "arctan",
    steepness: float = 2.0,
    reverse: bool = False,
    heard: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Run `spec.step` over the input x [T, B, N], step by step; return its outputs [T, B, N].

    `coefs` (folded coefficients) and `unit` broadcast to [N], tables to [T, N] or more rows, those
    with modes to [modes, N]. With
    `reverse` the steps run from the last to the first; outputs stand in the input's order all the
    same. `heard` gives what the output of the step before (zeros at first) adds to the input.
    """
    drive = None if heard is None else lambda row, out: row + heard(out)
    reading = Surrogate(unit, surrogate, steepness)
    return looped(reading, spec, options, coefs, x, reverse=reverse, drive=drive)


def looped(
    reading: Surrogate,
    spec: NeuronSpec,
    options: Mapping[str, Any],
    coefs: Any,
    x: Tensor,
    *,
    reverse: bool = False,
    drive: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Run `spec.step` under a reading, as `sequential` does.

    drive(row, sent) makes the input of a step of a row of x and what was sent the step before.
    """
    modes, coefs = spec.modes(coefs._asdict()), over_batch(spec, coefs)
    rest = x.new_zeros(spec.rows(spec.state._fields, modes), *x.shape[1:])
    state = spec.parts(spec.state, rest, modes)
    rows, out = [], torch.zeros_like(x[0])
    for t, row in enumerate(x.flip(0) if reverse else x):
        given = row if drive is None else drive(row, out)
        out, state = spec.step(reading, spec.at(coefs, t), state, given, options)
        rows.append(out)
    y = torch.stack(rows)
    return y.flip(0) if reverse else y
