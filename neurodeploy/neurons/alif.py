r"""Adaptive LIF: every spike raises the threshold, and the raise fades.

    T[t] = v_th + a[t],    a[t] = rho a[t-1] + jump s[t-1]
    u[t] = beta v[t-1] + gain x[t],    s[t] = u[t] >= T[t]

The published forms differ in the reset; the first two come with the spike, v[t] being

    u[t] - T[t] s[t]                   soft
    v_reset where s[t], else u[t]      hard (Chen et al., CE-LIF, Eq. 3, with v_reset = 0)

and two come at the next step, where v[t] = u[t] and from beta v[t-1] + gain x[t] is subtracted

    T[t-1] s[t-1]                      soft_after_decay: the threshold that was crossed (Bellec et
                                       al. 2018, arXiv 1803.09574)
    T[t] s[t-1]                        soft_raised: the one just raised by that spike (the code of
                                       Yin et al. 2021, arXiv 2103.12593, which fires at >)

jump is gamma in CE-LIF's Eq. 3, and (1 - rho) times the strength of adaptation in the others (1.8
in both), whose gain is 1 - beta. Folded form: the gain moves into threshold, jump and reset, and
what is compared is u - a with v_th, which stays as it is and so loses nothing when it is rounded.
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
    rho: Any  #: decay of the raise of the threshold per step, in [0, 1] [1]
    v_th: Any  #: threshold at rest > 0 [membrane]
    jump: Any  #: raise of the threshold by one spike >= 0 [membrane]
    gain: Any  #: input gain > 0 [membrane / input]
    v_reset: Any  #: where a hard reset puts the membrane, < v_th [membrane]; 0 otherwise


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    beta: Any
    rho: Any
    threshold: Any
    jump: Any
    reset: Any  #: what is subtracted with a (soft resets), or the value taken (hard)


class State(NamedTuple):
    """Membrane v and raise a of the threshold; arrays [channels].

    With resets that come with the spike, v is after the reset and a is what the next step
    compares with; with the others both are those of the last spike's comparison.
    """

    v: Any
    a: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Move the input gain into threshold, jump and reset."""
    reset = p.v_reset if options["reset"] == "hard" else p.v_th
    return Coefs(p.beta, p.rho, p.v_th / p.gain, p.jump / p.gain, reset / p.gain)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    compare = options["compare"]
    if options["reset"] in ("soft_after_decay", "soft_raised"):
        return _reset_at_the_next_step(o, k, z, x, options)
    u = o.write(o.mul(k.beta, z.v) + x)
    s = o.spike(u - z.a, k.threshold, compare)
    raised = _raised(o, k, z.a, s)
    if options["reset"] == "hard":
        return s, State(o.select(s, k.reset, u), raised)
    return s, State(o.write(o.select(s, u - z.a - k.reset, u)), raised)


def _raised(o: Arith, k: Coefs, a: Any, s: Any) -> Any:
    faded = o.mul(k.rho, a)
    return o.write(o.select(s, faded + k.jump, faded))


def _reset_at_the_next_step(
    o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]
) -> tuple[Any, State]:
    fired = o.spike(z.v - z.a, k.threshold, options["compare"])
    a = _raised(o, k, z.a, fired)
    amount = k.reset + (a if options["reset"] == "soft_raised" else z.a)
    kept = o.mul(k.beta, z.v)
    u = o.write(o.select(fired, kept - amount, kept) + x)
    return o.spike(u - a, k.threshold, options["compare"]), State(u, a)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return the membrane per unit of folded state, the input gain."""
    return p.gain


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    wrong = [f"{n} must be > 0" for n in ("v_th", "gain") if not np.all(getattr(p, n) > 0)]
    for name in ("beta", "rho"):
        value = np.asarray(getattr(p, name))
        if not np.all((value >= 0) & (value <= 1)):
            wrong.append(f"{name} must be in [0, 1]")
    if not np.all(np.asarray(p.jump) >= 0):
        wrong.append("jump must be >= 0")
    if options["reset"] == "hard" and not np.all(np.asarray(p.v_reset) < p.v_th):
        wrong.append("v_reset must be below v_th")
    if options["reset"] != "hard" and np.any(np.asarray(p.v_reset) != 0):
        wrong.append(f"v_reset has no meaning for reset={options['reset']!r}, and must be 0")
    return wrong


def poles(k: Coefs) -> Any:
    """Return the decays of membrane and raise, complex [2, channels]."""
    return np.stack(np.broadcast_arrays(k.beta, k.rho)) + 0j


ALIF = NeuronSpec(
    name="alif",
    source="Bellec et al. 2018, arXiv 1803.09574; Yin et al. 2021, arXiv 2103.12593",
    params=Params,
    units={
        "beta": "1",
        "rho": "1",
        "v_th": "membrane",
        "jump": "membrane",
        "gain": "membrane / input",
        "v_reset": "membrane",
    },
    coefs=Coefs,
    kinds={
        "beta": Kind.UNIT,
        "rho": Kind.UNIT,
        "threshold": Kind.THRESHOLD,
        "jump": Kind.AMOUNT,
        "reset": Kind.AMOUNT,
    },
    state=State,
    choices={
        "reset": ("soft", "hard", "soft_after_decay", "soft_raised"),
        "compare": (GE, GT),
    },
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
