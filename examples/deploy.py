"""Deploy checkpoints, and print what is left of their scores: float, and integers of some bits.

    python examples/deploy.py examples/rows/*.pt --task rows --tune 2 --ratio --mnist mnist.npz

Compiles for a target, calibrated on the example in the checkpoint, and runs the test data of the
task through the float model (float64) and the exact simulator. Rates are the share of neurons and
steps with a spike, or with a ternary value that is not 0, by layer; energy is that of one
inference in both modes (docs/energy.md), and that of the same network without spikes in integers
of 8 bits, in the physical mode. Rates and energy are those of the first of `--bits`. `--tune`
trains the last of `--bits` further, on the training data, and measures it again. `--ratio` times a
training step, forward and backward, in its compiled form and as a loop over steps, one after the
other. Without --mnist the tasks on MNIST use the 1,000 test images that are shipped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from tasks import TASKS, Data, Options, Task
from train import NUMBERS, POSITIVE, UNITS, loss_of, score_of, tensors

import neurodeploy as nd
from neurodeploy.frontends import read_model
from neurodeploy.nn.neurons import Neuron
from neurodeploy.program.run import Run
from neurodeploy.reports.energy import MODES, energy
from neurodeploy.reports.format import joules, table

AT_ONCE = 500  # samples: bounds memory
EVENT_BITS = 2  # values that are added or not: spikes take 1 bit, ternary values 2


@dataclass(frozen=True)
class How:
    """What to do with a checkpoint. tune: epochs, tune_samples: training data for it (0: all)."""

    target: str = "asic45"
    bits: tuple[int, ...] = (8, 4)
    samples: int = 10_000
    tune: int = 0
    tune_samples: int = 0
    ratio: bool = False


@dataclass(frozen=True)
class Deployed:
    """What a checkpoint does: scores by bits, rates by layer, energy by mode [pJ]."""

    name: str
    parameters: int
    float_score: float
    scores: dict[str, float]
    rates: dict[str, float]
    energy_pj: dict[str, float]
    training_ratio: float | None = None


@dataclass
class Measured:
    """Sums over the runs of one program."""

    outputs: list[np.ndarray] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    energy_pj: dict[str, float] = field(default_factory=dict)

    def add(self, run: Run, share: float) -> None:
        """Add a run on so large a share of the samples."""
        self.outputs.append(run.outputs)
        for name, rate in rates(run).items():
            self.rates[name] = self.rates.get(name, 0.0) + share * rate
        for name, cost in energies(run).items():
            self.energy_pj[name] = self.energy_pj.get(name, 0.0) + share * cost


def rates(run: Run) -> dict[str, float]:
    """Return the share of values that are not 0 of every layer of spikes or ternary values."""
    inputs = {node.name for node in run.nodes}
    events = [e for e in run.edges if e.value_bits <= EVENT_BITS and e.source in inputs]
    return {e.source: e.events / e.values for e in events}


def energies(run: Run) -> dict[str, float]:
    """Return the energy of one inference by mode, and that of a network without spikes [pJ]."""
    found = {mode: energy(run, mode=mode) for mode in MODES}
    ann = found["physical"].beside[0]  # of integers
    more = {} if ann.total_pj is None else {ann.name: ann.total_pj}
    return {mode: bill.total_pj for mode, bill in found.items()} | more


def parts(x: np.ndarray) -> Iterator[np.ndarray]:
    """Return x [T, B, C] in parts of some samples."""
    for i in range(0, x.shape[1], AT_ONCE):
        yield x[:, i : i + AT_ONCE]


def simulated(program: nd.Program, x: np.ndarray) -> Measured:
    """Return what a program does with x."""
    found = Measured()
    for part in parts(x):
        found.add(nd.simulate(program, part), part.shape[1] / x.shape[1])
    return found


def deploy(path: Path, task: Task, how: How) -> Deployed:
    """Compile the checkpoint at `path` with weights of each number of bits, and measure it."""
    model, target = read_model(path), nd.target(how.target)
    data = task.test.take(slice(how.samples))
    x, y = task.encode(data.x), torch.from_numpy(data.y)

    def score(outputs: list[np.ndarray]) -> float:
        return score_of(task, torch.from_numpy(np.concatenate(outputs, axis=-2)), y)

    runs = {}
    for bits in how.bits:
        program = nd.compile(model.graph, target, calibration=model.example, bits=bits)
        runs[f"{bits} bits"] = simulated(program, x)
    if how.tune:
        tuned = tune(model.graph, model.example, task, how)
        program = nd.compile(tuned, target, calibration=model.example)
        runs[f"{how.bits[-1]} bits, tuned"] = simulated(program, x)
    first, network = next(iter(runs.values())), nd.nn.load(path)
    return Deployed(
        f"{path.parent.name}/{path.stem}",
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        score([np.asarray(nd.interpret(model.graph, part)) for part in parts(x)]),
        {name: score(run.outputs) for name, run in runs.items()},
        first.rates,
        first.energy_pj,
        training_ratio(network, task, data.take(slice(16))) if how.ratio else None,
    )


def tune(graph: nd.Graph, example: Any, task: Task, how: How) -> nd.Graph:
    """Return the graph, tuned on training data for the last of the bits."""
    data = task.train(0)
    data = data.take(slice(how.tune_samples)) if how.tune_samples else data
    given: dict[str, Any] = {"bits": how.bits[-1], "epochs": how.tune, "calibration": example}
    return nd.tune(graph, nd.target(how.target), task.encode(data.x), data.y, **given)


def training_ratio(model: torch.nn.Module, task: Task, data: Data) -> float:
    """Return how many times as long a training step takes as a loop over the neurons' steps."""
    x, y = tensors(task, data)

    def seconds() -> float:
        start = time.perf_counter()
        loss_of(task, model(x), y).backward()  # type: ignore[no-untyped-call]
        return time.perf_counter() - start

    model.train()
    seconds()  # compiles
    fast = min(seconds() for _ in range(3))
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    for neuron in neurons:
        neuron.forward = neuron.sequential_forward  # type: ignore[method-assign]
    slow = seconds()
    for neuron in neurons:
        del neuron.forward
    return slow / fast


def row(found: Deployed) -> tuple[str, ...]:
    """Return a line of the table."""
    scores = [f"{score:.4f}" for score in (found.float_score, *found.scores.values())]
    shares = " ".join(f"{100 * rate:.1f}" for rate in found.rates.values())
    costs = [joules(cost) for cost in found.energy_pj.values()]
    ratio = [] if found.training_ratio is None else [f"{found.training_ratio:.0f}x"]
    return (found.name, f"{found.parameters:,}", *scores, shares, *costs, *ratio)


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--task", "name", type=click.Choice(list(TASKS)), required=True)
@click.option("--target", default="asic45", show_default=True)
@click.option("--bits", type=NUMBERS, default="8,4", show_default=True, help="Of the weights.")
@click.option("--tune", default=0, help="Epochs of tuning for the last of these bits.")
@click.option("--tune-samples", default=0, help="Training samples to tune on, if not all.")
@click.option("--ratio", is_flag=True, help="Time a training step, compiled and as a loop.")
@click.option(
    "--samples", type=POSITIVE, default=10_000, show_default=True, help="Of the test data, at most."
)
@click.option("--length", default=0, help="Length of adding, copy and listops, if not the usual.")
@click.option("--seed", default=0, show_default=True)
@click.option("--mnist", type=click.Path(path_type=Path), help="mnist.npz, for tasks on MNIST.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def main(
    checkpoints: tuple[Path, ...],
    name: str,
    length: int,
    seed: int,
    mnist: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Measure checkpoints on the test data of a task."""
    task, given = TASKS[name](Options(mnist, length, seed)), How(**how)
    try:
        found = [deploy(path, task, given) for path in checkpoints]
    except (ValueError, nd.NeurodeployError) as error:
        raise click.UsageError(str(error)) from None
    used = min(given.samples, len(task.test))
    if as_json:
        about = {"version": 1, "task": name, "unit": UNITS[task.target], **asdict(given)}
        click.echo(json.dumps({**about, "samples": used, "models": [asdict(m) for m in found]}))
        return
    head = ("model", "parameters", "float", *found[0].scores, "rates, %", *found[0].energy_pj)
    head += ("training",) if given.ratio else ()
    click.echo(f"{name}, {given.target}, {used:,} test samples, {UNITS[task.target]}")
    click.echo(table(head, [row(model) for model in found]))


if __name__ == "__main__":
    main()
