"""Deploy checkpoints, and print what is left of their scores: float, and integers of some bits.

    python examples/deploy.py examples/rows/*.pt --task rows

Compiles for a target, calibrated on the example in the checkpoint, and runs the test data of the
task through the float model (float64) and the exact simulator. Without --mnist the tasks on MNIST
use the 1,000 test images that are shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from tasks import TASKS, Options, Task
from train import UNITS, score_of

import neurodeploy as nd
from neurodeploy.frontends import read_model
from neurodeploy.graph.ir import Graph
from neurodeploy.program.run import Run
from neurodeploy.reports.energy import energy
from neurodeploy.reports.format import joules, table
from neurodeploy.targets import prices

TABLES = ("paper45", "horowitz45")


@dataclass(frozen=True)
class Deployed:
    """What a checkpoint does: scores by bits, spikes per update by layer, energy by price table."""

    name: str
    parameters: int
    float_score: float
    scores: dict[int, float]
    rates: dict[str, float]
    energy_pj: dict[str, float]


def deploy(path: Path, task: Task, target: str, bits: tuple[int, ...], samples: int) -> Deployed:
    """Compile the checkpoint at `path` with weights of each of `bits`, and measure it.

    Rates and energy are those of the first of `bits`.
    """
    model = read_model(path)
    data = task.test.take(slice(samples))
    x, y = task.encode(data.x), torch.from_numpy(data.y)
    runs = {bit: simulated(model.graph, model.example, x, target, bit) for bit in bits}
    first = runs[bits[0]]
    spiking = {node.name for node in first.program.populations if node.model.spiking}
    count = sum(p.numel() for p in nd.nn.load(path).parameters() if p.requires_grad)
    return Deployed(
        path.stem,
        count,
        score_of(task, torch.from_numpy(np.asarray(nd.interpret(model.graph, x))), y),
        {bit: score_of(task, torch.from_numpy(run.outputs), y) for bit, run in runs.items()},
        {n.name: n.spikes / n.updates for n in first.nodes if n.name in spiking},
        {name: energy(first, prices(name)).total_pj for name in TABLES},
    )


def simulated(graph: Graph, example: object, x: np.ndarray, target: str, bits: int) -> Run:
    """Return the run on x of the program with weights of so many bits."""
    program = nd.compile(graph, nd.target(target), calibration=example, bits=bits)
    return nd.simulate(program, x)


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--task", "name", type=click.Choice(list(TASKS)), required=True)
@click.option("--target", default="asic45", show_default=True)
@click.option("--bits", default="8,4", show_default=True, help="Of the weights; no tuning.")
@click.option("--samples", default=10_000, show_default=True, help="Of the test data, at most.")
@click.option("--length", default=0, help="Length of adding, copy and listops, if not the usual.")
@click.option("--seed", default=0, show_default=True)
@click.option("--mnist", type=click.Path(path_type=Path), help="mnist.npz, for tasks on MNIST.")
def main(
    checkpoints: tuple[Path, ...],
    name: str,
    target: str,
    bits: str,
    samples: int,
    length: int,
    seed: int,
    mnist: Path | None,
) -> None:
    """Measure checkpoints on the test data of a task."""
    task = TASKS[name](Options(mnist, length, seed))
    widths = tuple(int(bit) for bit in bits.split(","))
    rows = []
    for path in checkpoints:
        found = deploy(path, task, target, widths, samples)
        scores = [f"{score:.4f}" for score in (found.float_score, *found.scores.values())]
        rates = " ".join(f"{100 * rate:.1f}" for rate in found.rates.values())
        costs = [joules(found.energy_pj[table]) for table in TABLES]
        rows.append((found.name, f"{found.parameters:,}", *scores, rates, *costs))
    head = ("model", "parameters", "float", *(f"{b} bits" for b in widths), "rates, %", *TABLES)
    used = min(samples, len(task.test))
    click.echo(f"{name}, {target}, {used:,} test samples, {UNITS[task.target]}")
    click.echo(table(head, rows))


if __name__ == "__main__":
    main()
