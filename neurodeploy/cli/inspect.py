"""`neurodeploy inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import json_option, to_json
from neurodeploy.cli.reading import model_argument, reading_options

if TYPE_CHECKING:
    from neurodeploy.frontends import Reading
    from neurodeploy.graph.ir import Graph


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
    if path is not None and path.suffix == ".nir" and path.is_file():
        _nir(path, reading, full=full, as_json=as_json)
        return
    from neurodeploy.frontends import read_model

    graph = read_model(path, reading).graph
    click.echo(to_json("inspect", _record(graph)) if as_json else _text(graph, full))


def _record(graph: Graph) -> dict[str, Any]:
    nodes = [
        {
            "name": node.name,
            "operation": type(node.op).__name__,
            "width": graph.widths[node.name],
            "reads": list(node.inputs),
        }
        for node in graph
    ]
    return {"nodes": nodes, "output": graph.output}


def _text(graph: Graph, full: bool) -> str:
    from neurodeploy.graph.text import text

    return text(graph, full=full)


def _nir(path: Path, reading: Reading, *, full: bool, as_json: bool) -> None:
    """Show what stands in the file, then the graph that it is, or why it is none yet."""
    from neurodeploy.errors import NeurodeployError
    from neurodeploy.frontends import nir_text, read_model

    file = {"nodes": nir_text.described(path), "writer": nir_text.writer(path)}
    try:
        graph = read_model(path, reading).graph
    except NeurodeployError as error:
        if error.code == "E101":
            raise
        if as_json:
            click.echo(to_json("inspect", {"file": file, "open": error.records()}))
        else:
            click.echo(f"{nir_text.text(path)}\n\nnot a graph as it stands:\n{error}")
        return
    if as_json:
        click.echo(to_json("inspect", {**_record(graph), "file": file}))
    elif file["writer"] == "neurodeploy":
        click.echo(_text(graph, full))
    else:
        click.echo(f"{nir_text.text(path)}\n\nas a graph:\n{_text(graph, full)}")


def _program(path: Path, as_json: bool) -> None:
    from neurodeploy.program import io
    from neurodeploy.reports.records import program_record
    from neurodeploy.reports.text import program_text

    program = io.read(path)
    if as_json:
        click.echo(to_json("inspect", {"program": program_record(program)}))
    else:
        click.echo(program_text(program))
