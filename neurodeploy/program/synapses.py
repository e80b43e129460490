"""The edges of an integer program: what of a node's values reaches the current of another.

Each has `source`, `exponent` and `delay`; `product` says what current it brings, the rest what it
costs: how many targets each sender reaches, how many synapses that is, how many weights are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from neurodeploy.windows import Windows

Ints = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense:
    """current += (weight @ source) << exponent, `delay` steps later; weight [out, in].

    Weights are signed integers of `weight_bits`, from the Linear that the graph calls `linear`,
    in the narrowest type that holds them.
    """

    source: str
    weight: Ints
    weight_bits: int
    exponent: int = 0
    delay: int = 0
    linear: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", fitted(self.weight))

    def product(self, value: Any) -> Any:
        """Return the current [..., out] of values [..., in], before the exponent."""
        return value @ self.weight.T.astype(value.dtype)

    def reached(self, first: int, last: int) -> Ints:
        """Return how many of the targets `first` to `last` each sender has, [in]."""
        return np.full(self.weight.shape[1], last - first)

    def synapses(self, first: int, last: int) -> int:
        """Return the synapses of the targets `first` to `last`, weights of zero included."""
        return (last - first) * int(self.weight.shape[1])

    stored = synapses  #: the weights that a memory holds for them


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv:
    """current += (convolution of source) << exponent, `delay` steps later.

    weight [out, in / groups, *kernel] of `weight_bits`, shared by all positions of a map; shape
    (in, *size) of the source's maps. Settings as in `graph.maps.Conv`, from the node that the graph
    calls `linear`.
    """

    source: str
    weight: Ints
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    weight_bits: int
    exponent: int = 0
    delay: int = 0
    linear: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", fitted(self.weight))

    @cached_property
    def windows(self) -> Windows:
        """Which positions of the source each target sees."""
        settings = {key: getattr(self, key) for key in ("stride", "padding", "dilation")}
        return Windows(size=self.shape[1:], kernel=self.weight.shape[2:], **settings)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape (out, *size) of what it adds to."""
        return len(self.weight), *self.windows.outputs

    def product(self, value: Any) -> Any:
        """Return the current [..., out * positions] of values [..., in * inputs]."""
        return self.windows.convolved(value, self.weight.astype(value.dtype), self.groups)

    def reached(self, first: int, last: int) -> Ints:
        """Return how many of the targets `first` to `last` each sender has, [in * inputs]."""
        maps, found = len(self.weight) // self.groups, np.zeros((self.groups, self.windows.inputs))
        for at, low, high in self._maps(first, last):
            found[at // maps] += self.windows.seen_by(low, high)
        return np.repeat(found.astype(np.int64), self.weight.shape[1], axis=0).reshape(-1)

    def synapses(self, first: int, last: int) -> int:
        """Return the synapses of the targets `first` to `last`: fewer at the borders of a map."""
        count: int = int(self.reached(first, last).sum())
        return count

    def stored(self, first: int, last: int) -> int:
        """Return the weights that a memory holds for them, each once."""
        return len(list(self._maps(first, last))) * int(self.weight[0].size)

    def _maps(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield the maps that targets `first` to `last` are in, each with a range of positions."""
        positions = self.windows.positions
        for at in range(first // positions, -(-last // positions)):
            start = at * positions
            yield at, max(first - start, 0), min(last - start, positions)


@dataclass(frozen=True, eq=False, kw_only=True)
class Tap:
    """current += (sign * source) << exponent, channel by channel; sign [width] of -1, 0, 1."""

    source: str
    sign: Ints
    exponent: int = 0
    delay: int = 0

    weight_bits: ClassVar[int] = 1

    def product(self, value: Any) -> Any:
        """Return the current of values [..., width], before the exponent."""
        return value * self.sign.astype(value.dtype)

    def reached(self, first: int, last: int) -> Ints:
        """Return how many of the targets `first` to `last` each sender has, [width]."""
        found = np.zeros(len(self.sign), np.int64)
        found[first:last] = self.sign[first:last] != 0
        return found

    def synapses(self, first: int, last: int) -> int:
        """Return the signs of the targets `first` to `last`."""
        return last - first

    stored = synapses


Weighted = Dense | Conv
Edge = Weighted | Tap


def fitted(array: Ints) -> Ints:
    """Return integers in the narrowest type that holds them and their negatives."""
    top = int(max(-int(array.min(initial=0)), int(array.max(initial=0))))
    kind = next(t for t in (np.int8, np.int16, np.int32, np.int64) if top <= np.iinfo(t).max)
    return array.astype(kind, copy=False)
