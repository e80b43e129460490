r"""The generalised two-compartment neuron, of which TC-LIF is the case alpha1 = alpha2 = 1.

    d[t] = alpha1 D[t-1] + beta1 S[t-1] + x[t]
    s[t] = alpha2 S[t-1] + beta2 d[t],    spike[t] = s[t] >= v_th
    D[t] = d[t] - gamma spike[t],         S[t] = s[t] - v_th spike[t]

That is `coupling="reset"`: what decays and couples is what the reset has left, as in TC-LIF's
released code. `coupling="unreset"` is Eq. 6-8 of Zhang et al. 2023, arXiv 2307.07231, to the
letter (with Eq. 9's gamma; it is 0 in Eq. 6): membranes decay and couple as they were before the
reset, and what a spike takes is subtracted undiminished:

    d[t] = alpha1 d[t-1] + beta1 s[t-1] + x[t] - gamma spike[t-1]
    s[t] = alpha2 s[t-1] + beta2 d[t] - v_th spike[t-1]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons.compartments import two_poles
from neurodeploy.neurons.spec import GE, GT, Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters; arrays [channels] or scalars."""

    alpha1: Any  #: decay of the dendrite per step, in [0, 1] [1]
    alpha2: Any  #: decay of the soma per step, in [0, 1] [1]
    beta1: Any  #: from soma to dendrite, in [-1, 1] [1]
    beta2: Any  #: from dendrite to soma, in [-1, 1] [1]
    gamma: Any  #: what a spike takes from the dendrite >= 0 [membrane]
    v_th: Any  #: firing threshold > 0, and what a spike takes from the soma [membrane]


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    alpha1: Any
    alpha2: Any
    beta1: Any
    beta2: Any
    threshold: Any
    reset: Any
    gamma: Any


class State(NamedTuple):
    """Dendrite and soma, after ("reset") or before ("unreset") the reset; arrays [channels]."""

    d: Any
    s: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Keep the constants."""
    return Coefs(p.alpha1, p.alpha2, p.beta1, p.beta2, p.v_th, p.v_th, p.gamma)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    compare = options["compare"]
    d_kept, s_kept = o.mul(k.alpha1, z.d), o.mul(k.alpha2, z.s)
    if options["coupling"] == "unreset":
        fired = o.spike(z.s, k.threshold, compare)
        d_kept = o.select(fired, d_kept - k.gamma, d_kept)
        s_kept = o.select(fired, s_kept - k.reset, s_kept)
    d = o.write(d_kept + o.mul(k.beta1, z.s) + x)
    s = o.write(s_kept + o.mul(k.beta2, d))
    spike = o.spike(s, k.threshold, compare)
    if options["coupling"] == "unreset":
        return spike, State(d, s)
    d_after = o.write(o.select(spike, d - k.gamma, d))
    return spike, State(d_after, o.write(o.select(spike, s - k.reset, s)))


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return 1: the folded state is the published one."""
    return 1.0


def check(p: Params, options: Mapping[str, Any]) -> list[str]:  # noqa: ARG001
    """Return what is wrong with the parameters."""
    wrong = [] if np.all(np.asarray(p.v_th) > 0) else ["v_th must be > 0"]
    for names, low in ((("alpha1", "alpha2"), 0), (("beta1", "beta2"), -1)):
        for name in names:
            value = np.asarray(getattr(p, name))
            if not np.all((value >= low) & (value <= 1)):
                wrong.append(f"{name} must be in [{low}, 1]")
    return wrong if np.all(np.asarray(p.gamma) >= 0) else [*wrong, "gamma must be >= 0"]


def poles(k: Coefs) -> Any:
    """Return the pair of poles, complex [2, channels]."""
    return two_poles(k.alpha1, k.alpha2, k.beta1, k.beta2)


TWO_COMPARTMENT = NeuronSpec(
    name="two_compartment",
    source="Zhang et al. 2023, arXiv 2307.07231, Eq. 6-8",
    params=Params,
    units={
        **dict.fromkeys(("alpha1", "alpha2", "beta1", "beta2"), "1"),
        "gamma": "membrane",
        "v_th": "membrane",
    },
    coefs=Coefs,
    kinds={
        **dict.fromkeys(("alpha1", "alpha2", "beta1", "beta2"), Kind.UNIT),
        "threshold": Kind.THRESHOLD,
        "reset": Kind.AMOUNT,
        "gamma": Kind.AMOUNT,
    },
    state=State,
    choices={"coupling": ("reset", "unreset"), "compare": (GE, GT)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
)
