"""What each kind of vector operation makes of one step's operands, as `program/vector` defines it.

map(params, x [operands][channels]) returns y [channels], as fractions of whole numbers where that
is simpler: roots are Python's, interpolation and rounding those of exact fractions. A cell or a
line of registers is in `with_memory`.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor, isqrt


def nearest(value):
    """The nearest whole number; of two, the one above."""
    return floor(Fraction(value) + Fraction(1, 2))


def read(table, position, step):
    """A table's value between entries, 2^step apart; behind the last one that of the last."""
    table = [int(entry) for entry in table]
    left, rest = divmod(position, 2 ** int(step))
    if left >= len(table) - 1:
        return table[-1]
    return nearest(table[left] + Fraction((table[left + 1] - table[left]) * rest, 2 ** int(step)))


def layernorm(p, xs):
    """Sums over pairs: n x - S = sum of x - x_j, n Q - S^2 = sum over j < k of (x_j - x_k)^2."""
    (x,) = xs
    spread = sum((a - b) ** 2 for k, a in enumerate(x) for b in x[:k]) + int(p["eps"])
    root = max(isqrt(spread * 4 ** int(p["guard"])), 1)
    inverse = int(p["dividend"]) // root
    away = [sum(a - b for b in x) for a in x]
    return [nearest(Fraction(d * inverse, 2 ** int(p["shift"]))) for d in away]


def gelu(p, xs):
    fine = 2 ** int(p["fine"])
    return [max(a, 0) * fine - read(p["table"], abs(a), p["step"]) for a in xs[0]]


def sigmoid(table, b, step):
    """In units of 2^-15, from half a table of s - 1/2."""
    above = read(table, abs(b), step)
    return 2**14 + (above if b >= 0 else -above)


def tanh(table, a, step):
    above = read(table, abs(a), step)
    return above if a >= 0 else -above


def glu(p, xs):
    return [a * sigmoid(p["table"], b, p["step"]) for a, b in zip(*xs, strict=True)]


def product(p, xs):
    return [a * b for a, b in zip(*xs, strict=True)]


def relu(p, xs):
    return [max(a, 0) for a in xs[0]]


def rescale(p, xs):
    return xs[0]


def ternary(p, xs):
    ends = zip(xs[0], p["upper"].tolist(), p["lower"].tolist(), strict=True)
    return [sign(a >= up, a <= low) for a, up, low in ends]


def ternary_step(p, xs):
    """x >= num / den max, without a quotient."""
    level = int(p["num"]) * max(map(abs, xs[0]))
    den = int(p["den"])
    return [sign(a * den >= level, a * den <= -level) for a in xs[0]]


def sign(above, below):
    return 1 if above else -1 if below else 0


MAPS = {
    f.__name__: f for f in (layernorm, gelu, glu, product, relu, rescale, ternary, ternary_step)
}


class Lstm:
    """c <- s(f) c + s(i) tanh(g), y = s(o) tanh(c); the register of c saturates."""

    def __init__(self, p, width):
        self.p, self.cells, self.lost = p, [0] * width, 0

    def step(self, xs):
        return [self._channel(n, *gates) for n, gates in enumerate(zip(*xs, strict=True))]

    def _channel(self, n, *gates):
        p = self.p
        i, f, o = (sigmoid(p["table_sigmoid"], gates[k], p["sigmoid_step"]) for k in (0, 1, 3))
        g = tanh(p["table_tanh"], gates[2], p["tanh_step"])
        scale = Fraction(2) ** (int(p["cell_fraction"]) - 30)  # of s(i) tanh(g) to the cell's unit
        wide = nearest(Fraction(f * self.cells[n], 2**15) + i * g * scale)
        most = 2 ** (int(p["state_bits"]) - 1) - 1
        self.cells[n] = max(-most, min(wide, most))
        self.lost += self.cells[n] != wide
        return o * tanh(p["table_tanh"], self.cells[n], p["cell_step"])

    def registers(self):
        return [self.cells]


class Delay:
    """y[t] = x[t - d], zeros before; the registers are what came last, youngest first."""

    def __init__(self, p, width):
        self.steps, self.width, self.lost, self.came = p["steps"].tolist(), width, 0, []

    def step(self, xs):
        self.came.append(xs[0])
        return [self._ago(n, d) for n, d in enumerate(self.steps)]

    def _ago(self, n, d):
        return self.came[-1 - d][n] if d < len(self.came) else 0

    def registers(self):
        longest = max(1, *self.steps)
        return [[self._ago(n, k) for n in range(self.width)] for k in range(longest)]


MEMORIES = {"lstm": Lstm, "delay": Delay}
