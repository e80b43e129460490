"""The main job on real input: a trained network from floats to Loihi 2, proven and priced.

Compiles the trained SD-TCM network of this folder for Loihi 2 and for a plain 45 nm design, runs
1,000 test images through the exact simulator, some of them through Lava, and prints what came out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import neurodeploy as nd
from neurodeploy.backends import folder, hardware
from neurodeploy.frontends import read_model
from neurodeploy.frontends.data import read_data
from neurodeploy.program.ir import Program
from neurodeploy.reports.energy import energy, operations
from neurodeploy.reports.format import count, joules, percent, table

HERE = Path(__file__).parent


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say on stderr what is being done, and how long it took."""
    click.echo(f"{text} … ", err=True, nl=False)
    start = time.perf_counter()
    yield
    click.echo(f"{time.perf_counter() - start:.1f} s", err=True)


def quiet(done: int, total: int) -> None:
    """Show nothing."""


def compiled(model: Path, name: str, out: Path) -> Program:
    """Compile `model` for target `name`, verified, and write it to a folder below `out`."""
    network = read_model(model)
    target = nd.target(name)
    program = nd.compile(
        network.graph,
        target,
        calibration=network.example,
        verify=True,
        origin="the example in the checkpoint",
        name=network.name,
    )
    place = out / f"{network.name}.{name}"
    folder.write(program, place, bundle=target.bundle, golden=network.example[:, :2])
    return program


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default=HERE / "smnist.pt")
@click.option("--data", type=click.Path(path_type=Path), default=HERE / "test-1000.npz")
@click.option("--images", default=1000, show_default=True, help="Images for the simulator.")
@click.option("--lava-images", default=4, show_default=True, help="Images for Lava.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("out"))
def main(model: Path, data: Path, images: int, lava_images: int, out: Path) -> None:
    """Run the main job."""
    found = read_data(data)
    x, y = found.x[:, :images], found.y[:images]
    with step("compiling for loihi2 and asic45, every pass verified"):
        programs = {name: compiled(model, name, out) for name in ("loihi2", "asic45")}
    with step(f"float model and integer programs on {len(y)} images"):
        graph = nd.load(model)
        compared = {name: nd.compare(graph, p, x, labels=y) for name, p in programs.items()}
    with step("counting operations"):
        runs = {name: nd.simulate(p, x) for name, p in programs.items()}
    with step(f"Lava on {lava_images} of the images"):
        verdict = in_lava(programs["loihi2"], x[:, :lava_images], out)
    click.echo(summary(programs, compared, runs))
    spikes, others = verdict.compared["spikes"], sum(verdict.compared.values())
    click.echo(
        f"\nLava: {spikes:,} spikes of every layer and {others - spikes:,} graded values and final"
        f" states compared with the simulator, {sum(verdict.differences.values())} differences"
    )
    page = out / "report.html"
    nd.report(
        programs["asic45"], [runs["asic45"]], page, prices=("horowitz45", "paper45"), labels=y
    )
    click.echo(f"\nprograms, Lava bundle and report: {out}/ (open {page} in a browser)")
    sys.exit(0 if verdict.agrees else 5)


def in_lava(program: Program, x: object, out: Path) -> hardware.Verdict:
    """Write a bundle whose golden vectors are x, and compare Lava with the simulator on them."""
    place = out / f"{program.name}.lava-images"
    folder.write(program, place, bundle="lava", golden=x)
    say: Callable[[str], None] = lambda text: click.echo(text, err=True)  # noqa: E731
    return hardware.check(place, on="lava", say=say)


def summary(
    programs: dict[str, Program],
    compared: dict[str, nd.Comparison],
    runs: dict[str, nd.Run],
) -> str:
    """Return the tables that a user came for."""
    first = next(iter(compared.values()))
    rows = [
        (
            name,
            f"{program.numbers.weight_bits} bits",
            percent(compared[name].accuracy_integer),
            percent(compared[name].agreement),
            percent(compared[name].kept),
        )
        for name, program in programs.items()
    ]
    head = ("integers against float", "weights", "accuracy", "neuron updates agree", "spikes kept")
    images = f"{first.samples} test images of {first.steps} pixels"
    return "\n".join(
        [
            f"{images}: float accuracy {percent(first.accuracy_float)}",
            "",
            table(head, rows),
            "",
            costs(runs["asic45"]),
        ]
    )


def costs(run: nd.Run) -> str:
    """Return operations and energy of one inference, beside those of the network without spikes."""
    ops = operations(run)
    rows = [
        ("synaptic additions", count(ops["synaptic_adds"]), "-"),
        ("multiply-accumulates", count(ops["synaptic_macs"]), count(ops["dense_macs"])),
        ("spikes", count(ops["spikes"]), "-"),
    ]
    scopes = []
    for mode in ("physical", "paper"):
        cost = energy(run, mode=mode)
        ann = cost.beside[0]
        dense = "-" if ann.total_pj is None else joules(ann.total_pj)
        rows.append((f"energy, {mode}, {cost.table}", joules(cost.total_pj), dense))
        scopes.append(f"  {mode}: {cost.scope}")
    head = ("one inference, asic45", "spiking", "not spiking")
    return "\n".join([table(head, rows), *scopes])


if __name__ == "__main__":
    main()
