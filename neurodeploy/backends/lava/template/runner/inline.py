"""Run the network in this process: Lava's compiler and process models, without its runtime.

Lava's runtime gives every process an operating-system process of its own and copies each message
through shared memory. Here the same process models are built by the same builders, their ports get
queues, and `run_spk` is called in an order in which every process runs after all that it hears. A
queue casts to the sender's number format, as Lava's channel does, so the integers are the same.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from bundle.network import Network
from lava.magma.compiler.builders.channel_builder import ChannelBuilderMp
from lava.magma.core.run_configs import Loihi2SimCfg

from runner.records import Records, last_steps


class _End:
    """One end of a channel, under the name of the port it belongs to."""

    def __init__(self, name: str, shape: Any, d_type: Any, queue: deque[Any]) -> None:
        self.name, self._shape, self._d_type, self._queue = name, shape, d_type, queue

    def send(self, data: Any) -> None:
        """Put a message in, in the channel's number format."""
        if data.shape != self._shape:
            raise ValueError(f"port {self.name}: sent {data.shape}, the channel has {self._shape}")
        self._queue.append(np.array(data, self._d_type))

    def recv(self) -> Any:
        """Take the oldest message out."""
        return self._queue.popleft()


class _Tape:
    """An end that writes down what is sent, one row per step."""

    def __init__(self, name: str, rows: Any) -> None:
        self.name, self._rows, self._next = name, rows, 0

    def send(self, data: Any) -> None:
        """Write the next row."""
        self._rows[self._next] = data
        self._next += 1


def run(net: Network) -> Records:
    """Run all samples; an exception in a process model comes through as it is."""
    executable = net.order[0].compile(Loihi2SimCfg(select_tag="fixed_pt"))
    builders = executable.proc_builders
    for channel in executable.channel_builders:
        assert isinstance(channel, ChannelBuilderMp)
        sender, receiver = channel.src_port_initializer, channel.dst_port_initializer
        form: Any = sender.shape, sender.d_type, deque()
        builders[channel.src_process].set_csp_ports([_End(sender.name, *form)])
        builders[channel.dst_process].set_csp_ports([_End(receiver.name, *form)])
    records = Records.empty(net)
    for name, process in net.nodes.items():
        builders[process].set_csp_ports([_Tape("s_out", records.values[name])])
    models = {process: builders[process].build() for process in net.order}
    steps = [model.run_spk for model in models.values()]
    reads = last_steps(net)
    for time_step in range(1, net.total + 1):
        for model, run_spk in zip(models.values(), steps, strict=True):
            model.time_step = time_step
            run_spk()
        for name in reads.get(time_step, ()):
            value = getattr(models[net.nodes[name]], net.state[name].name)
            records.keep_state(name, np.array(value))
    return records
