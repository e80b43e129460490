"""A bound on how far the `Fixed` reading may stray from the `Real` one, computed from the step.

`Bound` reads a step on pairs (magnitude, error): rounded coefficients, dropped bits and rounded
thresholds each contribute what they can at most. What is there already is carried through the same
step; and, where firing leaves the linear part of a step as it is (or resets all of it), no more of
it is left than the powers of that linear part say, which keeps bounds of rotations small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodeploy.arith import Fixed, Real
from neurodeploy.neurons.spec import over_batch


@dataclass(frozen=True)
class Pair:
    size: np.ndarray
    error: np.ndarray

    def __len__(self):
        return len(self.size)

    def __getitem__(self, step):
        """Return the row of a table."""
        return Pair(self.size[step], self.error[step])

    def __add__(self, other):
        return Pair(self.size + other.size, self.error + other.error)

    __sub__ = __add__


@dataclass
class Bound:
    dropped: float  # most that dropping bits changes a product, in LSB
    decided: np.ndarray | float = 0.0  # error of the last comparison's two sides together

    def mul(self, coef, value):
        error = coef.size * value.error + coef.error * (value.size + value.error) + self.dropped
        return Pair(coef.size * value.size, error)

    def write(self, value):
        return value

    def spike(self, value, threshold, compare):
        self.decided = value.error + threshold.error
        return value

    def count(self, value, threshold):
        self.decided = value.error + np.floor(value.size / threshold.size + 1) * threshold.error
        return Pair(np.floor(value.size / threshold.size), np.zeros_like(value.error))

    def times(self, number, amount):
        return Pair(number.size * amount.size, number.size * amount.error)

    def largest(self, a, b):
        return Pair(np.maximum(a.size, b.size), np.maximum(a.error, b.error))

    def read(self, table):
        return table

    def select(self, condition, yes, no):
        return Pair(np.maximum(yes.size, no.size), np.maximum(yes.error, no.error))

    def total(self, value):
        return Pair(value.size.sum(axis=0), value.error.sum(axis=0))


@dataclass(frozen=True)
class Always(Real):
    """The Real reading of neurons that always fire, or never do."""

    fires: bool

    def spike(self, value, threshold, compare):
        return np.full(np.shape(value), self.fires)

    def count(self, value, threshold):
        return np.full(np.shape(value), float(self.fires))


def linear_part(spec, options, coefs, *, fires):
    """Return the matrices [states, states, width] of the undriven update."""
    size, width = len(spec.state._fields), len(np.atleast_1d(coefs[0]))

    def update(state):
        _, after = spec.step(Always(fires), coefs, spec.state(*state), np.zeros(width), options)
        return np.array([np.broadcast_to(part, width) for part in after])

    rest = np.zeros((size, width))
    columns = [update(rest + np.eye(size)[:, k : k + 1]) - update(rest) for k in range(size)]
    return np.stack(columns, axis=1) if size else np.zeros((0, 0, width))


class Probe(Real):
    """The Real reading, noting how far each spike was from its threshold."""

    margin = np.inf

    def spike(self, value, threshold, compare):
        object.__setattr__(self, "margin", np.abs(value - threshold))
        return super().spike(value, threshold, compare)

    def count(self, value, threshold):
        nearest = np.maximum(np.rint(value / threshold), 1) * threshold
        object.__setattr__(self, "margin", np.abs(value - nearest))
        return super().count(value, threshold)


def follows(spec, options, coefs, fixed: Fixed, lsb, drive):
    """Run both readings; return the share of neurons whose spikes agreed to the end.

    Asserts at every step that states differ by no more than the bound, and that a spike differs
    only where the exact membrane was within the bound of its threshold; that neuron is then left
    out. Inputs are multiples of the LSB, so that both readings get the same.
    """
    if spec.modal:
        return _modes_follow(spec, options, coefs, fixed, lsb, drive)
    exact = _scaled(spec, coefs, lsb)
    ints = _rounded(spec, exact, fixed)
    pairs = spec.coefs(
        *(
            Pair(np.abs(a), np.abs(b - a))
            for a, b in zip(exact, _exact(spec, ints, fixed), strict=True)
        )
    )
    dropped, probe = 0.5 if fixed.rounding == "nearest" else 1.0, Probe()
    matrix, fired = (linear_part(spec, options, spec.at(exact, 0), fires=f) for f in (False, True))
    steady = not spec.tables and np.all((fired == 0) | np.isclose(fired, matrix))
    whole = np.rint(drive / lsb).astype(np.int64)
    zeros = np.zeros((len(spec.state._fields), *drive.shape[1:]))
    z, q = spec.state(*zeros), spec.state(*zeros.astype(np.int64))
    bound, alive, locals_ = zeros, np.ones(drive.shape[1:], bool), []
    for t, x in enumerate(whole):
        current = Pair(np.abs(x), np.zeros(x.shape))

        o, sizes = Bound(dropped), [np.abs(v) for v in q]
        new = _errors(spec, options, o, spec.at(pairs, t), sizes, bound, current)
        if steady:
            fresh = _errors(spec, options, Bound(dropped), spec.at(pairs, t), sizes, zeros, current)
            locals_.append(fresh)
            new = np.minimum(new, _accumulated(matrix, locals_))
        bound = new + 1e-6
        s, z = spec.step(probe, spec.at(exact, t), z, x.astype(float), options)
        r, q = spec.step(fixed, spec.at(ints, t), q, x, options)
        if spec.spiking:
            differ = alive & (np.asarray(s) != np.asarray(r))
            assert np.all((probe.margin <= o.decided + 1)[differ])  # 1: the rounded threshold
            alive &= ~differ
        for a, b, most in zip(z, q, bound, strict=True):
            assert np.all((np.abs(a - b) <= most)[alive]), float((np.abs(a - b) - most).max())
    return float(alive.mean())


def _modes_follow(spec, options, coefs, fixed: Fixed, lsb, drive):
    """Do what `follows` does for neurons with modes, each of which decays by its own pole."""
    exact = _scaled(spec, coefs, lsb)
    ints = _rounded(spec, exact, fixed)
    rounded = over_batch(spec, _exact(spec, ints, fixed))
    pairs = spec.coefs(
        *(
            Pair(np.abs(a), np.abs(b - a))
            for a, b in zip(over_batch(spec, exact), rounded, strict=True)
        )
    )
    o, probe = Bound(0.5 if fixed.rounding == "nearest" else 1.0), Probe()
    poles = spec.poles(coefs)
    radius = np.zeros(1) if poles is None else np.abs(poles)
    carried = radius.ndim > 1 and not spec.modal
    radius = radius[:, None] if spec.modal else radius
    whole = np.rint(drive / lsb).astype(np.int64)
    modes = spec.modes(coefs._asdict())
    zeros = np.zeros((spec.rows(spec.state._fields, modes), *drive.shape[1:]))
    z, q = (spec.parts(spec.state, zeros.astype(kind), modes) for kind in (float, np.int64))
    exact, ints = over_batch(spec, exact), over_batch(spec, ints)
    bound, alive = np.zeros(drive.shape[1:]), np.ones(drive.shape[1:], bool)
    errors = [np.zeros(drive.shape[1:]) for _ in spec.state._fields]
    for t, x in enumerate(whole):
        state = spec.state(*(Pair(np.abs(v), e) for v, e in zip(q, errors, strict=True)))
        current = Pair(np.abs(x), np.zeros(x.shape))
        _, after = spec.step(o, spec.at(pairs, t), state, current, options)
        strayed = spec.state(*(Pair(np.abs(v), bound + np.zeros_like(v, float)) for v in q))
        furthest = spec.step(o, spec.at(pairs, t), strayed, current, options)[0]
        s, z = spec.step(probe, spec.at(exact, t), z, x.astype(float), options)
        r, q = spec.step(fixed, spec.at(ints, t), q, x, options)
        if carried:
            errors = [v.error + 1e-6 for v in after]
            bound = sum(errors)
        else:
            local = np.sqrt(sum((v.error**2 for v in after), start=np.zeros(x.shape)))
            bound = radius * bound + local + 1e-6
        if spec.spiking:
            differ = alive & (np.asarray(s) != np.asarray(r))
            assert np.all((probe.margin <= bound + 1)[differ])  # 1: the rounded threshold
            alive &= ~differ
        else:
            assert np.all(np.abs(s - r) <= furthest.error + 1e-6)
        error = np.sqrt(
            sum(((a - b) ** 2 for a, b in zip(z, q, strict=True)), start=np.zeros(x.shape))
        )
        beyond = np.where(alive, error - bound, -np.inf)
        assert beyond.max() <= 0, float(beyond.max())
    return float(alive.mean())


def _errors(spec, options, o, pairs, sizes, errors, current):
    """Return the errors [states, ...] after a step, from those before it."""
    state = spec.state(*(Pair(size, e) for size, e in zip(sizes, errors, strict=True)))
    _, after = spec.step(o, pairs, state, current, options)
    rows = [np.broadcast_to(v.error, current.size.shape) for v in after]
    return np.array(rows).reshape(errors.shape)


def _accumulated(matrix, errors):
    """Return what the errors of all steps so far have become: sum over t of |A^t| error."""
    power = np.broadcast_to(np.eye(len(matrix))[:, :, None], matrix.shape)
    total = np.zeros_like(errors[0])
    for error in reversed(errors):
        total = total + np.einsum("ijn,j...n->i...n", np.abs(power), error)
        power = np.einsum("ijn,jkn->ikn", matrix, power)
    return total


def _scaled(spec, coefs, lsb):
    """Return the coefficients with states and thresholds counted in LSB."""
    return spec.coefs(
        *(v if spec.kinds[k].dimensionless else v / lsb for k, v in coefs._asdict().items())
    )


def _rounded(spec, exact, fixed):
    scale = 2.0**fixed.coef_frac
    return spec.coefs(
        *(
            np.rint(v * scale if spec.kinds[k].dimensionless else v).astype(np.int64)
            for k, v in exact._asdict().items()
        )
    )


def _exact(spec, ints, fixed):
    """Return what rounded coefficients are worth."""
    scale = 2.0**fixed.coef_frac
    return spec.coefs(
        *(v / scale if spec.kinds[k].dimensionless else v for k, v in ints._asdict().items())
    )
