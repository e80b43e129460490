"""Torch's LSTM as operations of a graph: per layer and direction a Linear, for gates, and an Lstm.

    lstm.0.gates, lstm.0, lstm.1.gates, lstm.1, ...     and with `bidirectional`, also
    lstm.0.reverse.gates, lstm.0.reverse, lstm.0.both

torch keeps two biases per layer; the graph has their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neurodeploy.graph.ir import Concat, Linear, Op
from neurodeploy.graph.nonlinear import Lstm

Add = Callable[[str, Op, list[str]], str]


@dataclass(frozen=True)
class Final:
    """Where the last output of a layer comes from, as in torch's h_n."""

    name: str
    reverse: bool


def unsupported(module: torch.nn.LSTM) -> tuple[str, str] | None:
    """Return what keeps an LSTM from being read, and the fix; None if nothing does."""
    if module.batch_first:
        return "an LSTM that takes [B, T, C]", "build it with batch_first=False, and give [T, B, C]"
    if module.proj_size:
        return "an LSTM with projections", "build it with proj_size=0, and put a Linear behind it"
    return None


def layers(
    module: torch.nn.LSTM, path: str, source: str, add: Add
) -> tuple[str, tuple[Final, ...]]:
    """Add the nodes of an LSTM that reads node `source`; return the last, and the final outputs."""
    finals: list[Final] = []
    for layer in range(module.num_layers):
        sides = []
        for reverse in (False, True)[: 1 + module.bidirectional]:
            at = f"{path}.{layer}{'.reverse' if reverse else ''}"
            gates, cell = _ops(module, layer, reverse)
            sides.append(add(at, cell, [add(f"{at}.gates", gates, [source])]))
            finals.append(Final(sides[-1], reverse))
        source = sides[0] if len(sides) == 1 else add(f"{path}.{layer}.both", Concat(), sides)
    return source, tuple(finals)


def _ops(module: torch.nn.LSTM, layer: int, reverse: bool) -> tuple[Linear, Lstm]:
    ending = f"_l{layer}{'_reverse' if reverse else ''}"

    def values(name: str) -> Any:
        return np.asarray(getattr(module, name + ending).detach().cpu().numpy(), np.float64)

    weight = values("weight_ih")
    bias = values("bias_ih") + values("bias_hh") if module.bias else np.zeros(len(weight))
    return Linear(weight, bias), Lstm(values("weight_hh"), reverse)
