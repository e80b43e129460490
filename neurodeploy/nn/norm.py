"""Batch normalisation over steps and batch, compiled for [T, B, N].

    y = weight (x - mean) / sqrt(var + eps) + bias

with the mean and (biased) variance of each channel over all T x B values. torch's own kernels
expect channels before positions; on this layout they are several times slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.kernels.threads import share


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (y [T, B, N], mean [N], variance [N]) for x [T, B, N]; only y carries gradient.

    Compiled for float32 and float64 on the CPU, plain torch elsewhere.
    """
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        run: Any = _Normalise.apply
        y, mean, var = run(x, weight.to(x), bias.to(x), eps)
        return y, mean, var
    var, mean = torch.var_mean(x, (0, 1), correction=0)
    y = (x - mean) * (weight * torch.rsqrt(var + eps)) + bias
    return y, mean.detach(), var.detach()


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        from neurodeploy.kernels.norm import PARTS, affine, moments

        x = x.contiguous()
        rows = _rows(x)
        sums = np.zeros((PARTS, 2, rows.shape[1]))
        share(moments, rows, rows[0], sums, samples=PARTS, **_effort(x))
        first, second = sums.sum(0) / len(rows)
        mean = (rows[0] + first).astype(rows.dtype)
        var = np.maximum(second - first * first, 0)
        inverse = 1 / np.sqrt(var + eps)
        scale = (weight.detach().numpy() * inverse).astype(rows.dtype)
        y = np.empty_like(rows)
        share(affine, rows, mean, scale, bias.detach().numpy(), y, samples=len(rows), **_effort(x))
        stats = torch.from_numpy(mean), torch.from_numpy(var.astype(rows.dtype))
        ctx.save_for_backward(x, stats[0], torch.from_numpy(scale))
        ctx.inverse = inverse
        ctx.mark_non_differentiable(*stats)
        return torch.from_numpy(y).view(x.shape), *stats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        from neurodeploy.kernels.norm import PARTS, gradient, products

        x, mean, scale = ctx.saved_tensors
        rows, g, inverse = _rows(x), _rows(grad), ctx.inverse
        mean, scale = mean.numpy(), scale.numpy()
        sums = np.zeros((PARTS, 2, rows.shape[1]))
        share(products, rows, mean, g, sums, samples=PARTS, **_effort(x))
        g_bias, moment = sums.sum(0)
        slope = (-scale * inverse * inverse * moment / len(rows)).astype(rows.dtype)
        offset = (-scale * g_bias / len(rows)).astype(rows.dtype)
        g_x = np.empty_like(rows)
        parts = (mean, g, scale, slope, offset, g_x)
        share(gradient, rows, *parts, samples=len(rows), **_effort(x))
        g_weight = torch.from_numpy(moment * inverse).to(x)
        return torch.from_numpy(g_x).view(x.shape), g_weight, torch.from_numpy(g_bias).to(x), None


def _rows(x: Tensor) -> Any:
    """Return x [T, B, N] as an array [T B, N]."""
    return x.detach().contiguous().view(-1, x.shape[-1]).numpy()


def _effort(x: Tensor) -> dict[str, int]:
    return {"work": x.numel(), "threads": torch.get_num_threads()}
