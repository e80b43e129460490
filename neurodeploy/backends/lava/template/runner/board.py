"""Run the network with Intel's extension of Lava on a Loihi 2 board.

Untested: the extension is not public, and neither is a way to make the processes of this bundle
that Lava does not have into microcode. What Lava has (Dense, LIFReset) the extension may put on
the chip; the rest stays with the host.
"""

from __future__ import annotations

import os
from typing import Any

from lava.magma.core.run_configs import Loihi2HwCfg
from lava.utils import loihi

from runner.about import board


def run_config() -> Any:
    """Choose the host (SLURM, or $NXSDKHOST) and return the run configuration.

    Raises RuntimeError where there is no extension or no host.
    """
    here = board()
    if not here["extension"]:
        raise RuntimeError("Intel's extension of Lava for Loihi is not installed")
    generation = loihi.ChipGeneration(here["generation"] or "N3B3")
    if here["slurm"]:
        loihi.use_slurm_host(here["partition"], here["board"], generation)
    elif here["host"]:
        loihi.use_ethernet_host(here["host"], loihi_gen=generation)
    else:
        raise RuntimeError("no board: neither SLURM nor $NXSDKHOST leads to a host")
    os.environ.setdefault("LOIHI_GEN", generation.value)
    return Loihi2HwCfg(select_tag="fixed_pt")
