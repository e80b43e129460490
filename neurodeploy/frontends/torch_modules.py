"""Neurons and channelwise layers of torch, as operations of a graph."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from neurodeploy import nn
from neurodeploy.graph.ir import (
    Affine,
    BatchNorm,
    Linear,
    Neurons,
    Op,
    Reduce,
    Surrogate,
    vector,
)
from neurodeploy.nn.neurons import Neuron


def _array(value: Any) -> Any:
    return np.asarray(value.detach().cpu().numpy(), np.float64)


def _weight(value: Any, owned: bool) -> Any:
    """Return a weight in its own precision; `owned`: nobody else will write to it."""
    array = value.detach().cpu().numpy()
    if owned:
        array = array.view()
        array.flags.writeable = False
    return array


def module_op(
    module: torch.nn.Module, width: int, kind: torch.dtype, owned: bool = False
) -> Op | None:
    """Return the operation of a module that reads `width` channels, or None if it is not known.

    kind: the precision of the network's parameters, which that of the constants becomes. owned:
    nobody else will change the module, so the graph may keep its memory.
    """
    if isinstance(module, Neuron):
        return _neurons(module, kind)
    if isinstance(module, nn.BatchNorm):
        return _batchnorm(module)
    if isinstance(module, nn.Embedding):
        return Linear(_weight(module.weight, owned).T, np.zeros(module.embedding_dim))
    if isinstance(module, torch.nn.Linear):
        bias = np.zeros(module.out_features) if module.bias is None else _array(module.bias)
        return Linear(_weight(module.weight, owned), bias)
    if isinstance(module, nn.Threshold):
        return Affine(_array(module.gain().to(kind)), np.zeros(width))
    if isinstance(module, nn.Scale):
        return Affine(vector(rounded(module.gain, kind), width), np.zeros(width))
    if isinstance(module, nn.Readout):
        return Reduce("mean" if module.kind == "rate" else module.kind, np.zeros(width))
    return None


def _batchnorm(module: nn.BatchNorm) -> BatchNorm:
    values = module.weight, module.bias, module.running_mean, module.running_var
    gamma, beta, mean, var = (np.repeat(_array(value), module.positions) for value in values)
    return BatchNorm(gamma, beta, mean, var, float(module.eps))


def _neurons(module: Neuron, kind: torch.dtype) -> Neurons:
    """Return the neurons with constants in the precision of the network's parameters.

    The bias of recurrent weights is one of the neurons: it is there from the first step.
    """
    width, heard = module.width, module.recurrent

    def exact(value: Any) -> Any:
        array = _array(torch.as_tensor(value).to(kind))
        return array if array.ndim == 2 else vector(array, width)  # rows of a table, or modes

    sdn = module.sdn if isinstance(module, nn.SurrogateLIF) else None
    made = Neurons if sdn is None else partial(Surrogate, network=_network(sdn))
    return made(
        spec=module.spec.name,
        options=dict(module.options),
        params={name: exact(value) for name, value in module.params()._asdict().items()},
        gain=np.ones(width),
        bias=np.zeros(width) if heard is None or heard.bias is None else _array(heard.bias),
        amplitude=float(module.alpha().detach().to(kind)),
        reverse=module.reverse,
        recurrent=None if heard is None else _array(heard.weight),
    )


def _network(sdn: nn.SDN) -> dict[str, Any]:
    """Return the arrays of a surrogate dynamic network, as `graph.surrogate` reads them."""
    arrays = {name: _array(value) for name, value in sdn.named_parameters()}
    return {
        "taps": arrays["conv.weight"][:, 0],
        "taps_bias": arrays["conv.bias"],
        "mix": arrays["mix.weight"][:, :, 0],
        "mix_bias": arrays["mix.bias"],
        "out": arrays["out.weight"][0, :, 0],
        "out_bias": arrays["out.bias"],
    }


def rounded(value: float, kind: torch.dtype) -> float:
    """Return a number of the module's code as its arithmetic takes it."""
    return float(torch.tensor(value, dtype=torch.float64).to(kind))
