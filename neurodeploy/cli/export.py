"""`neurodeploy export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neurodeploy.cli.output import File, json_option, to_json
from neurodeploy.cli.reading import model_argument, reading_options

if TYPE_CHECKING:
    from neurodeploy.frontends import Reading


@click.command()
@model_argument()
@click.option(
    "-o", "--output", type=File, required=True, help="File to write, ending in .nir or .onnx."
)
@click.option(
    "--nir",
    type=click.Choice(("stock", "composite", "extension")),
    help="What a NIR file may have: primitives alone; by default, graphs of them, too; or also"
    " nodes that only neurodeploy reads.",
)
@reading_options
@json_option
def export(
    model: Path | None, output: Path, nir: str | None, reading: Reading, as_json: bool
) -> None:
    """Write MODEL (any file that compile takes) as a NIR or ONNX graph that other tools read.

    The format follows from the ending of -o. What the format cannot carry is refused, never
    dropped.
    """
    from neurodeploy import api
    from neurodeploy.frontends import read_model

    graph = read_model(model, reading).graph
    api.export(graph, output, nir=nir)
    if as_json:
        click.echo(to_json("export", {"output": str(output), "nodes": len(graph)}))
    else:
        click.echo(f"wrote {output} ({len(graph)} nodes, {output.stat().st_size:,} bytes)")
