r"""LIF that sends several spikes per step: one for each threshold that its membrane holds.

    u[t] = beta v[t-1] + gain x[t],    n[t] = floor(u[t] / v_th) where u[t] >= v_th, else 0

(sinabs' MultiSpike, Rockpool's LIF; "one": n[t] = 1 where u[t] >= v_th), then a reset

    r[t] = u[t] - v_th n[t]               soft
         = v_reset where n[t] > 0, else u hard

and, with `floor`, a bound below which the membrane does not fall (sinabs' min_v_mem):

    v[t] = max(r[t], v_min)

With beta = 1 it is integrate-and-fire. Folded form: the gain moves into threshold, reset and floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons.spec import GE, Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars."""

    beta: Any  #: decay of the membrane per step, in [0, 1] [1]
    v_th: Any  #: what one spike needs, and takes, > 0 [membrane]
    gain: Any  #: input gain > 0 [membrane / input]
    v_reset: Any  #: where a hard reset puts the membrane, < v_th [membrane]; 0 otherwise
    v_min: Any  #: the least membrane, < v_th [membrane]; 0 without floor


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    beta: Any
    threshold: Any
    reset: Any  #: value taken (hard)
    floor: Any


class State(NamedTuple):
    """Membrane after its reset; array [channels]."""

    v: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Move the input gain into threshold, reset and floor."""
    return Coefs(p.beta, p.v_th / p.gain, p.v_reset / p.gain, p.v_min / p.gain)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (numbers of spikes, state)."""
    u = o.write(o.mul(k.beta, z.v) + x)
    if options["spikes"] == "many" and options["reset"] == "soft":
        n = o.count(u, k.threshold)
        v = u - o.times(n, k.threshold)
    else:
        fires = o.spike(u, k.threshold, GE)
        n = fires if options["spikes"] == "one" else o.count(u, k.threshold)
        v = o.select(fires, k.reset if options["reset"] == "hard" else u - k.threshold, u)
    return n, State(o.write(o.largest(v, k.floor) if options["floor"] else v))


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return the membrane per unit of folded state, the input gain."""
    return p.gain


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    wrong = [f"{n} must be > 0" for n in ("v_th", "gain") if not np.all(getattr(p, n) > 0)]
    if not np.all((np.asarray(p.beta) >= 0) & (np.asarray(p.beta) <= 1)):
        wrong.append("beta must be in [0, 1]")
    used = {"v_reset": options["reset"] == "hard", "v_min": options["floor"]}
    for name, means in used.items():
        value = np.asarray(getattr(p, name))
        if means and not np.all(value < p.v_th):
            wrong.append(f"{name} must be below v_th")
        if not means and np.any(value != 0):
            wrong.append(f"{name} has no meaning with {dict(options)}, and must be 0")
    return wrong


def poles(k: Coefs) -> Any:
    """Return the decay, complex [channels]."""
    return k.beta + 0j


MULTISPIKE = NeuronSpec(
    name="multispike",
    source="sinabs 3.1.3, layers/functional/lif.py, activation/spike_generation.py",
    params=Params,
    units={
        "beta": "1",
        "v_th": "membrane",
        "gain": "membrane / input",
        "v_reset": "membrane",
        "v_min": "membrane",
    },
    coefs=Coefs,
    kinds={
        "beta": Kind.UNIT,
        "threshold": Kind.THRESHOLD,
        "reset": Kind.AMOUNT,
        "floor": Kind.AMOUNT,
    },
    state=State,
    choices={"spikes": ("many", "one"), "reset": ("soft", "hard"), "floor": (False, True)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
