"""`neurodeploy inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neurodeploy.cli.output import json_option, to_json
from neurodeploy.cli.reading import model_argument, reading_options

if TYPE_CHECKING:
    from neurodeploy.frontends import Reading


@click.command()
@model_argument("path")
@click.option("--full", is_flag=True, help="Print every constant, not its range.")
@reading_options
@json_option
def inspect(path: Path | None, full: bool, reading: Reading, as_json: bool) -> None:
    """Show what is in a model file (.pt, .nir, .onnx) or a compiled program's folder."""
    if path is not None and path.is_dir():
        _program(path, as_json)
        return
    from neurodeploy.frontends import read_model
    from neurodeploy.graph.text import text

    graph = read_model(path, reading).graph
    if as_json:
        nodes = [
            {
                "name": node.name,
                "operation": type(node.op).__name__,
                "width": graph.widths[node.name],
                "reads": list(node.inputs),
            }
            for node in graph
        ]
        click.echo(to_json("inspect", {"nodes": nodes, "output": graph.output}))
    else:
        click.echo(text(graph, full=full))


def _program(path: Path, as_json: bool) -> None:
    from neurodeploy.program import io
    from neurodeploy.reports.records import program_record
    from neurodeploy.reports.text import program_text

    program = io.read(path)
    if as_json:
        click.echo(to_json("inspect", {"program": program_record(program)}))
    else:
        click.echo(program_text(program))
