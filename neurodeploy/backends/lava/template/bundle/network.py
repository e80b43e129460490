"""Build the network of processes that the manifest describes.

source      lava's RingBuffer, which plays the integer inputs
dense       lava's Dense; with a delay above one step, a DelayLine in front of it; from a
            population to itself, it closes a loop: it sends what it heard in the step before
sparse      lava's Sparse, likewise: the weights of a convolution, once for each synapse
tap         Tap, likewise
stream      Stream
population  lava's LIFReset where it computes the same, else Population
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix

from bundle.processes import DelayLine, Population, Stream, Tap
from neurodeploy.windows import Windows


class Network(NamedTuple):
    """Processes and their schedule.

    order: every process after all that it hears, except `loops`: each of these hears the next one
    that is no synapse, after it has sent; nodes: those that stand for nodes of the program, by
    name; state: the Var that holds a population's state; ready: after how many time steps of a
    sample it is the final one. Samples are `steps` long and start every `period` time steps.
    """

    samples: int
    steps: int
    period: int
    order: list[AbstractProcess]
    loops: list[AbstractProcess]
    nodes: dict[str, AbstractProcess]
    state: dict[str, Any]
    ready: dict[str, int]

    @property
    def total(self) -> int:
        """Time steps of all samples."""
        return self.samples * self.period


def build(manifest: Mapping[str, Any], arrays: Mapping[str, Any], integers: Any) -> Network:
    """Return the network that plays integers [T, B, C]."""
    steps, samples, _ = integers.shape
    period = steps + max(node["latency"] for node in manifest["nodes"])
    net = Network(samples, steps, period, order=[], loops=[], nodes={}, state={}, ready={})
    lines: dict[tuple[str, int], AbstractProcess] = {}
    for node in manifest["nodes"]:
        if node["kind"] == "source":
            process = RingBuffer(data=_played(integers, net.period))
            net.order.append(process)
        else:
            process = _node(net, node, arrays)
            net.nodes[node["name"]] = process
            for edge in node["edges"]:
                synapse = _edge(net, lines, edge, arrays)
                synapse.a_out.connect(process.a_in)
                if edge["source"] == node["name"]:
                    net.loops.append(synapse)
            net.order.append(process)
        net.nodes[node["name"]] = process
    return net


def _played(integers: Any, period: int) -> Any:
    """Return the inputs as RingBuffer wants them, [C, samples * period], silent between samples."""
    steps, samples, width = integers.shape
    data = np.zeros((samples, period, width), np.int32)
    data[:, :steps] = integers.transpose(1, 0, 2)
    return np.ascontiguousarray(data.reshape(samples * period, width).T)


def _edge(
    net: Network,
    lines: dict[tuple[str, int], AbstractProcess],
    edge: Mapping[str, Any],
    arrays: Mapping[str, Any],
) -> AbstractProcess:
    """Return the connection process of an edge, heard by nobody yet."""
    speaker = net.nodes[edge["source"]]
    wait = edge["delay"] - 1
    if wait:
        key = edge["source"], wait
        if key not in lines:
            width = speaker.s_out.shape[0]
            lines[key] = DelayLine(name=f"{edge['name']}.wait", width=width, depth=wait)
            speaker.s_out.connect(lines[key].s_in)
            net.order.append(lines[key])
        speaker = lines[key]
    process = _SYNAPSES[edge["kind"]](edge, arrays)
    speaker.s_out.connect(process.s_in)
    net.order.append(process)
    return process


def _dense(edge: Mapping[str, Any], arrays: Mapping[str, Any]) -> AbstractProcess:
    """Return lava's Dense for weights of up to 8 bits.

    In mode MIXED it keeps the upper bits of values in [-256, 254]: weights moved up there, with the
    exponent lower by as much, are kept whole, and the sum moved down again is exact. Left to itself
    it would choose another mode for weights of one sign.
    """
    return Dense(weights=_aligned(edge, arrays), **_settings(edge))


def _sparse(edge: Mapping[str, Any], arrays: Mapping[str, Any]) -> AbstractProcess:
    """Return lava's Sparse with the weights of a convolution, in the form that Dense has them."""
    kernel = _aligned(edge, arrays)
    windows = Windows(
        size=tuple(edge["shape"][1:]),
        kernel=kernel.shape[2:],
        **{key: tuple(edge[key]) for key in ("stride", "padding", "dilation")},
    )
    rows, columns, values = windows.entries(kernel, edge["groups"])
    shape = len(kernel) * windows.positions, int(np.prod(edge["shape"]))
    return Sparse(weights=csr_matrix((values, (rows, columns)), shape), **_settings(edge))


def _aligned(edge: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    return arrays[edge["array"]].astype(np.int32) << edge["aligned"]


def _settings(edge: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "weight_exp", "num_weight_bits", "num_message_bits")
    return {**{name: edge[name] for name in names}, "sign_mode": SignMode[edge["sign_mode"]]}


def _tap(edge: Mapping[str, Any], arrays: Mapping[str, Any]) -> AbstractProcess:
    sign = arrays[edge["array"]].astype(np.int64)
    return Tap(name=edge["name"], sign=sign, exponent=edge["exponent"])


_SYNAPSES = {"dense": _dense, "sparse": _sparse, "tap": _tap}


def _node(net: Network, node: Mapping[str, Any], arrays: Mapping[str, Any]) -> AbstractProcess:
    """Return the process of a stream or population; ours holds its state until the period ends."""
    if node["kind"] == "stream":
        return Stream(name=node["name"], width=node["width"])
    stock = node["process"] == "LIFReset"
    process = _lif(net, node, arrays) if stock else _own(net, node, arrays)
    net.state[node["name"]] = process.v if stock else process.state
    net.ready[node["name"]] = node["latency"] + net.steps if stock else net.period
    return process


def _lif(net: Network, node: Mapping[str, Any], arrays: Mapping[str, Any]) -> AbstractProcess:
    """Return lava's LIFReset, put to rest at the first step of every sample (it counts from 1)."""
    stock = node["stock"]
    return LIFReset(
        name=node["name"],
        shape=(node["width"],),
        du=stock["du"],
        dv=stock["dv"],
        vth=stock["vth"],
        bias_mant=arrays[stock["bias_mant"]].astype(np.int64),
        bias_exp=arrays[stock["bias_exp"]].astype(np.int64),
        reset_interval=net.period,
        reset_offset=(node["latency"] + 1) % net.period,
    )


def _own(net: Network, node: Mapping[str, Any], arrays: Mapping[str, Any]) -> AbstractProcess:
    def load(key: str) -> Any:
        return arrays[key].astype(np.int64)

    return Population(
        name=node["name"],
        width=node["width"],
        states=node["states"],
        neuron={
            "spec": node["spec"],
            "options": node["options"],
            "fixed": node["fixed"],
            "coefs": {name: load(key) for name, key in node["coefs"].items()},
            "shift": load(node["shift"]),
            "bias": load(node["bias"]),
        },
        window=(node["latency"], net.steps, net.period),
    )
