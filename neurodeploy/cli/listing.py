"""`neurodeploy targets` and `neurodeploy neurons`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import json_option, to_json

if TYPE_CHECKING:
    from neurodeploy.neurons import NeuronSpec
    from neurodeploy.targets import Target


@click.command()
@click.argument("name", required=False)
@json_option
def targets(name: str | None, as_json: bool) -> None:
    """List the targets and price tables, or show everything about target NAME, with sources."""
    from neurodeploy.targets import price_names, prices, target, target_names

    chips = [target(name)] if name else [target(n) for n in target_names()]
    tables = [] if name else [prices(n) for n in price_names()]
    if as_json:
        body = {"targets": [asdict(c) for c in chips], "prices": [asdict(t) for t in tables]}
        click.echo(to_json("targets", body))
        return
    if name:
        click.echo(_target_text(chips[0]))
        return
    click.echo("targets")
    for chip in chips:
        click.echo(f"  {chip.name:<12} {chip.title}, {chip.cores} cores")
    click.echo("price tables")
    for table in tables:
        click.echo(f"  {table.name:<12} {table.title} ({table.grade})")


def _target_text(chip: Target) -> str:
    lines = [f"{chip.name}: {chip.title}", f"prices: {chip.prices or 'none apply'}"]
    parts = ["chip", "core", "numbers", "timing", *(["cycles"] if chip.cycles else [])]
    for part in parts:
        for key, value in asdict(getattr(chip, part)).items():
            if value is not None:
                source = chip.sources[f"{part}.{key}"]
                lines.append(f"  {part}.{key} = {value}    # {source}")
    return "\n".join([*lines, *(f"  not modelled: {item}" for item in chip.not_modelled)])


@click.command()
@json_option
def neurons(as_json: bool) -> None:
    """List the neuron models: options, parameters with units, cost of one update, source."""
    from neurodeploy.neurons import SPECS

    records = [_neuron(spec) for spec in SPECS.values()]
    if as_json:
        click.echo(to_json("neurons", {"neurons": records}))
        return
    for record in records:
        cost = ", ".join(f"{n} {op}" for op, n in record["cost"].items() if n)
        options = "; ".join(f"{k}: {' | '.join(map(str, v))}" for k, v in record["options"].items())
        click.echo(f"{record['name']}    # {record['source']}")
        click.echo(f"  options     {options}")
        click.echo("  parameters  " + ", ".join(f"{k} [{u}]" for k, u in record["units"].items()))
        click.echo(f"  update      {cost}")


def _neuron(spec: NeuronSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "source": spec.source,
        "options": {key: list(choices) for key, choices in spec.choices.items()},
        "units": dict(spec.units),
        "cost": spec.cost(spec.options()),
        "spiking": spec.spiking,
    }
