"""A sweep as text: one line for each design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neurodeploy.reports.format import count, joules, percent, seconds, table

_CHOICES = ("model", "target", "bits", "coef_bits", "place")
_COST: dict[str, Callable[[Any], str]] = {
    "accuracy": percent,
    "energy": joules,
    "memory": lambda kib: f"{kib:.4g} KiB",
    "cores": str,
    "cycles": count,
    "latency": seconds,
}
_FIELDS = {"energy": "energy_pj", "memory": "memory_kib", "latency": "latency_s"}


def sweep_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows (as plain data) as a table, and below it what they share and what failed."""
    varied = [key for key in _CHOICES if len({row[key] for row in rows}) > 1]
    varied = varied or ["model"]
    costs = [key for key in _COST if any(row[_FIELDS.get(key, key)] is not None for row in rows)]
    costs = costs or ["accuracy"]
    lines = [[_choice(row[key]) for key in varied] + _costs(row, costs) for row in rows]
    head = [key.replace("_", " ") for key in varied] + costs
    return "\n".join([table(head, lines), "", *_shared(rows, varied), *_failed(rows)])


def _choice(value: str) -> str:
    return value or "default"


def _costs(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    if row["error"] is not None:
        return [row["error"], *["-"] * (len(names) - 1)]
    values = ((_COST[key], row[_FIELDS.get(key, key)]) for key in names)
    return ["-" if value is None else shown(value) for shown, value in values]


def _shared(rows: Sequence[Mapping[str, Any]], varied: Sequence[str]) -> list[str]:
    known = [row for row in rows if row["error"] is None]
    same = ", ".join(
        f"{k.replace('_', ' ')} {_choice(rows[0][k])}" for k in _CHOICES if k not in varied
    )
    lines = [f"all with {same}"] if same else []
    if known:
        lines.append(f"each on {known[0]['samples']:,} samples of {known[0]['steps']:,} steps")
    priced = {(row["prices"], row["target"], row["not_priced"]) for row in known if row["prices"]}
    for name, target, missing in sorted(priced, key=str):
        without = f"; not in the table: {missing}" if missing else ""
        lines.append(f"energy per inference on {target}: table {name}{without}")
    return lines


def _failed(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each error once, with how many rows have it."""
    found: dict[str, int] = {}
    for row in rows:
        if row["error"] is not None:
            found[row["message"]] = found.get(row["message"], 0) + 1
    return [f"\n{times} of {len(rows)} designs: {text}" for text, times in found.items()]
