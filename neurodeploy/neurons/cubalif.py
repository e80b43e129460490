r"""Current-based leaky integrate-and-fire: a synaptic current that fades drives the membrane.

    i[t] = alpha i[t-1] + gain x[t],    u[t] = beta v[t-1] + i[t],    s[t] = u[t] >= v_th

and one of the resets of `resets.py`, which leave the current as it is. Forms that are published in
another order are this one at another gain:

    i += x, then v += k (i - v), then i -= k_syn i     gain k, alpha 1 - k_syn, beta 1 - k (norse)
    i = alpha (i + x), then v = beta v + i             gain alpha (sinabs, Rockpool)

Folded form: the gain moves into the threshold and the reset, v_th / gain and v_reset / gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons import resets
from neurodeploy.neurons.spec import GE, GT, Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars."""

    alpha: Any  #: decay of the current per step, in [0, 1] [1]
    beta: Any  #: decay of the membrane per step, in [0, 1] [1]
    v_th: Any  #: firing threshold > 0 [membrane]
    gain: Any  #: input gain > 0 [membrane / input]
    v_reset: Any  #: where hard resets put the membrane, < v_th [membrane]; 0 otherwise


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    alpha: Any
    beta: Any
    threshold: Any
    reset: Any  #: amount subtracted (soft), or value taken (hard)


class State(NamedTuple):
    """Membrane, after a reset that comes with the spike, and current; arrays [channels]."""

    v: Any
    i: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Move the input gain into threshold and reset."""
    return Coefs(p.alpha, p.beta, *resets.folded(p, options))


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    i = o.write(o.mul(k.alpha, z.i) + x)
    s, v = resets.fire(o, k, z.v, i, options)
    return s, State(v, i)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return the membrane per unit of folded state, the input gain."""
    return p.gain


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    alpha = np.asarray(p.alpha)
    wrong = [] if np.all((alpha >= 0) & (alpha <= 1)) else ["alpha must be in [0, 1]"]
    return [*wrong, *resets.check(p, options)]


def poles(k: Coefs) -> Any:
    """Return the decays of current and membrane, complex [2, channels]."""
    return np.stack(np.broadcast_arrays(k.alpha, k.beta)) + 0j


CUBALIF = NeuronSpec(
    name="cubalif",
    source="Pedersen et al. 2024, NIR, Nature Communications 15, 8122 (CuBa-LIF)",
    params=Params,
    units={
        "alpha": "1",
        "beta": "1",
        "v_th": "membrane",
        "gain": "membrane / input",
        "v_reset": "membrane",
    },
    coefs=Coefs,
    kinds={
        "alpha": Kind.UNIT,
        "beta": Kind.UNIT,
        "threshold": Kind.THRESHOLD,
        "reset": Kind.AMOUNT,
    },
    state=State,
    choices={"reset": resets.RESETS, "compare": (GE, GT)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
