"""The checkpoints that are shipped: what each was trained on, and what its paper reports.

The papers' numbers are of MNIST pixel by pixel, 784 steps; `PERMUTED` is of the pixels in a random
order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parent
LAST = re.compile(r"^epoch (\d+)/\1 ", re.MULTILINE)


@dataclass(frozen=True)
class Published:
    """A network of a paper, its parameters and epochs as far as they are stated, and accuracy."""

    source: str
    network: str
    parameters: str
    epochs: str
    accuracy: str


TCLIF = Published("arXiv 2307.07231", "40-200-64-10, recurrent", "63.6 k", "200", "98.79 %")
CELIF = Published("arXiv 2308.15150", "64-88-88-10", "83.5 k", "-", "98.19 %")
SSM = Published("arXiv 2408.14909", "2 of 400, state 64", "-", "100", "99.6 %")
BINARY = Published("arXiv 2401.00955", "2 of 128, state 2", "68.9 k", "-", "99.1 %")
GSU = Published("arXiv 2401.00955", "2 of 128, state 2", "37.9 k", "-", "99.2 %")
PRF = Published("arXiv 2410.03530", "1-(128)3-10", "68.9 k", "200", "99.18 %")
PERMUTED = Published("arXiv 2408.14909", "4 of 256, state 64", "-", "100", "98.4 %")
LSTM = Published("arXiv 1511.06464", "LSTM", "66.5 k", "-", "98.20 %")

SHIPPED: dict[str, tuple[str, Published | None]] = {
    "rows/tclif.pt": ("rows", TCLIF),
    "rows/celif.pt": ("rows", CELIF),
    "rows/gsu.pt": ("rows", GSU),
    "rows/spiking-ssm.pt": ("rows", SSM),
    "rows/binary-s4d.pt": ("rows", BINARY),
    "smnist/rows.pt": ("rows", PRF),
    "smnist/tclif.pt": ("smnist", TCLIF),
    "smnist/celif.pt": ("smnist", CELIF),
    "smnist/gsu.pt": ("smnist", GSU),
    "smnist/spiking-ssm.pt": ("smnist", SSM),
    "smnist/binary-s4d.pt": ("smnist", BINARY),
    "smnist/smnist.pt": ("smnist", PRF),
    "smnist/psmnist.pt": ("psmnist", PERMUTED),
    "rows/lstm.pt": ("rows", LSTM),
    "rows/s4d.pt": ("rows", None),
    "image/relu.pt": ("image", None),
    "digits/spiking-ssm.pt": ("digits", None),
    "digits/sdtcm.pt": ("digits", None),
}


def name_of(path: Path) -> str:
    """Return what a checkpoint is called: its folder and its file."""
    return f"{path.parent.name}/{path.name}"


def task_of(path: Path) -> str:
    """Return the task of a shipped checkpoint; raises ValueError for another."""
    if name_of(path) not in SHIPPED:
        raise ValueError(f"{path} is not one of the checkpoints that are shipped: name its --task")
    return SHIPPED[name_of(path)][0]


def epochs_of(path: Path) -> str:
    """Return for how many epochs the log beside a checkpoint says it was trained, or a dash."""
    log = path.with_suffix(".log")
    found = LAST.search(log.read_text()) if log.exists() else None
    return found[1] if found else "-"
