"""How the processes of this bundle run: in Python, on integers.

`PyPopulation` calls the neuron's own `step` under `Fixed`, so that Lava and the simulator share
one line of arithmetic and can differ only in wiring.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from bundle.processes import DelayLine, Population, Recorder, Stream, Tap
from neurodeploy.arith import Fixed
from neurodeploy.neurons import SPECS


@implements(proc=Population, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "bit_accurate_loihi")
class PyPopulation(PyLoihiProcessModel):  # type: ignore[misc]
    """Run the neuron's step once per time step of a sample; start each sample at rest.

    Tables are read in the time of the sample, whatever the latency. Outside its window it is silent
    and keeps its registers: what arrives there belongs to no step of the sample.
    """

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    state: Any = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        neuron = proc_params["neuron"]
        self.latency, self.steps, self.period = proc_params["window"]
        self.spec = SPECS[neuron["spec"]]
        self.options = neuron["options"]
        self.fixed = Fixed(**neuron["fixed"])
        self.coefs, self.modes = (
            self.spec.coefs(**neuron["coefs"]),
            self.spec.modes(neuron["coefs"]),
        )
        self.shift, self.bias = neuron["shift"], neuron["bias"]
        self.silence = np.zeros(self.bias.shape, np.int64)

    def run_spk(self) -> None:
        """Advance one time step."""
        current = self.a_in.recv()
        step = (self.time_step - 1) % self.period - self.latency
        if not 0 <= step < self.steps:
            self.s_out.send(self.silence)
            return
        registers = self.state[: self.spec.rows(self.spec.state._fields, self.modes)]
        if step == 0:
            registers[:] = 0
        x = self.fixed.shift(current, self.shift) + self.bias
        before = self.spec.parts(self.spec.state, registers, self.modes)
        coefs = self.spec.at(self.coefs, step)
        spikes, after = self.spec.step(self.fixed, coefs, before, x, self.options)
        registers[:] = self.spec.stack(after, self.silence.shape)
        self.s_out.send(np.asarray(spikes, np.int64))


@implements(proc=Stream, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "bit_accurate_loihi")
class PyStream(PyLoihiProcessModel):  # type: ignore[misc]
    """Forward the summed current."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def run_spk(self) -> None:
        """Advance one time step."""
        self.s_out.send(self.a_in.recv())


@implements(proc=Tap, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "bit_accurate_loihi")
class PyTap(PyLoihiProcessModel):  # type: ignore[misc]
    """Send what arrived in the last step, then receive; currents leave as int32, as Dense's do."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    sign: Any = LavaPyType(np.ndarray, np.int64)
    a_buff: Any = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.exponent = proc_params["exponent"]

    def run_spk(self) -> None:
        """Advance one time step."""
        self.a_out.send(self.a_buff)
        self.a_buff = (self.sign * self.s_in.recv()) << self.exponent


@implements(proc=DelayLine, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "bit_accurate_loihi")
class PyDelayLine(PyLoihiProcessModel):  # type: ignore[misc]
    """Keep the last `depth` values in a ring."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    line: Any = LavaPyType(np.ndarray, np.int64)

    def run_spk(self) -> None:
        """Advance one time step."""
        place = (self.time_step - 1) % len(self.line)
        late = self.line[place].copy()
        self.line[place] = self.s_in.recv()
        self.s_out.send(late)


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "bit_accurate_loihi")
class PyRecorder(PyLoihiProcessModel):  # type: ignore[misc]
    """Record, and save after the last step."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.record, self.path = proc_params["record"], proc_params["path"]

    def run_spk(self) -> None:
        """Advance one time step."""
        self.record[self.time_step - 1] = self.a_in.recv()
        if self.time_step == len(self.record):
            np.save(self.path, self.record)
