"""Checkpoints as two files: NAME.safetensors has the tensors, NAME.json what they are of.

NAME.json is what a .pt checkpoint holds but for its tensors: format, version, and the model or the
graph. The tensors have their names in the state dict, or in the graph; the example is
`__example__`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from neurodeploy.errors import InputError, ToolError
from neurodeploy.files import new_file

SUFFIX = ".safetensors"
_EXAMPLE = "__example__"


def write(content: dict[str, Any], path: Path, example: Tensor | None) -> None:
    """Write a checkpoint to `path`, and its configuration beside it.

    content: as `checkpoint` has it, its tensors under "state" or "arrays". Raises InputError E110,
    ToolError E601 without the package safetensors.
    """
    package = _package()
    (key,) = {"state", "arrays"} & set(content)
    tensors = {name: value.contiguous() for name, value in content[key].items()}
    tensors |= {} if example is None else {_EXAMPLE: example.contiguous()}
    plain = {name: value for name, value in content.items() if name != key}
    with new_file(path.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(plain, indent=1) + "\n")
    with new_file(path) as beside:
        package.save_file(tensors, str(beside))


def read(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint; raises InputError E101, E103, ToolError E601."""
    found = tensors(path)
    beside = path.with_suffix(".json")
    try:
        content = json.loads(beside.read_text())
    except FileNotFoundError:
        what = f"the file holds weights without an architecture: there is no {beside.name}"
        fix = "name what builds it, --model package.module:function, or use neurodeploy.save"
        raise InputError("E103", what, where=str(path), fix=fix) from None
    except (OSError, ValueError) as error:
        what, fix = f"{beside.name} cannot be read: {error}", "save the model again"
        raise InputError("E101", what, where=str(path), fix=fix) from error
    if not isinstance(content, dict):
        what = f"{beside.name} is not the configuration of a model"
        raise InputError("E101", what, where=str(path), fix="save the model again")
    example = found.pop(_EXAMPLE, None)
    return {**content, "arrays" if "graph" in content else "state": found, "example": example}


def tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file by name; raises InputError E101, ToolError E601."""
    package = _package()
    try:
        found: dict[str, Tensor] = package.load_file(str(path))
    except Exception as error:  # the package raises kinds of its own, and of Python's
        what = f"{path.name} is damaged, or no .safetensors file: {error}"
        fix = "write or copy the file again"
        raise InputError("E101", what, where=str(path), fix=fix) from error
    return found


def _package() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        what, fix = "the package 'safetensors' is not installed", "pip install 'neurodeploy[torch]'"
        raise ToolError("E601", what, fix=fix) from None
    return safetensors.torch
