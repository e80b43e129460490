"""`neurodeploy simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neurodeploy.cli.output import File, Folder, json_option, progress, to_json


@click.command()
@click.argument("folder", type=Folder, metavar="DIR")
@click.option("--input", "data_path", type=File, required=True, help="Data set: .npz with x, y.")
@click.option("-o", "--output", type=File, help="Write outputs and spikes to this .npz.")
@click.option("--prices", help="Price table, by name or .toml file.  [default: the target's]")
@click.option("--timing", is_flag=True, help="Count clock cycles on the target's machine.")
@click.option("--stepping", is_flag=True, help="Step through samples too, and time each step.")
@json_option
def simulate(
    folder: Path,
    data_path: Path,
    output: Path | None,
    prices: str | None,
    timing: bool,
    stepping: bool,
    as_json: bool,
) -> None:
    """Run the compiled program in DIR on data, exactly, and count what it does.

    DATA.npz holds x [T, B, C] and, if labels are known, y [B]. The summary shows accuracy, spikes
    and operations per layer, and the energy of one inference under a named price table.
    """
    from neurodeploy import api
    from neurodeploy.backends.folder import write_run
    from neurodeploy.cli.stepping import latency_record, latency_text, step_through
    from neurodeploy.frontends.data import read_data
    from neurodeploy.program import io
    from neurodeploy.reports.energy import energy
    from neurodeploy.reports.records import run_record
    from neurodeploy.reports.text import run_text
    from neurodeploy.targets import prices as price_table

    program = io.read(folder)
    data = read_data(data_path)
    named = prices or program.target.prices
    table = price_table(named) if named else None
    record = [node.name for node in program.populations if node.model.spiking] if output else []
    with progress("simulating") as update:
        how: Any = {"record": record, "timing": timing, "traffic": True}
        run = api.simulate(program, data.x, progress=update, **how)
    latency = step_through(run, data.x) if stepping else None
    if output:
        write_run(run, output)
    accuracy = None if data.y is None else run.accuracy(data.y)
    priced = None if table is None else energy(run, table)
    if as_json:
        body: dict[str, Any] = {
            "output": str(output) if output else None,
            "run": run_record(run, priced, accuracy),
        }
        body |= latency_record(latency)
        click.echo(to_json("simulate", body))
        return
    click.echo(run_text(run, priced, accuracy))
    if latency is not None:
        click.echo(latency_text(latency))
    if output:
        click.echo(f"\nwrote {output}")
