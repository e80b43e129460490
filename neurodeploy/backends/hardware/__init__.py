"""Hardware in the loop: what of a board is here, and checking bundles on it.

Built on `backends.lava`: a board is reached through Intel's extension of Lava.
"""

from neurodeploy.backends.hardware.board import Board, board
from neurodeploy.backends.hardware.hil import check
from neurodeploy.backends.lava.run import Verdict

__all__ = ["Board", "Verdict", "board", "check"]
