"""Turn MNIST into data sets for `neurodeploy`: x [T, B, C] uint8 and y [B], as .npz.

The source is the usual mnist.npz with x_train, y_train, x_test, y_test. Pixel by pixel, a step is
one pixel (T = 784, C = 1); row by row, a row of pixels (T = 28, C = 28); whole images are one step.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

SHAPES = {"pixels": (784, 1), "rows": (28, 28), "image": (1, 784)}


def sequences(images: np.ndarray, task: str) -> np.ndarray:
    """Return images [B, 28, 28] as sequences [T, B, C], without copying."""
    return images.reshape(-1, *SHAPES[task]).transpose(1, 0, 2)


@click.command()
@click.option("--mnist", required=True, type=click.Path(path_type=Path), help="mnist.npz.")
@click.option("--task", type=click.Choice(list(SHAPES)), default="pixels", show_default=True)
@click.option("--count", default=1000, show_default=True, help="First test images to take.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def main(mnist: Path, task: str, count: int, output: Path) -> None:
    """Write the first test images of MNIST as a data set."""
    with np.load(mnist) as data:
        x, y = data["x_test"][:count], data["y_test"][:count]
    np.savez_compressed(output, x=sequences(x, task), y=y.astype(np.uint8))
    click.echo(f"wrote {output}: {len(x)} images, {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
