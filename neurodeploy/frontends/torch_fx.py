"""How a network's forward is followed by torch.fx, and how its loops over time are unrolled.

`follow` traces a forward as it is. Where it loops over time around layers that are called on one
step (`for step in range(x.size(0))`), it is traced on an input of known size, all steps one after
another, and folded to one step (`torch_loop`).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.proxy import Attribute

from neurodeploy import nn
from neurodeploy.errors import InputError
from neurodeploy.frontends import frameworks, torch_foreign, torch_loop, torch_maps, torch_vectors
from neurodeploy.frontends.torch_calls import cells, loops
from neurodeploy.frontends.torch_shapes import Shapes, Size
from neurodeploy.nn.neurons import Neuron

LEAVES = (
    *(nn.BatchNorm, nn.Embedding, nn.Readout, nn.Scale, nn.Threshold, Neuron),
    *(torch.nn.Linear, torch.nn.Dropout, torch.nn.LSTM),
    *torch_maps.LEAVES,
    *torch_vectors.LEAVES,
)
_MOST = 1024  #: steps of an example that are followed
_FEWEST = 4  #: steps, where there is no example
_ORDERS = (("T", "B"), ("B", "T"), ("B",))  #: the last: the same input at every step

Order = tuple[str, ...]
Shape = tuple[int, ...]


class Follow(fx.Tracer):
    """Stop at the modules that are nodes, and at torch's own, which cannot be looked into."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        """Whether a module becomes one node of the trace."""
        inside = isinstance(m, torch.nn.Sequential | nn.SDTCM | nn.SDTCMBlock)
        return (
            isinstance(m, LEAVES)
            or frameworks.foreign(m)
            or (not inside and super().is_leaf_module(m, module_qualified_name))
        )

    def call_module(self, m: Any, forward: Any, args: Any, kwargs: Any) -> Any:
        """Merge steps and samples around what another framework runs on every step."""
        inner = frameworks.lifted(m)
        if inner is None:
            return super().call_module(m, forward, args, kwargs)
        x = args[0]
        y = x.flatten(0, 1)
        for each in inner:
            y = super().call_module(m, forward, (y,), {}) if each is m else each(y)
        return y.unflatten(0, (x.shape[0], x.shape[1]))


class _Sized(fx.Proxy):
    """A value whose size is a number, where it is known, so that loops run over it."""

    def _known(self) -> Shape | None:
        return self.tracer.shapes.of(self.node)  # type: ignore[attr-defined, no-any-return]

    @property
    def shape(self) -> Any:
        return self._known() or Attribute(self, "shape")

    def size(self, dim: int | None = None) -> Any:
        known = self._known()
        if known is None:
            return Attribute(self, "size")(*(() if dim is None else (dim,)))
        return known if dim is None else known[dim]

    def __len__(self) -> int:
        known = self._known()
        return int(super().__len__() if known is None else known[0])


class _Unroll(Follow):
    """Follow a forward on an input of a known shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shapes = Shapes(shape, self)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return a proxy that knows its shape."""
        return _Sized(node, self)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Iterate over the first axis."""
        known, each = self.shapes.of(obj.node), operator.itemgetter
        return super().iter(obj) if known is None else (each(i)(obj) for i in range(int(known[0])))


def follow(root: torch.nn.Module, example: Shape) -> tuple[fx.Graph, Order | None]:
    """Return a network's forward with loops over time folded, and the axes before its channels.

    example: the shape [T, B, ...] of the example; () if there is none. The axes are None where
    there is no loop. Raises InputError E104.
    """
    try:
        traced = Follow().trace(root, torch_foreign.defaults(root))
    except Exception as error:  # torch.fx raises many kinds, all about the module's code
        if not cells(root):
            raise _lost(root, error) from error
    else:
        if not loops(traced, root):
            return traced, None
    return _unrolled(root, example)


def _lost(root: torch.nn.Module, error: object) -> InputError:
    return InputError(
        "E104",
        f"{type(root).__name__}.forward cannot be followed: {error}",
        fix="use a forward without branches that depend on the data, whose loop over time goes over"
        " range(x.size(0)), range(self.num_steps) or x, and calls layers on one step",
    )


def _unrolled(root: torch.nn.Module, example: Shape) -> tuple[fx.Graph, Order]:
    """Try the orders that an input may have; take the one whose steps the network takes."""
    lost: Exception | None = None
    for order in _ORDERS:
        tracer = _Unroll(_sizes(root, example, order))
        try:
            traced = tracer.trace(root, torch_foreign.defaults(root))
        except Exception as error:
            lost = lost or error
            continue
        taken = {tracer.shapes.indexed(item) for item in traced.nodes} - {""}
        if taken == {"T"} & set(order):
            return torch_loop.fold(traced, root, tracer.shapes), order
    raise _lost(root, lost or "it takes single samples, or steps of a sequence of two orders")


def _sizes(root: torch.nn.Module, example: Shape, order: Sequence[str]) -> Shape:
    """Return the shape of an input; without example, as the first Linear reads it."""
    widths = (m.in_features for m in root.modules() if isinstance(m, torch.nn.Linear))
    steps, samples, *inner = example or (_FEWEST, 2, next(widths, 1))
    counts = {"T": min(int(steps), _MOST), "B": int(samples)}
    return (*(Size(counts[each], each) for each in order), *map(int, inner))
