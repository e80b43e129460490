r"""Parallel resonate-and-fire: a damped rotation that never resets.

    z[t] = exp(dt (-1/tau + i theta)) z[t-1] + dt x[t],    s[t] = Re z[t] >= v_th

(Huang et al. 2024, arXiv 2410.03530, Eq. 19 and 52-54.) Folded form: dividing the state by dt
removes the input gain and moves it to the threshold, so weights keep one scale for all channels:

    re[t] = c re[t-1] - d im[t-1] + x[t]          c = exp(-dt/tau) cos(dt theta)
    im[t] = d re[t-1] + c im[t-1]                 d = exp(-dt/tau) sin(dt theta)
    s[t]  = re[t] >= v_th / dt
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons.spec import GE, GT, Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars."""

    dt: Any  #: step length > 0 [model time]
    tau: Any  #: decay time > 0 [model time]
    theta: Any  #: angular frequency [rad / model time]
    v_th: Any  #: firing threshold > 0 [membrane]


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    c: Any
    d: Any
    threshold: Any


class State(NamedTuple):
    """Membrane, as a rotating pair; arrays [channels]."""

    re: Any
    im: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Fold step length, decay and rotation into three constants (`xp`: numpy or torch)."""
    rho = xp.exp(-p.dt / p.tau)
    angle = p.dt * p.theta
    return Coefs(rho * xp.cos(angle), rho * xp.sin(angle), p.v_th / p.dt)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    re = o.write(o.mul(k.c, z.re) - o.mul(k.d, z.im) + x)
    im = o.write(o.mul(k.d, z.re) + o.mul(k.c, z.im))
    return o.spike(re, k.threshold, options["compare"]), State(re, im)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return the membrane per unit of folded state, the step length."""
    return p.dt


def check(p: Params, options: Mapping[str, Any]) -> list[str]:  # noqa: ARG001
    """Return what is wrong with the parameters."""
    return [f"{n} must be > 0" for n in ("dt", "tau", "v_th") if not np.all(getattr(p, n) > 0)]


def poles(k: Coefs) -> Any:
    """Return the pole of the rotation, complex [channels]."""
    return k.c + 1j * k.d


PRF = NeuronSpec(
    name="prf",
    source="Huang et al. 2024, arXiv 2410.03530, Eq. 19",
    params=Params,
    units={
        "dt": "model time",
        "tau": "model time",
        "theta": "rad / model time",
        "v_th": "membrane",
    },
    coefs=Coefs,
    kinds={"c": Kind.UNIT, "d": Kind.UNIT, "threshold": Kind.THRESHOLD},
    state=State,
    choices={"compare": (GE, GT)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
