"""`neurodeploy sweep`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from neurodeploy.cli.compile import PLACES
from neurodeploy.cli.output import BitsParam, File, json_option, progress, say, to_json


@click.command()
@click.argument("models", type=File, nargs=-1, required=True)
@click.option(
    "--target", "targets", multiple=True, required=True, help="Name of a target, or a .toml file."
)
@click.option("--data", type=File, required=True, help="Data to judge by: .npz with x, y.")
@click.option("--bits", type=BitsParam(), multiple=True, help="Weight bits.  [default: 8]")
@click.option(
    "--coef-bits",
    type=BitsParam(),
    multiple=True,
    help="Bits of coefficients.  [default: the target's]",
)
@click.option(
    "--place",
    "places",
    type=click.Choice(PLACES),
    multiple=True,
    help="How nodes are put on cores.  [default: naive]",
)
@click.option("--seed", type=int, default=0, help="Of the placement.")
@click.option("--calibrate", type=File, help="Data set (.npz with x) that sets the scales.")
@click.option("--prices", help="Price table, by name or .toml file.  [default: the target's]")
@click.option(
    "--timing/--no-timing", default=True, help="Count cycles where a target states its machine."
)
@click.option("--chunk", type=click.IntRange(1), default=64, help="Samples of a task.")
@click.option("--scheduler", help="A Dask scheduler, tcp://HOST:PORT.  [default: this machine]")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes of this machine.  [default: processors]"
)
@click.option(
    "-o", "--output", type=File, default="sweep.jsonl", help="Rows: a .jsonl or .parquet file."
)
@json_option
def sweep(
    models: tuple[Path, ...],
    targets: tuple[str, ...],
    data: Path,
    calibrate: Path | None,
    prices: str | None,
    output: Path,
    as_json: bool,
    **choices: Any,
) -> None:
    """Compile and run MODELS on every combination of targets, bits and placements.

    Options that choose may be given several times. All of --data is run, chunk by chunk, on all
    processors or on a Dask cluster. A design that does not compile is a row with its error. Started
    again, a sweep that was stopped goes on from what the output has.
    """
    from neurodeploy import api
    from neurodeploy.frontends.data import read_data
    from neurodeploy.reports.sweep import sweep_text
    from neurodeploy.targets import prices as price_table

    if choices["scheduler"] and choices["workers"]:
        raise click.UsageError("--workers are processes of this machine: not with --scheduler")
    judged = read_data(data)
    example = None if calibrate is None else read_data(calibrate).x
    how: dict[str, Any] = {key: value for key, value in choices.items() if value not in ((), None)}
    how |= {"calibration": example, "prices": price_table(prices) if prices else None}
    try:
        with progress("sweeping") as update:
            rows = api.sweep(
                {str(path): path for path in models},
                targets,
                judged.x,
                judged.y,
                output=output,
                progress=update,
                **how,
            )
    except KeyboardInterrupt:
        say(f"stopped: the same command goes on from {output}")
        raise
    records = [asdict(row) for row in rows]
    if as_json:
        failed = sum(record["error"] is not None for record in records)
        click.echo(to_json("sweep", {"output": str(output), "rows": records, "failed": failed}))
        return
    click.echo(sweep_text(records))
    click.echo(f"\nwrote {output}")
