"""Layers over [T, B, N] that are not neurons."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurodeploy.errors import InputError
from neurodeploy.nn.arguments import number, require_choice, require_sizes, within
from neurodeploy.nn.norm import normalise

READOUTS = ("mean", "sum", "last", "rate", "steps")


class BatchNorm(torch.nn.BatchNorm1d):
    """Normalise each channel of [T, B, width] over steps and batch; affine, as torch does it.

    With `positions`, the channels are maps of so many values each, and x is [T, B, width *
    positions]: a map is normalised as a whole, as torch.nn.BatchNorm2d does it.

    y = weight (x - mean) / sqrt(var + eps) + bias, with the batch's statistics in training
    (`running_*` follow by `momentum`, None: the plain average) and the running ones otherwise.
    Raises InputError E105 for sizes that are none, eps < 0 or a momentum outside of [0, 1].
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, width: int, eps: float = 1e-5, momentum: float | None = 0.1, positions: int = 1
    ) -> None:
        require_sizes(self, width=width, positions=positions)
        eps = within(self, "eps", eps, 0)
        momentum = None if momentum is None else within(self, "momentum", momentum, 0, 1)
        super().__init__(width, eps=eps, momentum=momentum)
        self.positions = positions
        self.follows = True  # not while a batch that was seen before is computed again

    @property
    def width(self) -> int:
        """The values of a step."""
        return self.num_features * self.positions

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, of its shape.

        Raises InputError E106 for another shape, or in training for a single value per channel.
        """
        x = input
        if x.dim() != 3 or x.shape[-1] != self.width or not len(x):
            what = f"BatchNorm got {x.dtype} of shape {list(x.shape)}"
            raise InputError("E106", what, fix=f"give floats of shape [T, B, {self.width}]")
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            offset = self.bias - self.running_mean * scale
            return torch.addcmul(self._each(offset), x, self._each(scale))
        count = x.shape[0] * x.shape[1] * self.positions
        if count < 2:
            what = "BatchNorm in training got a single value per channel"
            raise InputError("E106", what, fix="give more steps or samples, or call .eval()")
        y, mean, var = self._normalise(x)
        if self.follows:
            self._follow(mean, var * count / (count - 1))
        return y

    def _each(self, values: Tensor) -> Tensor:
        """Return values [width] for every position, [width * positions]."""
        return values.repeat_interleave(self.positions)

    def _normalise(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `normalise` does, of maps."""
        if self.positions == 1:
            return normalise(x, self.weight, self.bias, self.eps)
        maps = x.reshape(-1, self.num_features, self.positions).transpose(1, 2)
        y, mean, var = normalise(maps, self.weight, self.bias, self.eps)
        return y.transpose(1, 2).reshape(x.shape), mean, var

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        self.num_batches_tracked += 1
        rate = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), rate)
        self.running_var.lerp_(var.to(self.running_var), rate)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {"eps": self.eps, "momentum": self.momentum, "positions": self.positions}
        return {"width": self.num_features, **own}


class Readout(torch.nn.Module):
    """Reduce the time axis: [T, B, N] to [B, N] by "mean", "sum", "last" or "rate".

    "rate" is the mean of spikes, and for them only: a network where anything else comes in is
    refused when it is traced. "steps" keeps the time axis. Raises InputError E105 for another kind.
    """

    def __init__(self, kind: str = "mean") -> None:
        super().__init__()
        require_choice(self, "readout", kind, READOUTS)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Return the reduced x, [B, N], or x itself for "steps"."""
        if self.kind == "steps":
            return x
        if self.kind == "last":
            return x[-1]
        total = x.sum(0)
        return total if self.kind == "sum" else total / len(x)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {"kind": self.kind}

    def extra_repr(self) -> str:
        """Return the kind, for `repr`."""
        return self.kind


class Embedding(torch.nn.Embedding):
    """Vectors for tokens: ids x [T, B, 1], of any type, to [T, B, width]; nothing (-1) is zeros.

    It reads a network's input, and deploys as a Linear on one-hot spikes. Raises InputError E105
    for sizes that are none.
    """

    def __init__(self, tokens: int, width: int) -> None:
        require_sizes(self, tokens=tokens, width=width)
        super().__init__(tokens, width)

    def forward(self, input: Tensor) -> Tensor:
        """Return the vectors; raises InputError E106 for another shape, or what is no id."""
        ids = input[..., 0].long() if input.dim() == 3 and input.shape[2] == 1 else None
        top = self.num_embeddings - 1
        whole = ids is not None and torch.equal(ids.to(input), input[..., 0])
        if ids is None or not whole or (ids.numel() and not -1 <= ids.min() <= ids.max() <= top):
            what = f"Embedding got {input.dtype} of shape {list(input.shape)}"
            raise InputError("E106", what, fix=f"give ids [T, B, 1] from 0 to {top}, or -1")
        return super().forward(ids.clamp(min=0)) * (ids >= 0).unsqueeze(-1)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {"tokens": self.num_embeddings, "width": self.embedding_dim}


class Scale(torch.nn.Module):
    """Multiply [T, B, width] by a fixed number, `gain`; InputError E105 for what is none."""

    def __init__(self, width: int, gain: float = 1.0) -> None:
        super().__init__()
        require_sizes(self, width=width)
        self.width, self.gain = width, number(self, "gain", gain)

    def forward(self, x: Tensor) -> Tensor:
        """Return gain * x, [T, B, width]."""
        return x if self.gain == 1 else x * self.gain

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {"width": self.width, "gain": self.gain}

    def extra_repr(self) -> str:
        """Return width and gain, for `repr`."""
        return f"{self.width}, gain={self.gain}"


def dropout_of(owner: object, share: float) -> torch.nn.Dropout | None:
    """Return what drops that share of values in training, None for 0; InputError E105 for others.

    owner: the module that is being built with it, which the error names.
    """
    share = within(owner, "dropout", share, 0, 1)
    return torch.nn.Dropout(share) if share else None
