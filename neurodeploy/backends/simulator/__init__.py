"""The exact simulator: compiled, event driven, bit-equal to `program.reference`."""

from neurodeploy.backends.simulator.run import simulate

__all__ = ["simulate"]
