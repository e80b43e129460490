"""`neurodeploy inspect`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import json_option, to_json
from neurodeploy.cli.reading import model_argument, reading_options

if TYPE_CHECKING:
    from neurodeploy.frontends import Model, Reading
    from neurodeploy.graph.ir import Graph
    from neurodeploy.program.ir import Program
    from neurodeploy.targets import Target

MOST_WEIGHTS = 4_000_000  #: of a network that all targets are tried for without being asked
OWN = "neurodeploy"  #: what wrote a file that the graph says all of
STEPS, SAMPLES = 64, 4  #: of the example, that set the scales


@click.command()
@model_argument("path")
@click.option("--full", is_flag=True, help="Print every constant, not its range.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Say whether this target holds it; repeatable.  [default: all, if it is small]",
)
@reading_options
@json_option
def inspect(
    path: Path | None, full: bool, targets: tuple[str, ...], reading: Reading, as_json: bool
) -> None:
    """Show what is in a model file (any that compile takes) or a compiled program's folder.

    Of a model: every node with its constants and their units, and what each target makes of it. Of
    a file that leaves something open, all that has to be stated. Of a program: its layers, and
    whether its integers, as they are, mean the same on other targets.
    """
    if path is not None and path.is_dir():
        _program(path, targets, as_json)
        return
    from neurodeploy.errors import NeurodeployError
    from neurodeploy.frontends import contents, read_contents, read_model

    try:
        model = read_model(path, reading)
    except NeurodeployError as error:
        file = read_contents(path, reading, refused=error.code)
        if file is None:
            raise
        shown = f"{contents.text(file)}\n\nnot a graph as it stands:\n{error}"
        record = {"file": file, "open": error.records()}
        click.echo(to_json("inspect", record) if as_json else shown)
        return
    file = read_contents(path, reading)
    if as_json:
        told = {} if file is None else {"file": file}
        click.echo(to_json("inspect", {**_record(model, targets), **told}))
    elif file is None or file["writer"] == OWN:
        click.echo(_text(model, full, targets))
    else:
        click.echo(f"{contents.text(file)}\n\nas a graph:\n{_text(model, full, targets)}")


def _record(model: Model, targets: tuple[str, ...]) -> dict[str, Any]:
    from neurodeploy.graph.text import constants

    graph, weights = model.graph, _weights(model.graph)
    nodes = [
        {
            "name": node.name,
            "operation": type(node.op).__name__,
            "width": graph.widths[node.name],
            "reads": list(node.inputs),
            "constants": constants(node.op),
        }
        for node in graph
    ]
    held = [_held(model, chip) for chip in _targets(targets, weights)]
    about = {"weights": weights, "bits": dict(graph.bits), "targets": held}
    return {"nodes": nodes, "output": graph.output, **about}


def _text(model: Model, full: bool, targets: tuple[str, ...]) -> str:
    from neurodeploy.graph.text import text

    graph, weights = model.graph, _weights(model.graph)
    chips = _targets(targets, weights)
    lines = [
        f"{model.name}: {len(graph)} nodes, {weights:,} weights;"
        f" input [T, B, {graph.widths[graph.input.name]}]",
        text(graph, full=full),
        *(_line(_held(model, chip)) for chip in chips),
    ]
    if not chips:
        lines.append(_not_tried(weights))
    return "\n".join(lines)


def _weights(graph: Graph) -> int:
    from neurodeploy.graph.weights import Weighted

    return sum(node.op.stored.size for node in graph if isinstance(node.op, Weighted))


def _targets(asked: tuple[str, ...], weights: int) -> list[Target]:
    """Return the targets to try: those asked for, or all if there are not too many weights."""
    from neurodeploy.targets import target
    from neurodeploy.targets.find import target_names

    return [target(n) for n in asked or (target_names() if weights <= MOST_WEIGHTS else ())]


def _not_tried(weights: int) -> str:
    return f"targets: not tried with {weights:,} weights; name one: --target asic45"


def _held(model: Model, chip: Target) -> dict[str, Any]:
    """Return whether a target holds a network, or all that it does not have for it."""
    from neurodeploy.passes.pipeline import compile_graph

    sample = None if model.example is None else model.example[:STEPS, :SAMPLES]
    return _fit(chip, lambda: compile_graph(model.graph, chip, calibration=sample).program)


def _fit(chip: Target, made: Callable[[], Program]) -> dict[str, Any]:
    """Return what the program that is `made` for a target takes of it, or why there is none."""
    from neurodeploy.errors import FitError, InputError
    from neurodeploy.reports.records import program_record

    try:
        found = program_record(made())
    except (FitError, InputError) as error:
        return {"name": chip.name, "ok": False, "problems": error.records()}
    used = {
        key: found[key] for key in ("cores", "cores_available", "synapses", "weights", "neurons")
    }
    memory = {"memory_kib": found["weight_kib"] + found["state_kib"]}
    return {"name": chip.name, "ok": True, "problems": [], **used, **memory}


def _line(row: dict[str, Any]) -> str:
    if row["ok"]:
        cores = f"{row['cores']} of {row['cores_available']} cores"
        return f"target {row['name']}: ok, {cores}, {row['memory_kib']:.4g} KiB"
    count = len(row["problems"])
    lines = [f"target {row['name']}: no, {count} problem{'s' if count > 1 else ''}"]
    for problem in row["problems"]:
        where = f" ({problem['where']})" if problem["where"] else ""
        lines.append(f"    [{problem['code']}] {problem['what']}{where}")
    return "\n".join(lines)


def _program(path: Path, targets: tuple[str, ...], as_json: bool) -> None:
    """Show a compiled program, and what other targets make of its integers as they are."""
    from neurodeploy.passes.retarget import Retarget
    from neurodeploy.program import io
    from neurodeploy.reports.records import program_record
    from neurodeploy.reports.text import program_text

    program = io.read(path)
    record = program_record(program)
    chips = _targets(targets, record["weights"])
    others = [chip for chip in chips if targets or chip != program.target]
    rows = [_fit(chip, partial(Retarget(chip), program)) for chip in others]
    if as_json:
        click.echo(to_json("inspect", {"program": record, "targets": rows}))
        return
    head = ["", "these integers on other targets:"] if rows else []
    lines = [program_text(program), *head, *map(_line, rows)]
    if not chips:
        lines.append(_not_tried(record["weights"]))
    elif not all(row["ok"] for row in rows):
        lines.append("what a program does not fit, its model may, compiled for that target")
    click.echo("\n".join(lines))
