"""The metrics of NeuroBench, by its names, from integer counters.

(Yik et al. 2025, "The NeuroBench framework for benchmarking neuromorphic computing algorithms and
systems", and the package `neurobench` 2.3.) Per inference, averaged over a run:

    Footprint            bytes of weights, constants and state registers, at their integer widths
    ConnectionSparsity   zeros among the weights of all Linears and convolutions
    ActivationSparsity   zeros among what spiking neurons, ReLUs and ternary operations sent
    SynapticOperations   non-zero weights that non-zero values reached: Effective_ACs where the edge
                         carries spikes (or -1, 0, 1), Effective_MACs where it carries values;
                         Dense: all weights at every step. Biases do not count.
    MembraneUpdates      updates of neurons that have a membrane

Where the package looks at values, this looks at the type of an edge: the package takes a Linear for
spiking in every step whose inputs happen to be -1, 0 or 1. It leaves out membrane updates that
change nothing, which a program computes all the same and which are counted here. The readout on
the host counts as a Linear whose inputs are not zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.program.ir import Ints, Population, Program, Source, Vector, edges
from neurodeploy.program.memory import footprint
from neurodeploy.program.run import Run
from neurodeploy.program.synapses import Conv, Dense, Tap

_ACTIVATIONS = ("relu", "ternary", "ternary_step")


def neurobench(run: Run) -> dict[str, Any]:
    """Return the metrics of a run that counted what its neurons sent.

    Raises InputError E106 for one that did not.
    """
    if not run.sent:
        fix = "simulate with traffic=True"
        raise InputError("E106", "the run did not count what its neurons sent", fix=fix)
    weights = _weights(run.program)
    zeros = sum(int(np.count_nonzero(weight == 0)) for weight in weights)
    sent, values = _activations(run)
    return {
        "Footprint": footprint_bytes(run.program),
        "ConnectionSparsity": zeros / max(sum(weight.size for weight in weights), 1),
        "ActivationSparsity": 1 - sent / values if values else 0.0,
        "SynapticOperations": _synaptic(run),
        "MembraneUpdates": _updates(run) / max(run.samples, 1),
    }


def footprint_bytes(program: Program) -> int:
    """Return the bytes of everything that a program stores, the host's classifier included."""
    bits = sum(
        footprint(program, node.name).total_bits for node in program if not isinstance(node, Source)
    )
    if program.readout.weight is not None:
        bits += program.readout.weight.size * program.numbers.readout_bits
    return -(-bits // 8)


def _weights(program: Program) -> list[Ints]:
    found = [e.weight for node in program for e in edges(node) if not isinstance(e, Tap)]
    return found + ([] if program.readout.weight is None else [program.readout.weight])


def _activations(run: Run) -> tuple[int, int]:
    """Return how many values of activations were not zero, and how many there were."""
    names = [
        node.name
        for node in run.program
        if (isinstance(node, Population) and node.model.spiking)
        or (isinstance(node, Vector) and node.kind in _ACTIVATIONS)
    ]
    each = run.steps * run.samples
    sent = sum(int(run.sent[name].sum()) for name in names)
    return sent, sum(each * run.program[name].width for name in names)


def _synaptic(run: Run) -> dict[str, float]:
    """Return effective and dense synaptic operations of one inference."""
    effective, dense = {"mac": 0, "add": 0}, 0
    pairs = [(node.name, edge) for node in run.program for edge in edges(node)]
    for (name, edge), count in zip(pairs, run.edges, strict=True):
        if not isinstance(edge, Tap):
            sent = run.fed_back[name] if edge.source == name else run.sent[edge.source]
            effective[count.kind] += int(_effective(edge) @ sent)
            dense += count.synapses * run.steps * run.samples
    head = run.program.readout.weight
    if head is not None:
        effective["mac"] += run.readout_macs // head.size * int(np.count_nonzero(head))
    each = max(run.samples, 1)
    return {
        "Effective_MACs": effective["mac"] / each,
        "Effective_ACs": effective["add"] / each,
        "Dense": (dense + run.readout_macs) / each,
    }


def _effective(edge: Dense | Conv) -> Ints:
    """Return how many weights that are not zero each sender reaches."""
    if isinstance(edge, Dense):
        return np.asarray(np.count_nonzero(edge.weight, axis=0))
    windows = edge.windows
    _, columns, values = windows.entries(edge.weight, edge.groups)
    return np.bincount(columns[values != 0], minlength=edge.shape[0] * windows.inputs)


def _updates(run: Run) -> int:
    return sum(count.updates for count in run.nodes if count.written_bits)
