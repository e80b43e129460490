"""Train a network on a task, and save it.

    python examples/train.py --task adding --neuron lif --length 100 --seed 0 --save out.pt

The tasks are those of tasks.py, the networks those of networks.py. AdamW with one cycle of the
learning rate, gradients clipped at norm 1; what is printed per epoch is of the training data, and
the test data are used once, at the end.
"""

from __future__ import annotations

import itertools
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from networks import NETWORKS
from tasks import KEPT, TASKS, Data, Options, Task
from torch import Tensor
from torch.nn import functional

import neurodeploy as nd

STATE = ("log_dt", "log_decay", "frequency", "input_re", "input_im", "theta", "log_tau")
DECAY = 0.01
EXAMPLE = 1 << 16  # values of the example that is saved, about
UNITS = {"class": "accuracy", "steps": "recall", "number": "squared error"}


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers above 0, with commas between."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Return the numbers."""
        parts = str(value).split(",")
        if not all(part.isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} is not numbers above 0 with commas between", param, ctx)
        return tuple(int(part) for part in parts)


NUMBERS, POSITIVE = Numbers(), click.IntRange(min=1)


def tensors(task: Task, data: Data) -> tuple[Tensor, Tensor]:
    """Return what the network reads, float32 [T, B, C], and the targets."""
    x = np.ascontiguousarray(task.encode(data.x), np.float32)
    return torch.from_numpy(x), torch.from_numpy(np.ascontiguousarray(data.y))


def loss_of(task: Task, output: Tensor, y: Tensor) -> Tensor:
    """Return the loss of an output for the targets y."""
    if task.target == "number":
        return functional.mse_loss(output, y)
    return functional.cross_entropy(output.flatten(0, -2), y.flatten())


def score_of(task: Task, output: Tensor, y: Tensor) -> float:
    """Return the mean squared error, the accuracy, or the share of symbols that are recalled."""
    if task.target == "number":
        return float(functional.mse_loss(output, y))
    right = output.argmax(-1) == y
    return float((right[-KEPT:] if task.target == "steps" else right).double().mean())


def batches(data: Data, size: int, generator: np.random.Generator) -> Iterator[Data]:
    """Return the samples in random order, in batches; what does not fill one is left out."""
    order = generator.permutation(len(data))
    for i in range(0, len(data) - size + 1, size):
        yield data.take(order[i : i + size])


@torch.no_grad()
def evaluate(task: Task, model: torch.nn.Module, data: Data, batch: int = 250) -> float:
    """Return the score on data."""
    model.eval()
    total = 0.0
    for i in range(0, len(data), batch):
        part = data.take(slice(i, i + batch))
        x, y = tensors(task, part)
        total += score_of(task, model(x), y) * len(part)
    return total / len(data)


def groups(
    model: torch.nn.Module, rate: float, state_rate: float, steps: int
) -> list[dict[str, Any]]:
    """Return parameters by learning rate and weight decay: matrices alone decay.

    What a state space has in continuous time (dt, A, B) and what PRF has learns at `state_rate`,
    as published code has it. A classifier whose outputs are summed over time learns `steps` times
    slower, as it would in front of a mean, and is `summed`: its gradient, `steps` times as large,
    is not to drown the others'.
    """
    sums = any(getattr(m, "kind", None) == "sum" for m in model.modules())
    found: dict[tuple[float, float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        state = name.rsplit(".", 1)[-1] in STATE
        matrix = parameter.dim() == 2 and name.endswith("weight")
        summed = sums and "classifier" in name
        highest = (state_rate if state else rate) / (steps if summed else 1)
        found.setdefault((highest, DECAY if matrix else 0.0, summed), []).append(parameter)
    keys = ("lr", "weight_decay", "summed")
    return [{"params": p, **dict(zip(keys, key, strict=True))} for key, p in found.items()]


def train(
    task: Task,
    model: torch.nn.Module,
    epochs: int,
    batch: int,
    rates: tuple[float, float],
    seed: int,
) -> None:
    """Train `model` in place, and print a line for every epoch."""
    generator = np.random.default_rng([seed, 1])
    optimizer = torch.optim.AdamW(groups(model, *rates, len(task.test.x)))
    steps = epochs * (len(task.train(0)) // batch)
    highest = [group["lr"] for group in optimizer.param_groups]
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, steps, pct_start=0.15)
    start = time.time()
    for epoch in range(epochs):
        model.train()
        losses, scores = [], []
        for part in batches(task.train(epoch), batch, generator):
            x, y = tensors(task, part)
            output = model(x)
            loss = loss_of(task, output, y)
            optimizer.zero_grad()
            loss.backward()
            for summed in (False, True):
                clipped = [g["params"] for g in optimizer.param_groups if g["summed"] is summed]
                torch.nn.utils.clip_grad_norm_(itertools.chain(*clipped), 1.0)
            optimizer.step()
            cycle.step()
            losses.append(float(loss.detach()))
            scores.append(score_of(task, output.detach(), y))
        click.echo(
            f"epoch {epoch + 1}/{epochs} loss {np.mean(losses):.4f}"
            f" training {UNITS[task.target]} {np.mean(scores):.4f} {time.time() - start:.0f} s"
        )


@click.command()
@click.option("--task", "name", type=click.Choice(list(TASKS)), required=True)
@click.option("--neuron", type=click.Choice(list(NETWORKS)), required=True)
@click.option(
    "--widths", type=NUMBERS, default="64,64", show_default=True, help="Widths of the layers."
)
@click.option("--length", default=0, help="Length of adding, copy and listops, if not the usual.")
@click.option(
    "--samples",
    type=POSITIVE,
    default=10_000,
    show_default=True,
    help="An epoch of generated data.",
)
@click.option("--cue", type=click.Choice(["held", "once"]), default="held", show_default=True)
@click.option("--epochs", type=POSITIVE, default=10, show_default=True)
@click.option("--batch", type=POSITIVE, default=128, show_default=True)
@click.option("--rate", default=5e-3, show_default=True, help="Highest learning rate.")
@click.option("--state-rate", default=0.0, help="That of dt, A, B and theta, if another.")
@click.option("--seed", default=0, show_default=True)
@click.option("--mnist", type=click.Path(path_type=Path), help="mnist.npz, for tasks on MNIST.")
@click.option("--save", type=click.Path(path_type=Path), help="Checkpoint to write.")
def main(
    name: str,
    neuron: str,
    widths: tuple[int, ...],
    length: int,
    samples: int,
    cue: str,
    epochs: int,
    batch: int,
    rate: float,
    state_rate: float,
    seed: int,
    mnist: Path | None,
    save: Path | None,
) -> None:
    """Train a network on a task, test it, and save it."""
    click.echo(shlex.join(["python", "examples/train.py", *sys.argv[1:]]))
    torch.manual_seed(seed)
    task = TASKS[name](Options(mnist, length, seed, (samples, 1_000), cue))
    try:
        first = task.train(0)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    model = NETWORKS[neuron](task, widths)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    click.echo(f"{len(first.x)} steps, {len(first):,} samples an epoch, {count:,} parameters")
    train(task, model, epochs, min(batch, len(first)), (rate, state_rate or rate), seed)
    score = evaluate(task, model, task.test)
    click.echo(f"test {UNITS[task.target]} {score:.4f} of {len(task.test):,} samples")
    if save:
        few = min(64, max(8, EXAMPLE // (first.x.shape[0] * task.inputs)))
        example = torch.from_numpy(np.ascontiguousarray(task.encode(first.take(slice(few)).x)))
        nd.save(model, save, example=example)
        click.echo(f"wrote {save}: {save.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
