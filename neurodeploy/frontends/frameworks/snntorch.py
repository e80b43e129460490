r"""Neurons of snnTorch 1.0: which reset each mechanism, with and without delay, is.

A layer decides at the start of a step whether its membrane v is above the threshold (r), fires
where the new membrane u is (`>`), and then

    Leaky                zero       v = 0 where r, then u = beta v + x         hard
    all others           zero       u = 0 where r, x lost                      hard_next
    all                  subtract   u = beta v + x - r v_th                    soft_after_decay
    reset_delay=False    zero       u = 0 where it fires                       hard
                         subtract   u = beta v + x - r v_th, u -= (s - r) v_th soft_doubled

(snntorch/_neurons/leaky.py, synaptic.py, rleaky.py, rsynaptic.py, lapicque.py, version 1.0.0.)
Decays are clamped to [0, 1]. Recurrent layers hear their own last output, bias from the first step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neurodeploy.frontends.frameworks.layer import (
    STEP,
    Kind,
    Layer,
    RefusedError,
    Wrong,
    always,
    compare_of,
    integrator,
    matrix,
    neurons,
    require,
    spread,
)
from neurodeploy.graph.ir import Affine, Op

_FUNCTIONS = {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}
_MECHANISMS = ("subtract", "zero", "none")  #: by the number in `reset_mechanism_val`


def _reset(module: Any, delayed_zero: str) -> str:
    """Return the reset of `neurons.resets`; `delayed_zero`: what "zero" with a delay is."""
    mechanism = _MECHANISMS[int(module.reset_mechanism_val)]
    runs = module.state_function.__name__
    require(
        (
            runs == _FUNCTIONS[mechanism],
            f"reset_mechanism is {mechanism!r}, but it runs {runs}, chosen when it was built",
            f"build the layer with reset_mechanism={mechanism!r}",
        )
    )
    if mechanism == "none":
        return "none"
    if getattr(module, "reset_delay", True):
        return {"subtract": "soft_after_decay", "zero": delayed_zero}[mechanism]
    return {"subtract": "soft_doubled", "zero": "hard"}[mechanism]


def _plain(module: Any) -> None:
    require(
        (not module.state_quant, "its state is quantized (state_quant)", "train without; use tune"),
        (not module.inhibition, "inhibition lets one neuron fire", "train with inhibition=False"),
    )


def _graded(module: Any, shape: tuple[int, ...]) -> tuple[float, Any]:
    """Return what a spike is worth, for all neurons, or else (1, for each)."""
    factor = spread(module.graded_spikes_factor, shape)
    return (float(factor[0]), None) if np.all(factor == factor[0]) else (1.0, factor)


def _layer(
    module: Any,
    shape: tuple[int, ...],
    spec: str,
    params: dict[str, Any],
    reset: str,
    states: int,
    recurrent: tuple[Any, Any] | None = None,
) -> Layer:
    """Return the layer whose call returns spikes, `states` values, and the membrane last."""
    _plain(module)
    options = {"reset": reset, "compare": compare_of(module.spike_grad)}
    amplitude, each = _graded(module, shape)
    more: dict[str, Any] = {"amplitude": amplitude}
    if recurrent is not None:
        weight, more["bias"] = recurrent
        more["recurrent"] = weight if each is None else weight * each
    common = {"v_th": module.threshold, "v_reset": 0.0}
    op = neurons(spec, options, {**params, **common}, shape, **more)
    ops: tuple[tuple[str, Op], ...] = (("", op),)
    if each is not None:
        ops = (*ops, ("graded", Affine(each, np.zeros(len(each)))))
    alone = module.init_hidden and not module.output
    membrane = None
    if reset == "none" and spec == "lif" and recurrent is None:
        membrane = (states, integrator(params["beta"], params["gain"], shape))
    return Layer(ops, returns=0 if alone else states + 1, membrane=membrane)


def _leaky(module: Any, shape: tuple[int, ...]) -> Layer:
    params = {"beta": module.beta.clamp(0, 1), "gain": 1.0}
    return _layer(module, shape, "lif", params, _reset(module, "hard"), 1)


def _lapicque(module: Any, shape: tuple[int, ...]) -> Layer:
    """Read u = x dt / C + (1 - dt / (R C)) v."""
    beta = 1 - module.time_step / (module.R * module.C)
    gain = module.R * (1 / (module.R * module.C)) * module.time_step
    return _layer(
        module, shape, "lif", {"beta": beta, "gain": gain}, _reset(module, "hard_next"), 1
    )


def _synaptic(module: Any, shape: tuple[int, ...]) -> Layer:
    reset = _reset(module, "hard_next")
    return _layer(module, shape, "cubalif", _currents(module), reset, 2)


def _currents(module: Any) -> dict[str, Any]:
    return {"alpha": module.alpha.clamp(0, 1), "beta": module.beta.clamp(0, 1), "gain": 1.0}


def _rleaky(module: Any, shape: tuple[int, ...]) -> Layer:
    params = {"beta": module.beta.clamp(0, 1), "gain": 1.0}
    heard = _recurrent(module, shape)
    return _layer(module, shape, "lif", params, _reset(module, "hard_next"), 2, heard)


def _rsynaptic(module: Any, shape: tuple[int, ...]) -> Layer:
    require(
        (
            bool(getattr(module, "reset_delay", True)),
            "reset_delay=False fails in RSynaptic of snnTorch 1.0, or does nothing",
            "build it with reset_delay=True, as it was trained",
        )
    )
    reset, heard = _reset(module, "hard_next"), _recurrent(module, shape)
    return _layer(module, shape, "cubalif", _currents(module), reset, 3, heard)


def _recurrent(module: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return recurrent weights [width, width] and bias [width]."""
    inner, width = module.recurrent, int(np.prod(shape))
    if isinstance(inner, torch.nn.Linear):
        bias = np.zeros(width) if inner.bias is None else matrix(inner.bias)
        return matrix(inner.weight), bias
    if hasattr(inner, "V"):
        return np.diag(spread(inner.V, shape)), np.zeros(width)
    what = f"its recurrence is a {type(inner).__name__}"
    raise RefusedError(Wrong(what, "use linear_features=, or all_to_all=False"))


PACKAGE = "snntorch"
KINDS = {
    "snntorch._neurons.leaky.Leaky": Kind(_leaky, always(STEP)),
    "snntorch._neurons.lapicque.Lapicque": Kind(_lapicque, always(STEP)),
    "snntorch._neurons.synaptic.Synaptic": Kind(_synaptic, always(STEP)),
    "snntorch._neurons.rleaky.RLeaky": Kind(_rleaky, always(STEP)),
    "snntorch._neurons.rsynaptic.RSynaptic": Kind(_rsynaptic, always(STEP)),
}
