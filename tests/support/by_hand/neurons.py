"""What each neuron model does in one step, in scalars; a function of the model's name.

step(chip, constants, state, drive, options) returns what is sent, and the state.
"""

from __future__ import annotations


def over(options, value, threshold):
    return value > threshold if options["compare"] == ">" else value >= threshold


def prf(c, k, z, x, o):
    re, im = z
    new_re = c.keep(c.mul(k.c, re) - c.mul(k.d, im) + x)
    new_im = c.keep(c.mul(k.d, re) + c.mul(k.c, im))
    return over(o, new_re, k.threshold), (new_re, new_im)


def membrane(c, k, v, drive, o):
    """What LIF and current-based LIF share: (spike, membrane) for each of the six resets."""
    reset, was_over = o["reset"], over(o, v, k.threshold)
    u = c.mul(k.beta, v) + drive
    if reset == "hard_next":
        u = c.keep(k.reset if was_over else u)
        return over(o, u, k.threshold), u
    if reset == "soft_after_decay":
        u = c.keep(u - k.reset if was_over else u)
        return over(o, u, k.threshold), u
    u = c.keep(u)
    doubled = reset == "soft_doubled" and was_over
    fired = over(o, u - k.reset if doubled else u, k.threshold)
    if reset == "hard":
        return fired, k.reset if fired else u
    if reset == "none":
        return fired, u
    return fired, c.keep(u - k.reset) if fired else u


def lif(c, k, z, x, o):
    fired, v = membrane(c, k, z[0], x, o)
    return fired, (v,)


def cubalif(c, k, z, x, o):
    current = c.keep(c.mul(k.alpha, z[1]) + x)
    fired, v = membrane(c, k, z[0], current, o)
    return fired, (v, current)


def multispike(c, k, z, x, o):
    u = c.keep(c.mul(k.beta, z[0]) + x)
    whole = min(max(u, 0) // max(k.threshold, 1), 255)
    fired = u >= k.threshold
    n = whole if o["spikes"] == "many" else int(fired)
    if o["reset"] == "hard":
        v = k.reset if fired else u
    elif o["spikes"] == "many":
        v = u - n * k.threshold
    else:
        v = u - k.threshold if fired else u
    return n, (c.keep(max(v, k.floor) if o["floor"] else v),)


def alif(c, k, z, x, o):
    v, a = z
    if o["reset"] in ("soft", "hard"):
        u = c.keep(c.mul(k.beta, v) + x)
        fired = over(o, u - a, k.threshold)
        raised = c.keep(c.mul(k.rho, a) + (k.jump if fired else 0))
        if fired:
            u = c.keep(u - a - k.reset) if o["reset"] == "soft" else k.reset
        return fired, (u, raised)
    before = over(o, v - a, k.threshold)
    raised = c.keep(c.mul(k.rho, a) + (k.jump if before else 0))
    taken = k.reset + (raised if o["reset"] == "soft_raised" else a) if before else 0
    u = c.keep(c.mul(k.beta, v) - taken + x)
    return over(o, u - raised, k.threshold), (u, raised)


def tclif(c, k, z, x, o):
    d, s = z
    held = s
    if o["coupling"] == "unreset" and over(o, s, k.threshold):
        held = s - k.reset
    d = c.keep(d + c.mul(k.beta1, s) + x)
    s = c.keep(held + c.mul(k.beta2, d))
    return compartments(c, k, d, s, o, ("reset", "unreset"))


def two_compartment(c, k, z, x, o):
    d, s = z
    fired = o["coupling"] == "unreset" and over(o, s, k.threshold)
    new_d = c.mul(k.alpha1, d) - (k.gamma if fired else 0) + c.mul(k.beta1, s) + x
    new_d = c.keep(new_d)
    new_s = c.mul(k.alpha2, s) - (k.reset if fired else 0) + c.mul(k.beta2, new_d)
    return compartments(c, k, new_d, c.keep(new_s), o, ("reset",))


def compartments(c, k, d, s, o, dendrites):
    """Fire; take from the dendrite at once for couplings `dendrites`, from the soma for "reset"."""
    fired = over(o, s, k.threshold)
    if o["coupling"] in dendrites:
        d = c.keep(d - k.gamma if fired else d)
    if o["coupling"] == "reset":
        s = c.keep(s - k.reset if fired else s)
    return fired, (d, s)


def spatial(c, k, z, x, o):
    return over(o, c.keep(x), k.threshold), ()


def li(c, k, z, x, o):
    v = c.keep((c.mul(k.beta, z[0]) if o["leak"] else z[0]) + x)
    return v, (v,)


def celif(c, k, z, x, o):
    v, d = z
    fired = over(o, v - d, k.threshold)
    embedded = {
        "s": lambda: k.jump if fired else 0,
        "v": lambda: v,
        "te": lambda: k.amount,
        "v_plus_te": lambda: v + k.amount,
        "s_te": lambda: k.amount if fired else 0,
        "v_te": lambda: c.mul(k.factor, v),
    }[o["context"]]()
    d = c.keep(c.mul(k.beta, d) + embedded)
    v = c.keep(x if fired else c.mul(k.alpha, v) + x)
    return over(o, v - d, k.threshold), (v, d)


def s4d(c, k, z, x, o):
    modes = len(k.a_re)
    res, ims, y = [], [], 0
    for n in range(modes):
        re, im = z[n], z[modes + n]
        res.append(c.keep(c.mul(k.a_re[n], re) - c.mul(k.a_im[n], im) + x))
        ims.append(c.keep(c.mul(k.a_im[n], re) + c.mul(k.a_re[n], im)))
        y += c.mul(k.c_re[n], res[-1]) - c.mul(k.c_im[n], ims[-1])
    if o["skip"]:
        y += c.mul(k.d, c.keep(x))
    return c.keep(y), (*res, *ims)


STEPS = {
    step.__name__: step
    for step in (
        *(prf, lif, cubalif, multispike, alif, tclif, two_compartment, spatial, li, celif, s4d),
    )
}
