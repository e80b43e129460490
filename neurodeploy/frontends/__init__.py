"""Frontends: files and modules of other libraries to graphs, the only home of those libraries."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from neurodeploy.errors import InputError, ToolError
from neurodeploy.graph.ir import Graph

LAYOUTS = ("TBC", "BTC", "BCL", "BC", "BCHW", "TBCHW", "BTCHW")  #: steps, samples, channels, places
SUFFIXES = (".pt", ".pth", ".safetensors", ".pt2", ".nir", ".onnx")


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network: its graph, and the example input saved with it, x [T, B, C] or None."""

    graph: Graph
    example: Any
    name: str


@dataclass(frozen=True)
class Reading:
    """What a user states about a file, where the file leaves it open.

    layout: the axes of a plain ONNX network's input, one of LAYOUTS; allow_external_data: whether
    an ONNX file may keep data in other files, below its own folder; factory: the function that
    builds the network, package.module:function, into which the weights of a .pt, .pth or
    .safetensors file are loaded.

    The others are about NIR files of other tools (`nir_profiles`, `nir_stated`), each one value for
    all neurons or a mapping from patterns of names. source: the tool; defaults: what nothing else
    states is as that tool has it by default; dt: seconds of a step; reset: "subtract", "zero",
    "none"; reset_delay: whether it comes a step later; compare: ">" or ">="; norm_input: whether
    the input is scaled by 1 - decay; spikes: "many" or "one" a step; v_min: the least membrane, or
    "none"; tau_syn: steps, or "none"; feedback_bias: whether the bias of a loop's weights counts
    "always", or, "late", from the second step on.
    """

    layout: str | None = None
    allow_external_data: bool = False
    factory: str | None = None
    source: str | None = None
    defaults: bool = False
    dt: Any = None
    reset: Any = None
    reset_delay: Any = None
    compare: Any = None
    norm_input: Any = None
    spikes: Any = None
    v_min: Any = None
    tau_syn: Any = None
    feedback_bias: Any = None


_WEIGHTS = (".pt", ".pth", ".safetensors")  #: the first two are names of one format
_FOR = {  #: else .nir
    **{"layout": (".onnx",), "allow_external_data": (".onnx",)},
    "factory": _WEIGHTS,
}


def read_model(path: Path | None, reading: Reading = Reading()) -> Model:
    """Read a trained network from a file of SUFFIXES, or as `reading.factory` builds it.

    Raises InputError (E101-E108) for anything that cannot be read whole, ToolError E601 if the
    package that reads it is not installed.
    """
    if path is None:
        return _built(reading, None)
    _require_file(path, reading)
    if reading.factory is not None:
        return _built(reading, path)
    if path.suffix == ".pt2":
        require("torch", "torch")
        from neurodeploy.frontends import torch_pt2

        return Model(*torch_pt2.read(path), path.stem)
    if path.suffix in _WEIGHTS:
        require("torch", "torch")
        from neurodeploy.frontends import torch_checkpoint

        graph, example = torch_checkpoint.read(path)
        return Model(graph, example, path.stem)
    if path.suffix == ".nir":
        from neurodeploy.frontends import nir

        return Model(nir.read(path, reading), None, path.stem)
    require("onnx", "onnx")
    from neurodeploy.frontends import onnx

    return Model(onnx.read(path, reading), None, path.stem)


def read_contents(
    path: Path | None, reading: Reading = Reading(), *, refused: str = ""
) -> dict[str, Any] | None:
    """Return what stands in a file, whether it is a graph or not (`contents`).

    refused: the code of the error that `read_model` raised, if it did. None for what says no more
    than its graph or its error: a file that cannot be read, code that is run, checkpoints.
    """
    if path is None or reading.factory is not None or refused in ("E101", "E102", "E601"):
        return None
    if path.suffix == ".pt2" and refused:
        from neurodeploy.frontends import torch_text

        return torch_text.program(path)
    if refused == "E103":
        from neurodeploy.frontends import torch_text

        return torch_text.weights(path)
    if path.suffix not in (".nir", ".onnx"):
        return None
    from neurodeploy.frontends import nir_text, onnx_text

    if path.suffix == ".nir":
        return nir_text.described(path)
    return onnx_text.described(path, reading)


def _built(reading: Reading, weights: Path | None) -> Model:
    if reading.factory is None:
        raise InputError("E101", "no model is named", fix="give a file, or package.module:function")
    _only_about(".pt", reading, reading.factory)
    require("torch", "torch")
    from neurodeploy.frontends import factory

    return Model(*factory.read(reading.factory, weights))


def _require_file(path: Path, reading: Reading) -> None:
    if path.suffix not in SUFFIXES:
        raise InputError(
            "E101",
            f"{path.name} is not a model file",
            where=str(path),
            fix=f"give a file that ends in {', '.join(SUFFIXES)}",
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError("E101", f"{path} {what}", fix="check the path")
    _only_about(path.suffix, reading, path.name)


def _only_about(suffix: str, reading: Reading, name: str) -> None:
    """Refuse what is stated about files of another format (InputError E101)."""
    for item in fields(reading):
        formats = _FOR.get(item.name, (".nir",))
        if getattr(reading, item.name) != item.default and suffix not in formats:
            option = "--model" if item.name == "factory" else f"--{item.name.replace('_', '-')}"
            what = f"{option} is about {' and '.join(formats)} files, not {name}"
            raise InputError("E101", what, fix=f"leave {option} out")


def require(package: str, extra: str) -> None:
    """Raise ToolError E601 if `package` of the extra `extra` is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ToolError(
            "E601",
            f"the package {package!r} is not installed",
            fix=f"pip install 'neurodeploy[{extra}]'",
        )
