"""Float model against integer program: where they first differ, and how much it matters.

Both run on the same inputs. Spikes are compared neuron by neuron and step by step; membranes are
given in the model's own units, so that the two values of a divergence can be read side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.graph.interpret import run as interpret_run
from neurodeploy.graph.ir import Graph
from neurodeploy.passes.verify import sent, threshold_of, unit
from neurodeploy.program import ir
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.run import Run, accuracy, decisions

_CHUNK = 32  # samples at a time: bounds memory


@dataclass(frozen=True, kw_only=True)
class LayerAgreement:
    """One population's spikes in both readings, over all samples and steps."""

    name: str
    spikes_float: int
    spikes_integer: int
    spikes_both: int  #: at the same neuron and step
    flips: int  #: neuron updates that send another number of spikes
    updates: int

    @property
    def agreement(self) -> float:
        """The share of neuron updates in which both send as many spikes."""
        return 1 - self.flips / self.updates if self.updates else 1.0

    @property
    def kept(self) -> float:
        """The share of the float model's spikes that the integers have at the same step."""
        return self.spikes_both / self.spikes_float if self.spikes_float else 1.0


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first neuron update that differs: by sample, then step, then layer, then neuron.

    Membranes and threshold, that of the first spike which only one of the two sends, are in the
    model's own units.
    """

    sample: int
    step: int
    layer: str
    neuron: int
    membrane_float: float
    membrane_integer: float
    threshold: float
    spike_float: int
    spike_integer: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A float graph and an integer program on the same inputs."""

    samples: int
    steps: int
    layers: tuple[LayerAgreement, ...]
    first: Divergence | None
    label_changes: int  #: samples whose largest output has another index
    output_error: float  #: greatest difference of outputs, relative to the largest output
    accuracy_float: float | None
    accuracy_integer: float | None

    @property
    def agreement(self) -> float:
        """The share of neuron updates that agree, over all layers."""
        updates = sum(layer.updates for layer in self.layers)
        return 1 - sum(layer.flips for layer in self.layers) / updates if updates else 1.0

    @property
    def kept(self) -> float:
        """The share of the float model's spikes that the integers have, over all layers."""
        spikes = sum(layer.spikes_float for layer in self.layers)
        both = sum(layer.spikes_both for layer in self.layers)
        return both / spikes if spikes else 1.0


def spiking_layers(graph: Graph, program: ir.Program) -> list[str]:
    """Return the spiking populations that graph and program share, in execution order.

    Raises InputError E107 if the program was not compiled from the graph.
    """
    names = [node.name for node in program.populations if node.model.spiking]
    missing = [name for name in names if name not in graph]
    if missing:
        raise InputError(
            "E107",
            f"the program has layers that the model does not: {', '.join(missing)}",
            fix="compare a program with the model it was compiled from",
        )
    return names


def compare(
    graph: Graph,
    program: ir.Program,
    x: Any,
    run_program: Callable[[Any, list[str]], Run],
    *,
    labels: Any = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Compare on x [T, B, C]; `run_program(x, record)` runs the program and keeps those layers.

    labels: class indices [B]. Raises InputError E106 for unfit x or labels, E107 for an unrelated
    program.
    """
    names = spiking_layers(graph, program)
    flips: dict[str, list[int]] = {name: [0] * 5 for name in names}
    first: tuple[int, int, int, int] | None = None
    outputs: list[tuple[Any, Any]] = []
    samples = np.shape(x)[1] if np.ndim(x) == 3 else 0
    for start in range(0, max(samples, 1), _CHUNK):
        part = np.asarray(x)[:, start : start + _CHUNK] if samples else x
        y, values, _ = interpret_run(graph, part, names)
        run = run_program(part, names)
        outputs.append((y, run.outputs))
        spikes = {name: sent(graph, name, values[name]) for name in names}
        found = list(_first(spikes, run.values, names, start))
        first = min([first, *found] if first else found, default=None)
        for name in names:
            a, b = spikes[name], run.values[name]
            both = np.minimum(a, b).sum()
            for i, count in enumerate((a.sum(), b.sum(), both, (a != b).sum(), a.size)):
                flips[name][i] += int(count)
        progress(min(start + _CHUNK, samples), samples)
    axis = outputs[0][0].ndim - 2
    real, whole = (np.concatenate(side, axis=axis) for side in zip(*outputs, strict=True))
    return Comparison(
        samples=samples,
        steps=len(x),
        layers=tuple(_layer(name, flips[name]) for name in names),
        first=_divergence(graph, program, x, names, first) if first else None,
        label_changes=int(np.count_nonzero(decisions(real) != decisions(whole))),
        output_error=float(np.abs(real - whole).max() / (np.abs(real).max() or 1.0)),
        accuracy_float=None if labels is None else accuracy(real, labels),
        accuracy_integer=None if labels is None else accuracy(whole, labels),
    )


def _layer(name: str, counts: list[int]) -> LayerAgreement:
    spikes_float, spikes_integer, both, flips, updates = counts
    return LayerAgreement(
        name=name,
        spikes_float=spikes_float,
        spikes_integer=spikes_integer,
        spikes_both=both,
        flips=flips,
        updates=updates,
    )


def _first(
    a: Mapping[str, Any], b: Mapping[str, Any], names: list[str], start: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield each layer's first difference as (sample, step, layer, neuron)."""
    for layer, name in enumerate(names):
        differ = (a[name] != b[name]).transpose(1, 0, 2)
        if differ.any():
            sample, step, neuron = np.unravel_index(int(differ.argmax()), differ.shape)
            yield start + int(sample), int(step), layer, int(neuron)


def _divergence(
    graph: Graph, program: ir.Program, x: Any, names: list[str], at: tuple[int, int, int, int]
) -> Divergence:
    """Run the one sample again, keeping membranes."""
    sample, step, layer, neuron = at
    name = names[layer]
    one = np.asarray(x)[:, sample : sample + 1]
    _, values, membranes = interpret_run(graph, one, [name])
    whole, _ = to_integers(program.source, one)
    done = execute(program, whole)
    node = program[name]
    assert isinstance(node, ir.Population)
    where, worth = (step, 0, neuron), unit(graph, name)[neuron]
    spikes = int(sent(graph, name, values[name])[where]), int(done.values[name][where])
    return Divergence(
        sample=sample,
        step=step,
        layer=name,
        neuron=neuron,
        membrane_float=float(worth * membranes[name][where]),
        membrane_integer=float(node.unit[neuron] * done.membranes[name][where]),
        threshold=float(worth * threshold_of(graph, name)[neuron]) * (min(spikes) + 1),
        spike_float=spikes[0],
        spike_integer=spikes[1],
    )
