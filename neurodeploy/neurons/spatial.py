r"""Spatial neuron: a threshold without memory.

    s[t] = x[t] >= v_th

(Huang et al. 2024, arXiv 2410.03530, Eq. 96: the limit of LIF for a time constant of one step.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons.spec import GE, GT, Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars."""

    v_th: Any  #: firing threshold [input]


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    threshold: Any


class State(NamedTuple):
    """Nothing is kept between steps."""


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Keep the threshold."""
    return Coefs(p.v_th)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Compare the input current `x` of this step; return (spikes, state)."""
    return o.spike(o.write(x), k.threshold, options["compare"]), z


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return 1: the folded state is the published one."""
    return 1.0


def check(p: Params, options: Mapping[str, Any]) -> list[str]:  # noqa: ARG001
    """Return what is wrong with the parameters: nothing, any finite threshold will do."""
    return [] if np.all(np.isfinite(p.v_th)) else ["v_th must be finite"]


def poles(k: Coefs) -> Any:  # noqa: ARG001
    """Return None: there is no memory."""
    return None


SPATIAL = NeuronSpec(
    name="spatial",
    source="Huang et al. 2024, arXiv 2410.03530, Eq. 96",
    params=Params,
    units={"v_th": "input"},
    coefs=Coefs,
    kinds={"threshold": Kind.THRESHOLD},
    state=State,
    choices={"compare": (GE, GT)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
