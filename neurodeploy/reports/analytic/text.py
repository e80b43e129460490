"""Recomputed tables as text and as plain data."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import fill
from typing import Any

from neurodeploy.reports.analytic.tables import PaperTable, Row
from neurodeploy.reports.format import joules, table


def table_lines(found: PaperTable) -> list[str]:
    """Return a table of a paper: printed, ours, the difference, and how ours comes about."""
    physical = any(row.physical_pj is not None for row in found.rows)
    unit = f" [{found.unit}]" if found.unit else ""
    head = ["", f"printed{unit}", f"ours{unit}", "difference", *(["physical"] if physical else [])]
    rows = [_cells(row, physical=physical) for row in found.rows]
    notes = [f"  {row.label}: {row.recipe}" for row in found.rows]
    lines = [found.title, f"  {found.source}; 0.9 pJ an AC, 4.6 pJ a MAC", ""]
    if rows:
        lines += [table(head, rows), "", *dict.fromkeys(notes), ""]
    lines.append(fill(f"note: {found.note}", 100))
    if physical:
        lines.append("physical: the same network at the same rates on asic45, table horowitz45")
    return lines


def _cells(row: Row, *, physical: bool) -> list[str]:
    found = [row.label, *(_number(value) for value in (row.printed, row.computed))]
    found.append("-" if row.difference is None else f"{100 * row.difference:+.2f} %")
    if physical:
        found.append("-" if row.physical_pj is None else joules(row.physical_pj))
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def table_record(found: PaperTable) -> dict[str, Any]:
    """Return a table of a paper as plain data."""
    rows = [{**asdict(row), "difference": row.difference} for row in found.rows]
    return {**asdict(found), "rows": rows}
