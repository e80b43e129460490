"""Energies as text, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.reports.energy.bill import Energy
from neurodeploy.reports.energy.book import CAUSES
from neurodeploy.reports.format import joules, seconds, table


def summary(priced: Energy) -> list[str]:
    """Return an energy in a few lines."""
    causes = ", ".join(
        f"{cause.replace('_', ' ')} {joules(value)}"
        for cause, value in priced.by_cause().items()
        if value
    )
    lines = [
        f"energy per inference, {priced.mode}, table {priced.table}: {_total(priced)}",
        *([f"  {causes}"] if causes else []),
        f"  without spikes: {_without(priced)}",
        *_limits(priced),
    ]
    return lines


def full(priced: Energy) -> list[str]:
    """Return an energy by layer and cause, and what moves it."""
    used = [cause for cause, value in priced.by_cause().items() if value] or list(CAUSES[:1])
    rows = [
        (layer.name, *(_cell(layer.by_cause[cause]) for cause in used), joules(layer.total_pj))
        for layer in priced.layers
    ]
    sums = priced.by_cause()
    rows.append(("all", *(joules(sums[cause]) for cause in used), joules(priced.total_pj)))
    head = ("layer", *(cause.replace("_", " ") for cause in used), "all")
    lines = [
        f"{priced.mode}, table {priced.table} ({priced.grade}): {_total(priced)} per inference",
        "",
        table(head, rows),
        "",
    ]
    if priced.varied:
        varied = [(v.name, v.ends, joules(v.low_pj), joules(v.high_pj)) for v in priced.varied]
        every = ("all together", "", joules(priced.low_pj), joules(priced.high_pj))
        lines += [table(("if it varies", "from .. to", "least", "most"), [*varied, every]), ""]
    beside = [
        (b.name, *(_cell(b.by_cause[c]) for c in used), _or_dash(b.total_pj)) for b in priced.beside
    ]
    return [
        *lines,
        table(("without spikes", *head[1:]), beside),
        "",
        *(line.strip() for line in _limits(priced)),
    ]


def spread_lines(energies: Sequence[Energy]) -> list[str]:
    """Return the same counts under several tables."""
    rows = [
        (e.table, joules(e.total_pj), e.grade, ", ".join(e.not_priced) or "nothing")
        for e in energies
    ]
    return [
        "the physical counts under every table",
        "",
        table(("table", "energy", "grade", "not priced"), rows),
    ]


def _total(priced: Energy) -> str:
    span = f" ({joules(priced.low_pj)} to {joules(priced.high_pj)})" if priced.varied else ""
    return f"{joules(priced.total_pj)}{span}"


def _without(priced: Energy) -> str:
    return ", ".join(f"{b.name} {_or_dash(b.total_pj)}" for b in priced.beside)


def _limits(priced: Energy) -> list[str]:
    lines = [f"  scope: {priced.scope}"]
    if priced.least_s is not None:
        lines.append(f"  time: at least {seconds(priced.least_s)}, the events of the busiest core")
    if priced.not_priced:
        lines.append(f"  not in the table: {', '.join(priced.not_priced)}")
    if priced.not_modelled:
        lines.append(f"  not modelled: {'; '.join(priced.not_modelled)}")
    return lines


def _cell(value_pj: float) -> str:
    return joules(value_pj) if value_pj else "-"


def _or_dash(value_pj: float | None) -> str:
    return "not priced" if value_pj is None else joules(value_pj)
