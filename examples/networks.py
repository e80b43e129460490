"""The networks that the examples train, by the name of their neuron.

Plain ones are layers of Linear, BatchNorm if the model has one, and neurons, with a Linear and a
readout behind them. What is behind the last layer follows the task: the readout of the model's
own paper for one class per sequence, the last step for a number, all steps for an answer at every
step. A sum over time stays behind the Linear, where its paper has it; elsewhere the readout comes
first, which is the same function and costs a chip less.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from tasks import KEPT, Task

import neurodeploy as nd

READOUTS = {"number": "last", "steps": "steps"}
# TC-LIF as its paper has it on S-MNIST (Table 5), with a triangle for a surrogate
TCLIF: dict[str, Any] = {"gamma": 0.5, "v_th": 1.0, "surrogate": "triangle", "steepness": 1.0}
ALIF: dict[str, Any] = {"train_beta": True, "train_rho": True}


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
        behind = {"classifier": classifier(task, before, kind)}
        readout = {"readout": nd.nn.Readout(kind)}
        order = {**behind, **readout} if kind == "sum" else {**readout, **behind}
        return torch.nn.Sequential(OrderedDict({**layers, **order}))


def classifier(task: Task, width: int, readout: str) -> torch.nn.Linear:
    """Return the last Linear; where its outputs are summed over time, it starts out as a mean."""
    linear = torch.nn.Linear(width, task.outputs)
    if readout == "sum":
        with torch.no_grad():
            linear.weight /= len(task.test.x)
            linear.bias /= len(task.test.x)
    return linear


def sdtcm(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return an SD-TCM network with as many blocks as there are widths, all the first one."""
    readout = READOUTS.get(task.target, "mean")
    how: Any = {"theta": (0.0, 10.0), "input_scale": task.scale, "readout": readout}
    return nd.nn.SDTCM(task.inputs, widths[0], len(widths), task.outputs, **how)


def lstm(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return the baseline that does not spike: as many layers as widths, all the first one."""
    kind = READOUTS.get(task.target, "last")
    layers = {"lstm": nd.nn.LSTM(task.inputs, widths[0], len(widths))}
    layers |= {"readout": nd.nn.Readout(kind), "classifier": classifier(task, widths[0], kind)}
    return scaled(task, torch.nn.Sequential(OrderedDict(layers)))


def scaled(task: Task, network: torch.nn.Module) -> torch.nn.Module:
    """Return the network behind what brings the task's inputs to about 0 to 1."""
    layers = {"scale": nd.nn.Scale(task.inputs, task.scale), "network": network}
    return torch.nn.Sequential(OrderedDict(layers))


def celif(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return CE-LIF's network: one table for all layers, and the slow thresholds of Table 5."""
    steps, readout = len(task.test.x), READOUTS.get(task.target, "mean")
    beta = 1 - 1 / (steps - 2 * KEPT) if task.target == "steps" else 0.99
    how: Any = {"readout": readout, "beta": beta}
    return scaled(task, nd.nn.CELIFNet(task.inputs, widths, task.outputs, steps, **how))


@dataclass(frozen=True)
class Recurrent:
    """Layers of the neuron of this name; every one but the last hears itself."""

    neuron: str
    readout: str
    options: dict[str, Any]

    def __call__(self, task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
        """Return the untrained network for a task."""
        how: Any = {"neuron": self.neuron, "recurrent": True, **self.options}
        how |= {"readout": READOUTS.get(task.target, self.readout)}
        network = nd.nn.SpikingMLP((task.inputs, *widths, task.outputs), **how)
        network.classifier = classifier(task, widths[-1], how["readout"])
        return scaled(task, network)


def system(task: Task, state: int) -> dict[str, Any]:
    """Return the arguments of state spaces; shorter sequences start with longer steps.

    The papers' range of 0.001 to 0.1 is for sequences of about a thousand steps.
    """
    return {"state": state, "dt": (0.001, 0.1) if len(task.test.x) > 256 else (0.01, 0.3)}


@cache
def surrogate() -> nd.nn.SDN:
    """Return an SDN that agrees with the neurons it stands for at 99.4 % of steps."""
    sdn: nd.nn.SDN = nd.nn.train_sdn(updates=500, lanes=64, steps=48, rate=1e-2)[0]
    return sdn


def spiking_ssm(
    task: Task, widths: tuple[int, ...], sdn: nd.nn.SDN | None = None
) -> torch.nn.Module:
    """Return SpikingSSM: blocks of S4D-Lin, LIF and GLU around a stream, behind BatchNorms."""
    how = {**system(task, 16), "readout": READOUTS.get(task.target, "mean"), "sdn": sdn}
    network = nd.nn.SpikingSSM(task.inputs, widths[0], len(widths), task.outputs, **how)
    return scaled(task, network)


def binary_s4d(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return Binary S4D for sMNIST: S4D-Inv of state 2, signs and GLU, no residual."""
    how = {**system(task, 2), "readout": READOUTS.get(task.target, "mean"), "residual": False}
    how |= {"surrogate": "fast_sigmoid", "steepness": 5.0}
    network = nd.nn.BinaryS4D(task.inputs, widths[0], len(widths), task.outputs, **how)
    return scaled(task, network)


def gsu(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return the GSU network for sMNIST: S4D-Inv of state 2, GSU, LayerNorm and GELU."""
    how = {**system(task, 2), "readout": READOUTS.get(task.target, "mean")}
    how |= {"input_scale": task.scale}
    return nd.nn.GSUNetwork(task.inputs, widths[0], len(widths), task.outputs, **how)


def conv(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return convolutions of as many maps as `widths` say, BatchNorms, LIF and maxima of spikes.

    The first has windows of 5 and stride 2, the others of 3. Inputs that make a square are an
    image, others a row.
    """
    side = math.isqrt(task.inputs)
    shape: tuple[int, ...] = (1, side, side) if side**2 == task.inputs else (1, task.inputs)
    layers: dict[str, torch.nn.Module] = {}
    for i, maps in enumerate(widths, 1):
        how = {"kernel": 3, "padding": 1} if i > 1 else {"kernel": 5, "padding": 2, "stride": 2}
        layers[f"conv{i}"] = made = nd.nn.Conv(shape, maps, bias=False, **how)
        shape = made.out_shape
        layers[f"norm{i}"] = nd.nn.BatchNorm(maps, positions=math.prod(shape[1:]))
        layers[f"neuron{i}"] = nd.nn.LIF(math.prod(shape), beta=0.7)
        if min(shape[1:]) > 1:
            layers[f"pool{i}"] = pool = nd.nn.Pool(shape, 2, "max")
            shape = pool.out_shape
    layers["readout"] = nd.nn.Readout(READOUTS.get(task.target, "mean"))
    layers["classifier"] = torch.nn.Linear(math.prod(shape), task.outputs)
    return scaled(task, torch.nn.Sequential(OrderedDict(layers)))


def s4d(task: Task, widths: tuple[int, ...]) -> torch.nn.Module:
    """Return Binary S4D without spikes: GELU where it has the sign, and all else the same."""
    layers: dict[str, torch.nn.Module] = {"encoder": torch.nn.Linear(task.inputs, widths[0])}
    how: Any = {"init": "inv", "discretization": "bilinear", "train_b": True}
    for i, (before, width) in enumerate(pairwise((widths[0], *widths)), 1):
        layers[f"state{i}"] = nd.nn.S4D(before, **how, **system(task, 2))
        layers[f"gelu{i}"] = torch.nn.GELU()
        layers[f"mix{i}"] = torch.nn.Linear(before, 2 * width)
        layers[f"gate{i}"] = torch.nn.GLU(-1)
        layers[f"norm{i}"] = nd.nn.BatchNorm(width)
    layers["readout"] = nd.nn.Readout(READOUTS.get(task.target, "mean"))
    layers["classifier"] = torch.nn.Linear(widths[-1], task.outputs)
    return scaled(task, torch.nn.Sequential(OrderedDict(layers)))


NETWORKS: dict[str, Callable[[Task, tuple[int, ...]], torch.nn.Module]] = {
    "lif": Plain(lambda width: nd.nn.LIF(width, train_beta=True), gain=1.0),
    "prf": Plain(lambda width: nd.nn.PRF(width, theta=(0.0, 10.0)), gain=4.0),
    "alif": Plain(lambda width: nd.nn.ALIF(width, **ALIF), gain=1.0),
    "alif-recurrent": Recurrent("ALIF", "mean", ALIF),
    "tclif": Plain(lambda width: nd.nn.TCLIF(width, **TCLIF), readout="sum"),
    "tclif-recurrent": Recurrent("TCLIF", "sum", TCLIF),
    "celif": celif,
    "spiking-ssm": spiking_ssm,
    "spiking-ssm-sdn": lambda task, widths: spiking_ssm(task, widths, surrogate()),
    "binary-s4d": binary_s4d,
    "gsu": gsu,
    "sdtcm": sdtcm,
    "conv": conv,
    "s4d": s4d,
    "relu": Plain(lambda _: torch.nn.ReLU(), gain=1.0),
    "lstm": lstm,
}
