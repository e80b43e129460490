"""`neurodeploy search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import BitsParam, File, json_option, progress, to_json
from neurodeploy.cli.reading import model_argument, reading_options

if TYPE_CHECKING:
    from neurodeploy.frontends import Reading


@click.command()
@model_argument()
@click.option("--target", "target_name", required=True, help="Name of a target, or a .toml file.")
@click.option("--data", type=File, required=True, help="Data to judge by: .npz with x, y.")
@click.option(
    "--drop",
    type=click.FloatRange(0, 100),
    default=0.5,
    help="Percentage points of accuracy that may be lost.",
)
@click.option("--bits", type=BitsParam(), help="Weight bits at the start.  [default: 8]")
@click.option(
    "--coef-bits", type=BitsParam(), help="Coefficient bits at the start.  [default: the target's]"
)
@click.option("--prices", help="Price table, by name or .toml file.  [default: the target's]")
@click.option("--plot", type=File, help="Write accuracy over cost of all programs to this .svg.")
@click.option("--html", "page", type=File, help="Write tables and plot as a page to this .html.")
@click.option("-o", "--output", type=File, help="Write a checkpoint that compiles with these bits.")
@reading_options
@json_option
def search(
    model: Path | None,
    target_name: str,
    data: Path,
    drop: float,
    bits: Any,
    coef_bits: Any,
    prices: str | None,
    plot: Path | None,
    page: Path | None,
    output: Path | None,
    reading: Reading,
    as_json: bool,
) -> None:
    """Find the cheapest weight and coefficient bits of each layer of MODEL.

    Every candidate is compiled and run on all of --data. The cost is the mean of memory and, where
    a price table applies, energy, each as a share of what the start needs.
    """
    from neurodeploy import api
    from neurodeploy.files import new_file
    from neurodeploy.frontends import read_model
    from neurodeploy.frontends.data import read_data
    from neurodeploy.reports.search import search_record, search_svg, search_text
    from neurodeploy.reports.search_page import search_html
    from neurodeploy.targets import prices as price_table

    target, network, judged = api.target(target_name), read_model(model, reading), read_data(data)
    how: dict[str, Any] = {"drop": drop, "bits": bits, "coef_bits": coef_bits}
    how["prices"] = price_table(prices) if prices else None
    example = judged.x[:, :64] if network.example is None else network.example
    with progress("searching") as update:
        graph, found = api.search(
            network.graph, target, judged.x, judged.y, calibration=example, progress=update, **how
        )
    if output is not None:
        api.save(graph, output, example=example)
    title = f"{network.name} on {target.name}"
    for path, drawn in ((plot, search_svg), (page, search_html)):
        if path is not None:
            with new_file(path) as beside:
                beside.write_text(drawn(found, title), "utf-8")
    written = [str(path) for path in (output, plot, page) if path is not None]
    if as_json:
        click.echo(to_json("search", {"written": written, "search": search_record(found)}))
        return
    click.echo(search_text(found))
    for name in written:
        click.echo(f"\nwrote {name}")
