r"""Neurons of norse 1.1: Euler steps of length dt, k = dt tau_inv.

    LIF, LI    i += x (+ R z),  v += k_mem (v_leak - v + i),  i -= k_syn i
    LIFBox     v += k_mem (v_leak - v + x)
    IAF        v += x

A neuron fires where v > v_th, and then v = v_reset. So decays are 1 - k, the input gain is k_mem,
and voltages are counted from v_leak, where neurons start (IAF: from v_reset).
(norse/torch/functional/lif.py, lif_box.py, leaky_integrator.py, iaf.py, version 1.1.0.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.frontends.frameworks.layer import (
    STEP,
    TB,
    Kind,
    Layer,
    always,
    integrator,
    matrix,
    neurons,
    require,
    spread,
)
from neurodeploy.graph.ir import Linear, Op

_METHODS = ("super", "heaviside", "triangle", "tanh", "circ", "heavi_erfc", "adjoint")
_HARD = {"reset": "hard", "compare": ">"}


def _checked(module: Any, *functions: str) -> Any:
    """Return the parameters of a layer that runs one of norse's own step functions."""
    runs = getattr(module.activation, "__name__", str(module.activation))
    method = getattr(module.p, "method", "super")
    require(
        (runs in functions, f"it runs {runs}", f"use {functions[0]}"),
        (method in _METHODS, f"method {method!r}", f"one of {', '.join(_METHODS)}"),
    )
    return module.p


def _hidden(module: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
    """Return the shape of the neurons, and the weights of the input, if the layer has some."""
    weights = getattr(module, "input_weights", None)
    return (shape, None) if weights is None else ((len(weights),), matrix(weights))


def _through(weights: Any, *ops: tuple[str, Op]) -> tuple[tuple[str, Op], ...]:
    if weights is None:
        return ops
    return (("input", Linear(weights, np.zeros(len(weights)))), *ops)


def _lif(module: Any, shape: tuple[int, ...]) -> Layer:
    steps = ("lif_feed_forward_step", "lif_step")
    p = _checked(module, *steps, "lif_feed_forward_adjoint_step", "lif_adjoint_step")
    shape, weights = _hidden(module, shape)
    mem, syn = module.dt * p.tau_mem_inv, module.dt * p.tau_syn_inv
    params = {
        "alpha": 1 - spread(syn, shape).reshape(shape),
        "beta": 1 - spread(mem, shape).reshape(shape),
        "v_th": p.v_th - p.v_leak,
        "gain": mem,
        "v_reset": p.v_reset - p.v_leak,
    }
    own = getattr(module, "recurrent_weights", None)
    heard = {} if own is None else {"recurrent": matrix(own)}
    op = neurons("cubalif", _HARD, params, shape, **heard)
    return Layer(_through(weights, ("", op)), returns=2, keeps=False)


def _lif_box(module: Any, shape: tuple[int, ...]) -> Layer:
    p = _checked(module, "lif_box_feed_forward_step")
    reset = getattr(p.reset_method, "__name__", str(p.reset_method))
    soft = reset == "reset_subtract"
    leak = spread(p.v_leak, shape)
    require(
        (
            soft or reset == "reset_value",
            f"a reset function of its own, {reset}",
            "use norse.torch.functional.reset.reset_value or reset_subtract",
        ),
        (
            not soft or not np.any(leak),
            "reset_subtract with v_leak other than 0: it subtracts v_th, not v_th - v_leak",
            "train with v_leak 0",
        ),
    )
    mem = module.dt * p.tau_mem_inv
    params = {
        "beta": 1 - spread(mem, shape).reshape(shape),
        "v_th": p.v_th - p.v_leak,
        "gain": mem,
        "v_reset": 0.0 if soft else p.v_reset - p.v_leak,
    }
    options = {"reset": "soft", "compare": ">"} if soft else _HARD
    return Layer((("", neurons("lif", options, params, shape)),), returns=2, keeps=False)


def _iaf(module: Any, shape: tuple[int, ...]) -> Layer:
    p = _checked(module, "iaf_feed_forward_step")
    params = {"beta": 1.0, "v_th": p.v_th - p.v_reset, "gain": 1.0, "v_reset": 0.0}
    return Layer((("", neurons("lif", _HARD, params, shape)),), returns=2, keeps=False)


def _li(module: Any, shape: tuple[int, ...]) -> Layer:
    if hasattr(module, "activation"):
        _checked(module, "li_feed_forward_step")
    p = module.p
    _from_zero(p)
    shape, weights = _hidden(module, shape)
    syn = integrator(1 - spread(module.dt * p.tau_syn_inv, shape).reshape(shape), 1.0, shape)
    return Layer(
        _through(weights, ("current", syn), ("", _membrane(module, shape))), 2, None, False
    )


def _li_box(module: Any, shape: tuple[int, ...]) -> Layer:
    _from_zero(_checked(module, "li_box_feed_forward_step"))
    return Layer((("", _membrane(module, shape)),), returns=2, keeps=False)


def _membrane(module: Any, shape: tuple[int, ...]) -> Op:
    mem = module.dt * module.p.tau_mem_inv
    return integrator(1 - spread(mem, shape).reshape(shape), mem, shape)


def _from_zero(p: Any) -> None:
    zero = not np.any(np.asarray(p.v_leak.detach().cpu().numpy()))
    require((zero, "an integrator with v_leak other than 0", "train with v_leak 0"))


PACKAGE = "norse"
KINDS = {
    "norse.torch.module.lif.LIFCell": Kind(_lif, always(STEP)),
    "norse.torch.module.lif.LIF": Kind(_lif, always(TB)),
    "norse.torch.module.lif.LIFRecurrentCell": Kind(_lif, always(STEP)),
    "norse.torch.module.lif.LIFRecurrent": Kind(_lif, always(TB)),
    "norse.torch.module.lif_box.LIFBoxCell": Kind(_lif_box, always(STEP)),
    "norse.torch.module.iaf.IAFCell": Kind(_iaf, always(STEP)),
    "norse.torch.module.iaf.IAF": Kind(_iaf, always(TB)),
    "norse.torch.module.leaky_integrator.LICell": Kind(_li, always(STEP)),
    "norse.torch.module.leaky_integrator.LI": Kind(_li, always(TB)),
    "norse.torch.module.leaky_integrator.LILinearCell": Kind(_li, always(STEP)),
    "norse.torch.module.leaky_integrator_box.LIBoxCell": Kind(_li_box, always(STEP)),
}
OPEN = {"norse.torch.module.sequential.SequentialState"}
LIFTED = {"norse.torch.module.lift.Lift": lambda module: [module.lifted_module]}
