"""The published recurrences, written out independently of the project's steps.

Each yields, step by step, (output, membrane after the step) for inputs [T, B, N]; the membrane is
the first state of the project's step in published units (the output, for neurons with modes).
"""

from __future__ import annotations

import numpy as np


def prf(p, options, x):
    """arXiv 2410.03530, Eq. 19, in complex numbers."""
    z = np.zeros(x.shape[1:], complex)
    for row in x:
        z = np.exp(p.dt * (-1 / p.tau + 1j * p.theta)) * z + p.dt * row
        fires = z.real >= p.v_th if options["compare"] == ">=" else z.real > p.v_th
        yield fires, z.real


def lif(p, options, x):
    """arXiv 2410.03530, Eq. 2-3: the soft reset is subtracted before the next decay."""
    u, s = np.zeros(x.shape[1:]), np.zeros(x.shape[1:], bool)
    for row in x:
        if options["reset"] == "soft":
            u = p.beta * (u - p.v_th * s) + p.gain * row
        elif options["reset"] == "hard":
            u = p.beta * np.where(s, p.v_reset, u) + p.gain * row
        else:
            u = p.beta * u + p.gain * row
        s = u >= p.v_th if options["compare"] == ">=" else u > p.v_th
        after = {"soft": u - p.v_th * s, "hard": np.where(s, p.v_reset, u), "none": u}
        yield s, after[options["reset"]]


def spatial(p, options, x):
    """arXiv 2410.03530, Eq. 96."""
    for row in x:
        yield (row >= p.v_th if options["compare"] == ">=" else row > p.v_th), None


def li(p, options, x):
    """A leaky sum; without leak a cumulative one."""
    v = np.zeros(x.shape[1:])
    for row in x:
        v = v * (p.beta if options["leak"] else 1.0) + row
        yield v, v


def celif(p, options, x):
    """Contextual embedding LIF, Eq. 2 and 4, with the threshold itself and the six of Table 2."""
    v = s = np.zeros(x.shape[1:])
    theta = np.broadcast_to(p.theta0, x.shape[1:])
    for t, row in enumerate(x):
        context = {
            "s": lambda v, s, t: p.gamma * s,
            "v": lambda v, s, t: v,
            "te": lambda v, s, t: p.te[t],
            "v_plus_te": lambda v, s, t: v + p.te[t],
            "s_te": lambda v, s, t: s * p.te[t],
            "v_te": lambda v, s, t: v * p.te[t],
        }[options["context"]](v, s, t)
        theta = theta + context - (1 - p.beta) * (theta - p.theta0)
        v = p.alpha * v * (1 - s) + row
        s = 1.0 * (v >= theta if options["compare"] == ">=" else v > theta)
        yield s > 0, v


def s4d(p, options, x):
    """arXiv 2206.11893, Eq. 3-6, in complex numbers; the output is what the tests call membrane."""
    a, b, c = (re + 1j * im for re, im in ((p.a_re, p.a_im), (p.b_re, p.b_im), (p.c_re, p.c_im)))
    u = np.zeros((x.shape[1], *a.shape), complex)
    for row in x:
        u = a * u + b * row[:, None]
        y = 2 * (c * u).sum(axis=1).real + (p.d * row if options["skip"] else 0.0)
        yield y, y


PUBLISHED = {"prf": prf, "lif": lif, "spatial": spatial, "li": li, "celif": celif, "s4d": s4d}
