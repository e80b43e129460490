"""Other simulators running the networks of `works`: each is built with a work, then called.

A call returns the spikes of every layer, [T, B, N] each, as the peer gives them with the least
work; all take float32, in torch's inference mode. Decays, thresholds and resets are those of
`works`, so the peers differ from it, and from each other, only where float32 rounds.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from works import BETA, THRESHOLD, Work

Layers = list[Tensor]
Peer = Callable[[], Layers]


def torch_loop(work: Work) -> Peer:
    """Write the equations out, step by step."""
    x, weights = _torch(work)

    def run() -> Layers:
        membranes: list[Any] = [0.0] * len(weights)
        sent: list[list[Tensor]] = [[] for _ in weights]
        for row in x:
            s = row
            for i, weight in enumerate(weights):
                v = BETA * membranes[i] + s @ weight
                fired = v >= THRESHOLD
                membranes[i] = torch.where(fired, 0.0, v)
                s = fired.float()
                sent[i].append(s)
        return [torch.stack(rows) for rows in sent]

    return run


def torch_compiled(work: Work) -> Peer:
    """Multiply a layer's weights with all steps at once; then compiled steps, `length` a call."""
    x, weights = _torch(work)
    length = 50 if len(x) % 50 == 0 else 64

    @torch.compile(dynamic=False)
    def scan(v: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
        sent = []
        for row in drive:
            u = BETA * v + row
            fired = u >= THRESHOLD
            v = torch.where(fired, 0.0, u)
            sent.append(fired.float())
        return torch.stack(sent), v

    def run() -> Layers:
        layers, s = [], x
        for weight in weights:
            drive = s @ weight
            v, parts = torch.zeros_like(drive[0]), []
            for part in drive.split(length):
                sent, v = scan(v, part)
                parts.append(sent)
            s = torch.cat(parts)
            layers.append(s)
        return layers

    return run


def snntorch(work: Work) -> Peer:
    """Return snnTorch's `Leaky` with Linears between, in its usual loop over steps."""
    from snntorch import Leaky

    x, weights = _torch(work)
    how: Any = {"beta": BETA, "threshold": THRESHOLD, "reset_mechanism": "zero"}
    neurons = [Leaky(**how, reset_delay=False) for _ in weights]

    def run() -> Layers:
        membranes = [torch.zeros(x.shape[1], weight.shape[1]) for weight in weights]
        sent: list[list[Tensor]] = [[] for _ in weights]
        for row in x:
            s = row
            for i, weight in enumerate(weights):
                s, membranes[i] = neurons[i](s @ weight, membranes[i])
                sent[i].append(s)
        return [torch.stack(rows) for rows in sent]

    return run


def norse(work: Work) -> Peer:
    """Return norse's `LIFBoxCell`, whose input is scaled by 1 - beta, in a loop over steps."""
    from norse.torch import LIFBoxCell, LIFBoxParameters

    x, weights = _torch(work)
    scaled = [weight / (1 - BETA) for weight in weights]
    cell = LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(1 - BETA)), dt=1.0)

    def run() -> Layers:
        states: list[Any] = [None] * len(weights)
        sent: list[list[Tensor]] = [[] for _ in weights]
        for row in x:
            s = row
            for i, weight in enumerate(scaled):
                s, states[i] = cell(s @ weight, states[i])
                sent[i].append(s)
        return [torch.stack(rows) for rows in sent]

    return run


def spikingjelly(work: Work) -> Peer:
    """Return SpikingJelly's `LIFNode` over all steps at once."""
    from spikingjelly.activation_based import functional, neuron

    x, weights = _torch(work)
    how: Any = {"tau": 1 / (1 - BETA), "decay_input": False, "v_threshold": THRESHOLD}
    nodes = [neuron.LIFNode(**how, v_reset=0.0, step_mode="m").eval() for _ in weights]

    def run() -> Layers:
        layers, s = [], x
        for weight, node in zip(weights, nodes, strict=True):
            functional.reset_net(node)
            s = node(s @ weight)
            layers.append(s)
        return layers

    return run


def sinabs(work: Work) -> Peer:
    """Return sinabs' `LIF` over all steps at once; its time is the second axis."""
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import LIF

    x, weights = _torch(work)
    how: Any = {"spike_threshold": torch.tensor(THRESHOLD), "norm_input": False}
    how |= {"spike_fn": SingleSpike, "reset_fn": MembraneReset()}
    nodes = [LIF(tau_mem=-1 / math.log(BETA), **how) for _ in weights]
    first = x.transpose(0, 1).contiguous()

    def run() -> Layers:
        layers, s = [], first
        for weight, node in zip(weights, nodes, strict=True):
            node.reset_states()
            s = node(s @ weight)
            layers.append(s.transpose(0, 1))
        return layers

    return run


def _torch(work: Work) -> tuple[Tensor, list[Tensor]]:
    """Return x, and weights [in, out]."""
    weights = [torch.from_numpy(weight).t().contiguous() for weight in work.weights]
    return torch.from_numpy(work.x), weights


PEERS: dict[str, Callable[[Work], Peer]] = {
    "torch, loop": torch_loop,
    "torch, GEMM + compiled scan": torch_compiled,
    "snnTorch": snntorch,
    "norse": norse,
    "SpikingJelly": spikingjelly,
    "sinabs": sinabs,
}


@contextmanager
def sanafe(work: Work) -> Iterator[Callable[[], dict[str, float]]]:
    """Run SANA-FE as a program of its own; a call gives its `seconds` and `spikes` of one run."""
    layers = [weight.T.tolist() for weight in work.weights]
    given = {"beta": BETA, "threshold": THRESHOLD, "weights": layers, "x": work.x[:, 0].tolist()}
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("sanafe_child.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    answers = (line[6:] for line in child.stdout if line.startswith("found "))

    def run() -> dict[str, float]:
        assert child.stdin is not None
        child.stdin.write("run\n")
        child.stdin.flush()
        found: dict[str, float] = json.loads(next(answers))
        return found

    child.stdin.write(json.dumps(given) + "\n")
    child.stdin.flush()
    try:
        yield run
    finally:
        child.stdin.close()
        child.wait()
