r"""State spaces mixed by gated spiking units (Stan and Rhodes 2024, arXiv 2401.00955, section 4).

    y = S4D(u)   (+ S4D'(u) backwards, if bidirectional)
    z = GELU(LayerNorm(GSU(y)))
    u = norm(u + z)   or   norm(z) without residual;   with pre_norm, S4D reads norm(u)

The paper trains A, B and C of S4D-Inv, discretised bilinearly. Its sMNIST network (section 4.8)
has two such layers of 128 channels, no residual and one direction; the mean over time is
classified. Its 37.9k parameters at state 2, and 85.5k at state 64, are those of this module: per
layer, the block's norm has two parameters a channel beside those of the LayerNorm. The paper does
not say which norm that is; its LRA networks have BatchNorm but for one, the default here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neurodeploy.nn.arguments import invalid, require_choice, require_flags, require_sizes
from neurodeploy.nn.block_network import BlockNetwork
from neurodeploy.nn.layers import BatchNorm, Scale, dropout_of
from neurodeploy.nn.s4d import S4D
from neurodeploy.nn.ternary import GSU

NORMS = ("batch", "layer", None)


class GSUBlock(torch.nn.Module):
    """One layer: [T, B, width] to [T, B, width]; see the module's equations.

    state, init, discretization, dt: those of `S4D`. norm: "batch", "layer" or None, which has
    no pre_norm. `ternary` are the arguments of `Ternary` (ratio, threshold, surrogate). Raises
    InputError E105 for a value that is not known.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int = 64,
        init: str = "inv",
        discretization: str = "bilinear",
        dt: Sequence[float] = (0.001, 0.1),
        bidirectional: bool = False,
        residual: bool = False,
        norm: str | None = "batch",
        pre_norm: bool = False,
        dropout: float = 0.0,
        **ternary: Any,
    ) -> None:
        super().__init__()
        require_sizes(self, width=width)
        require_choice(self, "norm", norm, NORMS)
        flags = {"bidirectional": bidirectional, "residual": residual, "pre_norm": pre_norm}
        require_flags(self, **flags)
        if pre_norm and norm is None:
            fix = 'give norm "batch" or "layer", or pre_norm=False'
            raise invalid(self, "pre_norm without a norm", fix)
        system: Any = {"state": state, "init": init, "discretization": discretization, "dt": dt}
        self.kind, self.pre_norm, self.residual = norm, pre_norm, residual
        self.s4d = S4D(width, **system, train_b=True)
        self.s4d_reverse = (
            S4D(width, **system, train_b=True, reverse=True) if bidirectional else None
        )
        self.gsu = GSU(width, **ternary)
        self.layer_norm = torch.nn.LayerNorm(width)
        self.gelu = torch.nn.GELU()
        makers: dict[str | None, Any] = {"batch": BatchNorm, "layer": torch.nn.LayerNorm}
        self.norm = makers[norm](width) if norm else None
        self.dropout = dropout_of(self, dropout)

    def forward(self, u: Tensor) -> Tensor:
        """Return the stream after this layer, [T, B, width]."""
        x = self.norm(u) if self.norm is not None and self.pre_norm else u
        y = self.s4d(x)
        if self.s4d_reverse is not None:
            y = y + self.s4d_reverse(x)
        z: Tensor = self.gelu(self.layer_norm(self.gsu(y)))
        z = z if self.dropout is None else self.dropout(z)
        z = u + z if self.residual else z
        return z if self.norm is None or self.pre_norm else self.norm(z)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        s4d, gsu = self.s4d.config(), self.gsu.config()
        own = ("width", "state", "init", "discretization", "dt")
        return {
            **{name: s4d[name] for name in own},
            "bidirectional": self.s4d_reverse is not None,
            "residual": self.residual,
            "norm": self.kind,
            "pre_norm": self.pre_norm,
            "dropout": 0.0 if self.dropout is None else self.dropout.p,
            **{name: value for name, value in gsu.items() if name not in ("width", "features")},
        }


class GSUNetwork(BlockNetwork):
    """A whole network: x [T, B, inputs] to logits [B, classes].

    x times `input_scale`, a Linear encoder to `width`, `blocks` layers, the readout over time, a
    Linear classifier; with readout="steps", the logits of every step. `block` are the arguments of
    `GSUBlock`. GSUNetwork(1, 128, 2, 10, state=2) is the paper's for sMNIST. Raises InputError
    E105 for a value that is not known, or without layers.
    """

    kind = GSUBlock

    def __init__(
        self,
        inputs: int,
        width: int,
        blocks: int,
        classes: int,
        *,
        readout: str = "mean",
        input_scale: float = 1.0,
        **block: Any,
    ) -> None:
        super().__init__(inputs, width, blocks, classes, readout=readout, **block)
        self.scale = Scale(inputs, input_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [B, classes], or [T, B, classes] for readout="steps"."""
        return super().forward(self.scale(x))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {**super().config(), "input_scale": self.scale.gain}
