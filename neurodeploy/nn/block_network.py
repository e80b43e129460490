"""Networks of equal blocks: x [T, B, inputs] to logits, the frame of the state space models."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neurodeploy.nn.arguments import require_sizes
from neurodeploy.nn.layers import Readout


class BlockNetwork(torch.nn.Module):
    """A Linear encoder, `blocks` blocks of `kind`, perhaps a norm, the readout, a classifier.

    `block` are the arguments of a block, which has a `config` of them. With readout="steps" the
    classifier runs on every step. Raises InputError E105 for sizes that are none.
    """

    kind: ClassVar[Any]

    def __init__(
        self,
        inputs: int,
        width: int,
        blocks: int,
        classes: int,
        *,
        readout: str = "mean",
        **block: Any,
    ) -> None:
        super().__init__()
        require_sizes(self, inputs=inputs, width=width, blocks=blocks, classes=classes)
        self.encoder = torch.nn.Linear(inputs, width)
        self.blocks = torch.nn.ModuleList(self.kind(width, **block) for _ in range(blocks))
        self.norm = self.norm_behind(self.blocks[0], width)
        self.readout = Readout(readout)
        self.classifier = torch.nn.Linear(width, classes)

    def norm_behind(self, block: Any, width: int) -> torch.nn.Module | None:  # noqa: ARG002
        """Return the norm behind the last of blocks like `block`, or None."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [B, classes], or [T, B, classes] for readout="steps"."""
        u = self.encoder(x)
        for block in self.blocks:
            u = block(u)
        if self.norm is not None:
            u = self.norm(u)
        logits: Tensor = self.classifier(self.readout(u))
        return logits

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        block: Any = self.blocks[0]
        return {
            "inputs": self.encoder.in_features,
            "blocks": len(self.blocks),
            "classes": self.classifier.out_features,
            "readout": self.readout.kind,
            **block.config(),
        }
