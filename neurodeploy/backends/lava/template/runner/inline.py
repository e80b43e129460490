"""Run the network in this process: Lava's compiler and process models, without its runtime.

Lava's runtime gives every process an operating-system process of its own and copies each message
through shared memory. Here the same process models are built by the same builders, their ports get
queues, and `run_spk` is called in an order in which every process runs after all that it hears. A
synapse that closes a loop sends first and hears later in the same call, so it gets a thread of its
own, which is waited for before the step ends. A queue casts to the sender's number format, as
Lava's channel does, so the integers are the same.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Any

import numpy as np
from bundle.network import Network
from lava.magma.compiler.builders.channel_builder import ChannelBuilderMp
from lava.magma.core.run_configs import Loihi2SimCfg

from runner.records import Records, last_steps


class _End:
    """One end of a channel, under the name of the port it belongs to."""

    def __init__(self, name: str, shape: Any, d_type: Any, queue: SimpleQueue[Any]) -> None:
        self.name, self._shape, self._d_type, self._queue = name, shape, d_type, queue
        self.patient = False

    def send(self, data: Any) -> None:
        """Put a message in, in the channel's number format."""
        if data.shape != self._shape:
            raise ValueError(f"port {self.name}: sent {data.shape}, the channel has {self._shape}")
        self._queue.put(np.array(data, self._d_type))

    def recv(self) -> Any:
        """Take the oldest message out; only a patient end waits for one."""
        try:
            return self._queue.get(block=self.patient)
        except Empty:
            raise RuntimeError(f"port {self.name}: nothing was sent") from None


class _Tape:
    """An end that writes down what is sent, one row per step."""

    def __init__(self, name: str, rows: Any) -> None:
        self.name, self._rows, self._next = name, rows, 0

    def send(self, data: Any) -> None:
        """Write the next row."""
        self._rows[self._next] = data
        self._next += 1


class _Loop:
    """A process model whose steps run in a thread: `begin` a step, and later `finish` it."""

    def __init__(self, model: Any) -> None:
        self._model, self._error = model, None
        self._go, self._done = Semaphore(0), Semaphore(0)
        Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._go.acquire()
            try:
                self._model.run_spk()
            except BaseException as error:
                self._error = error
            self._done.release()

    def begin(self) -> None:
        """Start a step."""
        self._go.release()

    def finish(self) -> None:
        """Wait for the end of the step; raise what the model raised."""
        self._done.acquire()
        if self._error is not None:
            raise self._error


def run(net: Network) -> Records:
    """Run all samples; an exception in a process model comes through as it is."""
    executable = net.order[0].compile(Loihi2SimCfg(select_tag="fixed_pt"))
    builders = executable.proc_builders
    for channel in executable.channel_builders:
        assert isinstance(channel, ChannelBuilderMp)
        sender, receiver = channel.src_port_initializer, channel.dst_port_initializer
        form: Any = sender.shape, sender.d_type, SimpleQueue()
        builders[channel.src_process].set_csp_ports([_End(sender.name, *form)])
        end = _End(receiver.name, *form)
        end.patient = bool({channel.src_process, channel.dst_process} & {*net.loops})
        builders[channel.dst_process].set_csp_ports([end])
    records = Records.empty(net)
    for name, process in net.nodes.items():
        builders[process].set_csp_ports([_Tape("s_out", records.values[name])])
    models = {process: builders[process].build() for process in net.order}
    loops = [_Loop(models[process]) for process in net.loops]
    begin = {models[process]: loop.begin for process, loop in zip(net.loops, loops, strict=True)}
    steps = [begin.get(model, model.run_spk) for model in models.values()]
    reads = last_steps(net)
    for time_step in range(1, net.total + 1):
        for model, run_spk in zip(models.values(), steps, strict=True):
            model.time_step = time_step
            run_spk()
        for loop in loops:
            loop.finish()
        for name in reads.get(time_step, ()):
            value = getattr(models[net.nodes[name]], net.state[name].name)
            records.keep_state(name, np.array(value))
    return records
