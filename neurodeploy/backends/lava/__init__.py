"""Lava: programs as bundles that run there, and the environment to run them in.

Nothing of Lava is imported in this process: bundles run in a child, in an environment of their own.
"""

from neurodeploy.backends.lava.bundle import locate, write
from neurodeploy.backends.lava.environment import LavaEnv, create, ensure, find
from neurodeploy.backends.lava.mapping import worklist
from neurodeploy.backends.lava.run import Divergence, LavaRun, Verdict, check, run_bundle

__all__ = [
    "Divergence",
    "LavaEnv",
    "LavaRun",
    "Verdict",
    "check",
    "create",
    "ensure",
    "find",
    "locate",
    "run_bundle",
    "worklist",
    "write",
]
