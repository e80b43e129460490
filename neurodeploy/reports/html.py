"""Reports as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neurodeploy.errors import InputError, ToolError
from neurodeploy.files import new_file
from neurodeploy.program.ir import Program
from neurodeploy.program.run import Run
from neurodeploy.reports.energy import CAUSES, Energy, energy
from neurodeploy.reports.energy.record import energy_record
from neurodeploy.reports.format import (
    coefficients,
    count,
    errors,
    joules,
    percent,
    seconds,
    weights,
    width,
)
from neurodeploy.reports.records import program_record, run_record
from neurodeploy.reports.timing import page
from neurodeploy.targets import Prices
from neurodeploy.targets import prices as price_table


def write(
    program: Program,
    runs: Sequence[Run],
    path: Path,
    *,
    prices: Sequence[str] = (),
    labels: Any = None,
) -> None:
    """Write a page about `program` and `runs` of it to `path`.

    prices: names of tables, the target's own by default; labels [B] are those of every run. Raises
    ToolError E601 without the `report` extra, InputError E106 without runs, E107 for runs of
    another program, E110 if the place cannot be written.
    """
    if not runs:
        raise InputError(
            "E106", "a report needs at least one run", fix="simulate the program first"
        )
    shape = [(node.name, node.width) for node in program]
    if any([(node.name, node.width) for node in run.program] != shape for run in runs):
        what, fix = "a run is of another program", "give runs of the program that the page is about"
        raise InputError("E107", what, fix=fix)
    page = html(program, runs, prices=prices, labels=labels)
    with new_file(path) as beside:
        beside.write_text(page, encoding="utf-8")


def html(
    program: Program, runs: Sequence[Run], *, prices: Sequence[str] = (), labels: Any = None
) -> str:
    """Return the page as text; raises ToolError E601 without the `report` extra."""
    if find_spec("jinja2") is None:
        fix = "pip install 'neurodeploy[report]'"
        raise ToolError("E601", "the package 'jinja2' is not installed", fix=fix)
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "joules": joules,
        "count": count,
        "coefficients": coefficients,
        "errors": errors,
        "percent": percent,
        "seconds": seconds,
        "weights": weights,
        "width": width,
    }
    names = list(prices) or ([program.target.prices] if program.target.prices else [])
    tables = [price_table(name) for name in names]
    return environment.get_template("report.html.jinja").render(
        program=program_record(program),
        target=program.target,
        numbers=program.numbers,
        runs=[_run(run, _energies(run, tables), labels) for run in runs],
        tables=tables,
        causes=CAUSES,
    )


def _energies(run: Run, tables: Sequence[Prices]) -> list[Energy]:
    """Return the energies under `tables`; where there are any, also what the papers count."""
    paper = [energy(run, mode="paper")] if tables else []
    return [*(energy(run, table) for table in tables), *paper]


def _run(run: Run, priced: Sequence[Energy], labels: Any) -> dict[str, Any]:
    accuracy = None if labels is None else run.accuracy(labels)
    record = run_record(run, None, accuracy)
    timing = None if run.cycles is None else page(run.cycles)
    return {**record, "energies": [_energy(item) for item in priced], "timing": timing}


def _energy(priced: Energy) -> dict[str, Any]:
    record = energy_record(priced)
    totals = [layer["total_pj"] for layer in record["layers"].values()]
    physical = priced.mode == "physical"
    return {
        **record,
        "title": f"under {priced.table}" if physical else "as the papers count",
        "most": max(totals, default=0.0) or 1.0,
    }
