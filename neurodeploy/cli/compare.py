"""`neurodeploy compare`."""

from __future__ import annotations

from pathlib import Path

import click

from neurodeploy.cli.output import File, Folder, json_option, progress, to_json


@click.command()
@click.argument("model", type=File)
@click.argument("folder", type=Folder, metavar="DIR")
@click.option("--input", "data_path", type=File, required=True, help="Data set: .npz with x, y.")
@json_option
def compare(model: Path, folder: Path, data_path: Path, as_json: bool) -> None:
    """Compare the float MODEL with the integer program in DIR that was compiled from it.

    Shows the accuracy of both, how many spikes of each layer agree, and the first that does not:
    sample, step, layer, neuron and both membranes.
    """
    from neurodeploy import api
    from neurodeploy.frontends.data import read_data
    from neurodeploy.program import io
    from neurodeploy.reports.records import comparison_record
    from neurodeploy.reports.text import comparison_text

    graph = api.load(model)
    program = io.read(folder)
    data = read_data(data_path)
    with progress("comparing") as update:
        found = api.compare(graph, program, data.x, labels=data.y, progress=update)
    if as_json:
        click.echo(to_json("compare", comparison_record(found)))
    else:
        click.echo(comparison_text(found))
