"""`neurodeploy report`."""

from __future__ import annotations

from pathlib import Path

import click

from neurodeploy.cli.output import File, Folder, json_option, progress, to_json


@click.command()
@click.argument("folder", type=Folder, metavar="DIR")
@click.option("--input", "data_path", type=File, required=True, help="Data set: .npz with x, y.")
@click.option("-o", "--output", type=File, required=True, help="HTML file to write.")
@click.option(
    "--prices", multiple=True, help="Price tables, by name or .toml file.  [default: the target's]"
)
@click.option("--timing", is_flag=True, help="Count clock cycles on the target's machine.")
@json_option
def report(
    folder: Path,
    data_path: Path,
    output: Path,
    prices: tuple[str, ...],
    timing: bool,
    as_json: bool,
) -> None:
    """Simulate the program in DIR on data, and write an HTML page about both."""
    from neurodeploy import api
    from neurodeploy.frontends.data import read_data
    from neurodeploy.program import io
    from neurodeploy.reports.energy import energy
    from neurodeploy.reports.energy.record import energy_record
    from neurodeploy.reports.records import program_record, run_record
    from neurodeploy.targets import prices as price_table

    program = io.read(folder)
    data = read_data(data_path)
    with progress("simulating") as update:
        run = api.simulate(program, data.x, timing=timing, traffic=True, progress=update)
    api.report(program, [run], output, prices=prices, labels=data.y)
    if not as_json:
        click.echo(f"wrote {output}")
        return
    own = (program.target.prices,) if program.target.prices else ()
    priced = [energy(run, price_table(name)) for name in prices or own]
    accuracy = None if data.y is None else run.accuracy(data.y)
    body = {
        "output": str(output),
        "program": program_record(program),
        "run": run_record(run, priced[0] if priced else None, accuracy),
        "energies": [energy_record(found) for found in priced],
    }
    click.echo(to_json("report", body))
