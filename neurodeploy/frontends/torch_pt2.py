"""Programs in .pt2 files, as modules that the trace follows (`pt2_file` reads them as data)."""

from __future__ import annotations

import io
import operator
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.utils import _pytree as pytree

from neurodeploy.errors import InputError
from neurodeploy.frontends import child, pt2_file, torch_export
from neurodeploy.frontends.torch import trace
from neurodeploy.graph.ir import Graph

LIMITS = child.Limits()
_OPERATORS = {"_operator.mul": operator.mul, "_operator.getitem": operator.getitem}
KNOWN = {**{f"torch.ops.{op}": op for op in torch_export.KNOWN}, **_OPERATORS}


def read(path: Path) -> tuple[Graph, Any]:
    """Return the graph of a program that `torch.export.save` wrote, and its example or None.

    Raises InputError E101 for a damaged file, E102 for one that needs code, and as `trace` does.
    """
    record, arrays = child.call(pt2_file.read, path, LIMITS, budget=LIMITS.budget)
    example = _example(bytes(arrays[""]), path)
    graph = trace(torch_export.as_layers(_module(record, arrays)), example)
    return graph, None if example is None else example.reshape(*example.shape[:2], -1)


def _example(data: bytes, path: Path) -> Any:
    """Return the input that the program was exported with; None if it is no [T, B, ...]."""
    if not data:
        return None
    try:
        args, _ = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        what = "its example inputs are pickled objects, which may run code: it was not loaded"
        fix = "export the network with a tensor as its only input"
        raise InputError("E102", what, where=str(path), fix=fix) from None
    except Exception as error:  # torch.load fails on bad files in more ways than documented
        what, fix = "its example inputs are damaged", "write or copy the file again"
        raise InputError("E101", what, where=str(path), fix=fix) from error
    first = args[0] if isinstance(args, tuple | list) and len(args) == 1 else None
    known = isinstance(first, torch.Tensor) and first.dim() >= 3
    return first.detach().numpy() if known else None  # type: ignore[union-attr]


def _module(record: Any, arrays: Any) -> fx.GraphModule:
    """Return the program as calls of torch's operators."""
    root, graph = torch.nn.Module(), fx.Graph()
    values: dict[str, fx.Node] = {}
    for name in record["inputs"]:
        values[name] = graph.placeholder(name)
    for name, path in record["weights"].items():
        _put(root, path, torch.tensor(arrays[path]))
        values[name] = graph.get_attr(path)
    for name, results, target, args, named in record["calls"]:
        function = KNOWN.get(target) or _unknown(target)
        given = (_argument(args, values), _argument(named, values))
        node = graph.create_node("call_function", function, tuple(given[0]), given[1], name)
        values.update(dict.fromkeys(results, node))
    for name, node in values.items():
        if name in record["ranks"]:
            node.meta["val"] = np.empty((0,) * record["ranks"][name])
    graph.output(_argument(record["output"], values))
    return fx.GraphModule(root, graph)


def _unknown(target: str) -> Callable[..., Any]:
    """Return what stands for an operator that is not known, so that the trace names it."""

    def operator_of_torch(*args: Any, **named: Any) -> Any:
        given = pytree.tree_leaves((args, named))
        tracer = next(each.tracer for each in given if isinstance(each, fx.Proxy))
        return tracer.create_proxy("call_function", operator_of_torch, args, named)

    operator_of_torch.__name__ = target.removeprefix("torch.ops.aten.")
    return operator_of_torch


def _argument(value: Any, values: dict[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_argument(each, values) for each in value]
    if isinstance(value, dict) and set(value) == {"name"} and isinstance(value["name"], str):
        return values[value["name"]]
    if isinstance(value, dict):
        return {key: _argument(each, values) for key, each in value.items()}
    return value


def _put(root: torch.nn.Module, path: str, value: torch.Tensor) -> None:
    *folders, leaf = path.split(".")
    for folder in folders:
        if folder not in dict(root.named_children()):
            root.add_module(folder, torch.nn.Module())
        root = root.get_submodule(folder)
    root.register_buffer(leaf, value)
