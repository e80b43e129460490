"""Delays of whole steps, one for all channels or one for each; they are not trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neurodeploy.errors import InputError
from neurodeploy.graph.delay import LONGEST
from neurodeploy.nn.arguments import invalid, require_sizes, whole, wholes


class Delay(torch.nn.Module):
    """y[t] = x[t - steps] of x [T, B, width], zeros before; a delayed spike is a spike.

    steps: a whole number, or one per channel. Raises InputError E105 for other numbers, E106 for
    inputs of another shape.
    """

    def __init__(self, width: int, steps: int | Sequence[int] = 1) -> None:
        super().__init__()
        require_sizes(self, width=width)
        fix = f"one number of steps, or one per channel, from 0 to {LONGEST}"
        every = wholes(self, "steps", steps, fix)
        if not 0 <= min(every) <= max(every) <= LONGEST or len(every) not in (1, width):
            raise invalid(self, f"width {width}, steps {steps}", fix)
        self.width, self.steps = width, every[0] if whole(steps) else every

    def forward(self, x: Tensor) -> Tensor:
        """Return x, later, [T, B, width]."""
        if x.dim() != 3 or x.shape[-1] != self.width:
            what = f"Delay got {x.dtype} of shape {list(x.shape)}"
            raise InputError("E106", what, fix=f"give floats of shape [T, B, {self.width}]")
        steps = torch.as_tensor(self.steps, device=x.device).expand(self.width)
        longest = int(steps.max())
        whole = torch.cat([x.new_zeros(longest, *x.shape[1:]), x])
        rows = torch.arange(len(x), device=x.device)[:, None, None] + (longest - steps)
        return whole.gather(0, rows.expand(x.shape))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {"width": self.width, "steps": self.steps}

    def extra_repr(self) -> str:
        """Return width and steps, for `repr`."""
        return f"{self.width}, steps={self.steps}"
