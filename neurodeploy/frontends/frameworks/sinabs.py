r"""Neurons of sinabs 3.1: alpha = exp(-1/tau), several spikes a step, a bound below.

    i = alpha_syn (i + x)  with tau_syn, else x
    v = alpha v + (1 - alpha) i  with norm_input, else alpha v + i        (IAF: alpha 1)

MultiSpike sends floor(v / v_th) spikes where that is above 0, SingleSpike one where v >= v_th.
MembraneSubtract takes v_th for each; MembraneReset puts v to 0 where there is one (and, in 3.1.3,
adds its reset_value to all others too). Last, v does not fall below min_v_mem.
(sinabs/layers/functional/lif.py, activation/*.py, version 3.1.3.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neurodeploy.frontends.frameworks.layer import (
    BT,
    FLAT,
    Kind,
    Layer,
    always,
    integrator,
    matrix,
    neurons,
    require,
    spread,
)
from neurodeploy.graph.ir import Op


def _spikes(module: Any) -> str:
    """Return "many" or "one"."""
    fires = module.spike_fn
    name = getattr(fires, "__name__", type(fires).__name__)
    if name == "MaxSpike":
        most = fires.max_num_spikes_per_bin
        require(
            (most in (None, 1), f"at most {most} spikes a step", "use MultiSpike, or at most 1")
        )
        return "many" if most is None else "one"
    known = {"MultiSpike": "many", "SingleSpike": "one"}
    require((name in known, f"a spike function of its own, {name}", f"use {' or '.join(known)}"))
    return known[name]


def _reset(module: Any, shape: tuple[int, ...]) -> str:
    """Return "soft" or "hard"."""
    reset = module.reset_fn
    name = getattr(reset, "__name__", type(reset).__name__)
    known = ("MembraneSubtract", "MembraneReset")
    require((name in known, f"a reset function of its own, {name}", f"use {' or '.join(known)}"))
    if name == "MembraneSubtract":
        taken, threshold = reset.subtract_value, spread(module.spike_threshold, shape)
        same = taken is None or bool(np.all(spread(taken, shape) == threshold))
        require((same, f"a spike takes {taken}, not v_th", "leave subtract_value out"))
        return "soft"
    what = f"sinabs adds reset_value {reset.reset_value} to neurons that did not spike too"
    require((reset.reset_value == 0, what, "leave reset_value out"))
    return "hard"


def _gain(module: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return the decay of the membrane and what it gains of its current."""
    alpha = spread(module.alpha_mem_calculated, shape).reshape(shape)
    return alpha, 1 - alpha if module.norm_input else np.ones(shape)


def _lif(module: Any, shape: tuple[int, ...]) -> Layer:
    spikes, reset = _spikes(module), _reset(module, shape)
    heard = _recurrent(module)
    beta, gain = _gain(module, shape)
    syn, low = module.alpha_syn_calculated, module.min_v_mem
    params = {"beta": beta, "v_th": module.spike_threshold, "v_reset": 0.0}
    if spikes == "one" and low is None:
        options = {"reset": reset, "compare": ">="}
        if syn is None:
            op = neurons("lif", options, {**params, "gain": gain}, shape, **heard)
            return Layer((("", op),))
        alpha = spread(syn, shape).reshape(shape)
        own = {"alpha": alpha, "gain": alpha * gain}
        return Layer((("", neurons("cubalif", options, {**params, **own}, shape, **heard)),))
    require(
        (
            syn is None or not heard,
            "recurrence through a synaptic current, with several spikes a step or min_v_mem",
            "use SingleSpike without min_v_mem, or no tau_syn",
        )
    )
    several = {"spikes": spikes, "reset": reset, "floor": low is not None}
    own = {"gain": gain, "v_min": 0.0 if low is None else low}
    op = neurons("multispike", several, {**params, **own}, shape, **heard)
    return Layer((*_current(syn, shape), ("", op)))


def _current(syn: Any, shape: tuple[int, ...]) -> tuple[tuple[str, Op], ...]:
    return () if syn is None else (("current", integrator(syn, syn, shape)),)


def _recurrent(module: Any) -> dict[str, Any]:
    inner = getattr(module, "rec_connect", None)
    if inner is None:
        return {}
    linear = isinstance(inner, torch.nn.Linear)
    require((linear, f"rec_connect is a {type(inner).__name__}", "use a Linear"))
    silent = inner.bias is None or not np.any(matrix(inner.bias))
    what = "the bias of rec_connect, which sinabs leaves out at the first step"
    require((silent, what, "use Linear(bias=False), and a bias in the layer before"))
    return {"recurrent": matrix(inner.weight)}


def _leak(module: Any, shape: tuple[int, ...]) -> Layer:
    low = module.min_v_mem
    require((low is None, "an integrator with min_v_mem", "train without min_v_mem"))
    beta, gain = _gain(module, shape)
    syn = module.alpha_syn_calculated
    return Layer((*_current(syn, shape), ("", integrator(beta, gain, shape))))


PACKAGE = "sinabs"
KINDS = {
    "sinabs.layers.lif.LIF": Kind(_lif, always(BT)),
    "sinabs.layers.lif.LIFSqueeze": Kind(_lif, always(FLAT)),
    "sinabs.layers.lif.LIFRecurrent": Kind(_lif, always(BT)),
    "sinabs.layers.iaf.IAF": Kind(_lif, always(BT)),
    "sinabs.layers.iaf.IAFSqueeze": Kind(_lif, always(FLAT)),
    "sinabs.layers.iaf.IAFRecurrent": Kind(_lif, always(BT)),
    "sinabs.layers.exp_leak.ExpLeak": Kind(_leak, always(BT)),
    "sinabs.layers.exp_leak.ExpLeakSqueeze": Kind(_leak, always(FLAT)),
}
LIFTED = {"sinabs.layers.reshape.Repeat": lambda module: [module.module]}
