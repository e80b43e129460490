"""`neurodeploy compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neurodeploy.cli.output import File, Folder, json_option, progress, to_json
from neurodeploy.cli.reading import model_argument, reading_options

if TYPE_CHECKING:
    from neurodeploy.frontends import Reading


@click.command()
@model_argument()
@click.argument("folder", type=Folder, metavar="DIR", required=False)
@click.option("--input", "data_path", type=File, required=True, help="Data set: .npz with x, y.")
@reading_options
@json_option
def compare(
    model: Path | None, folder: Path | None, data_path: Path, reading: Reading, as_json: bool
) -> None:
    """Compare the float MODEL with the integer program in DIR that was compiled from it.

    Shows the accuracy of both, how many spikes of each layer agree, and the first that does not:
    sample, step, layer, neuron and both membranes.
    """
    from neurodeploy import api
    from neurodeploy.frontends import read_model
    from neurodeploy.frontends.data import read_data
    from neurodeploy.program import io
    from neurodeploy.reports.records import comparison_record
    from neurodeploy.reports.text import comparison_text

    if folder is None:  # with --model, the one argument is the folder
        model, folder = None, model
    if folder is None or (model is None and reading.factory is None):
        raise click.UsageError("Missing argument 'DIR'.")
    graph = read_model(model, reading).graph
    program = io.read(folder)
    data = read_data(data_path)
    with progress("comparing") as update:
        found = api.compare(graph, program, data.x, labels=data.y, progress=update)
    if as_json:
        click.echo(to_json("compare", comparison_record(found)))
    else:
        click.echo(comparison_text(found))
