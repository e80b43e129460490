"""How torch lays out what a graph keeps flat.

A value of the graph is [T, B, width], or [B, width] behind a readout. Torch's convolutions want
[N, C, H, W]: so a network merges steps and samples and splits channels into axes, by reshape, view,
flatten, unflatten, squeeze and unsqueeze. These leave the values in their order: to the graph they
are nothing, and are followed here as layouts. An axis of a layout is (letters, size): ("T", 1),
("B", 1), ("TB", 1) for merged steps and samples, ("", 28) for channels or positions. The letters
always stand in front, and in order; the sizes multiply to the width.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import fx

from neurodeploy.frontends.torch_shapes import SWAPS, letters_of, swapped
from neurodeploy.graph.ir import Add, Affine, BatchNorm, Concat, Linear, Op, Reduce
from neurodeploy.graph.maps import Maps
from neurodeploy.graph.nonlinear import Gelu, LayerNorm, Product, Relu


class Axis(NamedTuple):
    """Steps, samples, both merged (`letters`), or `size` values of a step."""

    letters: str
    size: int

    def __str__(self) -> str:
        parts = [*self.letters, *([str(self.size)] if self.size != 1 or not self.letters else [])]
        return "*".join(parts)


Layout = tuple[Axis, ...]
_EACH = (
    Add,
    Affine,
    BatchNorm,
    Gelu,
    Product,
    Relu,
)  # what does not mind how its values are laid out
_LAST = (Linear, LayerNorm)  # what reads the last axis
VIEWS = ("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze")


def flat(width: int, letters: Sequence[str] = ("T", "B")) -> Layout:
    """Return the layout [T, B, width]."""
    return (*(Axis(letter, 1) for letter in letters), Axis("", width))


def shown(layout: Layout) -> str:
    """Return a layout as text: [T*B, 1, 28, 28]."""
    return f"[{', '.join(map(str, layout))}]"


def sizes(layout: Layout) -> tuple[int, ...]:
    """Return the axes of a step: (1, 28, 28)."""
    return tuple(axis.size for axis in layout if not axis.letters)


def heads(layout: Layout) -> Layout:
    """Return the axes in front of those of a step."""
    return tuple(axis for axis in layout if axis.letters)


def after(op: Op, layouts: Sequence[Layout], width: int) -> Layout | None:
    """Return the layout of what `op` computes, or None if it cannot read values laid out so."""
    first = layouts[0]
    if isinstance(op, Concat):
        at = len(heads(first))
        if any((each[:at], each[at + 1 :]) != (first[:at], first[at + 1 :]) for each in layouts):
            return None
        return (*first[:at], Axis("", sum(each[at].size for each in layouts)), *first[at + 1 :])
    if any(other != first for other in layouts):
        return None
    if isinstance(op, Maps) and len(sizes(first)) > 1:
        return (*heads(first), *(Axis("", count) for count in op.out_shape))
    if isinstance(op, Reduce):
        rest = tuple(axis for axis in first if axis != ("T", 1))
        return rest if len(rest) < len(first) else None
    if isinstance(op, _EACH):
        return first
    if len(sizes(first)) > 1 or (not isinstance(op, _LAST) and heads(first) != heads(flat(1))):
        return None
    return (*heads(first), Axis("", width))


class Layouts:
    """The layouts of the values so far, and the sizes that the network's code has read."""

    def __init__(self) -> None:
        self.of: dict[fx.Node, Layout] = {}
        self._read: dict[fx.Node, Any] = {}  #: an Axis, or a tuple of them

    def of_channels(self, dim: Any, items: Sequence[fx.Node]) -> bool:
        """Whether `dim` is the axis of channels, or else maps, of all `items`."""
        layouts = [self.of[item] for item in items if item in self.of]
        first = {(len(heads(layout)), len(layout)) for layout in layouts}
        return len(first) == 1 and all(dim in (at, at - axes) for at, axes in first)

    def time(self, item: Any) -> int:
        """Return which axis the steps are; where there is none, the first, which is refused."""
        layout = self.of.get(item, ())
        return layout.index(Axis("T", 1)) if Axis("T", 1) in layout else 0

    def reads(self, item: fx.Node) -> bool:
        """Whether `item` only reads a size; it is known from now on."""
        found = self._size(item)
        if found is not None:
            self._read[item] = found
        return found is not None

    def _size(self, item: fx.Node) -> Any:
        args, target = item.args, item.target
        source: Any = args[0] if args else None
        if target is getattr and args[1] == "shape" and source in self.of:
            return self.of[source]
        if target == "size" and source in self.of:
            rest = [*args[1:], *item.kwargs.values()]
            return self.of[source][rest[0]] if rest else self.of[source]  # type: ignore[index]
        if target is operator.getitem and source in self._read:
            return self._read[source][args[1]]
        if target is operator.mul and any(a in self._read for a in args if isinstance(a, fx.Node)):
            a, b = (self._axis(value) for value in args)
            return Axis(a.letters + b.letters, a.size * b.size)
        return None

    def _axis(self, value: Any) -> Axis:
        """Return an argument of a reshape: a number, or a size that was read."""
        if isinstance(value, fx.Node):
            found: Axis = self._read[value]
            return found
        letters = letters_of(value)
        return Axis(letters, 1 if letters else int(value))

    def view(self, item: fx.Node, module: torch.nn.Module | None = None) -> Layout | str | None:
        """Return the layout of a reshaped value; why there is none; None if it is no reshape."""
        name = str(getattr(item.target, "__name__", item.target))
        name = type(module).__name__.lower() if module is not None else name
        source = item.args[0] if item.args else None
        if name in SWAPS and isinstance(source, fx.Node) and source in self.of:
            return self._swapped(self.of[source], item)
        if name not in VIEWS or not isinstance(source, fx.Node) or source not in self.of:
            return None
        old = self.of[source]
        try:
            wanted = self._wanted(name, old, item, module)
            return _reshaped(old, wanted)
        except (IndexError, KeyError, ValueError, TypeError):
            return f"it reads {shown(old)}, where steps and samples must stay in front"

    def _swapped(self, old: Layout, item: fx.Node) -> Layout | str:
        """Return the layout behind a transposition, which may only exchange steps and samples."""
        order = swapped(item, len(old))
        new = None if order is None else tuple(old[at] for at in order)
        if new is None or new[len(heads(old)) :] != old[len(heads(old)) :] or new == old:
            return f"it reads {shown(old)}, where only steps and samples may change places"
        return new

    def _wanted(
        self, name: str, old: Layout, item: fx.Node, module: torch.nn.Module | None
    ) -> list[Axis]:
        """Return the axes that a reshape asks for; a size of -1 is what remains."""
        args = [*item.args[1:], *item.kwargs.values()]
        if isinstance(module, torch.nn.Flatten):
            args = [module.start_dim, module.end_dim]
        if isinstance(module, torch.nn.Unflatten):
            args = [module.dim, module.unflattened_size]
        if name in ("reshape", "view"):
            parts: Any = args[0] if args and isinstance(args[0], tuple | list) else args
            return [self._axis(each) for each in parts]
        axes = list(old)
        at: Any = [args[0] if args else 0, args[1] if len(args) > 1 else -1]
        extra = name == "unsqueeze"
        first = int(at[0]) % (len(axes) + extra)
        if name == "flatten":
            last = int(at[1]) % len(axes)
            merged = axes[first : last + 1]
            one = Axis("".join(a.letters for a in merged), prod(a.size for a in merged))
            return [*axes[:first], one, *axes[last + 1 :]]
        if name == "unflatten":
            split = [self._axis(each) for each in at[1]]
            return [*axes[:first], *split, *axes[first + 1 :]]
        if extra:
            return [*axes[:first], Axis("", 1), *axes[first:]]
        if axes[first] != ("", 1):
            raise ValueError(name)
        return [*axes[:first], *axes[first + 1 :]]


def _reshaped(old: Layout, wanted: list[Axis]) -> Layout:
    """Return the axes wanted, with what remains for -1; raise ValueError if values would mix."""
    letters, width = "".join(axis.letters for axis in old), prod(axis.size for axis in old)
    if Axis("", -1) in wanted:
        at = wanted.index(Axis("", -1))
        before, behind = (
            "".join(a.letters for a in part) for part in (wanted[:at], wanted[at + 1 :])
        )
        count, rest = divmod(width, prod(a.size for i, a in enumerate(wanted) if i != at))
        inner = letters[len(before) : len(letters) - len(behind)]
        if rest or before + inner + behind != letters:
            raise ValueError(wanted)
        wanted[at] = Axis(inner, count)
    new = tuple(wanted)
    front = sum(1 for axis in new if axis.letters)
    mixed = any(axis.letters and axis.size != 1 for axis in new)
    if mixed or not all(axis.letters for axis in new[:front]):
        raise ValueError(wanted)
    if "".join(axis.letters for axis in new) != letters or prod(sizes(new)) != width:
        raise ValueError(wanted)
    return new
