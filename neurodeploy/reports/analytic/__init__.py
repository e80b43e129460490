"""Operations and energy from an architecture and firing rates alone: no weights, no run.

    program = sdtcm(target("asic45"), inputs=1, width=128, blocks=2, classes=10)
    counts  = expected(program, {"*": 0.05}, steps=784)
    energy(counts), energy(counts, mode="paper")

A family's program has no weights (`sketch.py`); `expected` also takes a compiled one. What it
returns are the counts of a run, and is priced like one (`reports.energy`).
"""

from neurodeploy.reports.analytic.expect import expected
from neurodeploy.reports.analytic.families import (
    FAMILIES,
    binary_s4d,
    gsu,
    lstm,
    relu_mlp,
    s4d,
    sdtcm,
    spiking_mlp,
    spiking_ssm,
)

__all__ = [
    "FAMILIES",
    "binary_s4d",
    "expected",
    "gsu",
    "lstm",
    "relu_mlp",
    "s4d",
    "sdtcm",
    "spiking_mlp",
    "spiking_ssm",
]
