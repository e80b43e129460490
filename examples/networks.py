"""The networks that the examples train, by the name of their neuron.

Plain ones are layers of Linear, BatchNorm if the model has one, and neurons, with a Linear and a
readout behind them. What is behind the last layer follows the task: the readout of the model's
own paper for one class per sequence, the last step for a number, all steps for an answer at every
step. A sum over time stays behind the Linear, where its paper has it; elsewhere the readout comes
first, which is the same function and costs a chip less.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tasks import Task
from torch import Tensor

import neurodeploy as nd

READOUTS = {"number": "last", "steps": "steps"}


@dataclass(frozen=True)
class Plain:
    """Layers of one neuron: `neuron(width)`, behind norms with this gain (0: no norms)."""

    neuron: Callable[[int], torch.nn.Module]
    readout: str = "mean"
    gain: float = 0.0

    def __call__(self, task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
        """Return the untrained network for a task."""
        layers: dict[str, torch.nn.Module] = {"scale": nd.nn.Scale(task.inputs, task.scale)}
        before = task.inputs
        for i, width in enumerate(widths, 1):
            layers[f"linear{i}"] = torch.nn.Linear(before, width)
            if self.gain:
                layers[f"norm{i}"] = norm = nd.nn.BatchNorm(width)
                torch.nn.init.constant_(norm.weight, self.gain)
            layers[f"neuron{i}"] = self.neuron(width)
            before = width
        kind = READOUTS.get(task.target, self.readout)
        behind = {"classifier": torch.nn.Linear(before, task.outputs)}
        readout = {"readout": nd.nn.Readout(kind)}
        order = {**behind, **readout} if kind == "sum" else {**readout, **behind}
        return torch.nn.Sequential(OrderedDict({**layers, **order}))


def sdtcm(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return an SD-TCM network with as many blocks as there are widths, all the first one."""
    readout = READOUTS.get(task.target, "mean")
    how: Any = {"theta": (0.0, 10.0), "input_scale": task.scale, "readout": readout}
    return nd.nn.SDTCM(task.inputs, widths[0], len(widths), task.outputs, **how)


class LSTM(torch.nn.Module):
    """torch's LSTM, the baseline that does not spike; it trains, but does not deploy."""

    def __init__(self, task: Task, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = nd.nn.Scale(task.inputs, task.scale)
        self.lstm = torch.nn.LSTM(task.inputs, widths[0], len(widths))
        self.readout = nd.nn.Readout(READOUTS.get(task.target, "last"))
        self.classifier = torch.nn.Linear(widths[0], task.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits for x [T, B, C]."""
        logits: Tensor = self.classifier(self.readout(self.lstm(self.scale(x))[0]))
        return logits


def tclif(width: int) -> torch.nn.Module:
    """Return TC-LIF as its paper has it on S-MNIST (Table 5), with a triangle for a surrogate."""
    return nd.nn.TCLIF(width, gamma=0.5, v_th=1.0, surrogate="triangle", steepness=1.0)


def celif(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return CE-LIF's network: one table for all layers."""
    steps, readout = len(task.test.x), READOUTS.get(task.target, "mean")
    network = nd.nn.CELIFNet(task.inputs, widths, task.outputs, steps, readout=readout)
    layers = {"scale": nd.nn.Scale(task.inputs, task.scale), "network": network}
    return torch.nn.Sequential(OrderedDict(layers))


STATE: Any = {"state": 16, "dt": (0.01, 0.3)}  # steps for sequences of some ten to some hundred


def s4d_lif(width: int) -> torch.nn.Module:
    """Return the core of a SpikingSSM block: a state space and its LIF with a hard reset."""
    how: Any = {"beta": 0.125, "reset": "hard", "surrogate": "triangle", "steepness": 1.0}
    layers = {"state": nd.nn.S4D(width, **STATE), "spike": nd.nn.LIF(width, **how)}
    return torch.nn.Sequential(OrderedDict(layers))


def s4d_binary(width: int) -> torch.nn.Module:
    """Return the core of a Binary S4D block: a state space and its sign."""
    state = nd.nn.S4D(width, init="inv", discretization="bilinear", **STATE)
    how: Any = {"amplitude": False, "surrogate": "fast_sigmoid", "steepness": 5.0}
    spike = nd.nn.SpatialNeuron(width, v_th=0.0, compare=">", **how)
    return torch.nn.Sequential(OrderedDict({"state": state, "spike": spike}))


NETWORKS: dict[str, Callable[[Task, tuple[int, ...]], torch.nn.Module]] = {
    "lif": Plain(lambda width: nd.nn.LIF(width, train_beta=True), gain=1.0),
    "prf": Plain(lambda width: nd.nn.PRF(width, theta=(0.0, 10.0)), gain=4.0),
    "alif": Plain(lambda width: nd.nn.ALIF(width, train_beta=True, train_rho=True), gain=1.0),
    "tclif": Plain(tclif, readout="sum"),
    "celif": celif,
    "s4d-lif": Plain(s4d_lif, gain=1.0),
    "s4d-binary": Plain(s4d_binary, gain=1.0),
    "sdtcm": sdtcm,
    "lstm": LSTM,
}
