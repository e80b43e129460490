"""Reports as plain data, for `--json`. The format is versioned: `VERSION` changes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from neurodeploy.passes.pipeline import PASSES
from neurodeploy.program import ir, synapses
from neurodeploy.program.buffers import buffers, peak_bits
from neurodeploy.program.limits import core_loads
from neurodeploy.program.memory import Footprint, footprint
from neurodeploy.program.run import Run
from neurodeploy.reports.compare import Comparison
from neurodeploy.reports.energy import Energy, energy, operations
from neurodeploy.reports.energy.record import energy_record
from neurodeploy.reports.neurobench import neurobench
from neurodeploy.reports.timing import cycles_record

VERSION = 1


def program_record(program: ir.Program) -> dict[str, Any]:
    """Return what a program is and needs."""
    loads = core_loads(program)
    total = sum(loads.values(), start=Footprint())
    return {
        "name": program.name,
        "target": program.target.name,
        "populations": len(program.populations),
        "streams": sum(isinstance(node, ir.Stream) for node in program),
        "vectors": sum(isinstance(node, ir.Vector) for node in program),
        "neurons": total.neurons,
        "synapses": total.synapses,
        "weights": total.weights,
        "weight_kib": total.weight_bits / 8192,
        "state_kib": total.state_bits / 8192,
        "weight_bits": program.numbers.weight_bits,
        "weight_bits_least": min(_weight_bits(program), default=program.numbers.weight_bits),
        "latency_steps": program.latency,
        "cores": len(loads),
        "placement": program.notes.get("placement", {"by": "naive"}),
        "cores_available": program.target.cores,
        "calibration": program.notes.get("calibration"),
        "input": _input(program.source),
        "off_grid": [
            name
            for name, notes in program.notes.get("layers", {}).items()
            if notes.get("on_grid") is False
        ],
        "verified": _in_order(program.notes.get("verified", {})),
        "layers": [_layer(program, node) for node in program],
    }


def _weight_bits(program: ir.Program) -> list[int]:
    """Return the weight bits of every edge with weights."""
    found = [edge for node in program for edge in ir.edges(node)]
    return [edge.weight_bits for edge in found if not isinstance(edge, synapses.Tap)]


def _input(source: ir.Source) -> str:
    """Say what the integers of the input are."""
    if source.tokens:
        return f"tokens from 0 to {source.width - 1}"
    if source.spiking:
        return "spikes, 0 or 1"
    return f"integers from {source.low} to {source.high}, each worth {source.unit:.6g}"


def _in_order(verdicts: Mapping[str, Any]) -> dict[str, Any]:
    """Return verdicts in the order of the passes."""
    return {name: verdicts[name] for name in PASSES if name in verdicts}


def _layer(program: ir.Program, node: ir.ProgramNode) -> dict[str, Any]:
    kind = type(node).__name__.lower()
    kind = getattr(node, "spec", getattr(node, "kind", kind))
    notes = program.notes.get("layers", {})
    need = footprint(program, node.name)
    return {
        "name": node.name,
        "model": kind,
        "width": node.width,
        "maps": _maps(node),
        "reads": [edge.source for edge in ir.edges(node)],
        "delays": [edge.delay for edge in ir.edges(node)],
        "weight_bits": [
            None if isinstance(edge, synapses.Tap) else edge.weight_bits for edge in ir.edges(node)
        ],
        "words": _words(node) if isinstance(node, ir.Population) else {},
        "synapses": need.synapses,
        "weights": need.weights,
        **notes.get(node.name, {}),
    }


def _maps(node: ir.ProgramNode) -> list[int] | None:
    """Return the maps that a node's channels are, [maps, *size]; None where they are none."""
    found = (edge.out_shape for edge in ir.edges(node) if isinstance(edge, synapses.Conv))
    shape = next(found, None)
    return None if shape is None else list(shape)


def _words(node: ir.Population) -> dict[str, Any]:
    """Return how each coefficient that the step uses is stored, but for those of register width."""
    used = node.model.traced(node.options).used
    return {name: asdict(word) for name, word in node.words.items() if name in used}


def run_record(run: Run, priced: Energy | None, accuracy: float | None) -> dict[str, Any]:
    """Return what a run did and cost; counts are per inference.

    What did not fit is of the whole run: "overflows" of each layer, "clipped_inputs".
    """
    each = max(run.samples, 1)
    layers = []
    for node in run.nodes:
        incoming = [edge for edge in run.edges if edge.target == node.name]
        layers.append(
            {
                "name": node.name,
                "model": node.spec,
                "width": node.width,
                "graded": not run.program.spikes(node.name),
                "rate": node.rate,
                "spikes": node.spikes / each,
                "overflows": node.overflows,
                "synaptic_adds": sum(e.operations for e in incoming if e.kind == "add") / each,
                "synaptic_macs": sum(e.operations for e in incoming if e.kind == "mac") / each,
                "neuron_operations": {
                    op: node.updates * count / each for op, count in node.per_update.items()
                },
            }
        )
    return {
        "samples": run.samples,
        "steps": run.steps,
        "accuracy": accuracy,
        "clipped_inputs": run.clipped_inputs,
        "sequence_kib": peak_bits(buffers(run.program), run.steps) / 8192,
        "operations": operations(run),
        "layers": layers,
        "timing": None if run.cycles is None else cycles_record(run.cycles),
        "energy": None if priced is None else energy_record(priced),
        "paper_energy": None if priced is None else energy_record(energy(run, mode="paper")),
        "neurobench": neurobench(run) if run.sent else None,
    }


def comparison_record(found: Comparison) -> dict[str, Any]:
    """Return a comparison."""
    layers = [
        {**asdict(layer), "agreement": layer.agreement, "kept": layer.kept}
        for layer in found.layers
    ]
    total = {"agreement": found.agreement, "kept": found.kept}
    return {**asdict(found), "layers": layers, **total}
