r"""Leaky integrate-and-fire.

    u[t] = beta v[t-1] + gain x[t],     s[t] = u[t] >= v_th
    v[t] = u[t] - v_th s[t]             soft reset
         = v_reset where s[t], else u   hard reset
         = u[t]                         no reset

(Huang et al. 2024, arXiv 2410.03530, Eq. 2-3: subtracting before the next decay, as there, and
subtracting right after the spike, as here, are the same trajectory.) Folded form: the gain moves
into the threshold and the reset, v_th / gain and v_reset / gain.
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
    v_reset: Any  #: where a hard reset puts the membrane, < v_th [membrane]; 0 otherwise


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    beta: Any
    threshold: Any
    reset: Any  #: amount subtracted (soft), or value taken (hard)


class State(NamedTuple):
    """Membrane after reset; array [channels]."""

    v: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Move the input gain into threshold and reset."""
    threshold = p.v_th / p.gain
    if options["reset"] == "hard":
        return Coefs(p.beta, threshold, p.v_reset / p.gain)
    return Coefs(p.beta, threshold, threshold)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    u = o.write(o.mul(k.beta, z.v) + x)
    s = o.spike(u, k.threshold, options["compare"])
    if options["reset"] == "none":
        return s, State(u)
    after = o.write(u - k.reset) if options["reset"] == "soft" else k.reset
    return s, State(o.select(s, after, u))


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return the membrane per unit of folded state, the input gain."""
    return p.gain


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    wrong = [f"{n} must be > 0" for n in ("v_th", "gain") if not np.all(getattr(p, n) > 0)]
    if not np.all((np.asarray(p.beta) >= 0) & (np.asarray(p.beta) <= 1)):
        wrong.append("beta must be in [0, 1]")
    if options["reset"] == "hard" and not np.all(np.asarray(p.v_reset) < p.v_th):
        wrong.append("v_reset must be below v_th")
    if options["reset"] != "hard" and np.any(np.asarray(p.v_reset) != 0):
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
    choices={"reset": ("soft", "hard", "none"), "compare": (GE, GT)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
