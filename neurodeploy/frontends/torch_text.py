"""What stands in files of torch that are no graph: the calls of a program, weights without one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neurodeploy.frontends import child, pt2_file
from neurodeploy.frontends.contents import field
from neurodeploy.frontends.torch_pt2 import KNOWN, LIMITS
from neurodeploy.nn.checkpoint import read_state

_PREFIX = "torch.ops.aten."


def program(path: Path) -> dict[str, Any]:
    """Return a .pt2 file as plain data (`contents`), one node for each call.

    Raises InputError E101, E102 as `torch_pt2.read` does.
    """
    record, arrays = child.call(pt2_file.read, path, LIMITS, budget=LIMITS.budget)
    weights = {name: (at, arrays[at]) for name, at in record["weights"].items()}
    nodes = [_call(call, weights) for call in record["calls"]]
    inputs = {name: {"shape": None, "dtype": None} for name in record["inputs"]}
    return {"name": path.name, "writer": "torch.export", "inputs": inputs, "nodes": nodes}


def _call(call: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    name, _, target, args, named = call
    read = list(_names([args, named]))
    settings = {"arguments": [_plain(each) for each in args], **named}
    fields = {key: field(_plain(value)) for key, value in settings.items()}
    fields |= {weights[each][0]: field(weights[each][1]) for each in read if each in weights}
    return {
        "name": name,
        "type": target.removeprefix(_PREFIX),
        "known": target in KNOWN,
        "reads": [each for each in read if each not in weights],
        "fields": fields,
    }


def _names(value: Any) -> Iterator[str]:
    """Yield the names of the values in arguments."""
    if isinstance(value, dict) and set(value) == {"name"}:
        yield value["name"]
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _names(each)


def _plain(value: Any) -> Any:
    """Return arguments with names of values as they are."""
    if isinstance(value, dict) and set(value) == {"name"}:
        return value["name"]
    return [_plain(each) for each in value] if isinstance(value, list) else value


def weights(path: Path) -> dict[str, Any]:
    """Return a state dict as plain data (`contents`), one node for each module that has some.

    Raises InputError E101, E102 as `read_state` does.
    """
    modules: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in read_state(path).items():
        module, _, name = key.rpartition(".")
        modules[module][name] = field(_array(value))
    nodes = [
        {"name": name or "(root)", "type": "weights", "known": True, "reads": [], "fields": fields}
        for name, fields in modules.items()
    ]
    return {"name": path.name, "writer": "any tool", "nodes": nodes}


def _array(value: Any) -> Any:
    """Return a tensor as an array; as float32 what numpy has no type for."""
    whole = value.detach().cpu()
    try:
        return whole.numpy()
    except TypeError:
        return whole.float().numpy()
