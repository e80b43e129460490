r"""Neurons of SpikingJelly 2.0: Euler steps, `>=`, hard or soft reset.

    LIFNode, ParametricLIFNode    v += (x - (v - v_reset)) / tau        decay_input
                                  v += x - (v - v_reset) / tau          otherwise
    IFNode                        v += x

with v_reset 0 in this where it is None. A neuron fires where v >= v_threshold, and then
v = v_reset, or v -= v_threshold where v_reset is None. Neurons start at v_reset, from which
voltages are counted.
(spikingjelly/activation_based/functional/neuron.py, neuron/base_node.py, version 2.0.0.)
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from neurodeploy.frontends.frameworks.layer import (
    STEP,
    TB,
    Kind,
    Layer,
    always,
    compare_of,
    integrator,
    neurons,
    require,
)
from neurodeploy.graph.ir import Reduce


def _axes(module: Any) -> str:
    return TB if module.step_mode == "m" else STEP


def _node(module: Any, shape: tuple[int, ...], beta: Any, gain: Any) -> Layer:
    soft = module.v_reset is None
    rest = 0.0 if soft else module.v_reset
    low = getattr(module, "_neuron_precision", None)
    require(
        (
            getattr(module.surrogate_function, "spiking", True),
            "its surrogate is used in place of spikes (spiking=False)",
            "surrogate_function.set_spiking_mode(True)",
        ),
        (low is None, f"neurons of another precision, {low}", "train in the network's precision"),
    )
    options = {"reset": "soft" if soft else "hard"}
    options["compare"] = compare_of(module.surrogate_function)
    params = {"beta": beta, "v_th": module.v_threshold - rest, "gain": gain, "v_reset": 0.0}
    return Layer((("", neurons("lif", options, params, shape)),))


def _if(module: Any, shape: tuple[int, ...]) -> Layer:
    return _node(module, shape, 1.0, 1.0)


def _lif(module: Any, shape: tuple[int, ...]) -> Layer:
    rate = 1.0 / module.tau
    return _node(module, shape, 1.0 - rate, rate if module.decay_input else 1.0)


def _parametric(module: Any, shape: tuple[int, ...]) -> Layer:
    rate = module.w.detach().sigmoid()
    return _node(module, shape, 1.0 - rate.double(), rate if module.decay_input else 1.0)


def _silent(module: Any, shape: tuple[int, ...]) -> Layer:
    """NonSpikingLIFNode, NonSpikingIFNode: the membrane of all steps, their mean, or the last."""
    kinds = {"mean-mem": "mean", "last_mem": "last"}
    require(
        (
            module.decode in kinds,
            f"decode is {module.decode!r}",
            f"one of {', '.join(map(repr, kinds))}",
        )
    )
    rate = 1.0 / module.tau if hasattr(module, "tau") else 1.0
    beta = 1.0 - rate if hasattr(module, "tau") else 1.0
    read = Reduce(kinds[module.decode], np.zeros(int(np.prod(shape))))
    return Layer((("", integrator(beta, rate, shape)), (read.kind, read)), keeps=False)


def plain(module: Any) -> Any:
    """Return a layer of torch that SpikingJelly gave a step mode, as the layer of torch it is."""
    base = next(c for c in type(module).__mro__ if c.__module__.startswith("torch."))
    view = copy.copy(module)  # its weights are the same; only what its class is called changes
    view.__class__ = base
    return view


def _each_step(module: Any) -> list[Any] | None:
    """Return what runs on every step, with steps and samples merged; None: it is called on one."""
    return [module] if module.step_mode == "m" else None


def _children(module: Any) -> list[Any]:
    return list(module)


PACKAGE = "spikingjelly"
_NEURONS = "spikingjelly.activation_based.neuron"
_LAYERS = "spikingjelly.activation_based.layer"
KINDS = {
    f"{_NEURONS}.integrate_and_fire.IFNode": Kind(_if, _axes),
    f"{_NEURONS}.integrate_and_fire.SimpleIFNode": Kind(_if, _axes),
    f"{_NEURONS}.lif.LIFNode": Kind(_lif, _axes),
    f"{_NEURONS}.lif.SimpleLIFNode": Kind(_lif, _axes),
    f"{_NEURONS}.plif.ParametricLIFNode": Kind(_parametric, _axes),
    f"{_NEURONS}.lif.NonSpikingLIFNode": Kind(_silent, always(TB)),
    f"{_NEURONS}.integrate_and_fire.NonSpikingIFNode": Kind(_silent, always(TB)),
}
_TORCH = (
    *("Conv1d", "Conv2d", "MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d"),
    *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "Linear", "Flatten"),
)
PLAIN = {
    **{f"{_LAYERS}.stateless_wrapper.{name}": plain for name in _TORCH},
    **{f"{_LAYERS}.bn.{name}": plain for name in ("BatchNorm1d", "BatchNorm2d")},
    **{f"{_LAYERS}.dropout.{n}": lambda m: torch.nn.Identity() for n in ("Dropout", "Dropout2d")},
}
LIFTED = {
    **dict.fromkeys(PLAIN, _each_step),
    f"{_LAYERS}.container.SeqToANNContainer": _children,
}
