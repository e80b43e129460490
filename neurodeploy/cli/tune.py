"""`neurodeploy tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import BitsParam, File, json_option, progress, to_json
from neurodeploy.cli.reading import model_argument, reading_options
from neurodeploy.errors import InputError

if TYPE_CHECKING:
    from neurodeploy.frontends import Reading
    from neurodeploy.graph.ir import Graph
    from neurodeploy.program.ir import Program

EXAMPLE = 64  # training samples that a tuned checkpoint keeps to set scales, if it had none


@click.command()
@model_argument()
@click.option("--data", type=File, required=True, help="Training data: .npz with x, y.")
@click.option("--test", type=File, help="Data that the accuracies are of.  [default: --data]")
@click.option(
    "--bits",
    type=BitsParam(),
    help="Weight bits, of all or by Linear: 4, or 8,encoder=6,blocks.*=4.  [default: 8]",
)
@click.option(
    "--coef-bits",
    type=BitsParam(),
    help="Bits of coefficients, of all or by neurons.  [default: the target's]",
)
@click.option(
    "--target", "target_name", default="loihi2", help="Name of a target, or a .toml file."
)
@click.option("--epochs", type=click.IntRange(1), default=3)
@click.option("--lr", "rate", type=float, default=1e-3, help="Rate, relative to constants' sizes.")
@click.option("--batch", type=click.IntRange(1), default=64)
@click.option("--seed", type=int, default=0)
@click.option("-o", "--output", type=File, help="File to write.  [default: MODEL.tuned.pt]")
@reading_options
@json_option
def tune(
    model: Path | None,
    data: Path,
    test: Path | None,
    bits: Any,
    coef_bits: Any,
    target_name: str,
    output: Path | None,
    reading: Reading,
    as_json: bool,
    **recipe: Any,
) -> None:
    """Fine-tune MODEL as the integers that it becomes on a target.

    Forward, each step runs the integer program itself; backward, roundings are taken for the
    identity. The checkpoint that is written compiles as usual, by default with the bits it was
    tuned for. Accuracies are those of integer programs.
    """
    from neurodeploy import api
    from neurodeploy.frontends import read_model
    from neurodeploy.frontends.data import read_data

    target, network = api.target(target_name), read_model(model, reading)
    train = read_data(data)
    judged = train if test is None else read_data(test)
    if judged.y is None:
        fix = "write y [B], class indices, beside x"
        raise InputError("E106", f"{(test or data).name} has no labels", fix=fix)
    example = train.x[:, :EXAMPLE] if network.example is None else network.example

    def accuracy(graph: Graph, **how: Any) -> tuple[Program, float]:
        program = api.compile(graph, target, calibration=example, **how)
        return program, api.simulate(program, judged.x).accuracy(judged.y)

    chosen = {"bits": bits, "coef_bits": coef_bits}
    place = output or Path(f"{network.name}.tuned.pt")
    with progress("tuning") as update:
        how: Any = {"calibration": example, "progress": update, **chosen, **recipe}
        tuned = api.tune(network.graph, target, train.x, train.y, **how)
    _, before = accuracy(network.graph, **chosen)
    program, after = accuracy(tuned)
    api.save(tuned, place, example=example)
    _show(program, place, before, after, test or data, as_json=as_json)


def _show(
    program: Program, place: Path, before: float, after: float, judged: Path, *, as_json: bool
) -> None:
    from neurodeploy.reports.format import percent
    from neurodeploy.reports.records import program_record

    record = program_record(program)
    if as_json:
        accuracies = {"before": before, "after": after, "data": str(judged)}
        body = {"output": str(place), "accuracy": accuracies, "program": record}
        click.echo(to_json("tune", body))
        return
    least, most = record["weight_bits_least"], record["weight_bits"]
    width = f"{most}-bit" if least == most else f"{least}- to {most}-bit"
    click.echo(
        f"{width} weights on {program.target.name}, accuracy on {judged.name}:"
        f" {percent(before)} before tuning, {percent(after)} after"
    )
    click.echo(f"\nwrote {place}")
