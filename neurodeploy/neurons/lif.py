r"""Leaky integrate-and-fire.

    u[t] = beta v[t-1] + gain x[t],     s[t] = u[t] >= v_th

and one of the resets of `resets.py`. With beta = 1 it is integrate-and-fire.

Folded form: the gain moves into the threshold and the reset, v_th / gain and v_reset / gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from neurodeploy.arith import Arith
from neurodeploy.neurons.resets import RESETS, check, fire, folded
from neurodeploy.neurons.spec import GE, GT, Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars."""

    beta: Any  #: decay of the membrane per step, in [0, 1] [1]
    v_th: Any  #: firing threshold > 0 [membrane]
    gain: Any  #: input gain > 0 [membrane / input]
    v_reset: Any  #: where hard resets put the membrane, < v_th [membrane]; 0 otherwise


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    beta: Any
    threshold: Any
    reset: Any  #: amount subtracted (soft), or value taken (hard)


class State(NamedTuple):
    """Membrane, after a reset that comes with the spike; array [channels]."""

    v: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Move the input gain into threshold and reset."""
    return Coefs(p.beta, *folded(p, options))


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    s, v = fire(o, k, z.v, x, options)
    return s, State(v)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return the membrane per unit of folded state, the input gain."""
    return p.gain


def poles(k: Coefs) -> Any:
    """Return the decay, complex [channels]."""
    return k.beta + 0j


LIF = NeuronSpec(
    name="lif",
    source="Huang et al. 2024, arXiv 2410.03530, Eq. 2-3",
    params=Params,
    units={"beta": "1", "v_th": "membrane", "gain": "membrane / input", "v_reset": "membrane"},
    coefs=Coefs,
    kinds={"beta": Kind.UNIT, "threshold": Kind.THRESHOLD, "reset": Kind.AMOUNT},
    state=State,
    choices={"reset": RESETS, "compare": (GE, GT)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
