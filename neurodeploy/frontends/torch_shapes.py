"""The shapes of values in a trace, where loops over time need them as numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import fx

from neurodeploy.frontends import frameworks

_SAME = ("float", "double", "half", "contiguous", "clone", "detach", "to", "cpu", "relu")
_ALIKE = (torch.nn.Dropout, torch.nn.Identity, torch.nn.ReLU, torch.nn.GELU, torch.nn.LayerNorm)
SWAPS = ("transpose", "swapaxes", "swapdims", "permute")


class Size(int):
    """How many steps ("T") or samples ("B") there are: a number that knows what it counts."""

    letters: str

    def __new__(cls, count: int, letters: str) -> Size:
        """Return `count`, which counts `letters`."""
        size = super().__new__(cls, count)
        size.letters = letters
        return size

    def __mul__(self, other: int) -> int:
        product = int(self) * int(other)
        return Size(product, self.letters + other.letters) if isinstance(other, Size) else product


def letters_of(size: Any) -> str:
    """Return what a size counts; "" for channels and positions."""
    return size.letters if isinstance(size, Size) else ""


def name_of(item: fx.Node) -> str:
    """Return the name of a function or method that is called."""
    return str(getattr(item.target, "__name__", item.target))


class Shapes:
    """The shapes of values in a trace, as far as the input's shape tells them."""

    def __init__(self, shape: tuple[int, ...], tracer: fx.Tracer) -> None:
        self._input, self._tracer = shape, tracer
        self._of: dict[fx.Node, tuple[int, ...] | None] = {}

    def of(self, item: Any) -> tuple[int, ...] | None:
        """Return a value's shape, steps and samples as `Size`; None if it is not known."""
        if not isinstance(item, fx.Node):
            return None
        if item not in self._of:
            self._of[item] = self._find(item)
        return self._of[item]

    def indexed(self, item: fx.Node) -> str:
        """Return what `item` takes one index of, "T" or "B"; "" if it does not."""
        at, shape = index_of(item), self.of(item.args[0]) if item.args else None
        return letters_of(shape[at[0]]) if at and shape and at[0] < len(shape) else ""

    def _find(self, item: fx.Node) -> tuple[int, ...] | None:
        if item.op == "placeholder":
            return self._input if item is next(iter(item.graph.nodes)) else None
        shape = self.of(item.args[0]) if item.args else None
        if shape is None or item.op not in ("call_module", "call_method", "call_function"):
            return None
        if item.op == "call_module":
            return _behind(self._tracer.root.get_submodule(str(item.target)), shape)
        name = name_of(item)
        if name in _SAME:
            return shape
        if (order := swapped(item, len(shape))) is not None:
            return tuple(shape[at] for at in order)
        if (at := index_of(item)) is not None and at[0] < len(shape):
            return shape[: at[0]] + shape[at[0] + 1 :]
        if name == "unbind":
            dim = _dim(item) % len(shape)
            return (shape[dim], *shape[:dim], *shape[dim + 1 :])
        return _reshaped(name, shape, [*item.args[1:], *item.kwargs.values()])


def _behind(module: torch.nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    plain = frameworks.plain(module)
    if isinstance(plain, torch.nn.Linear):
        return (*shape[:-1], plain.out_features)
    if isinstance(plain, torch.nn.Flatten):
        return _reshaped("flatten", shape, [plain.start_dim, plain.end_dim])
    return shape if isinstance(plain, _ALIKE) else None


def _reshaped(name: str, shape: tuple[int, ...], args: Sequence[Any]) -> tuple[int, ...] | None:
    """Return the shape behind a flatten, reshape or view whose sizes are numbers."""
    if name == "flatten":
        first, last = (int(at) % len(shape) for at in (*args, *(0, -1)[len(args) :]))
        inner = shape[first : last + 1]
        mixed = len(inner) > 1 and any(letters_of(size) for size in inner)
        one = inner if len(inner) == 1 else (prod(inner),)
        return None if mixed else (*shape[:first], *one, *shape[last + 1 :])
    if name in ("reshape", "view"):
        wanted = list(args[0]) if args and isinstance(args[0], list | tuple) else list(args)
        if all(isinstance(size, int) for size in wanted):
            rest = prod(shape) // (abs(prod(wanted)) or 1)
            return tuple(rest if size == -1 else size for size in wanted)
    return None


def index_of(item: fx.Node) -> tuple[int, int] | None:
    """Return (axis, index) where `item` takes one index, counted from the front, of one axis."""
    if item.target is not operator.getitem:
        return None
    index: Any = item.args[1]
    index = index if isinstance(index, tuple) else (index,)
    while index and (index[-1] is ... or index[-1] == slice(None)):
        index = index[:-1]
    whole = all(isinstance(each, slice) and each == slice(None) for each in index[:-1])
    if not index or not whole or not isinstance(index[-1], int) or index[-1] < 0:
        return None
    return len(index) - 1, int(index[-1])


def swapped(item: fx.Node, axes: int) -> list[int] | None:
    """Return the order of a value's `axes` axes behind a transposition; None if it is none."""
    name, args = name_of(item), [*item.args[1:], *item.kwargs.values()]
    order = list(range(axes))
    if name in SWAPS[:3] and len(args) == 2:
        a, b = (int(at) % axes for at in args)  # type: ignore[arg-type]
        order[a], order[b] = b, a
        return order
    if name == "permute":
        dims: Any = args[0] if len(args) == 1 else args
        order = [int(at) % axes for at in dims]
        return order if sorted(order) == list(range(axes)) else None
    return None


def _dim(item: fx.Node) -> int:
    args: list[Any] = [*item.args[1:], *item.kwargs.values()]
    return int(args[0]) if args else 0
