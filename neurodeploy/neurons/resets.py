r"""What a membrane does when it fires: the resets that LIF and current-based LIF share.

With u[t] = beta v[t-1] + d[t] for a drive d, and s[t] = u[t] >= v_th,

    v[t] = u[t] - v_th s[t]             soft
         = v_reset where s[t], else u   hard
         = u[t]                         none

(Huang et al. 2024, arXiv 2410.03530, Eq. 2-3: subtracting before the next decay, as there, and
subtracting right after the spike, as here, are the same trajectory.) Two come at the next step, and
then v[t] = u[t]:

    u[t] = beta v[t-1] + d[t] - v_th s[t-1]                        soft_after_decay
         = v_reset where s[t-1], else beta v[t-1] + d[t]           hard_next

Soft after decay is Eq. 1 of Zhang et al. 2023, arXiv 2307.07231: what is subtracted does not decay.
Hard next replaces the whole update, drive included, so that a neuron rests for a step after each
spike (snnTorch's `reset_mechanism="zero"`). Whether the last step fired is seen from its membrane,
which never starts above the threshold, so no register is needed for it. The last is soft with

    s[t] = u[t] >= 2 v_th where v[t-1] >= v_th, else u[t] >= v_th  soft_doubled

so that a neuron that its reset leaves above the threshold needs twice as much to fire again
(snnTorch's `reset_mechanism="subtract"` with `reset_delay=False`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neurodeploy.arith import Arith

RESETS = ("soft", "hard", "none", "soft_after_decay", "hard_next", "soft_doubled")
HARD = ("hard", "hard_next")


def fire(o: Arith, k: Any, v: Any, drive: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return (spikes, membrane) of a step from membrane `v`; k has beta, threshold and reset."""
    reset, compare = options["reset"], options["compare"]
    if reset in ("soft_after_decay", "hard_next"):
        return _at_the_next_step(o, k, v, drive, options)
    u = o.write(o.mul(k.beta, v) + drive)
    if reset == "soft_doubled":
        above = o.spike(v, k.threshold, compare)
        s = o.spike(o.select(above, u - k.reset, u), k.threshold, compare)
    else:
        s = o.spike(u, k.threshold, compare)
    if reset == "none":
        return s, u
    if reset == "hard":
        return s, o.select(s, k.reset, u)
    return s, o.write(o.select(s, u - k.reset, u))


def _at_the_next_step(
    o: Arith, k: Any, v: Any, drive: Any, options: Mapping[str, Any]
) -> tuple[Any, Any]:
    fired = o.spike(v, k.threshold, options["compare"])
    kept = o.mul(k.beta, v)
    if options["reset"] == "hard_next":
        u = o.write(o.select(fired, k.reset, kept + drive))
    else:
        u = o.write(o.select(fired, kept - k.reset, kept) + drive)
    return o.spike(u, k.threshold, options["compare"]), u


def folded(p: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return threshold and reset of parameters v_th, v_reset and gain: the gain moves into both.

    Without a reset, which is not read then, it is 0, as v_reset is.
    """
    threshold = p.v_th / p.gain
    taken = options["reset"] in (*HARD, "none")
    return threshold, p.v_reset / p.gain if taken else threshold


def check(p: Any, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters beta, v_th, gain and v_reset."""
    wrong = [f"{n} must be > 0" for n in ("v_th", "gain") if not np.all(getattr(p, n) > 0)]
    if not np.all((np.asarray(p.beta) >= 0) & (np.asarray(p.beta) <= 1)):
        wrong.append("beta must be in [0, 1]")
    if options["reset"] in HARD and not np.all(np.asarray(p.v_reset) < p.v_th):
        wrong.append("v_reset must be below v_th")
    if options["reset"] not in HARD and np.any(np.asarray(p.v_reset) != 0):
        wrong.append(f"v_reset has no meaning for reset={options['reset']!r}, and must be 0")
    return wrong
