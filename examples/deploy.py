"""Deploy checkpoints, and print what is left of their scores: float, and integers of some bits.

    python examples/deploy.py --tune 2 --ratio --mnist mnist.npz
    python examples/deploy.py examples/rows/*.pt --bits 8,6 --mnist mnist.npz

Without checkpoints: all that are shipped. Compiles for a target, calibrated on the example in the
checkpoint, and runs the test data of the task through the float model (float64) and the exact
simulator. Rates are the share of neurons and steps with a spike, or with a ternary value that is
not 0, by layer; energy is that of one inference in both modes (docs/energy.md), and that of the
same network without spikes in integers of 8 bits, in the physical mode. Rates and energy are those
of the first of `--bits`. `--tune` trains the last of `--bits` further, on the training data, and
measures it again. `--ratio` times a training step, forward and backward, in its compiled form and
as a loop over steps, one after the other. The second table has the numbers of the papers. Without
--mnist the tasks on MNIST use the 1,000 test images that are shipped. `--keep` writes each result
to a file as it comes, and takes from it what was measured before in the same way.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from shipped import HOME, SHIPPED, epochs_of, name_of, task_of
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
    task: str
    unit: str
    samples: int
    steps: int
    parameters: int
    epochs: str
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


def score(task: Task, data: Data, outputs: list[np.ndarray]) -> float:
    """Return the score of outputs in parts."""
    together = torch.from_numpy(np.concatenate(outputs, axis=-2))
    return score_of(task, together, torch.from_numpy(data.y))


def deploy(path: Path, name: str, options: Options, how: How) -> Deployed:
    """Compile the checkpoint at `path` with weights of each number of bits, and measure it."""
    task = TASKS[name](options)
    model, target = read_model(path), nd.target(how.target)
    data = task.test.take(slice(how.samples))
    x, runs = task.encode(data.x), {}
    for bits in how.bits:
        program = nd.compile(model.graph, target, calibration=model.example, bits=bits)
        runs[f"{bits} bits"] = simulated(program, x)
    first, network = next(iter(runs.values())), nd.nn.load(path)
    return Deployed(
        name_of(path).removesuffix(".pt"),
        name,
        UNITS[task.target],
        len(data),
        len(data.x),
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        epochs_of(path),
        score(task, data, [np.asarray(nd.interpret(model.graph, part)) for part in parts(x)]),
        {name: score(task, data, run.outputs) for name, run in runs.items()},
        first.rates,
        first.energy_pj,
        training_ratio(network, task, data.take(slice(16))) if how.ratio else None,
    )


def tuned(path: Path, name: str, options: Options, how: How) -> float:
    """Return the score with the last of the bits after tuning on training data."""
    task, model, target = TASKS[name](options), read_model(path), nd.target(how.target)
    given: dict[str, Any] = {"bits": how.bits[-1], "epochs": how.tune}
    given["calibration"] = model.example
    data, test = task.train(0), task.test.take(slice(how.samples))
    data = data.take(slice(how.tune_samples)) if how.tune_samples else data
    graph = nd.tune(model.graph, target, task.encode(data.x), data.y, **given)
    program = nd.compile(graph, target, calibration=model.example)
    return score(task, test, simulated(program, task.encode(test.x)).outputs)


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


def results(found: list[Deployed]) -> str:
    """Return the table of what was measured."""
    scores = list(dict.fromkeys(bits for model in found for bits in model.scores))
    modes = list(dict.fromkeys(mode for model in found for mode in model.energy_pj))
    head = ["model", "test samples", "float", *scores, "rates, %", *modes, "training"]

    def row(model: Deployed) -> list[str]:
        kept = [model.float_score, *map(model.scores.get, scores)]
        shares = " ".join(f"{100 * rate:.1f}" for rate in model.rates.values())
        costs = [
            joules(model.energy_pj[mode]) if mode in model.energy_pj else "-" for mode in modes
        ]
        ratio = "-" if model.training_ratio is None else f"{model.training_ratio:.0f}x"
        shown = ["-" if score is None else f"{score:.4f}" for score in kept]
        return [model.name, f"{model.samples:,}", *shown, shares or "-", *costs, ratio]

    return table(head, [row(model) for model in found])


def published(found: list[Deployed]) -> str:
    """Return the table of what the papers report beside it; "" for none."""
    head = ("model", "steps", "parameters", "epochs", "float")
    head += ("paper", "network", "parameters", "epochs", "accuracy, 784 steps")

    def row(model: Deployed) -> list[str]:
        paper = SHIPPED[f"{model.name}.pt"][1]
        theirs = list(asdict(paper).values()) if paper else ["-"] * 5
        ours = [f"{model.steps:,}", f"{model.parameters:,}", model.epochs]
        return [model.name, *ours, f"{model.float_score:.4f}", *theirs]

    rows = [row(model) for model in found if f"{model.name}.pt" in SHIPPED]
    return table(head, rows) if rows else ""


def kept(keep: Path | None, key: dict[str, Any], measure: Callable[[], Any]) -> Any:
    """Return what the file `keep` has under this key, or measure it, and add it."""
    key = json.loads(json.dumps(key))
    for line in keep.read_text().splitlines() if keep and keep.exists() else ():
        if (record := json.loads(line))["key"] == key:
            return record["value"]
    value = measure()
    if keep:
        with keep.open("a") as file:
            file.write(json.dumps({"key": key, "value": value}) + "\n")
    return value


def measured(path: Path, name: str, options: Options, how: How, keep: Path | None) -> Deployed:
    """Return what a checkpoint does, with its score after tuning if that is asked for."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    about = {"sha256": digest, "task": name, "length": options.length, "seed": options.seed}
    about["mnist"] = options.mnist is not None
    plain = replace(how, tune=0, tune_samples=0)
    key = {**about, **asdict(plain)}
    found = Deployed(**kept(keep, key, lambda: asdict(deploy(path, name, options, plain))))
    if not how.tune or found.unit != "accuracy":  # tuning is for classes
        return found
    key = {**about, **asdict(replace(how, bits=how.bits[-1:], ratio=False))}
    again = kept(keep, key, lambda: tuned(path, name, options, how))
    return replace(found, scores={**found.scores, f"{how.bits[-1]} bits, tuned": again})


@click.command()
@click.argument("checkpoints", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--task", type=click.Choice(list(TASKS)), help="If the checkpoint is not shipped.")
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
@click.option("--keep", type=click.Path(path_type=Path), help="File of results to add to.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def main(
    checkpoints: tuple[Path, ...],
    task: str | None,
    length: int,
    seed: int,
    mnist: Path | None,
    keep: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Measure checkpoints, by default all that are shipped, on the test data of their tasks."""
    given, options = How(**how), Options(mnist, length, seed)
    paths = checkpoints or tuple(HOME / name for name in SHIPPED)
    try:
        found = [measured(path, task or task_of(path), options, given, keep) for path in paths]
    except (ValueError, nd.NeurodeployError) as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        about = {"version": 2, **asdict(given)}
        click.echo(json.dumps({**about, "models": [asdict(model) for model in found]}))
        return
    units = " ".join(f"{m.name}: {m.unit}." for m in found if m.unit != "accuracy")
    click.echo(f"{given.target}, accuracy on test samples. {units}".rstrip())
    click.echo(results(found))
    if papers := published(found):
        click.echo(f"\n{papers}")


if __name__ == "__main__":
    main()
