r"""Leaky integrate-and-fire.

    u[t] = beta v[t-1] + gain x[t],     s[t] = u[t] >= v_th
    v[t] = u[t] - v_th s[t]             soft reset
         = v_reset where s[t], else u   hard reset
         = u[t]                         no reset

(Huang et al. 2024, arXiv 2410.03530, Eq. 2-3: subtracting before the next decay, as there, and
subtracting right after the spike, as here, are the same trajectory.) Two resets come at the next
step, and then v[t] = u[t]:

    u[t] = beta v[t-1] + gain x[t] - v_th s[t-1]                        soft after decay
         = v_reset where s[t-1], else beta v[t-1] + gain x[t]           hard next

Soft after decay is Eq. 1 of Zhang et al. 2023, arXiv 2307.07231: what is subtracted does not decay.
Hard next replaces the whole update, input included, so that a neuron rests for a step after each
spike (snnTorch's `reset_mechanism="zero"`). Whether the last step fired is seen from its membrane,
which never starts above the threshold, so no register is needed for it.

Folded form: the gain moves into the threshold and the reset, v_th / gain and v_reset / gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
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


HARD = ("hard", "hard_next")


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Move the input gain into threshold and reset."""
    threshold = p.v_th / p.gain
    if options["reset"] in HARD:
        return Coefs(p.beta, threshold, p.v_reset / p.gain)
    return Coefs(p.beta, threshold, threshold)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    reset, compare = options["reset"], options["compare"]
    if reset in ("soft_after_decay", "hard_next"):
        return _reset_at_the_next_step(o, k, z, x, options)
    u = o.write(o.mul(k.beta, z.v) + x)
    s = o.spike(u, k.threshold, compare)
    if reset == "none":
        return s, State(u)
    after = o.write(u - k.reset) if reset == "soft" else k.reset
    return s, State(o.select(s, after, u))


def _reset_at_the_next_step(
    o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]
) -> tuple[Any, State]:
    fired = o.spike(z.v, k.threshold, options["compare"])
    kept = o.mul(k.beta, z.v)
    if options["reset"] == "hard_next":
        u = o.write(o.select(fired, k.reset, kept + x))
    else:
        u = o.write(o.select(fired, kept - k.reset, kept) + x)
    return o.spike(u, k.threshold, options["compare"]), State(u)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return the membrane per unit of folded state, the input gain."""
    return p.gain


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    wrong = [f"{n} must be > 0" for n in ("v_th", "gain") if not np.all(getattr(p, n) > 0)]
    if not np.all((np.asarray(p.beta) >= 0) & (np.asarray(p.beta) <= 1)):
        wrong.append("beta must be in [0, 1]")
    if options["reset"] in HARD and not np.all(np.asarray(p.v_reset) < p.v_th):
        wrong.append("v_reset must be below v_th")
    if options["reset"] not in HARD and np.any(np.asarray(p.v_reset) != 0):
        wrong.append(f"v_reset has no meaning for reset={options['reset']!r}, and must be 0")
    return wrong


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
    choices={
        "reset": ("soft", "hard", "none", "soft_after_decay", "hard_next"),
        "compare": (GE, GT),
    },
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
