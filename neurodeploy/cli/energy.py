"""`neurodeploy energy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import File, Folder, json_option, progress, to_json

if TYPE_CHECKING:
    from neurodeploy.program.run import Run
    from neurodeploy.reports.energy import Counts

MODES = {"paper": ("paper",), "physical": ("physical",), "both": ("physical", "paper")}


class Rate(click.ParamType):  # type: ignore[type-arg]
    """A rate, of all or by node: `0.05`, `blocks.*.tn=0.05`."""

    name = "[NODE=]RATE"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        """Return node or pattern, and rate."""
        node, _, number = str(value).rpartition("=")
        try:
            return node or "*", float(number)
        except ValueError:
            self.fail(f"{number!r} is no number", param, ctx)


@click.command()
@click.argument("folder", type=Folder, required=False, metavar="[DIR]")
@click.option("--input", "data_path", type=File, help="Data set for DIR: .npz with x, y.")
@click.option("--arch", type=File, help="A network without weights: sizes and rates, .toml.")
@click.option("--model", help="The same by the name of a published one, or `list`.")
@click.option("--paper-table", help="A table of a paper, recomputed, or `list`.")
@click.option(
    "--mode", type=click.Choice(list(MODES)), help="What is counted, see below.  [default: both]"
)
@click.option(
    "--prices", multiple=True, help="Tables of the physical mode.  [default: the target's]"
)
@click.option("--target", "target_name", help="Chip of --arch and --model.  [default: asic45]")
@click.option("--rate", "rates", multiple=True, type=Rate(), help="In place of the file's rates.")
@click.option("--steps", type=click.IntRange(1), help="In place of the file's.")
@click.option("--timing", is_flag=True, help="Count clock cycles too, for static power.")
@json_option
def energy(
    folder: Path | None,
    data_path: Path | None,
    arch: Path | None,
    model: str | None,
    paper_table: str | None,
    mode: str | None,
    prices: tuple[str, ...],
    target_name: str | None,
    rates: tuple[tuple[str, float], ...],
    steps: int | None,
    timing: bool,
    as_json: bool,
) -> None:
    """Price one inference: of the program in DIR on data, of --arch or --model, or --paper-table.

    physical: what the program does, by layer and cause (synapse, neuron, weight and state memory,
    routing, static), under named price tables, with a range, and the same network without spikes.
    paper: accumulates and MACs as the papers of these models count them, 0.9 and 4.6 pJ.
    """
    given = [folder, arch, model, paper_table]
    if sum(value is not None for value in given) != 1:
        raise click.UsageError("give one of DIR, --arch, --model, --paper-table")
    if mode == "paper" and prices:
        raise click.UsageError("--prices are of the physical mode; the papers have their own")
    if folder is None and (data_path is not None or timing):
        raise click.UsageError("--input and --timing are of a run; give DIR")
    if arch is None and model is None and (rates or steps is not None or target_name is not None):
        raise click.UsageError("--rate, --steps and --target are of --arch and --model")
    if paper_table is not None and (prices or mode is not None):
        raise click.UsageError("--mode and --prices are not of --paper-table")
    mode = mode or "both"
    if paper_table is not None:
        _paper_table(paper_table, as_json)
    elif model == "list":
        _models(as_json)
    elif folder is not None:
        if data_path is None:
            raise click.UsageError("give --input, the data that DIR runs on")
        _show(*_measured(folder, data_path, timing), mode, prices, as_json)
    else:
        counts, title = _expected(str(arch or model), target_name or "asic45", dict(rates), steps)
        _show(counts, None, title, mode, prices, as_json)


def _measured(folder: Path, data_path: Path, timing: bool) -> tuple[Counts, Run, str]:
    from neurodeploy import api
    from neurodeploy.frontends.data import read_data
    from neurodeploy.program import io
    from neurodeploy.reports.energy import of_run

    program = io.read(folder)
    data = read_data(data_path)
    with progress("simulating") as update:
        how: Any = {"timing": timing, "traffic": True, "progress": update}
        run = api.simulate(program, data.x, **how)
    where = f"on {program.target.title}"
    return of_run(run), run, f"{run.samples} samples of {run.steps} steps {where}"


def _expected(
    name: str, target_name: str, rates: dict[str, float], steps: int | None
) -> tuple[Counts, str]:
    from neurodeploy.reports.analytic.architecture import architecture
    from neurodeploy.targets import target

    found = architecture(name)
    counts = found.counts(target(target_name), rates=rates or None, steps=steps)
    where = f"on {counts.target.title}, from sizes and rates alone"
    return counts, f"{found.title}: {counts.steps} steps {where}"


def _show(
    counts: Counts, run: Run | None, title: str, mode: str, prices: tuple[str, ...], as_json: bool
) -> None:
    from neurodeploy.reports.energy import energy as price
    from neurodeploy.reports.energy import spread
    from neurodeploy.reports.energy.record import counts_record, energy_record
    from neurodeploy.reports.energy.text import full, spread_lines
    from neurodeploy.reports.neurobench import neurobench
    from neurodeploy.targets import prices as price_table

    own = (counts.target.prices,) if counts.target.prices else ()
    tables = [price_table(name) for name in prices or own]
    priced = []
    for kind in MODES[mode]:
        if kind == "physical":
            priced += [price(counts, table) for table in tables]
        else:
            priced.append(price(counts, mode=kind))
    physical = "physical" in MODES[mode]
    if as_json:
        body = {
            "counts": counts_record(counts),
            "energies": [energy_record(found) for found in priced],
            "spread": [energy_record(found) for found in spread(counts)] if physical else [],
            "neurobench": None if run is None else neurobench(run),
        }
        click.echo(to_json("energy", body))
        return
    parts = [[title]]
    if physical and not tables:
        parts.append(["physical: not modelled for this target; name a table with --prices"])
    parts += [full(found) for found in priced]
    parts += [spread_lines(spread(counts))] if physical else []
    click.echo("\n\n".join("\n".join(lines) for lines in parts))


def _paper_table(name: str, as_json: bool) -> None:
    from neurodeploy.reports.analytic import tables
    from neurodeploy.reports.analytic.text import table_lines, table_record

    found = [tables.paper_table(n) for n in (tables.TABLES if name == "list" else [name])]
    if name == "list":
        rows = [{"name": table.name, "title": table.title} for table in found]
        lines = [f"  {row['name']:<20} {row['title']}" for row in rows]
        click.echo(to_json("energy", {"tables": rows}) if as_json else "\n".join(lines))
        return
    body = {"table": table_record(found[0])}
    click.echo(to_json("energy", body) if as_json else "\n".join(table_lines(found[0])))


def _models(as_json: bool) -> None:
    from neurodeploy.reports.analytic.architecture import architecture, architecture_names

    rows = [{"name": name, "title": architecture(name).title} for name in architecture_names()]
    lines = [f"  {row['name']:<24} {row['title']}" for row in rows]
    click.echo(to_json("energy", {"models": rows}) if as_json else "\n".join(lines))
