"""Long short-term memory, the baseline without spikes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurodeploy.nn.arguments import require_flags, require_sizes


class LSTM(torch.nn.LSTM):
    """torch's LSTM from [T, B, inputs] to its outputs [T, B, width], or twice as wide, both ways.

    It returns the outputs alone, so that it stands in a Sequential. Raises InputError E105 for
    sizes that are none.
    """

    def __init__(
        self, inputs: int, width: int, layers: int = 1, *, bidirectional: bool = False
    ) -> None:
        require_sizes(self, inputs=inputs, width=width, layers=layers)
        require_flags(self, bidirectional=bidirectional)
        sizes = int(inputs), int(width), int(layers)  # torch takes no numbers of numpy here
        super().__init__(*sizes, bidirectional=bidirectional)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return the outputs of the last layer at every step."""
        outputs: Tensor = super().forward(x)[0]
        return outputs

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        sizes = {"inputs": self.input_size, "width": self.hidden_size, "layers": self.num_layers}
        return {**sizes, "bidirectional": self.bidirectional}
