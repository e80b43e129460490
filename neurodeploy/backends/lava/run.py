"""Run bundles in the Lava environment, as children over files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.backends.lava import child
from neurodeploy.backends.lava.bundle import locate
from neurodeploy.backends.lava.environment import LavaEnv
from neurodeploy.errors import InputError, MismatchError, ToolError
from neurodeploy.program.ir import Ints, Reals

_INPUT, _DIFFERENT = 3, 5  # exit codes of template/run.py
TIMEOUT_S = 600.0


@dataclass(frozen=True, eq=False, kw_only=True)
class LavaRun:
    """What a bundle did with its inputs, in their time.

    values[node] [T, B, width]; states[population] [states, B, width] after the last step; readout
    [B, N] (or [T, B, N]) integers and outputs, the same in real units.
    """

    values: Mapping[str, Ints]
    states: Mapping[str, Ints]
    readout: Ints
    outputs: Reals


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first value that differs; `value` says which: "spike", "graded", or a final state."""

    sample: int
    step: int
    layer: str
    neuron: int
    value: str
    expected: int
    got: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What comparing a bundle's golden vectors with a run of them found.

    compared and differences count integers by kind ("spikes", "graded", "states"); layers are the
    differences of each node; changed are files of the bundle that are not as they were written.
    """

    on: str
    compared: Mapping[str, int]
    differences: Mapping[str, int]
    layers: Mapping[str, int]
    first: Divergence | None
    changed: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether every integer is as expected, in an unchanged bundle."""
        return not self.changed and not any(self.differences.values())

    def record(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return {**asdict(self), "changed": list(self.changed), "agrees": self.agrees}

    def error(self) -> MismatchError:
        """Return the error to raise where the verdict is not agreement (E402)."""
        parts, where = [], ""
        if self.changed:
            parts.append(f"changed since the bundle was written: {', '.join(self.changed)}")
        if self.first is not None:
            wrong, all_ = sum(self.differences.values()), sum(self.compared.values())
            d = self.first
            parts.append(f"{wrong:,} of {all_:,} values differ on {self.on}")
            where = (
                f'first: sample {d.sample}, step {d.step}, layer "{d.layer}", neuron {d.neuron}:'
                f" {d.value} should be {d.expected}, is {d.got}"
            )
        fix = "compile the model again; if it persists, report it with the folder"
        return MismatchError("E402", "; ".join(parts), where=where, fix=fix)


def run_bundle(
    folder: Path,
    x: Any,
    *,
    env: LavaEnv,
    runtime: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> LavaRun:
    """Run real inputs x [T, B, C] through the bundle in `folder` (or `folder`/lava).

    In one process, or with `runtime` through Lava's own. Raises InputError E101, E109 for a bad
    bundle, E106 for input that it does not read, and ToolError E604 with the child's last words.
    """
    home = locate(folder)
    with tempfile.TemporaryDirectory(prefix="neurodeploy-") as scratch:
        given, made = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        np.savez(given, x=np.asarray(x))
        options = ["--input", str(given), "--output", str(made)]
        done = _child(home, env, options, runtime, board=False, timeout_s=timeout_s)
        if done.code == _INPUT:
            raise InputError(
                "E106",
                "the bundle does not take the input",
                where=done.tail,
                fix="give finite x [T, B, C] of the width, and at most the length, that it reads",
            )
        if done.code:
            raise _failed(done, home)
        with np.load(made, allow_pickle=False) as file:
            found = dict(file)
    names = [n["name"] for n in json.loads((home / "manifest.json").read_text("utf-8"))["nodes"]]
    return LavaRun(
        values={name: found[f"value.{i:03d}"] for i, name in enumerate(names)},
        states={
            name: found[key] for i, name in enumerate(names) if (key := f"state.{i:03d}") in found
        },
        readout=found["readout"],
        outputs=found["outputs"],
    )


def check(
    folder: Path,
    *,
    env: LavaEnv,
    runtime: bool = False,
    board: bool = False,
    samples: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Verdict:
    """Run the golden vectors of the bundle in `folder` and compare every integer.

    samples: how many of them, by default all. Raises InputError E101, E109 for a bad bundle and
    ToolError E604 with the child's last words; a difference is a verdict, not an error.
    """
    home = locate(folder)
    with tempfile.TemporaryDirectory(prefix="neurodeploy-") as scratch:
        path = Path(scratch) / "verdict.json"
        options = ["--json", str(path)]
        options += [] if samples is None else ["--samples", str(samples)]
        done = _child(home, env, options, runtime, board, timeout_s)
        if done.code == _INPUT:
            raise InputError(
                "E109",
                "the bundle is damaged",
                where=f"{home}: {done.tail}",
                fix="compile the model again",
            )
        if done.code not in (0, _DIFFERENT) or not path.is_file():
            raise _failed(done, home)
        found = json.loads(path.read_text(encoding="utf-8"))
    first = found.pop("first")
    return Verdict(
        on="board" if board else "lava, its own runtime" if runtime else "lava",
        first=None if first is None else Divergence(**first),
        changed=tuple(found.pop("changed")),
        **found,
    )


def _child(
    home: Path, env: LavaEnv, options: list[str], runtime: bool, board: bool, timeout_s: float
) -> child.Finished:
    command = [str(env.python), "-B", str(home.absolute() / "run.py"), *options]
    command += ["--board"] if board else ["--runtime"] if runtime else []
    return child.run(command, cwd=home, timeout_s=timeout_s, what="the Lava bundle")


def _failed(done: child.Finished, home: Path) -> ToolError:
    return ToolError(
        "E604",
        f"the Lava bundle ended with code {done.code}",
        where=f"{home}\n{done.tail}",
        fix="neurodeploy doctor; if that finds nothing, report it with the folder",
    )
