"""What a run wrote down, and the same in the time of the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bundle.network import Network


@dataclass
class Records:
    """values[node] is [total, width], row by time step; states[population], one array a sample."""

    values: dict[str, Any]
    states: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def empty(cls, net: Network) -> Records:
        """Return records with room for all steps."""
        return cls(
            {
                name: np.zeros((net.total, *process.s_out.shape), np.int32)
                for name, process in net.nodes.items()
            }
        )

    def keep_state(self, name: str, value: Any) -> None:
        """Add a population's state after the last step of a sample."""
        self.states.setdefault(name, []).append(value)


def last_steps(net: Network) -> dict[int, list[str]]:
    """Return after which time steps (counted from 1) which populations' states are to be read."""
    found: dict[int, list[str]] = {}
    for sample in range(net.samples):
        for name, ready in net.ready.items():
            found.setdefault(sample * net.period + ready, []).append(name)
    return found


def align(net: Network, records: Records, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results in the time of the input, latencies taken out.

    `value.<i>` [T, B, width] for node i of the manifest, `state.<i>` [states, B, width] for a
    population.
    """
    found: dict[str, Any] = {}
    for i, node in enumerate(manifest["nodes"]):
        rows = records.values[node["name"]].reshape(net.samples, net.period, node["width"])
        part = rows[:, node["latency"] : node["latency"] + net.steps]
        found[f"value.{i:03d}"] = part.transpose(1, 0, 2)
        if node["kind"] == "population":
            kept = [
                np.reshape(state, (-1, node["width"]))[: node["states"]]
                for state in records.states[node["name"]]
            ]
            found[f"state.{i:03d}"] = np.stack(kept, axis=1).astype(np.int64)
    return found


def read(readout: Mapping[str, Any], arrays: Mapping[str, Any], value: Any) -> tuple[Any, Any]:
    """Return what the host makes of node values [T, B, n]: integers, and what they are worth."""
    whole = value.astype(np.int64)
    if readout["kind"] != "steps":
        whole = whole[-1]
    if readout["weight"] is not None:
        whole = whole @ arrays[readout["weight"]].astype(np.int64).T
    scale = arrays[readout["unit"]] / (len(value) if readout["mean"] else 1)
    return whole, whole * scale + arrays[readout["offset"]]
