"""Checkpoints: graphs from the files that `save` writes, of modules or of graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from neurodeploy import nn
from neurodeploy.errors import InputError
from neurodeploy.frontends.torch import Tracer, trace
from neurodeploy.graph import rules
from neurodeploy.graph.ir import Graph
from neurodeploy.graph.kept import narrow
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.nn.checkpoint import module_of, read_content, write_content


def save(module: torch.nn.Module | Graph, path: Path, example: Any = None) -> None:
    """Write a checkpoint: the module, or, where its class is not ours, the graph of it; or a graph.

    example: x [T, B, C], a tensor or an array. Raises InputError E104 naming every layer that is
    not known, E105, E106 (the example), E110.
    """
    sample = None if example is None else torch.as_tensor(example)
    if isinstance(module, Graph):
        _save_graph(module, path, sample)
        return
    try:
        nn.save(module, path, example=sample)
    except InputError as error:
        if error.code != "E104":
            raise
        _save_graph(trace(module, sample), path, sample)


def _save_graph(graph: Graph, path: Path, sample: Any) -> None:
    record, arrays = to_record(graph)
    tensors = {name: torch.tensor(narrow(value)) for name, value in arrays.items()}
    write_content({"graph": record, "arrays": tensors}, path, sample)


def read(path: Path) -> tuple[Graph, Any]:
    """Return the graph of a checkpoint written by `neurodeploy.save`, and its example or None.

    Raises the errors of `nn.load` and `trace`.
    """
    content = read_content(path)
    if "graph" in content:
        arrays = {name: value.numpy() for name, value in content["arrays"].items()}
        example = content["example"]
        graph = from_record(content["graph"], arrays, str(path))
        return graph, None if example is None else example.numpy()
    module, example = module_of(content, str(path))
    del content
    data = None if example is None else example.numpy()
    return rules.check(Tracer(module, data, owned=True).graph()), data
