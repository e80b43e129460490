"""Compare what ran with what was expected: every spike, graded value and final state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def compare(
    manifest: Mapping[str, Any], golden: Mapping[str, Any], found: Mapping[str, Any]
) -> Any:
    """Return the verdict as plain data.

    compared, differences: how many integers, by kind; layers: differences by node; first: the
    earliest divergence (by sample, then step, then layer, then neuron; a final state counts as
    later than every step), or None.
    """
    compared = dict.fromkeys(("spikes", "graded", "states"), 0)
    differences = dict(compared)
    layers: dict[str, int] = {}
    firsts = []
    for i, node in enumerate(manifest["nodes"]):
        if node["kind"] == "source":
            continue
        for part, kind in (
            ("value", "graded" if node["graded"] else "spikes"),
            ("state", "states"),
        ):
            key = f"{part}.{i:03d}"
            if key not in golden:
                continue
            expected, got = golden[key].astype(np.int64), found[key].astype(np.int64)
            wrong = expected != got
            compared[kind] += wrong.size
            differences[kind] += int(wrong.sum())
            layers[node["name"]] = layers.get(node["name"], 0) + int(wrong.sum())
            firsts += _first(i, node, part, wrong, expected, got, manifest)
    first = min(firsts, key=lambda item: item["order"], default=None)
    if first is not None:
        first = {key: value for key, value in first.items() if key != "order"}
    return {"compared": compared, "differences": differences, "layers": layers, "first": first}


def _first(
    i: int,
    node: Mapping[str, Any],
    part: str,
    wrong: Any,
    expected: Any,
    got: Any,
    manifest: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the earliest difference of one array [rows, B, width], if there is one.

    A row is a step, or, of a final state, a register.
    """
    places = np.argwhere(wrong.transpose(1, 0, 2))
    if not len(places):
        return []
    sample, row, neuron = (int(n) for n in places[0])
    state = part == "state"
    step = manifest["golden"]["steps"] - 1 if state else row
    return [
        {
            "order": (sample, state, step, i, neuron),
            "sample": sample,
            "step": step,
            "layer": node["name"],
            "neuron": neuron,
            "value": node["registers"][row] if state else "graded" if node["graded"] else "spike",
            "expected": int(expected[row, sample, neuron]),
            "got": int(got[row, sample, neuron]),
        }
    ]
