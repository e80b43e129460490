"""Choose the writer of an exported file by what is written and how the name ends."""

from __future__ import annotations

from pathlib import Path

from neurodeploy.errors import InputError
from neurodeploy.graph.forms.nir import TIERS
from neurodeploy.graph.ir import Graph
from neurodeploy.program.ir import Program


def write(stage: Graph | Program, path: Path, *, nir_tier: str | None = None) -> None:
    """Write a graph as .nir or .onnx, or a program as .onnx; nir_tier: of `forms.nir.TIERS`.

    Raises InputError E108 for another ending or for what the format cannot carry.
    """
    if nir_tier is not None and (path.suffix != ".nir" or nir_tier not in TIERS):
        what = f"--nir is one of {', '.join(TIERS)} and about .nir files, not {path.name}"
        raise InputError("E101", what, fix="leave --nir out, or write a .nir file")
    if path.suffix == ".onnx" and isinstance(stage, Graph):
        from neurodeploy.backends.onnx import graph

        graph.write(stage, path)
    elif path.suffix == ".onnx":
        from neurodeploy.backends.onnx import program

        assert isinstance(stage, Program)
        program.write(stage, path)
    elif path.suffix == ".nir" and isinstance(stage, Graph):
        from neurodeploy.backends.nir import graph as nir

        nir.write(stage, path, tier=nir_tier or "composite")
    else:
        what = "a graph" if isinstance(stage, Graph) else "an integer program"
        raise InputError(
            "E108",
            f"{what} cannot be written as {path.suffix or 'a file without an ending'}",
            fix="end the name in .onnx, or in .nir for a graph",
        )
