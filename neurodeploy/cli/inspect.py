"""`neurodeploy inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from neurodeploy.cli.output import File, json_option, to_json


@click.command()
@click.argument("path", type=File)
@click.option("--full", is_flag=True, help="Print every constant, not its range.")
@json_option
def inspect(path: Path, full: bool, as_json: bool) -> None:
    """Show what is in a model file (.pt, .nir, .onnx) or a compiled program's folder."""
    if path.is_dir():
        _program(path, as_json)
        return
    from neurodeploy import api
    from neurodeploy.graph.text import text

    graph = api.load(path)
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
