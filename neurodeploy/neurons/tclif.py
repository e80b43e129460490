r"""TC-LIF (LSTM-LIF): a dendrite that remembers, and a soma that fires.

    d[t] = D[t-1] + beta1 S[t-1] + x[t]
    s[t] = S[t-1] + beta2 d[t],    spike[t] = s[t] >= v_th
    D[t] = d[t] - gamma spike[t],  S[t] = s[t] - v_th spike[t]

with beta1 in [-1, 0] and beta2 in [0, 1], so that the soma reads the dendrite just written
(Zhang et al. 2023, arXiv 2307.07231, Eq. 9-11, 2308.13250). That is `coupling="reset"`, what the
released code computes. Read literally, the paper's Eq. 9 couples the dendrite to the membrane
*before* its reset, `coupling="unreset"`:

    d[t] = D[t-1] + beta1 s[t-1] + x[t]

and fires differently. The undriven pair turns, the cosine of its angle per step being
1 + beta1 beta2 / 2, and never decays: its poles lie on the unit circle, and rounding the
coefficients leaves them there.
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

    beta1: Any  #: from soma to dendrite, in [-1, 0] [1]
    beta2: Any  #: from dendrite to soma, in [0, 1] [1]
    gamma: Any  #: what a spike takes from the dendrite >= 0 [membrane]
    v_th: Any  #: firing threshold > 0, and what a spike takes from the soma [membrane]


class Coefs(NamedTuple):
    """What the chip stores; arrays [channels]."""

    beta1: Any
    beta2: Any
    threshold: Any
    reset: Any
    gamma: Any


class State(NamedTuple):
    """Dendrite d after its reset; soma s after ("reset") or before ("unreset") its own."""

    d: Any
    s: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Keep the constants."""
    return Coefs(p.beta1, p.beta2, p.v_th, p.v_th, p.gamma)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (spikes, state)."""
    compare, held = options["compare"], z.s
    if options["coupling"] == "unreset":
        held = o.select(o.spike(z.s, k.threshold, compare), z.s - k.reset, z.s)
    d = o.write(z.d + o.mul(k.beta1, z.s) + x)
    s = o.write(held + o.mul(k.beta2, d))
    spike = o.spike(s, k.threshold, compare)
    d = o.write(o.select(spike, d - k.gamma, d))
    if options["coupling"] == "unreset":
        return spike, State(d, s)
    return spike, State(d, o.write(o.select(spike, s - k.reset, s)))


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return 1: the folded state is the published one."""
    return 1.0


def check(p: Params, options: Mapping[str, Any]) -> list[str]:  # noqa: ARG001
    """Return what is wrong with the parameters."""
    wrong = [] if np.all(np.asarray(p.v_th) > 0) else ["v_th must be > 0"]
    if not np.all((np.asarray(p.beta1) >= -1) & (np.asarray(p.beta1) <= 0)):
        wrong.append("beta1 must be in [-1, 0]")
    if not np.all((np.asarray(p.beta2) >= 0) & (np.asarray(p.beta2) <= 1)):
        wrong.append("beta2 must be in [0, 1]")
    return wrong if np.all(np.asarray(p.gamma) >= 0) else [*wrong, "gamma must be >= 0"]


def poles(k: Coefs) -> Any:
    """Return the pair of poles, complex [2, channels]."""
    return two_poles(1.0, 1.0, k.beta1, k.beta2)


TCLIF = NeuronSpec(
    name="tclif",
    source="Zhang et al. 2023, arXiv 2307.07231, Eq. 9-11",
    params=Params,
    units={"beta1": "1", "beta2": "1", "gamma": "membrane", "v_th": "membrane"},
    coefs=Coefs,
    kinds={
        "beta1": Kind.UNIT,
        "beta2": Kind.UNIT,
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
