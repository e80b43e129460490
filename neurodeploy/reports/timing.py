"""The time of a run, as plain data and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from neurodeploy.program.cycles import STAGES, Cycles, step_percentiles
from neurodeploy.reports.format import percent, seconds, table

MOST = 8  # cores and links that are shown; --json has all

SCOPE = (
    "cycle-level for the synchronous machine of the target file, steps one after another; "
    "the readout on the host is not part of it"
)


def cycles_record(found: Cycles, *, steps: bool = True) -> dict[str, Any]:
    """Return what a run took; `steps`: with every step.

    There: mean cycles [H], the core that was done last [B][H], mean stages of cores [H][cores][5].
    """
    each = max(found.steps.shape[1], 1)
    names = (*STAGES, "barrier")
    record = {
        "scope": SCOPE,
        "machine": asdict(found.machine),
        "cycles_per_inference": found.total / each,
        "cycles_max": int(found.inferences.max(initial=0)),
        "latency_s": found.latency_s,
        "latency_max_s": found.latency_max_s,
        "throughput_hz": found.throughput_hz,
        "step_cycles": step_percentiles(found),
        "by_stage": {name: value / each for name, value in found.by_stage().items()},
        "utilisation": found.utilisation(),
        "critical_core": found.bottleneck,
        "phases": [
            {
                "nodes": list(phase.nodes),
                "cycles": phase.cycles / each,
                **{n: value / each for n, value in zip(names, phase.stages, strict=True)},
            }
            for phase in found.phases
        ],
        "cores": [
            {**asdict(load), "stages": dict(zip(STAGES, load.stages, strict=True))}
            for load in found.cores
        ],
        "links": [asdict(load) for load in found.links],
    }
    if not steps:
        return record
    per_step = {
        "cycles": (found.steps.sum(axis=1) / each).tolist(),
        "critical_core": found.critical.T.tolist(),
        "cores": (found.stages / each).tolist(),
    }
    return {**record, "steps": per_step}


def timing_lines(found: Cycles) -> list[str]:
    """Return the lines of a run's report about its time."""
    data = cycles_record(found, steps=False)
    use, steps = data["utilisation"], data["step_cycles"]
    head = ("phase", "cycles", *STAGES, "barrier")
    rows = [
        (", ".join(phase["nodes"]), *(f"{phase[key]:,.1f}" for key in ("cycles", *head[2:])))
        for phase in data["phases"]
    ]
    links = sorted(found.links, key=lambda link: (-link.busy, -link.waited))[:1]
    return [
        "",
        f"time per inference: {data['cycles_per_inference']:,.1f} cycles at"
        f" {found.machine.clock_hz / 1e6:,.4g} MHz, {seconds(found.latency_s)}"
        f" (slowest {seconds(found.latency_max_s)}),"
        f" {found.throughput_hz:,.4g} inferences a second",
        f"  steps take {steps['min']} to {steps['max']} cycles, half of them at most"
        f" {steps['median']}; core {found.bottleneck} is done last most often",
        f"  busy: neuron lanes {percent(use['neuron_lanes'])}, synapses {percent(use['synapses'])},"
        f" links {percent(use['links'])}"
        + "".join(
            f"; most on ({link.x}, {link.y}) {link.direction}:"
            f" {percent(link.busy / max(found.total, 1))}"
            for link in links
        ),
        f"  scope: {SCOPE}",
        "",
        table(head, rows),
    ]


def page(found: Cycles) -> dict[str, Any]:
    """Return what the HTML page shows: the busiest cores and links first, and a bar per phase."""
    data = cycles_record(found, steps=False)
    cores = sorted(found.cores, key=lambda load: (-load.critical, load.core))[:MOST]
    links = sorted(found.links, key=lambda load: (-load.busy, -load.waited))[:MOST]
    return {
        **data,
        "stages": (*STAGES, "barrier"),
        "most": max((phase["cycles"] for phase in data["phases"]), default=0) or 1.0,
        "total": max(found.total, 1),
        "steps_run": found.steps.size,
        "cores": [{**asdict(load), "seen": sum(load.stages)} for load in cores],
        "links": [asdict(load) for load in links],
    }
