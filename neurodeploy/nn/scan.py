"""A neuron over a whole sequence, compiled: the fast form of `surrogate.sequential`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.arith import Fixed
from neurodeploy.kernels import train_kernels
from neurodeploy.kernels.threads import share
from neurodeploy.kernels.train import EXTRA, STRIDE, pitch
from neurodeploy.neurons import NeuronSpec
from neurodeploy.nn.surrogate import sequential

_COMPILED: dict[torch.dtype, Any] = {
    torch.float32: np.dtype("float32"),
    torch.float64: np.dtype("float64"),
}


def scan(
    spec: NeuronSpec,
    options: Mapping[str, Any],
    coefs: Any,
    unit: Any,
    amplitude: Any,
    x: Tensor,
    surrogate: str = "arctan",
    steepness: float = 2.0,
    reverse: bool = False,
    recurrent: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return `amplitude * sequential(...)` of the same arguments, [T, B, N] for x [T, B, N].

    Coefficients, unit and amplitude are tensors (or floats) that broadcast to [N], tables to
    [T, N] or more rows, those with modes to [modes, N]; all of them, and x, receive gradients.
    Compiled for float32 and float64 on the CPU; elsewhere it is the sequential loop, which on CUDA
    is untested here. recurrent, not with modes: weight [N, N] and bias [N], by which the output of
    the step before, amplitude included, adds to x.
    """
    k = arranged(spec, coefs, x)
    unit, amplitude = (torch.as_tensor(v).to(x).expand(x.shape[-1]) for v in (unit, amplitude))
    how = (surrogate, steepness, reverse)
    if x.device.type == "cpu" and x.dtype in _COMPILED:
        return compiled(spec, options, k, (unit, amplitude), x, how, recurrent)
    heard = None if recurrent is None else hearing(*recurrent, amplitude)
    out: Tensor = amplitude * sequential(spec, options, k, unit, x, *how, heard)
    return out


def compiled(
    spec: NeuronSpec,
    options: Mapping[str, Any],
    k: Any,
    extra: tuple[Tensor, Tensor],
    x: Tensor,
    how: tuple[str, float, bool],
    recurrent: tuple[Tensor, Tensor] | None = None,
    fixed: Fixed | None = None,
) -> Tensor:
    """Return what `scan` returns, by `train_kernels`, for coefficients k as `arranged`.

    extra: unit and amplitude, [N]; how: surrogate, steepness, reverse. With `fixed`, all are whole
    numbers as `train_kernels` says, in float64.
    """
    step = spec.traced(options)
    rows = [*(getattr(k, name) for name in step.coefs), *extra]
    tables = [getattr(k, name)[: len(x)] for name in step.tables]
    table = torch.stack(tables) if tables else x.new_empty(0, 0, x.shape[-1])
    run: Any = _Scan.apply if recurrent is None else _RecurrentScan.apply
    out: Tensor = run(x, torch.vstack(rows), table, *(recurrent or ()), spec, options, *how, fixed)
    return out


def arranged(spec: NeuronSpec, coefs: Any, x: Tensor) -> Any:
    """Return coefficients as tensors of the type of x: [N], and tables [T, N]."""

    def shaped(name: str, value: Any) -> Tensor:
        tensor = torch.as_tensor(value).to(x)
        if name in spec.modal:
            return tensor.expand(len(tensor), x.shape[-1])
        if name not in spec.tables:
            return tensor.expand(x.shape[-1])
        return tensor.expand(len(tensor) if tensor.dim() else 0, x.shape[-1])

    return spec.coefs(**{name: shaped(name, v) for name, v in coefs._asdict().items()})


def hearing(weight: Tensor, bias: Tensor, amplitude: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what neurons hear of the output that was sent, before its amplitude."""
    return lambda out: torch.nn.functional.linear(amplitude * out, weight, bias)


class _Scan(torch.autograd.Function):
    """x [T, B, N], k [rows of coefs + 2, N] and tables [tables, T, N] in, outputs [T, B, N] out.

    See `train_kernels`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        k: Tensor,
        tables: Tensor,
        spec: NeuronSpec,
        options: Mapping[str, Any],
        surrogate: str,
        steepness: float,
        reverse: bool,
        fixed: Fixed | None,
    ) -> Tensor:
        dtype = _COMPILED[x.dtype]
        key = (spec.name, tuple(sorted(options.items())), surrogate, dtype.name)
        ctx.kernels, ctx.how = train_kernels(*key, fixed=fixed), (dtype.type(steepness), reverse)
        steps, lanes = len(x), x.shape[1] * x.shape[2]
        states = spec.rows(spec.state._fields, spec.modes_of(len(k) - len(EXTRA)))
        x = x.contiguous()
        z = np.zeros((states, pitch(lanes)), dtype)
        saved = np.empty((states, -(-steps // STRIDE), pitch(lanes)), dtype)
        out = np.empty((steps, lanes), dtype)
        arrays = (_lanes(x), _tiled(k, lanes), _array(tables), z, out, saved)
        share(ctx.kernels[0], *arrays, reverse, samples=lanes, **_effort(x))
        ctx.save_for_backward(x, k, tables, torch.from_numpy(saved))
        return torch.from_numpy(out).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, k, tables, saved = ctx.saved_tensors
        steepness, reverse = ctx.how
        _, batch, width = x.shape
        inputs, tiled = _lanes(x), _tiled(k, batch * width)
        g_z = np.zeros((len(saved), tiled.shape[1]), tiled.dtype)
        g_x, g_k = np.empty_like(inputs), np.zeros_like(tiled)
        g_tables = np.empty((len(tables), *inputs.shape), tiled.dtype)
        given = (_lanes(grad), inputs, tiled, _array(tables), saved.numpy(), steepness)
        arrays = (*given, g_z, g_x, g_k, g_tables)
        share(ctx.kernels[1], *arrays, reverse, samples=batch * width, **_effort(x))
        g_rows = g_k[:, : batch * width].reshape(len(k), batch, width).sum(1, dtype=np.float64)
        grads = (torch.from_numpy(g_x).view(x.shape), torch.from_numpy(g_rows).to(k))
        return *grads, _summed(g_tables, x, tables), *[None] * 6


class _RecurrentScan(torch.autograd.Function):
    """As `_Scan`, with weight [N, N] and bias [N] of what each neuron hears of all before."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        k: Tensor,
        tables: Tensor,
        weight: Tensor,
        bias: Tensor,
        spec: NeuronSpec,
        options: Mapping[str, Any],
        surrogate: str,
        steepness: float,
        reverse: bool,
        fixed: Fixed | None,
    ) -> Tensor:
        dtype = _COMPILED[x.dtype]
        key = (spec.name, tuple(sorted(options.items())), surrogate, dtype.name)
        ctx.kernels = train_kernels(*key, recurrent=True, fixed=fixed)
        ctx.how = (dtype.type(steepness), reverse)
        steps, batch, width = x.shape
        lanes, states = batch * width, len(spec.state._fields)
        z = np.zeros((states, pitch(lanes)), dtype)
        saved = np.empty((states, -(-steps // STRIDE), pitch(lanes)), dtype)
        drive, out = np.empty((steps, lanes), dtype), np.empty((steps, lanes), dtype)
        loop = (_matrix(weight.T), bias.detach().numpy(), drive)
        arrays = (*loop, _lanes(x), _tiled(k, lanes), _array(tables), z, out, saved)
        share(ctx.kernels[0], *arrays, reverse, samples=batch, **_effort(x))
        sent = torch.from_numpy(out).view(x.shape)
        kept = (torch.from_numpy(drive).view(x.shape), torch.from_numpy(saved), sent)
        ctx.save_for_backward(k, tables, weight, *kept)
        return sent

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        k, tables, weight, drive, saved, sent = ctx.saved_tensors
        steepness, reverse = ctx.how
        _, batch, width = drive.shape
        inputs, tiled = _lanes(drive), _tiled(k, batch * width)
        g_z = np.zeros((len(saved), tiled.shape[1]), tiled.dtype)
        g_x, g_k = np.empty_like(inputs), np.zeros_like(tiled)
        g_tables = np.empty((len(tables), *inputs.shape), tiled.dtype)
        given = (_matrix(weight), _lanes(grad), inputs, tiled, _array(tables), saved.numpy())
        arrays = (*given, steepness, g_z, g_x, g_k, g_tables)
        share(ctx.kernels[1], *arrays, reverse, samples=batch, **_effort(drive))
        g_rows = g_k[:, : batch * width].reshape(len(k), batch, width).sum(1, dtype=np.float64)
        g_drive = torch.from_numpy(g_x).view(drive.shape)
        after, before = (g_drive[:-1], sent[1:]) if reverse else (g_drive[1:], sent[:-1])
        g_weight = after.flatten(0, 1).T @ before.flatten(0, 1)
        g_rows, g_table = torch.from_numpy(g_rows).to(k), _summed(g_tables, drive, tables)
        return g_drive, g_rows, g_table, g_weight, g_drive.sum((0, 1)), *[None] * 6


def _matrix(weight: Tensor) -> Any:
    return weight.detach().contiguous().numpy()


def _lanes(x: Tensor) -> Any:
    """Return x [T, B, N] as an array [T, B N]."""
    return x.detach().contiguous().view(len(x), x.shape[1] * x.shape[2]).numpy()


def _summed(g_tables: Any, x: Tensor, tables: Tensor) -> Tensor:
    """Return the sum over the samples of x of what each lane gives to the tables."""
    lanes = g_tables.reshape(len(tables), *x.shape)
    return torch.from_numpy(lanes.sum(2, dtype=np.float64)).to(tables)


def _array(tables: Tensor) -> Any:
    return tables.detach().contiguous().numpy()


def _tiled(k: Tensor, lanes: int) -> Any:
    """Return k [rows, N] as an array [rows, lanes]: each lane with its own constants."""
    values = k.detach().numpy()
    tiled = np.zeros((len(values), pitch(lanes)), values.dtype)
    tiled[:, :lanes] = np.tile(values, (1, lanes // values.shape[1]))
    return tiled


def _effort(x: Tensor) -> dict[str, int]:
    return {"work": x.numel(), "threads": torch.get_num_threads()}
