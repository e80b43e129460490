"""What of a Loihi 2 board can be reached from here. Nothing of Lava is imported in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neurodeploy.backends.lava import environment
from neurodeploy.backends.lava.environment import LavaEnv
from neurodeploy.errors import ToolError


@dataclass(frozen=True, kw_only=True)
class Board:
    """What Lava says: Intel's extension is installed; SLURM answers; $NXSDKHOST names a host."""

    extension: bool
    slurm: bool
    host: str | None
    generation: str | None = None  #: $LOIHI_GEN, such as N3B3
    partition: str | None = None  #: $PARTITION
    board: str | None = None  #: $BOARD

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not there; empty if a board can be tried."""
        found = []
        if not self.extension:
            found.append("Intel's extension of Lava for Loihi (lava-loihi, with NxSDK)")
        if not (self.slurm or self.host):
            found.append("a way to a board (neither SLURM's `sinfo` nor $NXSDKHOST)")
        return tuple(found)

    def error(self) -> ToolError:
        """Return the error to raise where something is missing (E603)."""
        return ToolError(
            "E603",
            f"no board: missing {'; and '.join(self.missing)}",
            fix="join Intel's neuromorphic research community for both, install the extension into"
            f" {environment.location()}, and set NXSDKHOST or log in where SLURM is; until"
            " then: neurodeploy hil check DIR --on lava. The README of the bundle lists what a"
            " board would need",
        )


def board(env: LavaEnv) -> Board:
    """Ask the Lava of `env`; raises ToolError E602, E604 if it does not answer."""
    facts: dict[str, Any] = environment.about(env.python)["board"]
    return Board(**facts)
