r"""Vector operations that tuning trains: the chip's integers, differentiated as the real function.

Forward they are those of `program/vector`. Backward, what is sent has the gradient of

    y(u c + b) / unit        c: an operand's current; u, b: what one is worth, and what is added

with y the real operation: formats, tables, roots and registers go straight through. So does a
ternary value, as in training (`nn/ternary.py`): its gradient is that of what it was made from; and
a value on a grid, within the ends of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.graph.delay import Delay
from neurodeploy.graph.nonlinear import (
    Gelu,
    Glu,
    LayerNorm,
    Lstm,
    Product,
    Quantize,
    Relu,
    Rescale,
    Ternary,
    VectorOp,
)
from neurodeploy.kernels.threads import each_part
from neurodeploy.program import ir
from neurodeploy.program.vector import over_time, registers, run, step
from neurodeploy.tuning.reading import straight

_PART = 1 << 15  # elements of an operand that are mapped at once: they stay in a near cache


@dataclass(frozen=True, eq=False)
class Operand:
    """A current, integers [T, B, width]; what one is worth, and what is added, [width]."""

    current: Tensor
    unit: Tensor
    bias: Tensor

    def real(self, current: Tensor) -> Tensor:
        """Return what a current stands for."""
        return torch.addcmul(self.bias, current, self.unit)


def values(
    op: VectorOp, node: ir.Vector, operands: Sequence[Operand], again: Sequence[Tensor]
) -> Tensor:
    """Return what a vector operation sends, whole numbers [T, B, width].

    again: for each operand, the integer weights [width, width] of what was sent the step before, if
    it hears itself.
    """
    if isinstance(op, Lstm):
        return _lstm(node, operands, again)
    exact = REAL[type(op)](op, *(each.real(each.current) for each in operands))
    whole = _waited(node, operands[0]) if isinstance(op, Delay) else _mapped(node, operands)
    return straight(exact / torch.tensor(node.unit), whole)


def _mapped(node: ir.Vector, operands: Sequence[Operand]) -> Tensor:
    """Return the integers of an operation without memory."""
    currents = [each.current.detach().numpy() for each in operands]
    out = np.empty(currents[0].shape)

    def part(first: int, last: int) -> None:
        out[first:last] = run(node, [each[first:last].astype(np.int64) for each in currents])[0]

    row = out[0].size
    each_part(part, len(out), most=max(1, _PART // row), work=out.size)
    return torch.from_numpy(out)


def _lstm(node: ir.Vector, operands: Sequence[Operand], again: Sequence[Tensor]) -> Tensor:
    """Return what an LSTM sends, step after step."""
    unit, fraction = torch.tensor(node.unit), 2.0 ** -int(node.params["cell_fraction"])
    sent = cell = torch.zeros_like(operands[0].current[0])
    registers: Any = [np.zeros(sent.shape, np.int64)]
    rows, steps = [], range(len(operands[0].current))
    for t in reversed(steps) if node.reverse else steps:
        heard = [sent @ weight.T for weight in again]
        currents = [each.current[t] + own for each, own in zip(operands, heard, strict=True)]
        whole = [each.detach().numpy().astype(np.int64) for each in currents]
        y, registers, _ = step(node, registers, whole)
        i, f, g, o = (each.real(c) for each, c in zip(operands, currents, strict=True))
        held = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        cell = straight(held, torch.from_numpy(registers[0] * fraction))
        sent = straight(o.sigmoid() * cell.tanh() / unit, torch.from_numpy(y).to(cell))
        rows.append(sent)
    return torch.stack(rows[::-1] if node.reverse else rows)


def _waited(node: ir.Vector, operand: Operand) -> Tensor:
    """Return the integers that a delay sends."""
    current = operand.current.detach().numpy().astype(np.int64)
    line = np.zeros((len(registers(node)), *current.shape[1:]), np.int64)
    return torch.from_numpy(over_time(node, line, current)[0]).to(operand.current)


def _late(op: Delay, x: Tensor) -> Tensor:
    """Return x [T, B, width], each channel its own steps later."""
    steps, longest = torch.from_numpy(op.steps).long(), op.longest
    whole = torch.cat([x.new_zeros(longest, *x.shape[1:]), x])
    rows = torch.arange(len(x))[:, None, None] + (longest - steps)
    return whole.gather(0, rows.expand(x.shape))


def _gelu(op: Gelu, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh" if op.form == "tanh" else "none")


def _layernorm(op: LayerNorm, x: Tensor) -> Tensor:
    """Normalise; gain and bias are folded into what follows."""
    return functional.layer_norm(x, x.shape[-1:], eps=op.eps)


#: The real operations, of their operands.
REAL: dict[type[VectorOp], Callable[..., Tensor]] = {
    LayerNorm: _layernorm,
    Gelu: _gelu,
    Relu: lambda op, x: x.relu(),
    Rescale: lambda op, x: x,
    Delay: _late,
    Quantize: lambda op, x: x.clamp(op.low * op.scale, op.high * op.scale),
    Glu: lambda op, x, gate: x * gate.sigmoid(),
    Product: lambda op, a, b: a * b,
    Ternary: lambda op, x: x,
}
