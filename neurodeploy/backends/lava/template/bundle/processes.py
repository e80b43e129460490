"""The processes that Lava does not have.

Every one sends and receives vectors [width] of integers, once per time step. Samples follow each
other: sample k takes the time steps k * period to (k + 1) * period - 1, counted from 0, and a node
with latency l works in the `steps` of them that start l steps after the sample does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class Population(AbstractProcess):  # type: ignore[misc]
    """`width` neurons of one model.

    neuron: all that its step needs, see `models.PyPopulation`; window: (latency, steps, period);
    states: how many state registers a neuron has. `state` is [max(states, 1), width].
    """

    def __init__(
        self,
        *,
        name: str,
        width: int,
        states: int,
        neuron: Mapping[str, Any],
        window: tuple[int, int, int],
    ) -> None:
        super().__init__(name=name, neuron=neuron, window=window)
        self.a_in = InPort(shape=(width,))
        self.s_out = OutPort(shape=(width,))
        self.state = Var(shape=(max(states, 1), width), init=0)


class Stream(AbstractProcess):  # type: ignore[misc]
    """A graded sum: passes the current of a step on in the same step."""

    def __init__(self, *, name: str, width: int) -> None:
        super().__init__(name=name)
        self.a_in = InPort(shape=(width,))
        self.s_out = OutPort(shape=(width,))


class Tap(AbstractProcess):  # type: ignore[misc]
    """A diagonal connection: a_out = (sign * s_in) << exponent, one step later, as Dense does."""

    def __init__(self, *, name: str, sign: Any, exponent: int) -> None:
        super().__init__(name=name, exponent=exponent)
        self.s_in = InPort(shape=sign.shape)
        self.a_out = OutPort(shape=sign.shape)
        self.sign = Var(shape=sign.shape, init=sign)
        self.a_buff = Var(shape=sign.shape, init=0)


class DelayLine(AbstractProcess):  # type: ignore[misc]
    """Passes values on `depth` steps later."""

    def __init__(self, *, name: str, width: int, depth: int) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape=(width,))
        self.s_out = OutPort(shape=(width,))
        self.line = Var(shape=(depth, width), init=0)


class Recorder(AbstractProcess):  # type: ignore[misc]
    """Keeps every value it receives and saves them [steps, width] as `path` after the last step.

    Reading them through a Var would take Lava 19 us for each element.
    """

    def __init__(self, *, name: str, width: int, steps: int, path: str) -> None:
        record = np.zeros((steps, width), np.int32)
        super().__init__(name=name, record=record, path=path)
        self.a_in = InPort(shape=(width,))
