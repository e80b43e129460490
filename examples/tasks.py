"""The tasks that the examples train on: data [T, B, C] with targets, the same for the same seed.

| task | steps | inputs | target |
|---|---|---|---|
| smnist | 784 | a pixel of 0 to 255 | the digit |
| psmnist | 784 | the same, in one random order for all images, drawn by seed | the digit |
| rows | 28 | a row of 28 pixels | the digit |
| image | 1 | all 784 pixels, for networks that do not spike | the digit |
| static | 6 | all 784 pixels, the same at every step | the digit |
| digits | 64 | a pixel of 0 to 16 of scikit-learn's 8 x 8 digits | the digit |
| adding | length | a number of [0, 1), and 1 at two marked steps, else 0 | the sum of the two |
| copy | length + 20 | one of ten symbols | at the end, the first ten symbols |
| listops | 1999 | one of 15 words | a digit |

adding: Arjovsky et al. 2016 (arXiv 1511.06464): one marker in each half. Always answering 1 has
the mean squared error 1/6.

copy: ten symbols out of 1 to 8, then `length` times the blank 0, then ten steps to answer in. In
Arjovsky et al. the last blank is the cue 9 and the ten last steps are blank (`cue="once"`); in
CE-LIF (Chen et al. 2023, arXiv 2308.15150) the cue is held in all ten (`cue="held"`). The target
is 0 at all other steps; not remembering has the cross entropy 10 ln 8 / (length + 20).

MNIST is read from the usual mnist.npz (x_train, y_train, x_test, y_test). Without it there are
the 1,000 test images of examples/smnist, and no training images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from listops import WORDS, Generator, Rules
from smnist.prepare import sequences

SHIPPED = Path(__file__).parent / "smnist" / "test-1000.npz"
SYMBOLS = 10  # of the copy task: a blank, eight to remember, a cue
KEPT = 10  # symbols to remember
SHOWN = 6  # steps for which an image stands still
TEST_SEED = 2**32  # a stream of its own for what is tested on


@dataclass(frozen=True, eq=False)
class Data:
    """x [T, B, C], or tokens [T, B, 1], and y: [B] classes, [B, 1] numbers or [T, B] classes."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.x.shape[1]

    def take(self, index: np.ndarray | slice) -> Data:
        """Return some of the samples."""
        return Data(
            self.x[:, index], self.y[:, index] if self.steps_have_targets else self.y[index]
        )

    @property
    def steps_have_targets(self) -> bool:
        """Tell if y is [T, B]."""
        return self.y.ndim == 2 and self.y.shape == self.x.shape[:2]


@dataclass(frozen=True, eq=False)
class Task:
    """What to learn. `target` is "class", "number" or "steps" (a class at every step)."""

    inputs: int
    outputs: int
    target: str
    train: Callable[[int], Data]  # the training data of an epoch
    test: Data
    tokens: bool = False
    scale: float = 1.0  # brings inputs to about 0 to 1

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Return what the network reads, [T, B, inputs]; tokens become one of `inputs` ones."""
        return one_hot(x[..., 0], self.inputs) if self.tokens else x


def one_hot(tokens: np.ndarray, width: int) -> np.ndarray:
    """Return [T, B, width] uint8 with a one at channel token - 1, and none for token 0."""
    return (tokens[..., None] == np.arange(1, width + 1, dtype=tokens.dtype)).astype(np.uint8)


def adding(count: int, length: int, rng: np.random.Generator) -> Data:
    """Return `count` adding problems of `length` steps."""
    if length < 2:
        raise ValueError("two numbers need two steps")
    x = np.zeros((length, count, 2), np.float32)
    x[..., 0] = rng.random((length, count), dtype=np.float32)
    each, half = np.arange(count), length // 2
    first, second = rng.integers(0, half, count), rng.integers(half, length, count)
    x[first, each, 1] = x[second, each, 1] = 1
    return Data(x, (x[first, each, 0] + x[second, each, 0])[:, None])


def copy(count: int, length: int, rng: np.random.Generator, cue: str = "held") -> Data:
    """Return `count` copy problems with `length` steps between symbols and answer."""
    if cue not in ("held", "once") or length < 1:
        raise ValueError(f"no copy problem of length {length} with cue {cue!r}")
    symbols = np.zeros((length + 2 * KEPT, count), np.uint8)
    symbols[:KEPT] = rng.integers(1, SYMBOLS - 1, (KEPT, count))
    y = np.zeros(symbols.shape, np.int64)
    y[-KEPT:] = symbols[:KEPT]
    symbols[-KEPT:] = SYMBOLS - 1 if cue == "held" else 0
    if cue == "once":
        symbols[-KEPT - 1] = SYMBOLS - 1
    return Data((symbols + 1)[..., None], y)


def images(x: np.ndarray, y: np.ndarray, how: str, order: np.ndarray | None = None) -> Data:
    """Return images [B, 28, 28] as "pixels" (in an `order`), "rows", "image" or "static"."""
    if how == "static":  # a view: every step is the same memory
        image = sequences(x, "image")
        return Data(np.broadcast_to(image, (SHOWN, *image.shape[1:])), y.astype(np.int64))
    x = sequences(x, how)
    return Data(x if order is None else x[order], y.astype(np.int64))


def _mnist(how: str, mnist: Path | None, order: np.ndarray | None = None) -> Task:
    parts = {}
    with np.load(mnist or SHIPPED) as file:
        if mnist is None:
            parts["test"] = file["x"].reshape(28, 28, -1).transpose(2, 0, 1), file["y"]
        else:
            parts = {part: (file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test")}
    data = {part: images(*arrays, how, order) for part, arrays in parts.items()}
    return Task(data["test"].x.shape[2], 10, "class", _stored(data), data["test"], scale=1 / 255)


def _stored(data: dict[str, Data]) -> Callable[[int], Data]:
    def train(_: int) -> Data:
        if "train" not in data:
            raise ValueError("only test images are shipped; give the full mnist.npz with --mnist")
        return data["train"]

    return train


def _drawn(
    draw: Callable[[int, np.random.Generator], Data], size: tuple[int, int], seed: int
) -> tuple[Callable[[int], Data], Data]:
    """Return new training data for every epoch, and test data of a stream of their own."""
    train, test = size
    return (
        lambda epoch: draw(train, np.random.default_rng([seed, epoch])),
        draw(test, np.random.default_rng([seed, TEST_SEED])),
    )


@dataclass(frozen=True)
class Options:
    """What a user chooses about a task; `length` 0 is the task's own.

    `size`: (training, test) samples of tasks that are generated, per epoch.
    """

    mnist: Path | None = None
    length: int = 0
    seed: int = 0
    size: tuple[int, int] = (10_000, 1_000)
    cue: str = "held"


def smnist(options: Options) -> Task:
    """MNIST, pixel by pixel."""
    return _mnist("pixels", options.mnist)


def psmnist(options: Options) -> Task:
    """MNIST, pixel by pixel, in a random order that the seed decides."""
    order = np.random.default_rng(options.seed).permutation(784)
    return _mnist("pixels", options.mnist, order)


def rows(options: Options) -> Task:
    """MNIST, row by row."""
    return _mnist("rows", options.mnist)


def image(options: Options) -> Task:
    """MNIST, all at once."""
    return _mnist("image", options.mnist)


def static(options: Options) -> Task:
    """MNIST, all at once, at every step."""
    return _mnist("static", options.mnist)


def digits(_: Options) -> Task:
    """Real digits that come with scikit-learn: 1,437 to train with and 360 to test with."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.uint8).T[..., None], y[order].astype(np.int64)
    data = Data(x, y)
    parts = {"train": data.take(slice(1437)), "test": data.take(slice(1437, None))}
    return Task(1, 10, "class", _stored(parts), parts["test"], scale=1 / 16)


def adding_task(options: Options) -> Task:
    """Return the adding problem, length 100 unless given."""
    length = options.length or 100
    draw = _drawn(lambda count, rng: adding(count, length, rng), options.size, options.seed)
    return Task(2, 1, "number", *draw)


def copy_task(options: Options) -> Task:
    """Return the copy problem, length 100 unless given."""
    length = options.length or 100
    draw = _drawn(
        lambda count, rng: copy(count, length, rng, options.cue), options.size, options.seed
    )
    return Task(SYMBOLS, SYMBOLS, "steps", *draw, tokens=True)


def listops(options: Options) -> Task:
    """ListOps: the Arena's rules, or for a length the rules scaled down to so many words."""
    length = options.length
    rules = Rules(longest=length + 1, shortest=length // 4) if length else Rules()
    train, test = options.size
    x, y = Generator(rules, options.seed).batch(train + test)
    data = Data(x[..., None], y)
    parts = {"train": data.take(slice(train)), "test": data.take(slice(train, None))}
    return Task(len(WORDS), 10, "class", _stored(parts), parts["test"], tokens=True)


TASKS: dict[str, Callable[[Options], Task]] = {
    "smnist": smnist,
    "psmnist": psmnist,
    "rows": rows,
    "image": image,
    "static": static,
    "digits": digits,
    "adding": adding_task,
    "copy": copy_task,
    "listops": listops,
}
