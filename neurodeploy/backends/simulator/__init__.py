"""The exact simulator: compiled, event driven, bit-equal to `program.reference`."""

from neurodeploy.backends.simulator.run import simulate
from neurodeploy.backends.simulator.session import Answer, Latency, Session

__all__ = ["Answer", "Latency", "Session", "simulate"]
