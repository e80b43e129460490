"""Torch's functions and operators on sequences, as operations of a graph."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx

from neurodeploy.frontends import torch_vectors
from neurodeploy.frontends.torch_layout import Layouts
from neurodeploy.frontends.torch_modules import rounded
from neurodeploy.graph.ir import Add, Affine, Concat, Op, Reduce, vector
from neurodeploy.graph.nonlinear import Product

_SUMS = (operator.add, operator.iadd, torch.add)
_PRODUCTS = (operator.mul, operator.imul, torch.mul)
_LAST_STEP: dict[int, Any] = {0: -1, 1: (slice(None, None, None), -1)}  #: by the axis of the steps

Found = tuple[Op | None, list[fx.Node]] | None


def operation(
    item: fx.Node,
    layouts: Layouts,
    widths: dict[str, int],
    names: dict[fx.Node, str],
    kind: torch.dtype,
) -> Found:
    """Return the operation of an fx node and what it reads, or None if it is not known."""
    args, target = item.args, item.target
    if target in _SUMS and not item.kwargs and all(isinstance(a, fx.Node) for a in args):
        return Add(), list(args)  # type: ignore[arg-type]
    if target in _PRODUCTS and not item.kwargs:
        return _product(args, widths, names, kind)
    if (vector_op := torch_vectors.function_op(item)) is not None:
        return vector_op, [args[0]]  # type: ignore[list-item]
    if target in (torch.cat, torch.concat, torch.concatenate):
        parts = list(args[0])  # type: ignore[arg-type]
        dim = item.kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return (Concat(), parts) if layouts.of_channels(dim, parts) else None
    at = layouts.time(args[0]) if args and isinstance(args[0], fx.Node) else 0
    if target is operator.getitem and args[1] == _LAST_STEP.get(at):
        return _reduction("last", args[0], widths, names)
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    if name in ("mean", "sum") and (item.op == "call_method" or target in (torch.mean, torch.sum)):
        dim = item.kwargs.get("dim", args[1] if len(args) > 1 else None)
        extra = {key for key, value in item.kwargs.items() if key != "dim" and value}
        extra |= {"keepdim"} if any(args[2:]) else set()
        return (
            _reduction(name, args[0], widths, names)
            if dim in (at, (at,), [at]) and not extra
            else None
        )
    if name in ("contiguous", "clone", "detach", "float", "double") and len(args) == 1:
        return None, [args[0]]  # type: ignore[list-item]
    return None


def _product(
    args: Any, widths: dict[str, int], names: dict[fx.Node, str], kind: torch.dtype
) -> Found:
    numbers = [a for a in args if isinstance(a, int | float)]
    nodes = [a for a in args if isinstance(a, fx.Node)]
    if len(nodes) == 2:
        return Product(), nodes
    if len(numbers) != 1 or len(nodes) != 1:
        return None
    width = widths[names[nodes[0]]]
    return Affine(vector(rounded(numbers[0], kind), width), np.zeros(width)), nodes


def _reduction(kind: str, source: Any, widths: dict[str, int], names: dict[fx.Node, str]) -> Found:
    return Reduce(kind, np.zeros(widths[names[source]])), [source]
