"""Models as files: a description, weights and an example, and nothing that can run.

A checkpoint is one plain dict,

    {"format": "neurodeploy.model", "version": 1,
     "model": {"class": "SDTCM", "config": {...}},
           or {"class": "torch.nn.Sequential", "children": [[name, {"class": ...}], ...]}
     "state": {name: tensor}, "example": tensor or None}

in torch's file format, read with `weights_only=True` and never otherwise: a file that needs more is
refused. "model" is what `description` makes of it; "state" has the weights of a part that several
modules share under the first of its paths. A network of a class of its own has {"graph": ...,
"arrays": ...} instead of model and state (`frontends.torch`): it can be deployed, but not trained
on. With a name that ends in .safetensors the same is two files (`tensor_files`).
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.files import new_file
from neurodeploy.nn import tensor_files
from neurodeploy.nn.description import build, describe, firsts, own_weights

FORMAT, VERSION = "neurodeploy.model", 1
SAVE_HINT = "build the model from neurodeploy.nn and save it with neurodeploy.save(model, path)"


def save(
    model: torch.nn.Module, path: str | os.PathLike[str], example: Tensor | None = None
) -> None:
    """Write `model` to `path`, with an example input [T, B, C] of any type if given.

    The model is made of modules of `neurodeploy.nn`, torch's Linear, LayerNorm, GELU, ReLU, GLU,
    Dropout and Identity, and Sequentials of these. The file is written beside `path` and then
    moved, so a failure leaves what was there. Raises InputError: E104 naming every module that is
    not known, or was changed so that its arguments no longer describe it; E106 for an example of
    another shape; E110 if the file cannot be written.
    """
    description = describe(model)
    once = own_weights(model)
    state = {name: _own(value) for name, value in model.state_dict().items() if name in once}
    write_content({"model": description, "state": state}, path, example)


def write_content(content: dict[str, Any], path: str | os.PathLike[str], example: Any) -> None:
    """Write a checkpoint of plain data; raises InputError E106, E110 as `save` does."""
    if example is not None and (not isinstance(example, Tensor) or example.dim() != 3):
        got = list(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise InputError("E106", f"the example is {got}", fix="give a tensor [T, B, C]")
    own = None if example is None else _own(example)
    if Path(path).suffix == tensor_files.SUFFIX:
        tensor_files.write({"format": FORMAT, "version": VERSION, **content}, Path(path), own)
        return
    with new_file(Path(path)) as beside, beside.open("wb") as file:
        torch.save({"format": FORMAT, "version": VERSION, **content, "example": own}, file)


def load(path: str | os.PathLike[str]) -> torch.nn.Module:
    """Return the model saved at `path`, on the CPU and in evaluation mode.

    Raises InputError: E101 if the file is missing, damaged, no model or of a later version; E102
    if it holds pickled code; E103 if it holds weights only; E104 for a class that is not known;
    E105 if weights are missing, too many, misshapen, or not finite, all of them named.
    """
    return load_with_example(path)[0]


def load_with_example(path: str | os.PathLike[str]) -> tuple[torch.nn.Module, Tensor | None]:
    """Return the model saved at `path`, and the example saved with it; errors as of `load`."""
    where = str(path)
    content = read_content(path)
    if "graph" in content:
        what = "the file holds a network's graph, not a module that can be trained"
        raise InputError("E104", what, where=where, fix="read it with neurodeploy.load")
    return module_of(content, where)


def module_of(content: dict[str, Any], where: str) -> tuple[torch.nn.Module, Tensor | None]:
    """Return the model in the content of a checkpoint, and its example; errors as of `load`."""
    model, state = build(content["model"], where), content["state"]
    weights, once = model.state_dict(), own_weights(model)
    _check_state({name: weights[name] for name in once}, state, where)
    model.load_state_dict(
        {name: state[first] for name, first in firsts(model).items()}, assign=True
    )
    return model.eval(), content["example"]


def read_content(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what is in a checkpoint; raises InputError E101, E102, E103 as `load` does."""
    two = Path(path).suffix == tensor_files.SUFFIX
    return _checked((tensor_files.read if two else _read)(Path(path)), str(path))


def _own(tensor: Tensor) -> Tensor:
    """Return a copy that does not drag a larger storage into the file."""
    return tensor.detach().cpu().clone()


def _read(path: Path) -> Any:
    where = str(path)
    try:
        file = path.open("rb")
    except OSError as error:
        what = f"cannot read the model: {error.strerror}"
        raise InputError("E101", what, where=where, fix="give the path of a file") from error
    with file:
        try:
            if _is_torchscript(file):
                raise pickle.UnpicklingError("TorchScript")
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load fails on bad files in more ways than documented
            if isinstance(error, pickle.UnpicklingError) and _holds_code(file):
                what = (
                    "the file holds pickled Python objects, which may run code: it was not loaded"
                )
                raise InputError("E102", what, where=where, fix=SAVE_HINT) from None
            what = "the file is truncated, damaged, or not a torch file"
            raise InputError("E101", what, where=where, fix=SAVE_HINT) from error


def _is_torchscript(file: IO[bytes]) -> bool:
    """Tell TorchScript archives; raise if a zip file is damaged, which torch does not notice."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        if archive.testzip() is not None:
            raise zipfile.BadZipFile
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _holds_code(file: IO[bytes]) -> bool:
    """Tell if the pickles of a file are whole and refer to Python objects, without running them."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            data = archive.read(pickles[0]) if pickles else b""
    else:
        file.seek(0)
        data = file.read()
    stream, code = io.BytesIO(data), {"GLOBAL", "STACK_GLOBAL", "INST"}
    try:
        while stream.tell() < len(data):
            if code & {op.name for op, _, _ in pickletools.genops(stream)}:
                return True
    except ValueError:  # the tensors that follow the pickles in files of old, or a truncated file
        return False
    return False


def _checked(content: Any, where: str) -> dict[str, Any]:
    """Return the content if it is a checkpoint of a version that is known."""
    graph = isinstance(content, dict) and "graph" in content
    kind = {"graph", "arrays"} if graph else {"model", "state"}
    keys = {"format", "version", "example", *kind}
    if isinstance(content, dict) and content.get("format") == FORMAT:
        if content.get("version") != VERSION:
            what = (
                f"the file has version {content.get('version')}, this neurodeploy reads {VERSION}"
            )
            raise InputError("E101", what, where=where, fix="upgrade neurodeploy")
        if keys <= set(content) and isinstance(content["arrays" if graph else "state"], dict):
            return content
        what = f"the file lacks {', '.join(sorted(keys - set(content))) or 'weights'}"
        raise InputError("E101", what, where=where, fix="save the model again")
    if isinstance(content, dict) and _is_state(content):
        what = "the file holds weights without an architecture (a state dict)"
        fix = f"name what builds the model with --model package.module:function; or: {SAVE_HINT}"
        raise InputError("E103", what, where=where, fix=fix)
    raise InputError("E101", "the file is not a saved model", where=where, fix=SAVE_HINT)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file that holds a state dict, or a checkpoint of ours.

    Raises InputError E101 for another file, E102 for one that holds code.
    """
    two = path.suffix == tensor_files.SUFFIX
    content = tensor_files.tensors(path) if two else _read(path)
    inner: Any = content
    if isinstance(content, dict):
        inner = content.get("state", content.get("state_dict", content))
    if not isinstance(inner, dict) or not all(isinstance(v, Tensor) for v in inner.values()):
        what = "the file holds no weights by name (a state dict)"
        fix = "write it with torch.save(model.state_dict(), path)"
        raise InputError("E101", what, where=str(path), fix=fix)
    return inner


def _is_state(content: dict[Any, Any]) -> bool:
    inner = content.get("state_dict", content)
    return isinstance(inner, dict) and any(isinstance(v, Tensor) for v in inner.values())


_REALS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _is_kind(value: Tensor, want: Tensor) -> bool:
    """Whether a tensor holds numbers as the model has them, of any width, one after another."""
    known = value.dtype in _REALS if want.dtype in _REALS else value.dtype == want.dtype
    return known and value.layout == torch.strided


def _is_finite(value: Tensor) -> bool:
    """Whether no value is NaN or infinite, by the ends of all: without a copy."""
    return not value.numel() or bool(torch.isfinite(torch.stack(value.aminmax())).all())


def _check_state(want: dict[str, Tensor], state: dict[str, Any], where: str) -> None:
    """Raise InputError E105, naming every weight that does not fit or is not finite."""
    wrong = [f"{name} is missing" for name in want if name not in state]
    wrong += [f"{name} is not in the model" for name in state if name not in want]
    infinite: list[str] = []
    for name, value in ((n, v) for n, v in state.items() if n in want):
        if not isinstance(value, Tensor):
            wrong.append(f"{name} is a {type(value).__name__}")
        elif value.shape != want[name].shape:
            wrong.append(f"{name} is {list(value.shape)}, not {list(want[name].shape)}")
        elif not _is_kind(value, want[name]):
            there = value.dtype if value.layout == torch.strided else value.layout
            wrong.append(f"{name} is {there}")
        elif not _is_finite(value):
            infinite.append(name)
    errors: list[NeurodeployError] = []
    if wrong:
        what = f"the weights do not fit the model: {'; '.join(wrong)}"
        errors.append(InputError("E105", what, where=where, fix="save the model again"))
    if infinite:
        what = f"NaN or infinite values in {', '.join(infinite)}"
        fix = "train again from the last good checkpoint, with a lower rate or clipped gradients"
        errors.append(InputError("E105", what, where=where, fix=fix))
    if errors:
        raise together(errors)
