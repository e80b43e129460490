"""`neurodeploy targets` and `neurodeploy neurons`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import json_option, to_json

if TYPE_CHECKING:
    from neurodeploy.neurons import NeuronSpec
    from neurodeploy.targets import Prices, Target


@click.command()
@click.argument("name", required=False)
@json_option
def targets(name: str | None, as_json: bool) -> None:
    """List targets and price tables, or show everything about the one called NAME, with sources."""
    from neurodeploy.targets import price_names, prices, target, target_names

    tables = [prices(n) for n in price_names() if name in (None, n)]
    names = target_names() if name is None else [name]
    chips = [] if name is not None and tables else [target(n) for n in names]
    if as_json:
        body = {"targets": [asdict(c) for c in chips], "prices": [asdict(t) for t in tables]}
        click.echo(to_json("targets", body))
        return
    if name is not None:
        click.echo("\n".join([*map(_target_text, chips), *map(_prices_text, tables)]))
        return
    click.echo("targets")
    for chip in chips:
        click.echo(f"  {chip.name:<12} {chip.title}, {chip.cores} cores")
    click.echo("price tables")
    for table in tables:
        click.echo(f"  {table.name:<12} {table.title} ({table.grade})")


def _prices_text(table: Prices) -> str:
    lines = [f"{table.name}: {table.title}", f"scope: {table.scope}"]
    for unit, prefix, numbers in (
        ("pJ", "", table.energy_pj),
        ("W", "power_w.", table.power_w),
        ("ns", "time_ns.", table.time_ns),
    ):
        for key, value in numbers.items():
            span = table.ranges_pj.get(key, []) if unit == "pJ" else []
            ends = f" ({span[0]} to {span[1]})" if span else ""
            grade, source = table.grade_of(prefix + key), table.sources[prefix + key]
            lines.append(f"  {key} = {value} {unit}{ends}    # {grade}: {source}")
    return "\n".join(lines)


def _target_text(chip: Target) -> str:
    lines = [f"{chip.name}: {chip.title}", f"prices: {chip.prices or 'none apply'}"]
    parts = ["chip", "core", "numbers", "timing"]
    parts += [part for part in ("cycles", "mesh") if getattr(chip, part)]
    for part in parts:
        for key, value in asdict(getattr(chip, part)).items():
            source = chip.sources.get(f"{part}.{key}")
            if source is not None:
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
