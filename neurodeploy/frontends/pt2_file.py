"""Files of `torch.export.save`, read as the data they are: calls in JSON, weights in bytes.

`torch.export.load` unpickles, loads compiled libraries and evaluates expressions that stand in a
file, so it is not used. What only it could read (pickled weights, objects, compiled code) is
refused. (torch/export/pt2_archive and torch/_export/serde/schema.py, version 2.13.0, schema 8.)
"""

from __future__ import annotations

import json
import re
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError

_SCHEMA = 8
_AGAIN = "write it with torch.export.save(program, path), of torch 2.8 or later"
_PLAIN = "export layers of torch, with weights that are plain tensors"
_TYPES: dict[int, tuple[str, str]] = {  #: of the schema's ScalarType: in the file, and as read
    **{1: ("u1", "u1"), 2: ("i1", "i1"), 3: ("<i2", "<i2"), 4: ("<i4", "<i4"), 5: ("<i8", "<i8")},
    **{6: ("<f2", "<f2"), 7: ("<f4", "<f4"), 8: ("<f8", "<f8"), 12: ("?", "?")},
}
_BFLOAT16 = 13
_VALUES = ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools")
_SETTINGS = ("as_scalar_type", "as_memory_format", "as_layout", "as_device")


def read(path: Path, budget: int) -> tuple[Any, dict[str, Any]]:
    """Return the program in a .pt2 file: its calls as plain data, and its weights.

    The data is {"inputs": [names], "weights": {name: path}, "calls": [[name, results, target,
    arguments, named arguments]], "output": argument, "ranks": {name: axes}}; a value in an argument
    is {"name": of it}. The arrays are weights by path, and "" the pickled example inputs, as bytes.
    Raises InputError E101 for a damaged file or more than `budget` bytes, E102 for one that needs
    code, E104 for what is no plain call.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive, path, budget).read()
    except OSError as error:
        raise _damaged(path, f"cannot read it: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise _damaged(path, f"{path.name} is truncated, or not a .pt2 file") from error
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, f"{path.name} is damaged: {error!r}") from error


def _damaged(path: Path, what: str) -> InputError:
    return InputError("E101", what, where=str(path), fix=_AGAIN)


class _Archive:
    def __init__(self, archive: zipfile.ZipFile, path: Path, budget: int) -> None:
        self.archive, self.path = archive, path
        size = sum(item.file_size for item in archive.infolist())
        if size > budget:
            raise _damaged(path, f"{path.name} declares {size} bytes, more than {budget}")
        self.files = {name.partition("/")[2]: name for name in archive.namelist()}

    def read(self) -> tuple[Any, dict[str, Any]]:
        """Return what `read` does."""
        models = [n for n in self.files if n.startswith("models/") and n.endswith(".json")]
        code = [name for name in self.files if name.startswith("data/aotinductor/")]
        if code:
            raise self.holds_code("compiled code")
        if len(models) != 1:
            what = f"{self.path.name} holds {len(models)} exported programs of this format, not one"
            raise _damaged(self.path, what)
        model = self.json(models[0])
        version = model["schema_version"]["major"]
        if version != _SCHEMA:
            what = f"{self.path.name} is written in schema {version}, this reads {_SCHEMA}"
            raise _damaged(self.path, what)
        name = models[0].removeprefix("models/").removesuffix(".json")
        weights = f"data/weights/{name}_weights_config.json"
        constants = f"data/constants/{name}_constants_config.json"
        arrays = {**self.tensors(weights), **self.tensors(constants)}
        sample = self.files.get(f"data/sample_inputs/{name}.pt")
        arrays[""] = np.frombuffer(self.archive.read(sample) if sample else b"", np.uint8)
        data = _Program(model["graph_module"]).data()
        _named(data)
        return data, arrays

    def json(self, name: str) -> Any:
        """Return what is in a JSON file of the archive."""
        return json.loads(self.archive.read(self.files[name]))

    def holds_code(self, what: str) -> InputError:
        """Return the refusal of what cannot be read as data."""
        what = f"the file holds {what}, which may run code: it was not loaded"
        return InputError("E102", what, where=str(self.path), fix=_PLAIN)

    def tensors(self, config: str) -> dict[str, Any]:
        """Return the tensors that a configuration lists, by path."""
        found = {}
        for name, entry in self.json(config)["config"].items():
            if entry["use_pickle"] or entry.get("tensor_meta") is None:
                raise self.holds_code(f"{name} as a pickled object")
            folder = config.rpartition("/")[0]
            data = self.archive.read(self.files[f"{folder}/{entry['path_name']}"])
            found[name] = _tensor(data, entry["tensor_meta"])
        return found


def _tensor(data: bytes, meta: Any) -> Any:
    """Return a tensor from its bytes; raises ValueError where they do not hold it."""
    kind, shape = meta["dtype"], [size["as_int"] for size in meta["sizes"]]
    strides = [step["as_int"] for step in meta["strides"]]
    if kind == _BFLOAT16:  # the upper half of a float32
        flat = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        flat = np.frombuffer(data, _TYPES[kind][0])
    if not prod(shape):
        return np.zeros(shape, flat.dtype)
    first = meta["storage_offset"]["as_int"]
    last = first + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min(*shape, first, *strides, 0) < 0 or last >= len(flat):
        raise ValueError(f"a tensor of {shape} in {len(data)} bytes")
    steps = [step * flat.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(flat[first:], shape, steps, writeable=False)
    return np.ascontiguousarray(view)


def _named(data: Any) -> None:
    """Raise ValueError for names that are none: torch.fx writes them into code."""
    names = [*data["inputs"], *data["weights"]]
    for name, results, _, _, named in data["calls"]:
        names += [name, *results, *named]
    paths = [*data["weights"].values(), *(target for _, _, target, _, _ in data["calls"])]
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]
    wrong += [path for path in paths if not re.fullmatch(r"[\w.]+", path, re.ASCII)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name")


class _Program:
    """The calls of a program as plain data."""

    def __init__(self, module: Any) -> None:
        self.graph, self.signature = module["graph"], module["signature"]

    def data(self) -> Any:
        """Return what `read` does, but for the weights themselves."""
        inputs, weights = [], {}
        for spec in self.signature["input_specs"]:
            ((kind, inner),) = spec.items()
            if kind == "user_input":
                inputs.append(self.argument(inner["arg"])["name"])
            elif kind in ("parameter", "buffer", "tensor_constant"):
                weights[inner["arg"]["name"]] = inner[f"{kind}_name"]
            else:
                raise InputError("E104", f"an input that is a {kind}", fix=_PLAIN)
        outputs = [self.output(spec) for spec in self.signature["output_specs"]]
        return {
            "inputs": inputs,
            "weights": weights,
            "calls": [self.call(node) for node in self.graph["nodes"]],
            "output": outputs[0] if len(outputs) == 1 else outputs,
            "ranks": {n: len(value["sizes"]) for n, value in self.graph["tensor_values"].items()},
        }

    def output(self, spec: Any) -> Any:
        """Return an output; raises InputError E104 for one that is a state written back."""
        ((kind, inner),) = spec.items()
        if kind != "user_output":
            what = f"the program writes to a {kind.partition('_')[0]} of its own"
            raise InputError("E104", what, fix="export the network in evaluation mode")
        return self.argument(inner["arg"])

    def call(self, node: Any) -> Any:
        """Return one call: its results, what is called, and the arguments."""
        args = [self.argument(each["arg"]) for each in node["inputs"] if each.get("kind") != 2]
        named = {e["name"]: self.argument(e["arg"]) for e in node["inputs"] if e.get("kind") == 2}
        results = [self.argument(each) for each in node["outputs"]]
        flat = [each for part in results for each in (part if isinstance(part, list) else [part])]
        names = [each["name"] for each in flat if isinstance(each, dict)]
        return [node.get("name") or names[0], names, node["target"], args, named]

    def argument(self, value: Any) -> Any:
        """Return an argument: numbers and texts, values as {"name": ...}, or a list of these."""
        ((kind, inner),) = value.items()
        if kind in _VALUES:
            return inner
        if kind in _SETTINGS:
            return f"{kind.removeprefix('as_')} {inner}"
        if kind in ("as_none", "as_name", "as_tensor", "as_optional_tensor"):
            if kind == "as_optional_tensor":
                return self.argument(inner)
            name = inner["name"] if kind == "as_tensor" else inner
            return None if kind == "as_none" else {"name": name}
        if kind.startswith("as_sym_"):
            each = inner if isinstance(inner, list) else [inner]
            found = [self.argument(one) for one in each]
            return found if isinstance(inner, list) else found[0]
        if kind in ("as_tensors", "as_optional_tensors"):
            return [self.argument(e) if len(e) == 1 and "name" not in e else e for e in inner]
        raise InputError("E104", f"an argument {kind.removeprefix('as_')}", fix=_PLAIN)
