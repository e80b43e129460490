r"""Leaky integrator: the usual readout. It does not spike; its output is its membrane.

    v[t] = beta v[t-1] + x[t]

With `leak=False` (beta = 1) it is the running sum that mean and sum readouts are lowered to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons.spec import Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars."""

    beta: Any  #: decay of the membrane per step, in [0, 1]; 1 without leak [1]


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    beta: Any


class State(NamedTuple):
    """Membrane; array [channels]."""

    v: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Keep the decay."""
    return Coefs(p.beta)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (membrane, state)."""
    v = o.write((o.mul(k.beta, z.v) if options["leak"] else z.v) + x)
    return v, State(v)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return 1: the folded state is the published one."""
    return 1.0


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    beta = np.asarray(p.beta)
    if not options["leak"]:
        return [] if np.all(beta == 1) else ["beta must be 1 without leak"]
    return [] if np.all((beta >= 0) & (beta <= 1)) else ["beta must be in [0, 1]"]


def poles(k: Coefs) -> Any:
    """Return the decay, complex [channels]."""
    return k.beta + 0j


LI = NeuronSpec(
    name="li",
    source="the leaky membrane of LIF (arXiv 2410.03530, Eq. 2) without spike and reset",
    params=Params,
    units={"beta": "1"},
    coefs=Coefs,
    kinds={"beta": Kind.UNIT},
    state=State,
    choices={"leak": (True, False)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
    spiking=False,
)
