"""Translation validation: run a graph before and after a pass, and compare every neuron.

Membranes are compared in published units, relative to the larger of the channel's largest membrane
and its threshold. A spike that flips is excused only where its membrane was a tie, closer to the
threshold than the tolerance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import MismatchError
from neurodeploy.graph.interpret import run
from neurodeploy.graph.ir import Array, Graph, Neurons, Population
from neurodeploy.passes.base import GraphPass


@dataclass(frozen=True)
class Verdict:
    """What one pass did to the network: worst relative membrane change, flips, ties, spikes."""

    membrane_error: float
    output_error: float
    spikes: int
    flips: int
    ties: int

    def record(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return asdict(self)


def compare_graphs(before: Graph, after: Graph, x: Array, step: GraphPass) -> Verdict:
    """Compare two graphs on x [T, B, C]; raise MismatchError E401 naming the first that differs."""
    names = [node.name for node in before if isinstance(node.op, Neurons | Population)]
    tolerance = step.tolerance or 0.0
    y0, values0, membranes0 = run(before, x, names)
    y1, values1, membranes1 = run(after, x, names)
    worst, spikes, flips, ties = 0.0, 0, 0, 0
    for name in names:
        a, b = unit(before, name) * membranes0[name], unit(after, name) * membranes1[name]
        threshold = unit(before, name) * threshold_of(before, name)
        scale = np.maximum(np.abs(a).max(axis=(0, 1)), np.abs(threshold))
        error = np.abs(a - b) / np.where(scale > 0, scale, 1.0)
        worst = max(worst, float(error.max(initial=0.0)))
        sent0, sent1 = sent(before, name, values0[name]), sent(after, name, values1[name])
        flipped = sent0 != sent1
        edge = threshold * (np.minimum(sent0, sent1) + 1)  # of the first spike that only one sends
        near = np.abs(a - edge) <= tolerance * np.where(scale > 0, scale, 1.0)
        spikes += int(sent0.sum())
        ties += int(np.count_nonzero(flipped & near))
        flips += int(np.count_nonzero(flipped & ~near))
        if np.any(flipped & ~near) or worst > tolerance:
            t, b_, c = np.argwhere((error > tolerance) | (flipped & ~near))[0]
            raise MismatchError(
                "E401",
                f"{step.name} moved a membrane from {a[t, b_, c]:.9g} to {b[t, b_, c]:.9g}",
                where=f'node "{name}", step {t}, sample {b_}, neuron {c}',
                fix="this is a bug of the pass: please report it with the model",
            )
    size = float(np.abs(y0).max(initial=0.0)) or 1.0
    return Verdict(worst, float(np.abs(y0 - y1).max(initial=0.0)) / size, spikes, flips, ties)


def sent(graph: Graph, name: str, values: Array) -> Array:
    """Return how many spikes the values of a neuron node stand for: none if it sends membranes."""
    op = graph[name].op
    assert isinstance(op, Neurons | Population)
    spiking = op.model.spiking and op.amplitude
    return np.rint(values / op.amplitude) if spiking else np.zeros_like(values)


def unit(graph: Graph, name: str) -> Array:
    """Return the published membrane per unit of folded state at a neuron node, [width]."""
    op = graph[name].op
    if isinstance(op, Population):
        return op.unit
    assert isinstance(op, Neurons)
    value = op.model.unit(op.model.params(**op.params), op.options, np)
    return np.broadcast_to(np.asarray(value, np.float64), op.gain.shape)


def threshold_of(graph: Graph, name: str) -> Array:
    """Return the threshold on the folded state's scale, [width]; 0 where the model has none."""
    op = graph[name].op
    if isinstance(op, Population):
        coefs = op.coefs
    else:
        assert isinstance(op, Neurons)
        coefs = op.model.fold(op.model.params(**op.params), op.options, np)._asdict()
    width = graph.widths[name]
    return np.broadcast_to(np.asarray(coefs.get("threshold", 0.0), np.float64), (width,))
