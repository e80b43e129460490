"""Train an SD-TCM network of PRF neurons on MNIST, pixel by pixel or row by row.

The model is that of Huang et al. 2024 (arXiv 2410.03530), Eq. 97-101, pre-norm without an outer
residual: an encoder, blocks of PRF neurons, a Linear, a spatial neuron and a Linear around one
membrane stream, a final norm, the mean over time and a classifier. Training images are shifted,
turned, scaled and sheared a little; the weights that are saved are the exponential moving average,
with the norms' statistics measured again on clean training images. Test images are used once, at
the end.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from prepare import SHAPES, sequences
from torch.nn import functional

import neurodeploy as nd


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, besides the data and the seed."""

    task: str
    width: int
    blocks: int
    epochs: int
    batch: int = 128
    theta: float = 40.0  # PRF frequencies start in [0, theta]
    gain: float = 4.0  # of the norms in front of PRF neurons
    rate: float = 6e-3  # AdamW, after a warm-up of a tenth, down a cosine
    rate_dt: float = 3e-3
    rate_theta: float = 3e-2
    decay: float = 0.01
    sparsity: float = 0.02  # price of a spatial neuron that always fires
    average: float = 0.999


RECIPES = {
    "pixels": Recipe("pixels", width=104, blocks=3, epochs=15),
    "rows": Recipe("rows", width=48, blocks=2, epochs=20, theta=10.0),
}


def build(recipe: Recipe) -> torch.nn.Module:
    """Return the untrained network: x [T, B, C] of pixel values 0 to 255, to logits [B, 10]."""
    model = nd.nn.SDTCM(
        inputs=SHAPES[recipe.task][1],
        width=recipe.width,
        blocks=recipe.blocks,
        classes=10,
        input_scale=1 / 255,
        theta=(0.0, recipe.theta),
    )
    for block in model.blocks:
        torch.nn.init.constant_(block.norm.weight, recipe.gain)
    return model


def optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW with rates of their own for neuron constants; weights alone decay."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate, decay = recipe.rate, 0.0
        if name.endswith("log_dt"):
            rate = recipe.rate_dt
        elif name.endswith("theta"):
            rate = recipe.rate_theta
        elif parameter.dim() == 2 and "encoder" not in name:
            decay = recipe.decay
        groups.setdefault((rate, decay), []).append(parameter)
    settings = [{"params": p, "lr": r, "weight_decay": d} for (r, d), p in groups.items()]
    return torch.optim.AdamW(settings, betas=(0.9, 0.99))


def schedule(step: int, steps: int, warmup: float = 0.1) -> float:
    """Return the factor of the learning rates: up a line, down a cosine."""
    done = step / steps
    if done < warmup:
        return 0.02 + 0.98 * done / warmup
    return 0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def distort(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift (2 pixels), turn (10 degrees), scale and shear (10 %) images [B, 28, 28] at random."""
    count = len(images)
    turn, wide, high, shear, right, down = (
        torch.rand(6, count, generator=generator) * 2 - 1
    ) * torch.tensor([math.pi / 18, 0.1, 0.1, 0.1, 2.0, 2.0])[:, None]
    cos, sin, wide, high = turn.cos(), turn.sin(), 1 + wide, 1 + high
    top = torch.stack([cos / wide, (shear * cos - sin) / wide, right / 14], dim=1)
    low = torch.stack([sin / high, (cos + shear * sin) / high, down / 14], dim=1)
    grid = functional.affine_grid(
        torch.stack([top, low], dim=1), [count, 1, 28, 28], align_corners=False
    )
    return functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


class Spikes:
    """The mean rate of the spatial neurons in the last forward pass, with its gradient."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.rates: list[torch.Tensor] = []
        for module in model.modules():
            if isinstance(module, nd.nn.SpatialNeuron):
                module.register_forward_hook(self._note)

    def _note(self, module: Any, _: Any, output: torch.Tensor) -> None:
        self.rates.append(output.mean() / module.alpha().detach().to(output.dtype))

    def take(self) -> torch.Tensor:
        """Return the sum of the rates, and forget them."""
        total, self.rates = torch.stack(self.rates).sum(), []
        return total


def to_sequences(images: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Return images [B, 28, 28] as x [T, B, C]."""
    return torch.from_numpy(np.ascontiguousarray(sequences(images.numpy(), recipe.task)))


@torch.no_grad()
def measure_norms(
    model: torch.nn.Module, images: torch.Tensor, recipe: Recipe, batches: int = 40
) -> None:
    """Set the norms' statistics to the plain average over clean training images."""
    norms = [m for m in model.modules() if isinstance(m, nd.nn.BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for part in images[: batches * recipe.batch].split(recipe.batch):
        model(to_sequences(part.float(), recipe))
    model.eval()
    for norm in norms:
        norm.momentum = 0.1


@torch.no_grad()
def accuracy(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, recipe: Recipe
) -> float:
    """Return the share of images [B, 28, 28] that are recognised."""
    model.eval()
    right = 0
    for x, y in zip(images.split(250), labels.split(250), strict=True):
        right += int((model(to_sequences(x.float(), recipe)).argmax(1) == y).sum())
    return right / len(labels)


def train(model: torch.nn.Module, data: dict[str, torch.Tensor], recipe: Recipe, seed: int) -> None:
    """Train `model` in place; it ends up with the averaged weights and measured norms."""
    images, labels = data["x_train"], data["y_train"]
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in parameters]
    optimize, spikes = optimizer(model, recipe), Spikes(model)
    rates = [group["lr"] for group in optimize.param_groups]
    per_epoch = len(images) // recipe.batch
    steps, step, start = per_epoch * recipe.epochs, 0, time.time()
    for epoch in range(recipe.epochs):
        model.train()
        loss_sum = right = rate_sum = 0.0
        order = torch.randperm(len(images), generator=generator)
        for part in order[: per_epoch * recipe.batch].split(recipe.batch):
            for group, rate in zip(optimize.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, steps)
            x = to_sequences(distort(images[part].float(), generator), recipe)
            logits = model(x)
            rate_now = spikes.take()
            loss = functional.cross_entropy(logits, labels[part])
            optimize.zero_grad()
            (loss + recipe.sparsity * rate_now).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimize.step()
            step += 1
            weight = 1 - min(recipe.average, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], weight)
            loss_sum += float(loss.detach())
            right += float((logits.argmax(1) == labels[part]).float().mean())
            rate_sum += float(rate_now.detach()) / recipe.blocks
            if step % 50 == 0:
                click.echo(f"step {step}/{steps} loss {float(loss.detach()):.4f}", err=True)
        click.echo(
            f"epoch {epoch + 1}/{recipe.epochs} loss {loss_sum / per_epoch:.4f}"
            f" training accuracy {100 * right / per_epoch:.2f} %"
            f" spatial rate {100 * rate_sum / per_epoch:.2f} %"
            f" {time.time() - start:.0f} s"
        )
    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
    order = torch.randperm(len(images), generator=generator)
    measure_norms(model, images[order], recipe)
    spikes.rates.clear()


@click.command()
@click.option("--mnist", required=True, type=click.Path(path_type=Path), help="mnist.npz.")
@click.option("--task", type=click.Choice(list(RECIPES)), default="pixels", show_default=True)
@click.option("--epochs", type=int, help="Other than the recipe's.")
@click.option("--seed", default=0, show_default=True)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def main(mnist: Path, task: str, epochs: int | None, seed: int, output: Path) -> None:
    """Train, report the accuracy on the 10,000 test images, and save a checkpoint."""
    recipe = RECIPES[task]
    if epochs:
        recipe = Recipe(**{**asdict(recipe), "epochs": epochs})
    torch.manual_seed(seed)
    with np.load(mnist) as file:
        data = {key: torch.from_numpy(file[key]) for key in file.files}
    data = {k: v.long() if k.startswith("y") else v for k, v in data.items()}
    model = build(recipe)
    count = sum(p.numel() for p in model.parameters())
    click.echo(f"{json.dumps(asdict(recipe))} seed {seed}: {count:,} parameters")
    train(model, data, recipe, seed)
    share = accuracy(model, data["x_test"], data["y_test"], recipe)
    click.echo(f"test accuracy {100 * share:.2f} % of {len(data['y_test']):,} images")
    example = to_sequences(data["x_train"][:64], recipe)
    nd.save(model, output, example=example)
    click.echo(f"wrote {output}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
