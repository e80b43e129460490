"""Networks that a function of the user's builds, named package.module:function.

The function takes no arguments and returns a torch module, or (module, example): example inputs
[T, B, C], or [T, B, maps, height, width] for a network that reads maps. It is the user's own code:
it is imported and run, from the current folder as well.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch

from neurodeploy.errors import InputError
from neurodeploy.frontends.torch import trace
from neurodeploy.graph.ir import Graph
from neurodeploy.nn.checkpoint import read_state

_FIX = "give package.module:function, a function without arguments that returns the network"


def read(name: str, weights: Path | None = None) -> tuple[Graph, Any, str]:
    """Return the graph of what function `name` builds, its example [T, B, C] or None, and a name.

    weights: a file with a state dict, loaded into the network first. Raises InputError E101 where
    there is no such function or it fails, E105 for weights that do not fit, and as `trace` does.
    """
    module, example = _built(name)
    if weights is not None:
        if not isinstance(module, torch.nn.Module):
            what, fix = "a torch.export program has its weights", "leave the weights' file out"
            raise InputError("E101", what, where=name, fix=fix)
        _load(module, weights, name)
    if isinstance(module, torch.nn.Module):
        module.eval()
    graph = trace(module, example)
    if example is not None:
        example = torch.as_tensor(example).detach().cpu().numpy()
        example = example.reshape(*example.shape[:2], -1)
    return graph, example, name.rpartition(":")[2] if weights is None else weights.stem


def _built(name: str) -> tuple[Any, Any]:
    try:
        made = _function(name)()
    except InputError:
        raise
    except Exception as error:  # it is code of the user's, which may fail in any way
        what = f"{name}() failed: {type(error).__name__}: {error}"
        raise InputError("E101", what, where=name, fix="run it in Python first") from error
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module | torch.export.ExportedProgram):
        what = f"{name}() returned a {type(made).__name__}, not a network"
        raise InputError("E101", what, where=name, fix="return the module, or (module, example)")
    if example is not None and len(getattr(example, "shape", ())) < 3:
        what = f"the example of {name}() is not an array [T, B, C]"
        raise InputError("E106", what, where=name, fix="return inputs of a few samples")
    return module, example


def _function(name: str) -> Any:
    home, _, function = name.partition(":")
    if not home or not function:
        raise InputError("E101", f"{name!r} names no function", fix=_FIX)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        what = f"there is no module {error.name!r}"
        raise InputError(
            "E101", what, where=name, fix=f"run from the folder of it; {_FIX}"
        ) from None
    found = getattr(module, function, None)
    if not callable(found):
        raise InputError("E101", f"{home} has no function {function!r}", where=name, fix=_FIX)
    return found


def _load(module: torch.nn.Module, weights: Path, name: str) -> None:
    try:
        module.load_state_dict(read_state(weights))
    except RuntimeError as error:
        what = f"the weights do not fit what {name} builds: {error}"
        fix = f"build the network that was trained; or let {name} load the file, under its names"
        raise InputError("E105", what, where=str(weights), fix=fix) from None
