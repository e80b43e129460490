"""The published recurrences, written out independently of the project's steps.

Each yields, step by step, (output, states after the step) for inputs [T, B, N]; the states are a
tuple of the first states of the project's step, or the first alone, in published units (the output,
for neurons with modes).
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np


def prf(p, options, x):
    """arXiv 2410.03530, Eq. 19, in complex numbers."""
    z = np.zeros(x.shape[1:], complex)
    for row in x:
        z = np.exp(p.dt * (-1 / p.tau + 1j * p.theta)) * z + p.dt * row
        fires = z.real >= p.v_th if options["compare"] == ">=" else z.real > p.v_th
        yield fires, z.real


def fires(options, membrane, threshold):
    return membrane >= threshold if options["compare"] == ">=" else membrane > threshold


def lif(p, options, x):
    """arXiv 2410.03530, Eq. 2-3: the soft reset is subtracted before the next decay.

    soft_after_decay: arXiv 2307.07231, Eq. 1; hard_next: snnTorch's mechanism "zero"; soft_doubled:
    snnTorch's "subtract" without delay, as `Leaky.forward` has it (1.0.0).
    """
    reset = options["reset"]
    if reset == "soft_doubled":
        yield from leaky_subtract(p, options, x, lambda row: p.gain * row)
        return
    u, s = np.zeros(x.shape[1:]), np.zeros(x.shape[1:], bool)
    for row in x:
        if reset == "soft":
            u = p.beta * (u - p.v_th * s) + p.gain * row
        elif reset == "soft_after_decay":
            u = p.beta * u + p.gain * row - p.v_th * s
        elif reset == "hard":
            u = p.beta * np.where(s, p.v_reset, u) + p.gain * row
        else:
            u = p.beta * u + p.gain * row
            if reset == "hard_next":
                u = u * ~s + p.v_reset * s
        s = fires(options, u, p.v_th)
        after = {"soft": u - p.v_th * s, "hard": np.where(s, p.v_reset, u)}
        yield s, after.get(reset, u)


def leaky_subtract(p, options, x, drive):
    """snnTorch's reset by subtraction, reset_delay=False: do_reset = spk - reset."""
    mem = np.zeros(x.shape[1:])
    for row in x:
        reset = fires(options, mem, p.v_th).astype(float)
        mem = p.beta * mem + drive(row) - reset * p.v_th
        spk = fires(options, mem, p.v_th).astype(float)
        mem = mem - (spk - reset) * p.v_th
        yield spk > 0, mem


def cubalif(p, options, x):
    """snnTorch's Synaptic: `syn` first, then `mem` as in LIF, which is driven by it at gain 1."""
    held = []

    class Currents:
        shape = x.shape

        def __iter__(self):
            syn = np.zeros(x.shape[1:])
            for row in x:
                syn = p.alpha * syn + p.gain * row
                held.append(syn)
                yield syn

    ones = SimpleNamespace(beta=p.beta, v_th=p.v_th, gain=1.0, v_reset=p.v_reset)
    for spikes, mem in lif(ones, options, Currents()):
        yield spikes, (mem, held[-1])


def multispike(p, options, x):
    """sinabs 3.1.3, `lif_forward_single` with MultiSpike or SingleSpike, and a hard reset."""
    v = np.zeros(x.shape[1:])
    for row in x:
        v = p.beta * v + p.gain * row
        many = options["spikes"] == "many"
        n = (v > 0) * np.trunc(v / p.v_th) if many else (v - p.v_th >= 0).astype(float)
        v = v - n * p.v_th if options["reset"] == "soft" else np.where(n > 0, p.v_reset, v)
        v = np.maximum(v - p.v_min, 0) + p.v_min if options["floor"] else v
        yield n, v


def alif(p, options, x):
    """Bellec et al. 2018, Yin et al. 2021, and Eq. 3 of CE-LIF; see the model's docstring."""
    v, b, s = (np.zeros(x.shape[1:]) for _ in range(3))
    for row in x:
        crossed = p.v_th + b
        b = p.rho * b + p.jump * s
        raised = p.v_th + b
        if options["reset"] == "soft":
            v = p.beta * (v - crossed * s) + p.gain * row
        elif options["reset"] == "hard":
            v = p.beta * (v * (1 - s) + p.v_reset * s) + p.gain * row
        else:
            amount = crossed if options["reset"] == "soft_after_decay" else raised
            v = p.beta * v + p.gain * row - amount * s
        s = fires(options, v, raised).astype(float)
        after = {"soft": v - raised * s, "hard": v * (1 - s) + p.v_reset * s}
        yield s, after.get(options["reset"], v)


def tclif(p, options, x):
    """arXiv 2307.07231, Eq. 9-11, with resets at the next step as printed ("unreset"), or at once.

    The states are the dendrite after its reset, and the soma after or before its own.
    """
    d, s, spike = (np.zeros(x.shape[1:]) for _ in range(3))
    for row in x:
        if options["coupling"] == "unreset":
            d = d + p.beta1 * s + row - p.gamma * spike
            s = s + p.beta2 * d - p.v_th * spike
            spike = fires(options, s, p.v_th).astype(float)
            yield spike, (d - p.gamma * spike, s)
        else:
            d = d + p.beta1 * s + row
            s = s + p.beta2 * d
            spike = fires(options, s, p.v_th).astype(float)
            d, s = d - p.gamma * spike, s - p.v_th * spike
            yield spike, (d, s)


def two_compartment(p, options, x):
    """arXiv 2307.07231, Eq. 6-8 ("unreset"); the same with resets taken at once ("reset")."""
    d, s, spike = (np.zeros(x.shape[1:]) for _ in range(3))
    for row in x:
        if options["coupling"] == "unreset":
            d = p.alpha1 * d + p.beta1 * s + row - p.gamma * spike
            s = p.alpha2 * s + p.beta2 * d - p.v_th * spike
            spike = fires(options, s, p.v_th).astype(float)
        else:
            d = p.alpha1 * d + p.beta1 * s + row
            s = p.alpha2 * s + p.beta2 * d
            spike = fires(options, s, p.v_th).astype(float)
            d, s = d - p.gamma * spike, s - p.v_th * spike
        yield spike, (d, s)


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


PUBLISHED = {
    **{"prf": prf, "lif": lif, "spatial": spatial, "li": li, "celif": celif, "s4d": s4d},
    **{"alif": alif, "tclif": tclif, "two_compartment": two_compartment},
    **{"cubalif": cubalif, "multispike": multispike},
}
