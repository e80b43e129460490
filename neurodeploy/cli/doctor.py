"""`neurodeploy doctor`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from neurodeploy.cli.output import json_option, say, to_json

# package, what needs it, what to type where it is missing
PACKAGES = (
    ("numpy", "everything", "pip install neurodeploy"),
    ("numba", "simulator, interpreter", "pip install neurodeploy"),
    ("nir", "NIR files", "pip install neurodeploy"),
    ("torch", "training, .pt files", "pip install 'neurodeploy[torch]'"),
    ("onnx", "ONNX files", "pip install 'neurodeploy[onnx]'"),
    ("onnxruntime", "running ONNX files", "pip install 'neurodeploy[onnx]'"),
    ("jinja2", "HTML reports", "pip install 'neurodeploy[report]'"),
    ("distributed", "sweeps", "pip install 'neurodeploy[distributed]'"),
    ("pyarrow", "Parquet files", "pip install 'neurodeploy[parquet]'"),
)


@click.command()
@click.option("--install-lava", is_flag=True, help="Make the Lava environment if it is missing.")
@json_option
def doctor(install_lava: bool, as_json: bool) -> None:
    """Show versions, what works here, and what to type for what does not."""
    from neurodeploy.backends import hardware
    from neurodeploy.backends.lava import environment
    from neurodeploy.kernels import thread_count
    from neurodeploy.kernels.cache import cache_folder

    env = environment.ensure(say) if install_lava else environment.find()
    record: dict[str, Any] = {
        "neurodeploy": version("neurodeploy"),
        "python": platform.python_version(),
        "threads": thread_count(),
        "cache": str(cache_folder()),
        "packages": [_package(*row) for row in PACKAGES],
        "lava": None,
        "board_missing": None,
    }
    if env is not None:
        versions = dict(env.versions)
        record["lava"] = {"python": str(env.python), "versions": versions, "patched": env.patched}
        record["board_missing"] = list(hardware.board(env).missing)
    click.echo(to_json("doctor", record) if as_json else _text(record))


def _package(name: str, use: str, fix: str) -> dict[str, Any]:
    try:
        found: str | None = version(name)
    except PackageNotFoundError:
        found = None
    return {"name": name, "version": found, "use": use, "fix": None if found else fix}


def _text(record: dict[str, Any]) -> str:
    lines = [
        f"neurodeploy {record['neurodeploy']}, Python {record['python']},"
        f" {record['threads']} threads, cache {record['cache']}"
    ]
    for package in record["packages"]:
        state = package["version"] or f"missing; type: {package['fix']}"
        lines.append(f"  {package['name']:<12} {state:<16} {package['use']}")
    lava = record["lava"]
    if lava is None:
        lines.append("  Lava         missing; type: neurodeploy doctor --install-lava")
        return "\n".join(lines)
    versions = ", ".join(f"{name} {value}" for name, value in lava["versions"].items())
    patched = ", with a patched import" if lava["patched"] else ""
    lines.append(f"  Lava         works: {versions} ({lava['python']}){patched}")
    missing = record["board_missing"]
    board = f"no board: missing {'; '.join(missing)}" if missing else "a board can be tried"
    lines.append(f"  Loihi 2      {board}")
    return "\n".join(lines)
