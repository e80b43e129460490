"""Integer neurons over a whole sequence, compiled: the fast form of `reading.Quantized`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.arith import Fixed
from neurodeploy.kernels.threads import share
from neurodeploy.kernels.train import STRIDE
from neurodeploy.kernels.tune import tune_kernels
from neurodeploy.program.ir import Population
from neurodeploy.tuning.reading import Quantized

Drive = Callable[[Tensor, Tensor], Tensor]


def steps(
    node: Population, fixed: Fixed, coefs: Tensor, x: Tensor, surrogate: str, steepness: float
) -> Tensor:
    """Return what neurons of a program send, whole numbers [T, B, N], for x [T, B, N].

    x: currents on the state's scale, bias included; coefs [coefs, N], those of the step in order:
    whole numbers in float64, both of which receive gradients.
    """
    run: Any = _Steps.apply
    out: Tensor = run(x, coefs, node, fixed, surrogate, steepness)
    return out


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        coefs: Tensor,
        node: Population,
        fixed: Fixed,
        surrogate: str,
        steepness: float,
    ) -> Tensor:
        options = tuple(sorted(node.options.items()))
        ctx.kernels = tune_kernels(node.spec, options, fixed, surrogate)
        ctx.node, ctx.steepness, ctx.shape = node, float(steepness), x.shape
        count, lanes = len(x), x.shape[1] * x.shape[2]
        states = len(node.model.state._fields)
        inputs = _integers(x).reshape(count, lanes)
        k = np.tile(_integers(coefs), (1, x.shape[1]))
        z = np.zeros((states, lanes), np.int64)
        saved = np.empty((states, -(-count // STRIDE), lanes), np.int64)
        out = np.empty((count, lanes), np.int64)
        arrays = (inputs, k, z, out, saved, node.reverse)
        share(ctx.kernels[0], *arrays, samples=lanes, work=x.numel())
        ctx.arrays = inputs, k, saved
        return torch.from_numpy(out.reshape(x.shape)).to(torch.float64)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        inputs, k, saved = ctx.arrays
        _, batch, width = ctx.shape
        unit = np.tile(np.asarray(ctx.node.unit, np.float64), batch)
        g_outs = np.ascontiguousarray(grad.numpy()).reshape(inputs.shape)
        g_z, g_x = np.zeros((len(saved), batch * width)), np.empty(inputs.shape)
        g_k = np.zeros(k.shape)
        arrays = (g_outs, inputs, k, unit, saved, ctx.steepness, g_z, g_x, g_k, ctx.node.reverse)
        share(ctx.kernels[1], *arrays, samples=batch * width, work=inputs.size)
        g_coefs = g_k.reshape(len(k), batch, width).sum(1)
        return torch.from_numpy(g_x.reshape(ctx.shape)), torch.from_numpy(g_coefs), *[None] * 4


def _integers(values: Tensor) -> Any:
    return np.ascontiguousarray(values.detach().numpy().astype(np.int64))


def sequential(
    node: Population,
    fixed: Fixed,
    coefs: Tensor,
    x: Tensor,
    surrogate: str,
    steepness: float,
    drive: Drive = lambda row, sent: row,
) -> Tensor:
    """Return what `steps` returns, by the plain loop over the model's `step`: the reference.

    drive(row, sent) makes the input of a step from a row of x and from what was sent before.
    """
    spec = node.model
    reading = Quantized(torch.as_tensor(node.unit), surrogate, steepness, fixed)
    state = spec.state(*(torch.zeros_like(x[0]) for _ in spec.state._fields))
    rows, out = [], torch.zeros_like(x[0])
    for row in x.flip(0) if node.reverse else x:
        out, state = spec.step(reading, spec.coefs(*coefs), state, drive(row, out), node.options)
        rows.append(out)
    y = torch.stack(rows)
    return y.flip(0) if node.reverse else y
