"""`neurodeploy hil`."""

from __future__ import annotations

from pathlib import Path

import click

from neurodeploy.cli.output import Folder, json_option, say, to_json


@click.group()
def hil() -> None:
    """Hardware in the loop: compare a compiled program with Lava or a board, spike by spike."""


@hil.command()
@click.argument("folder", type=Folder, metavar="DIR")
@click.option(
    "--on", type=click.Choice(["lava", "board"]), required=True, help="What runs the bundle."
)
@click.option("--runtime", is_flag=True, help="Use Lava's own runtime, one process per layer.")
@click.option("--samples", type=click.IntRange(1), help="Golden samples to run.  [default: all]")
@click.option("--timeout", default=600.0, help="Seconds until a run is given up.")
@json_option
def check(
    folder: Path, on: str, runtime: bool, samples: int | None, timeout: float, as_json: bool
) -> None:
    """Run the golden vectors of the bundle in DIR and compare every integer.

    Every spike, every graded value and every final state must be as the simulator computed it.
    The first that differs is named, and the exit code is then 5.
    """
    from neurodeploy.backends import hardware

    verdict = hardware.check(
        folder, on=on, runtime=runtime, samples=samples, timeout_s=timeout, say=say
    )
    if not verdict.agrees:
        raise verdict.error()
    if as_json:
        click.echo(to_json("hil check", verdict.record()))
        return
    counts = ", ".join(f"{count:,} {kind}" for kind, count in verdict.compared.items())
    click.echo(f"agrees on {verdict.on}: {counts} compared, 0 differences")
