"""`neurodeploy export`."""

from __future__ import annotations

from pathlib import Path

import click

from neurodeploy.cli.output import File, json_option, to_json


@click.command()
@click.argument("model", type=File)
@click.option(
    "-o", "--output", type=File, required=True, help="File to write, ending in .nir or .onnx."
)
@json_option
def export(model: Path, output: Path, as_json: bool) -> None:
    """Write MODEL (.pt, .nir, .onnx) as a NIR or ONNX graph that other tools read.

    The format follows from the ending of -o. What the format cannot carry is refused, never
    dropped.
    """
    from neurodeploy import api

    graph = api.load(model)
    api.export(graph, output)
    if as_json:
        click.echo(to_json("export", {"output": str(output), "nodes": len(graph)}))
    else:
        click.echo(f"wrote {output} ({len(graph)} nodes, {output.stat().st_size:,} bytes)")
