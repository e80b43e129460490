"""Fine-tune a network as the integers it will be.

Adam on the cross-entropy of the integer program's outputs, with the rate falling to zero on half a
cosine; a sample's scores are those of the readout, summed over steps where every step has one.
A step that would leave an oscillation or a membrane without decay is taken back for that channel.
Guard bits follow the network: they are set anew, on the calibration data, before each epoch. The
same seed gives the same network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from neurodeploy.errors import InputError
from neurodeploy.graph import rules
from neurodeploy.graph.interpret import checked_input
from neurodeploy.graph.ir import Array, Graph
from neurodeploy.passes.bits import Bits, coefficient_bits, weight_bits
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.lowerable import Lowerable
from neurodeploy.passes.pipeline import fold
from neurodeploy.targets import Target
from neurodeploy.tuning.network import Tuned

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recipe:
    """How to tune. rate: of Adam, in changes of a constant's own size (`constants.py`)."""

    epochs: int = 3
    rate: float = 1e-3
    batch: int = 64
    seed: int = 0
    surrogate: str = "arctan"
    steepness: float = 2.0

    def __post_init__(self) -> None:
        wrong = [f"{n} is {getattr(self, n)}" for n in ("epochs", "batch") if getattr(self, n) < 1]
        wrong += [] if 0 < self.rate < math.inf else [f"rate is {self.rate}"]
        if wrong:
            raise InputError("E105", "; ".join(wrong), fix="use numbers above 0")


def fit(
    graph: Graph,
    target: Target,
    x: Any,
    y: Any,
    *,
    calibration: Array,
    bits: Bits = None,
    coef_bits: Bits = None,
    recipe: Recipe = Recipe(),
    progress: Progress = lambda done, total: None,
) -> Graph:
    """Return the folded graph of `graph`, tuned on x [T, B, C] with labels y [B], its bits in it.

    Raises InputError E104 (what tuning does not cover), E105, E106 (data), and those of lowering.
    """
    graph = rules.check(fold(graph))
    data, labels = checked_input(graph, x), _labels(y, x)
    kept = _recorded(graph, target, bits, coef_bits)
    rng = np.random.default_rng(recipe.seed)
    ranged = Calibrate(calibration, "data")
    how: Any = {"surrogate": recipe.surrogate, "steepness": recipe.steepness}
    model = Tuned(ranged(graph), target, bits=bits, coef_bits=coef_bits, **how)
    _fits(model, data, labels)
    adam = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    parts = -(-data.shape[1] // recipe.batch)
    total = parts * recipe.epochs
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, total)
    for epoch in range(recipe.epochs):
        model.constants.set_ranges(ranged(model.graph()).ranges)
        order = rng.permutation(data.shape[1])
        for i, chosen in enumerate(np.array_split(order, parts)):
            _step(model, adam, data[:, chosen], labels[torch.from_numpy(chosen)])
            decay.step()
            progress(epoch * parts + i + 1, total)
    return replace(model.graph(), ranges={}, calibration="none", bits=kept)


def _step(model: Tuned, adam: torch.optim.Optimizer, x: Array, y: torch.Tensor) -> None:
    loss = torch.nn.functional.cross_entropy(_scores(model(x)), y)
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    last = model.constants.changes_now()
    adam.step()
    model.constants.restrain(model.sound, last)


def _scores(output: torch.Tensor) -> torch.Tensor:
    return output if output.dim() == 2 else output.sum(0)


def _recorded(graph: Graph, target: Target, bits: Bits, coef_bits: Bits) -> dict[str, int]:
    """Return the bits that a tuned graph records: of weights, and of coefficients if chosen."""
    lowered = Lowerable()(graph)
    asked = coefficient_bits(lowered, target, coef_bits)
    own = coefficient_bits(replace(lowered, bits={}), target)
    chosen = {name: count for name, count in asked.items() if count < own[name]}
    return weight_bits(lowered, target, bits) | chosen


def _labels(y: Any, x: Any) -> torch.Tensor:
    if y is None:
        raise InputError("E106", "the data has no labels", fix="give y [B], class indices")
    labels = np.asarray(y)
    if labels.shape != np.shape(x)[1:2] or not np.issubdtype(labels.dtype, np.integer):
        what = f"y has shape {labels.shape} and type {labels.dtype}, x {np.shape(x)}"
        raise InputError("E106", what, fix="give y [B], class indices")
    return torch.from_numpy(labels.astype(np.int64))


def _fits(model: Tuned, x: Array, labels: torch.Tensor) -> None:
    """Raise InputError E106 if there are no samples, or labels beyond the network's classes."""
    if not x.shape[1]:
        raise InputError("E106", "the data has no samples", fix="give x [T, B, C]")
    with torch.no_grad():
        classes = _scores(model(x[:, :1])).shape[1]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        what = f"labels from {low} to {high}; the network has {classes} outputs"
        raise InputError("E106", what, fix="use class indices from 0")
