"""The folder that `compile` writes: the program, its target, and what was made for it.

manifest.json, arrays/    the program (`program.io`)
lava/                     the Lava bundle, where the target has one
after-PASS.txt            dumps that were asked for
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.files import new_file, new_folder
from neurodeploy.program import io
from neurodeploy.program.ir import Program
from neurodeploy.program.run import Run


def write(
    program: Program,
    path: Path,
    *,
    bundle: str | None = None,
    golden: Any = None,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write `program` to folder `path`, whole or not at all; return `path`.

    bundle: "lava" or None. golden: real inputs x [T, B, C] of the bundle's golden vectors, or None
    for random integers (20 samples of 784 steps take about 30 MB). texts: dumps by pass. Raises
    InputError E110 if the place cannot be written or holds something else.
    """
    with new_folder(path, _is_ours) as fresh:
        io.write(program, fresh)
        for name, text in (texts or {}).items():
            (fresh / f"after-{name}.txt").write_text(text + "\n", encoding="utf-8")
        if bundle == "lava":
            from neurodeploy.backends.lava import bundle as lava

            lava.write(program, fresh, golden_inputs=golden)
    return path


def _is_ours(path: Path) -> bool:
    return (path / "manifest.json").is_file() and (path / "arrays").is_dir()


def write_run(run: Run, path: Path) -> None:
    """Write a run as .npz: outputs, integers, steps, and the spikes of every layer kept.

    outputs [B, N] or [T, B, N]; spikes/<layer> uint8 [T, B, width]. Raises InputError E110.
    """
    if path.suffix != ".npz":
        raise InputError("E110", f"{path.name} is not an .npz file", fix="end the name in .npz")
    arrays: dict[str, Any] = {f"spikes/{name}": value for name, value in run.values.items()}
    with new_file(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, outputs=run.outputs, integers=run.integers, **arrays)
