"""Nonlinear operations of the float graph: maps of one step's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from neurodeploy.errors import InputError
from neurodeploy.graph.ir import Array, Op

GELUS = ("erf", "tanh")


@dataclass(frozen=True, eq=False)
class VectorOp(Op):
    """A nonlinear map of one step's values; `graph/vectors.py` has their values.

    Only an `Lstm` and a `Delay` (`delay.py`) have a memory. Operands are its inputs, or `parts` of
    the channels of one.
    """

    parts: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class LayerNorm(VectorOp):
    """y = gamma (x - mean(x)) / sqrt(var(x) + eps) + beta, mean and variance over the channels."""

    gamma: Array
    beta: Array
    eps: float


@dataclass(frozen=True, eq=False)
class Gelu(VectorOp):
    """x P(a normal number < x): exact ("erf"), or approximated by a "tanh"."""

    form: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in GELUS:
            raise InputError("E107", f"unknown GELU {self.form!r}", fix=f"use {GELUS}")


@dataclass(frozen=True, eq=False)
class Relu(VectorOp):
    """max(x, 0)."""


@dataclass(frozen=True, eq=False)
class Rescale(VectorOp):
    """x itself; in integers, its channels get one unit."""


@dataclass(frozen=True, eq=False)
class Quantize(VectorOp):
    """x on a grid: scale * clip(rint(x / scale), low, high), halves to even; low <= 0 <= high."""

    scale: float
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Glu(VectorOp):
    """The first half of the channels times the sigmoid of the second half."""

    parts: ClassVar[int] = 2

    def width_of(self, inputs: Sequence[int]) -> int:
        """Return half of the channels."""
        return inputs[0] // 2


@dataclass(frozen=True, eq=False)
class Lstm(VectorOp):
    """Long short-term memory: the cell and its gates, behind the Linear that drives them.

    The channels it reads drive, in quarters, the gates i, f, g, o; `recurrent` [4 width, width]
    adds what they hear of the output of the step before (zero at first, as is the cell c):

        c = sigmoid(f) c + sigmoid(i) tanh(g)        y = sigmoid(o) tanh(c)

    (Gers et al. 2000, the order of gates as in torch). `reverse`: from the last step to the first.
    """

    parts: ClassVar[int] = 4

    recurrent: Array
    reverse: bool = False

    def width_of(self, inputs: Sequence[int]) -> int:
        """Return a quarter of the channels."""
        return inputs[0] // 4


@dataclass(frozen=True, eq=False)
class Product(VectorOp):
    """The product of its two inputs, channel by channel."""


@dataclass(frozen=True, eq=False)
class Ternary(VectorOp):
    """1 where x >= t, else -1 where x <= -t, else 0.

    t is `level`, or, `per_step`, `level` times the largest |x| among the channels of that step.
    """

    per_step: bool
    level: float
