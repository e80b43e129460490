"""Reports as text, for the terminal."""

from __future__ import annotations

from typing import Any

from neurodeploy.program.ir import Program
from neurodeploy.program.run import Run
from neurodeploy.reports.compare import Comparison
from neurodeploy.reports.energy import ARITHMETIC, Energy, energy
from neurodeploy.reports.energy.text import summary as energy_summary
from neurodeploy.reports.format import (
    coefficients,
    count,
    errors,
    joules,
    percent,
    table,
    weights,
    width,
)
from neurodeploy.reports.records import comparison_record, program_record, run_record
from neurodeploy.reports.timing import timing_lines


def program_text(program: Program) -> str:
    """Return a one-screen summary of a program."""
    data = program_record(program)
    lines = [
        f"{program.target.title}: {data['neurons']:,} neurons and stream channels,"
        f" {weights(data)} of {_bits(data)} bits,"
        f" {data['weight_kib'] + data['state_kib']:.4g} KiB"
        f" on {data['cores']} of {data['cores_available']} cores",
        f"scales from {data['calibration']};"
        f" an input is answered {data['latency_steps']} steps later",
        f"inputs are {data['input']}",
        *(
            f"{name}: its weights leave the grid that the model file gave them"
            for name in data["off_grid"]
        ),
        "",
        _layers(data),
        "",
        "tau and frequency errors: the largest of all channels, and the median",
    ]
    return "\n".join([*lines, *_verified(data["verified"])])


def _layers(data: dict[str, Any]) -> str:
    """Return a table of the layers; with their weights, where synapses share some."""
    shared = data["weights"] < data["synapses"]
    head = ["layer", "model", "width", "synapses", *(["weights"] if shared else [])]
    rows = [
        (
            layer["name"],
            layer["model"],
            width(layer),
            layer["synapses"] or "-",
            *([layer["weights"] or "-"] if shared else []),
            _shifts(layer),
            coefficients(layer),
            errors(layer, "time_constant"),
            errors(layer, "frequency"),
        )
        for layer in data["layers"]
    ]
    return table([*head, "guard bits", "coefficients", "tau error", "frequency error"], rows)


def _bits(data: dict[str, Any]) -> str:
    least, most = data["weight_bits_least"], data["weight_bits"]
    return f"{most}" if least == most else f"{least} to {most}"


def _shifts(layer: dict[str, Any]) -> str:
    low, high = layer.get("shift_min"), layer.get("shift_max")
    if low is None:
        return "-"
    return f"{low}" if low == high else f"{low} .. {high}"


def _verified(verdicts: dict[str, Any]) -> list[str]:
    rows = [
        (name, f"{v['membrane_error']:.2g}", v["flips"], v["ties"], v["spikes"])
        for name, v in verdicts.items()
    ]
    head = ("verified pass", "membrane error", "flips", "ties", "of spikes")
    return ["", table(head, rows)] if rows else []


def run_text(run: Run, priced: Energy | None, accuracy: float | None) -> str:
    """Return a one-screen summary of a run."""
    data = run_record(run, priced, accuracy)
    energies = {} if priced is None else {layer.name: layer.total_pj for layer in priced.layers}
    rows: list[tuple[Any, ...]] = [
        (
            layer["name"],
            layer["model"],
            layer["width"],
            "graded" if layer["graded"] else percent(layer["rate"]),
            count(layer["spikes"]) if layer["spikes"] else "-",
            count(layer["synaptic_adds"]),
            count(layer["synaptic_macs"]),
            count(sum(layer["neuron_operations"].get(op, 0) for op in ARITHMETIC)),
            joules(energies[layer["name"]]) if layer["name"] in energies else "-",
        )
        for layer in data["layers"]
    ]
    nodes = {layer["name"] for layer in data["layers"]}
    rest = {name: pj for name, pj in energies.items() if name not in nodes}
    rows += [(name, *["-"] * 7, joules(pj)) for name, pj in rest.items()]
    head = ("layer", "model", "width", "rate", "spikes", "adds", "MACs", "neuron ops", "energy")
    lines = [
        f"{run.samples} samples of {run.steps} steps"
        + ("" if accuracy is None else f", accuracy {percent(accuracy)}"),
        "",
        table(head, rows),
        "",
        *_operations_text(data["operations"]),
        *_sequences_text(data["sequence_kib"]),
        *_energy_text(run, priced),
        *(timing_lines(run.cycles) if run.cycles else ()),
    ]
    overflows = sum(node.overflows for node in run.nodes)
    if overflows or run.clipped_inputs:
        lines += [
            "",
            f"note: {overflows} values saturated, {run.clipped_inputs} inputs clipped",
        ]
    return "\n".join(lines)


def _operations_text(ops: dict[str, Any]) -> list[str]:
    neuron = ops["neuron_operations"]
    return [
        f"per inference: {count(ops['synaptic_adds'])} synaptic additions,"
        f" {count(ops['synaptic_macs'])} multiply-accumulates,"
        f" {count(neuron['mul'])} neuron multiplies, {count(neuron['add'])} adds,"
        f" {count(ops['spikes'])} spikes",
        f"without spikes the same network needs {count(ops['dense_macs'])} multiply-accumulates",
    ]


def _sequences_text(kib: float) -> list[str]:
    what = "layers that run backwards in time need whole sequences kept"
    return [f"{what}: {kib:.4g} KiB"] if kib else []


def _energy_text(run: Run, priced: Energy | None) -> list[str]:
    if priced is None:
        return ["", "energy: not modelled for this target; name a table with --prices"]
    paper = energy(run, mode="paper")
    ann = paper.beside[0]
    return [
        "",
        *energy_summary(priced),
        f"as the papers count, table {paper.table}: {joules(paper.total_pj)};"
        f" {ann.name}: {joules(ann.total_pj or 0)}",
    ]


def comparison_text(found: Comparison) -> str:
    """Return a comparison of float model and integer program."""
    data = comparison_record(found)
    rows = [
        (
            layer["name"],
            layer["spikes_float"],
            layer["spikes_integer"],
            layer["flips"],
            percent(layer["agreement"]),
            percent(layer["kept"]),
        )
        for layer in data["layers"]
    ]
    lines = [
        f"{found.samples} samples of {found.steps} steps",
        f"accuracy: float {percent(found.accuracy_float)},"
        f" integer {percent(found.accuracy_integer)};"
        f" {found.label_changes} of {found.samples} decisions differ",
        "",
        table(
            ("layer", "float spikes", "integer spikes", "flips", "updates agree", "spikes kept"),
            rows,
        ),
        "",
    ]
    if found.first is None:
        return "\n".join([*lines, "every spike of every layer agrees"])
    f = found.first
    return "\n".join(
        [
            *lines,
            f"first divergence: sample {f.sample}, step {f.step}, layer {f.layer},"
            f" neuron {f.neuron}",
            f"  float:   membrane {f.membrane_float:.9g} of threshold {f.threshold:.9g},"
            f" spike {f.spike_float}",
            f"  integer: membrane {f.membrane_integer:.9g}, spike {f.spike_integer}",
        ]
    )
