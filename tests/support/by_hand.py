"""Integer programs written out a second time: neuron by neuron, in Python's whole numbers.

No width, no array, and nothing of the project's arithmetic, steps or kernels: products and currents
are as large as they become, `//` drops bits, and only a register has an end. What a target does to
a number is said by `Chip`; what a model does, by the function of its name, in scalars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

from neurodeploy.program.ir import Dense, Population, Source, Stream, edges


@dataclass
class Chip:
    """Products drop `frac` bits by `rounding`; registers of `bits` have ends, by `overflow`.

    lost counts what a register did not hold as it was.
    """

    frac: int
    bits: int
    rounding: str
    overflow: str
    lost: int = 0

    def mul(self, coef, value):
        return self.drop(coef * value, self.frac)

    def drop(self, value, bits):
        """value / 2^bits, rounded down, towards zero, or to the nearest with ties up."""
        unit = 2**bits
        if self.rounding == "floor":
            return value // unit
        if self.rounding == "toward_zero":
            return value // unit if value >= 0 else -(-value // unit)
        return (2 * value + unit) // (2 * unit)

    def keep(self, value):
        top = 2 ** (self.bits - 1)
        if self.overflow == "saturate":
            held = max(1 - top, min(value, top - 1))
        else:
            held = (value + top) % (2 * top) - top
        self.lost += held != value
        return held


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
    lowered = c.keep(u - k.reset)
    return fired, lowered if fired else u


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
        after = c.keep(u - a - k.reset) if o["reset"] == "soft" else k.reset
        raised = c.keep(c.mul(k.rho, a) + (k.jump if fired else 0))
        return fired, (after if fired else u, raised)
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


@dataclass
class Written:
    """values[node] [T][B][N] in the input's time, states[node] [rows][B][N] in the end; lost."""

    values: dict = field(default_factory=dict)
    states: dict = field(default_factory=dict)
    lost: dict = field(default_factory=dict)


def run(program, x):
    """Run whole inputs x [T, B, C]."""
    steps, samples = x.shape[:2]
    done = Written()
    for node in program:
        if isinstance(node, Source):
            done.values[node.name] = x.tolist()
        elif isinstance(node, Stream):
            done.values[node.name] = [
                [[current(node, n, t, b, done) for n in range(node.width)] for b in range(samples)]
                for t in range(steps)
            ]
        else:
            population(program, node, steps, samples, done)
    return done


def current(node, n, t, b, done):
    """What arrives at neuron n in step t of sample b, but for what the node itself sends."""
    others = (edge for edge in edges(node) if edge.source != node.name)
    return sum(arrives(edge, n, done.values[edge.source][t][b]) for edge in others)


def arrives(edge, n, sent):
    if isinstance(edge, Dense):
        row = edge.weight[n].tolist()
        return sum(w * value for w, value in zip(row, sent, strict=True)) * 2**edge.exponent
    return int(edge.sign[n]) * sent[n] * 2**edge.exponent


def population(program, node: Population, steps, samples, done):
    numbers = program.numbers
    c = Chip(node.coef_frac, node.state_bits, numbers.rounding, numbers.overflow)
    step, again = STEPS[node.spec], [e for e in edges(node) if e.source == node.name]
    rows = node.model.rows(node.model.state._fields, node.modes)
    values = [[[0] * node.width for _ in range(samples)] for _ in range(steps)]
    states = [[[0] * node.width for _ in range(samples)] for _ in range(rows)]
    for b in range(samples):
        z, before = [(0,) * rows for _ in range(node.width)], [0] * node.width
        for i in range(steps):
            t = steps - 1 - i if node.reverse else i
            for n in range(node.width):
                drive = current(node, n, t, b, done)
                drive += sum(arrives(edge, n, before) for edge in again)
                shift = int(node.shift[n])
                moved = drive * 2**shift if shift >= 0 else c.drop(drive, -shift)
                k = constants(node, n, i)
                sent, z[n] = step(c, k, z[n], moved + int(node.bias[n]), node.options)
                values[t][b][n] = int(sent)
            before = values[t][b]
        for n in range(node.width):
            for row, value in zip(states, z[n], strict=True):
                row[b][n] = value
    done.values[node.name], done.states[node.name] = values, states
    done.lost[node.name] = c.lost


def constants(node, n, i):
    """The constants of neuron n in its own step i: of a table the row, of modes all."""
    found = {}
    for name, value in node.coefs.items():
        if name in node.model.tables:
            found[name] = int(value[i][n]) if len(value) else None
        elif name in node.model.modal:
            found[name] = value[:, n].tolist()
        else:
            found[name] = int(value[n])
    return SimpleNamespace(**found)
