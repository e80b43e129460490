"""Frontends: files and modules of other libraries to graphs, the only home of those libraries."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from neurodeploy.errors import InputError, ToolError
from neurodeploy.graph.ir import Graph

LAYOUTS = ("TBC", "BTC", "BCL", "BC", "BCHW", "TBCHW", "BTCHW")  #: steps, samples, channels, places
SUFFIXES = (".pt", ".nir", ".onnx")


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
    an ONNX file may keep data in other files, below its own folder.
    """

    layout: str | None = None
    allow_external_data: bool = False


_FOR = {"layout": ".onnx", "allow_external_data": ".onnx"}  #: the format that each is about


def read_model(path: Path, reading: Reading = Reading()) -> Model:
    """Read a trained network from a .pt, .nir or .onnx file.

    Raises InputError (E101-E108) for anything that cannot be read whole, ToolError E601 if the
    package that reads it is not installed.
    """
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
    for item in fields(reading):
        if getattr(reading, item.name) != item.default and path.suffix != _FOR[item.name]:
            option = f"--{item.name.replace('_', '-')}"
            what = f"{option} is about {_FOR[item.name]} files, not {path.name}"
            raise InputError("E101", what, where=str(path), fix=f"leave {option} out")
    if path.suffix == ".pt":
        require("torch", "torch")
        from neurodeploy.frontends import torch

        graph, example = torch.read(path)
        return Model(graph, example, path.stem)
    if path.suffix == ".nir":
        from neurodeploy.frontends import nir

        return Model(nir.read(path), None, path.stem)
    require("onnx", "onnx")
    from neurodeploy.frontends import onnx

    return Model(onnx.read(path, reading), None, path.stem)


def require(package: str, extra: str) -> None:
    """Raise ToolError E601 if `package` of the extra `extra` is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ToolError(
            "E601",
            f"the package {package!r} is not installed",
            fix=f"pip install 'neurodeploy[{extra}]'",
        )
