"""`neurodeploy compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import BitsParam, File, Folder, json_option, progress, say, to_json
from neurodeploy.cli.reading import model_argument, reading_options

if TYPE_CHECKING:
    from neurodeploy.frontends import Model, Reading
    from neurodeploy.graph.ir import Graph
    from neurodeploy.program.ir import Program

PASSES = (
    "drop-surrogate",
    "fold-pooling",
    "fold-batchnorm",
    "fold-dynamics",
    "fold-amplitude",
    "calibrate",
    "quantize",
    "align-delays",
    "place",
)

PLACES = ("naive", "balanced", "traffic", "cycles")

GOLDEN = 2  # calibration samples that become the golden vectors of a bundle


@click.command("compile")
@model_argument()
@click.option("--target", "target_name", required=True, help="Name of a target, or a .toml file.")
@click.option("-o", "--output", type=Folder, help="Folder to write.  [default: MODEL.TARGET]")
@click.option("--calibrate", type=File, help="Data set (.npz with x) that sets the scales.")
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
    "--place",
    type=click.Choice(PLACES),
    default="naive",
    help="How nodes are put on cores: in order, evenly, or by what they send.",
)
@click.option("--seed", type=int, default=0, help="Of the placement.")
@click.option("--verify", is_flag=True, help="Check every pass on the calibration data.")
@click.option(
    "--dump-after",
    type=click.Choice(PASSES),
    multiple=True,
    help="Write the graph or program after this pass into the output folder.",
)
@click.option("--dry-run", is_flag=True, help="Compile and report, but write nothing.")
@reading_options
@json_option
def compile_command(
    model: Path | None,
    target_name: str,
    output: Path | None,
    calibrate: Path | None,
    bits: Any,
    coef_bits: Any,
    place: str,
    seed: int,
    verify: bool,
    dump_after: tuple[str, ...],
    dry_run: bool,
    reading: Reading,
    as_json: bool,
) -> None:
    """Compile MODEL (.pt, .safetensors, .pt2, .nir, .onnx) to an integer program for a target.

    Scales come from --calibrate, else from the example saved in the checkpoint, else from bounds;
    the summary says which. --verify needs data.
    """
    from neurodeploy import api
    from neurodeploy.backends import folder
    from neurodeploy.frontends import read_model

    target = api.target(target_name)
    network = read_model(model, reading)
    data, origin = _calibration(network, calibrate)
    if verify and data is None:
        raise click.UsageError("--verify needs data: give --calibrate DATA.npz")
    dumps: dict[str, str] = {}
    with progress("compiling") as update:

        def watch(name: str, stage: Any) -> None:
            update(PASSES.index(name) + 1, len(PASSES))
            if name in dump_after:
                dumps[name] = _text(stage)

        how: dict[str, Any] = {
            "bits": bits,
            "coef_bits": coef_bits,
            "verify": verify,
            "place": place,
            "seed": seed,
            "origin": origin,
            "watch": watch,
        }
        program = api.compile(network.graph, target, calibration=data, name=network.name, **how)
    home = None if dry_run else output or Path(f"{network.name}.{target.name}")
    if home is not None:
        golden = None if data is None else data[:, :GOLDEN]
        folder.write(program, home, bundle=target.bundle, golden=golden, texts=dumps)
    _show(program, home, dumps, as_json=as_json)


def _show(program: Program, place: Path | None, dumps: dict[str, str], *, as_json: bool) -> None:
    """Print what was compiled, and where it went."""
    from neurodeploy.reports.records import program_record
    from neurodeploy.reports.text import program_text

    if as_json:
        written = None if place is None else str(place)
        body = {"output": written, "program": program_record(program), "dumps": dumps}
        click.echo(to_json("compile", body))
        return
    click.echo(program_text(program))
    if str(program.notes["calibration"]).startswith("bounds"):
        say("note: without data, scales are safe bounds and may be coarse; give --calibrate")
    if place is None:
        for name, dumped in dumps.items():
            click.echo(f"\nafter {name}:\n{dumped}")
    click.echo("\ndry run: nothing written" if place is None else f"\nwrote {place}")


def _calibration(network: Model, calibrate: Path | None) -> tuple[Any, str]:
    """Return calibration inputs and what to call them."""
    from neurodeploy.frontends.data import read_data

    if calibrate is not None:
        x = read_data(calibrate).x
        return x, f"{calibrate.name} ({x.shape[1]} samples)"
    if network.example is not None:
        x = network.example
        return x, f"the example in the checkpoint ({x.shape[1]} samples)"
    return None, "bounds (inputs taken to be in [-1, 1], sequences of at most 1024 steps)"


def _text(stage: Graph | Program) -> str:
    from neurodeploy.graph.ir import Graph
    from neurodeploy.graph.text import text
    from neurodeploy.program.text import program_text

    return text(stage, full=True) if isinstance(stage, Graph) else program_text(stage)
