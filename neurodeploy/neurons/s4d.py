r"""Diagonal state space (S4D): several damped rotations per channel, read out as one real value.

    u_n[t] = A_n u_n[t-1] + B_n x[t],    y[t] = 2 Re(sum_n C_n u_n[t]) + D x[t]

(Gu et al. 2022, arXiv 2206.11893, Eq. 3-6, discretised; one of each conjugate pair.) It does not
spike: its output y is what a threshold or a LIF neuron behind it reads (SpikingSSM, Binary S4D).
Folded form: dividing mode n by B_n lets every mode take the input as it is,

    re_n[t] = a_re re_n[t-1] - a_im im_n[t-1] + x[t]          c = 2 C_n B_n
    im_n[t] = a_im re_n[t-1] + a_re im_n[t-1]
    y[t]    = sum_n (c_re re_n[t] - c_im im_n[t]) + d x[t]

How A and B follow from a continuous system (zero-order hold, bilinear) is the business of whoever
trains one: here they are what the recurrence multiplies by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.arith import Arith
from neurodeploy.neurons.spec import Kind, NeuronSpec


class Params(NamedTuple):
    """Trained parameters, discretised; arrays [modes, channels], d [channels]."""

    a_re: Any  #: transition per step, a complex number inside the unit circle [1]
    a_im: Any
    b_re: Any  #: input weight [state / input]
    b_im: Any
    c_re: Any  #: output weight [output / state]
    c_im: Any
    d: Any  #: from input to output, past the states [output / input]; 0 without skip


class Coefs(NamedTuple):
    """What the chip stores; arrays [modes, channels], d [channels]."""

    a_re: Any
    a_im: Any
    c_re: Any
    c_im: Any
    d: Any


class State(NamedTuple):
    """Rotating pairs; arrays [modes, channels]."""

    re: Any
    im: Any


def fold(p: Params, options: Mapping[str, Any], xp: Any) -> Coefs:  # noqa: ARG001
    """Fold the input weight and the factor 2 of a conjugate pair into the output weight."""
    re = p.c_re * p.b_re - p.c_im * p.b_im
    im = p.c_re * p.b_im + p.c_im * p.b_re
    return Coefs(p.a_re, p.a_im, 2.0 * re, 2.0 * im, p.d)


def step(o: Arith, k: Coefs, z: State, x: Any, options: Mapping[str, Any]) -> tuple[Any, State]:
    """Advance one step under input current `x`; return (output, state)."""
    re = o.write(o.mul(k.a_re, z.re) - o.mul(k.a_im, z.im) + x)
    im = o.write(o.mul(k.a_im, z.re) + o.mul(k.a_re, z.im))
    y = o.total(o.mul(k.c_re, re) - o.mul(k.c_im, im))
    return o.write(y + o.mul(k.d, o.write(x)) if options["skip"] else y), State(re, im)


def unit(p: Params, options: Mapping[str, Any], xp: Any) -> Any:  # noqa: ARG001
    """Return 1: the output is the published one."""
    return 1.0


def check(p: Params, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters."""
    shapes = {np.shape(value) for value in p[:-1]}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        return ["a, b and c must all be [modes, channels]"]
    wrong = []
    if not np.all(np.hypot(p.a_re, p.a_im) <= 1):
        wrong.append("|a| must be <= 1")
    if not options["skip"] and np.any(np.asarray(p.d) != 0):
        wrong.append("d has no meaning for skip=False, and must be 0")
    return wrong


def poles(k: Coefs) -> Any:
    """Return the poles of the rotations, complex [modes, channels]."""
    return k.a_re + 1j * k.a_im


S4D = NeuronSpec(
    name="s4d",
    source="Gu et al. 2022, arXiv 2206.11893, Eq. 3-6",
    params=Params,
    units={
        "a_re": "1",
        "a_im": "1",
        "b_re": "state / input",
        "b_im": "state / input",
        "c_re": "output / state",
        "c_im": "output / state",
        "d": "output / input",
    },
    coefs=Coefs,
    kinds={
        "a_re": Kind.UNIT,
        "a_im": Kind.UNIT,
        "c_re": Kind.OUTPUT,
        "c_im": Kind.OUTPUT,
        "d": Kind.OUTPUT,
    },
    state=State,
    choices={"skip": (True, False)},
    fold=fold,
    step=step,
    check=check,
    poles=poles,
    unit=unit,
    spiking=False,
    modal=frozenset({"a_re", "a_im", "b_re", "b_im", "c_re", "c_im", "re", "im"}),
)
