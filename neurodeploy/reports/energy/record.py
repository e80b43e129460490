"""Energies as plain data, for `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from neurodeploy.reports.energy.bill import Energy
from neurodeploy.reports.energy.counts import Counts


def energy_record(priced: Energy) -> dict[str, Any]:
    """Return the energy of one inference, by cause and layer, its range, and without spikes."""
    return {
        "mode": priced.mode,
        "table": priced.table,
        "scope": priced.scope,
        "grade": priced.grade,
        "total_pj": priced.total_pj,
        "low_pj": priced.low_pj,
        "high_pj": priced.high_pj,
        "by_cause": priced.by_cause(),
        "layers": {
            layer.name: {**layer.by_cause, "total_pj": layer.total_pj} for layer in priced.layers
        },
        "without_spikes": {
            found.name: {"total_pj": found.total_pj, "by_cause": dict(found.by_cause)}
            for found in priced.beside
        },
        "varied": [asdict(varied) for varied in priced.varied],
        "not_priced": list(priced.not_priced),
        "not_modelled": list(priced.not_modelled),
        "least_s": priced.least_s,
    }


def counts_record(counts: Counts) -> dict[str, Any]:
    """Return what is priced, per inference: of every edge, node and route."""
    each = counts.each
    return {
        "steps": counts.steps,
        "samples": counts.samples,
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "kind": edge.kind,
                "events": edge.events / each,
                "operations": edge.operations / each,
                "dense": edge.dense / each,
                "weight_bits": edge.weight_bits,
                "value_bits": edge.value_bits,
                "rows": [[size, rows / each] for size, rows in edge.rows],
            }
            for edge in counts.edges
        ],
        "nodes": [
            {
                "name": node.name,
                "model": node.spec,
                "updates": node.updates / each,
                "spikes": node.spikes / each,
                "per_update": dict(node.per_update),
                "bits_read": node.state_bits,
                "bits_written": node.written_bits,
            }
            for node in counts.nodes
        ],
        "readout_macs": counts.readout_macs / each,
        "packets": None
        if counts.packets is None
        else [
            {
                key: value / each if isinstance(value, float) else value
                for key, value in asdict(packets).items()
            }
            for packets in counts.packets
        ],
    }
