"""Run this bundle in Lava.

    python run.py                                  compare with the golden vectors
    python run.py --input X.npz --output Y.npz     run inputs: `integers` or real `x`, [T, B, C]
    ... --runtime                                  through Lava's own runtime, not in one process
    ... --board                                    on a Loihi 2 board, with Intel's extension

Needs lava-nc 0.10.0 and numpy, nothing else. Exit codes: 0 done, 1 an exception, 3 bad input,
5 the results differ from the golden vectors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import traceback
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from runner import ProcessFailedError, compat  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the command line says; return the exit code."""
    args = _parser().parse_args(arguments)
    try:
        manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
        changed = changed_files(manifest)
        if changed:
            _say(f"changed since this bundle was written: {', '.join(changed)}")
        arrays = _arrays(HERE / "weights.npz")
        golden = {} if args.input else _golden(args.samples)
        integers = _inputs(Path(args.input), manifest) if args.input else golden["integers"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        _say(f"{type(error).__name__}: {error}")
        return 3
    results = _run(manifest, arrays, integers, args)
    if args.output:
        np.savez_compressed(args.output, **results)
    if args.input:
        return 0
    return _judge(manifest, golden, results, changed, args.json)


def changed_files(manifest: dict[str, Any]) -> list[str]:
    """Return the files of the bundle that are missing or not as they were written."""
    return [
        name
        for name, digest in manifest["digests"].items()
        if not (HERE / name).is_file()
        or hashlib.sha256((HERE / name).read_bytes()).hexdigest() != digest
    ]


def _run(manifest: Any, arrays: Any, integers: Any, args: argparse.Namespace) -> dict[str, Any]:
    compat.prepare()
    from bundle import network
    from runner import records

    net = network.build(manifest, arrays, integers)
    if args.board:
        from runner import board, runtime

        done = runtime.run(net, board.run_config())
    elif args.runtime:
        from runner import runtime

        done = runtime.run(net)
    else:
        from runner import inline

        done = inline.run(net)
    results = records.align(net, done, manifest)
    source = manifest["readout"]["source"]
    value = results[f"value.{[node['name'] for node in manifest['nodes']].index(source):03d}"]
    whole, outputs = records.read(manifest["readout"], arrays, value)
    return {**results, "readout": whole, "outputs": outputs}


def _inputs(path: Path, manifest: dict[str, Any]) -> Any:
    """Return the input integers [T, B, C]: as given, or rounded from real `x`."""
    source = manifest["nodes"][0]
    data = _arrays(path)
    if "integers" in data:
        integers = data["integers"]
        if not np.issubdtype(integers.dtype, np.integer):
            raise ValueError("`integers` are not integers")
        if (
            integers.size
            and not source["low"] <= integers.min() <= integers.max() <= source["high"]
        ):
            raise ValueError(f"`integers` leave [{source['low']}, {source['high']}]")
    else:
        x = data["x"].astype(np.float64)
        if not np.all(np.isfinite(x)):
            raise ValueError("`x` has NaN or infinite values")
        if source["tokens"] and x.shape[2:] == (1,):  # ids; -1 is silence
            x = (x == np.arange(source["width"])).astype(np.float64)
        rounded = np.rint(x / source["unit"])
        integers = np.clip(rounded, source["low"], source["high"]).astype(np.int32)
    if integers.ndim != 3 or integers.shape[2] != source["width"] or 0 in integers.shape:
        raise ValueError(f"shape is {integers.shape}, not [T, B, {source['width']}]")
    for node in manifest["nodes"]:
        rows = node.get("longest")
        if rows is not None and len(integers) > rows:
            raise ValueError(f"{len(integers)} steps; {node['name']} has a table of {rows} steps")
    return integers


def _golden(samples: int | None) -> dict[str, Any]:
    """Return the golden vectors, of the first samples if a number is given."""
    golden = _arrays(HERE / "golden.npz")
    return golden if samples is None else {key: value[:, :samples] for key, value in golden.items()}


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _judge(manifest: Any, golden: Any, results: Any, changed: list[str], path: str | None) -> int:
    from runner import verdict

    found = {**verdict.compare(manifest, golden, results), "changed": changed}
    if path:
        Path(path).write_text(json.dumps(found), encoding="utf-8")
    for kind, count in found["compared"].items():
        _say(f"{kind:8} {count:12,} compared {found['differences'][kind]:12,} different")
    if found["first"]:
        _say("first divergence: " + ", ".join(f"{k} {v}" for k, v in found["first"].items()))
    agree = not changed and not any(found["differences"].values())
    _say("the results are equal" if agree else "the results are NOT equal")
    return 0 if agree else 5


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", help=".npz with `integers` or `x`, [T, B, C]")
    parser.add_argument("--output", help=".npz to write every spike, value and final state to")
    parser.add_argument("--json", help="file to write the verdict to")
    parser.add_argument("--samples", type=int, help="check only so many golden samples")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--runtime", action="store_true", help="use Lava's own runtime")
    where.add_argument("--board", action="store_true", help="run on a board (untested)")
    return parser


if __name__ == "__main__":
    try:
        code = main()
    except ProcessFailedError as error:
        _say(str(error))
        code = 1
    except KeyboardInterrupt:
        code = 130
    except Exception:
        traceback.print_exc()
        code = 1
    # Lava's objects try to stop its runtime when they are collected, which may block for ever.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
