r"""Contextual embedding leaky integrate-and-fire: the past moves the threshold.

    th[t] = theta0 + beta (th[t-1] - theta0) + ce[t]
    v[t]  = alpha v[t-1] (1 - s[t-1]) + x[t],    s[t] = v[t] > th[t],    th[-1] = theta0

(Chen et al., "Unleashing the Potential of Spiking Neural Networks for Sequential Modeling with
Contextual Embedding", Eq. 2 and 4.) v is the membrane before reset. The contextual
embedding ce is one of the six of its Table 2, te[t] being a trained table with a row per step:

    context   s          v       te      v_plus_te       s_te           v_te (the paper's choice)
    ce[t]     gamma s'   v'      te[t]   v' + te[t]      te[t] s'       te[t] v'

with s' = s[t-1] and v' = v[t-1]. Folded form: the threshold is kept as its deviation d from theta0,
so that every state starts at 0, and v - d is compared with theta0. The spike of the step before is
a function of the state, (v' - d') > theta0, and takes no register.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons.spec import GE, GT, Kind, NeuronSpec

CONTEXTS = ("v_te", "s_te", "v_plus_te", "te", "v", "s")
TABLED = CONTEXTS[:4]  #: those that read the table


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars, te [T, channels]."""

    alpha: Any  #: decay of the membrane per step, in [0, 1] [1]
    beta: Any  #: decay of the threshold's deviation per step, in [0, 1] [1]
    theta0: Any  #: threshold at rest > 0 [membrane]
    gamma: Any  #: rise of the threshold per spike, for context "s" [membrane]; 0 otherwise
    te: Any  #: temporal encoding [1] ("v_te") or [membrane]; no rows for "v" and "s"


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels], tables [T, channels]."""

    alpha: Any
    beta: Any
    threshold: Any
    jump: Any  #: added to the deviation after a spike, "s"
    factor: Any  #: table: times the membrane, "v_te"
    amount: Any  #: table: added to the deviation, "te" and "v_plus_te", after a spike "s_te"


class State(NamedTuple):
    """Membrane before reset, and the threshold's deviation; arrays [channels]."""

    v: Any
    d: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Give the table its unit: a factor, or an amount."""
    factor, amount = (p.te, 0.0) if options["context"] == "v_te" else (0.0, p.te)
    return Coefs(p.alpha, p.beta, p.theta0, p.gamma, factor, amount)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    fired = o.spike(z.v - z.d, k.threshold, options["compare"])
    d = o.write(_embed(o, k, z, fired, o.mul(k.beta, z.d), options["context"]))
    v = o.write(o.select(fired, x, o.mul(k.alpha, z.v) + x))
    return o.spike(v - d, k.threshold, options["compare"]), State(v, d)


def _embed(o: Arith, k: Coefs, z: State, fired: Any, kept: Any, context: str) -> Any:
    """Return the threshold's deviation: what was kept of it, and the contextual embedding."""
    if context == "v_te":
        return kept + o.mul(o.read(k.factor), z.v)
    if context == "s_te":
        return o.select(fired, kept + o.read(k.amount), kept)
    if context == "v_plus_te":
        return kept + z.v + o.read(k.amount)
    if context == "te":
        return kept + o.read(k.amount)
    if context == "v":
        return kept + z.v
    return o.select(fired, kept + k.jump, kept)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return 1: the folded state is the published one."""
    return 1.0


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    wrong = [
        f"{name} must be in [0, 1]"
        for name in ("alpha", "beta")
        if not np.all((np.asarray(getattr(p, name)) >= 0) & (np.asarray(getattr(p, name)) <= 1))
    ]
    if not np.all(np.asarray(p.theta0) > 0):
        wrong.append("theta0 must be > 0")
    context = options["context"]
    if context != "s" and np.any(np.asarray(p.gamma) != 0):
        wrong.append(f"gamma has no meaning for context={context!r}, and must be 0")
    rows = len(p.te) if np.ndim(p.te) == 2 else 0
    if context in TABLED and not rows:
        wrong.append(f"te needs a row for each step for context={context!r}")
    if context not in TABLED and rows:
        wrong.append(f"te has no meaning for context={context!r}, and must have no rows")
    return wrong


def poles(k: Coefs) -> Any:
    """Return the decays of membrane and threshold, complex [2, channels]."""
    return np.stack(np.broadcast_arrays(k.alpha, k.beta)) + 0j


CELIF = NeuronSpec(
    name="celif",
    source="Chen et al., Sequential Modeling with Contextual Embedding, Eq. 2 and 4, Table 2",
    params=Params,
    units={
        "alpha": "1",
        "beta": "1",
        "theta0": "membrane",
        "gamma": "membrane",
        "te": "1 or membrane",
    },
    coefs=Coefs,
    kinds={
        "alpha": Kind.UNIT,
        "beta": Kind.UNIT,
        "threshold": Kind.THRESHOLD,
        "jump": Kind.AMOUNT,
        "factor": Kind.UNIT,
        "amount": Kind.AMOUNT,
    },
    state=State,
    choices={"context": CONTEXTS, "compare": (GT, GE)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
    tables=frozenset({"te", "factor", "amount"}),
)
