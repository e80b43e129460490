"""What is installed here, and what of a board can be reached: `python -m runner.about`."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from importlib.metadata import version
from typing import Any

from runner import compat

PACKAGES = ("lava-nc", "numpy", "scipy")


def describe() -> dict[str, Any]:
    """Return versions and board facts; fails like an import does where Lava cannot be imported."""
    compat.prepare()
    from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: F401

    return {
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "patched": compat.PATCHED,
        "board": board(),
    }


def board() -> dict[str, Any]:
    """Return what of a Loihi 2 board is here: Intel's extension, and a way to a host.

    Lava's own `slurm.is_available()` raises FileNotFoundError where SLURM is not installed.
    """
    from lava.utils import loihi, slurm

    return {
        "extension": bool(loihi.is_installed()),
        "slurm": shutil.which("sinfo") is not None and bool(slurm.is_available()),
        "host": os.environ.get("NXSDKHOST"),
        "generation": os.environ.get("LOIHI_GEN"),
        "partition": os.environ.get("PARTITION"),
        "board": os.environ.get("BOARD"),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe()) + "\n")
