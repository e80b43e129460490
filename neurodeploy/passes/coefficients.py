r"""Round a population's folded constants to the chip's integers.

    dimensionless  rint(k 2^f), kept as words of `bits` (`program/words.py`); refused where |k| > 1
    threshold      ceil (for >=) or floor (for >) of k / lsb: comparing integers with the rounded
                   threshold is comparing them with the exact one; rint, at least 1, where spikes
                   are counted and each takes as much
    amounts        rint(k / lsb)
    output weights rint(k / scale 2^f)

`lsb` [width] is what one unit of state is worth, `scale` [width] a graded output per unit of
weighted state, at least the largest output weight. Tables have words of their own.

Dimensionless coefficients are plain words where these move no time constant and no frequency by
more than one percent. Otherwise, on a target whose products can drop more bits than a word has,
each gets a shift of its own. What would no longer decay or turn is refused by name; the change of
each channel is reported (`poles.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurodeploy.errors import FitError, NeurodeployError
from neurodeploy.graph.ir import Array, Population
from neurodeploy.neurons.spec import GE, GT, Kind
from neurodeploy.passes.poles import Change, change
from neurodeploy.program.words import Word, integers
from neurodeploy.targets.schema import Numbers

TOLERATED = 0.01  # of a time constant or frequency, in plain words


@dataclass(frozen=True, eq=False)
class Rounded:
    """Integer coefficients, their words, the bits that a product drops, what rounding did."""

    coefs: dict[str, Any]
    words: dict[str, Word]
    frac: int
    problems: list[NeurodeployError]
    notes: dict[str, Any]


def output_scale(op: Population) -> Array:
    """Return the largest output weight of each channel, [width]; 1 where there is none."""
    kinds = op.model.kinds
    weights = [np.atleast_2d(v) for k, v in op.coefs.items() if kinds[k] is Kind.OUTPUT]
    if not weights:
        return np.ones(len(op.bias))
    top = np.abs(np.concatenate(weights)).max(axis=0)
    return np.where(top > 0, top, 1.0)


def round_coefs(
    op: Population,
    lsb: Array,
    scale: Array,
    numbers: Numbers,
    state_bits: int,
    bits: Mapping[str, int],
    where: str,
) -> Rounded:
    """Round the coefficients of `op`; `lsb` and `scale` are those of the module's docstring.

    bits: of words, by coefficient: of the dimensionless ones, and of tables.
    """
    factors = choose(op, scale, numbers, bits)
    coefs, words = dict(factors.coefs), dict(factors.words)
    for name, value in op.coefs.items():
        if name in coefs:
            continue
        if bits.get(name, state_bits) < state_bits:
            words[name] = Word(bits=bits[name], form="shared")
            coefs[name] = integers(value / lsb, words[name], 0)
        else:
            coefs[name] = _at_state_scale(value / lsb, op.model.kinds[name], op.options)
    return Rounded(
        {name: coefs[name] for name in op.coefs},
        words,
        factors.frac,
        [
            *_refused(op, factors, bits, where),
            *_too_large(op, coefs, state_bits, where),
        ],
        factors.change.notes() if factors.change else {},
    )


@dataclass(frozen=True, eq=False)
class Factors:
    """Dimensionless coefficients in their words, and what that does to the poles."""

    coefs: dict[str, Any]
    words: dict[str, Word]
    frac: int
    change: Change | None

    @property
    def values(self) -> dict[str, Any]:
        """What the whole numbers are worth."""
        return {name: value / 2.0**self.frac for name, value in self.coefs.items()}

    @property
    def worst(self) -> float:
        """The largest relative error of a time constant or frequency."""
        return self.change.worst if self.change is not None else 0.0


def choose(op: Population, scale: Array, numbers: Numbers, bits: Mapping[str, int]) -> Factors:
    """Round the dimensionless coefficients of `op`, in the form that the docstring above says."""
    found = _in_words(op, scale, "plain", numbers, bits)
    if numbers.coef_frac < numbers.coef_bits or found.worst <= TOLERATED:
        return found
    return min(found, _in_words(op, scale, "scaled", numbers, bits), key=lambda made: made.worst)


def sound(first: Population, now: Population, numbers: Numbers, bits: Mapping[str, int]) -> Any:
    """Return the channels [width] of `now` that `round_coefs` would not refuse.

    With the poles of `first` for those that rounding must keep.
    """
    made = choose(now, np.ones(len(now.bias)), numbers, bits)
    judged = replace(made, change=change(first, {**now.coefs, **made.values}))
    faults = [*_beyond_one(now).values(), *_lost(judged).values()]
    return ~np.any([np.zeros(len(now.bias), bool), *(f.any(axis=0) for f in faults)], axis=0)


def _in_words(
    op: Population, scale: Array, form: str, numbers: Numbers, bits: Mapping[str, int]
) -> Factors:
    own = [name for name in op.coefs if op.model.kinds[name].dimensionless]
    shifts = numbers.coef_frac >= numbers.coef_bits
    tables = [name for name in own if name in op.model.tables and len(op.coefs[name]) and shifts]
    frac = numbers.coef_frac if tables or form == "scaled" else numbers.coef_bits - 1
    coefs, words = {}, {}
    for name in own:
        value, own_form = op.coefs[name], "shared" if name in tables else form
        if op.model.kinds[name] is Kind.OUTPUT:
            value, own_form = value / scale, "plain"
        words[name] = Word(bits=bits[name], form=own_form)
        coefs[name] = integers(value, words[name], frac)
    made = Factors(coefs, words, frac, None)
    return replace(made, change=change(op, {**op.coefs, **made.values}))


def _refused(
    op: Population, factors: Factors, bits: Mapping[str, int], where: str
) -> Iterator[NeurodeployError]:
    """Name the channels whose dimensionless coefficients are beyond what words can keep."""
    for name, over in _beyond_one(op).items():
        if over.any():
            yield FitError(
                "E302",
                f"{op.spec}: {name} is beyond 1 in {_channels(over)}, and has fractional bits only",
                where=f'population "{where}"',
                fix="train with a smaller learning rate or with weight decay on it",
            )
    for what, lost in _lost(factors).items():
        if lost.any():
            digits = min(bits[name] for name in factors.coefs) - 1
            yield FitError(
                "E302",
                f"{op.spec}: {what.format(_channels(lost))}",
                where=f'population "{where}"',
                fix=f"more than {digits} fractional coefficient bits (--coef-bits), a target"
                " whose products can drop more bits (coef_frac), or a longer time step",
            )


def _beyond_one(op: Population) -> dict[str, Any]:
    """Return where each coefficient is too large for a fraction, [..., width]."""
    own = (name for name in op.coefs if op.model.kinds[name] is Kind.UNIT)
    return {name: np.atleast_2d(np.abs(op.coefs[name]) > 1) for name in own}


def _lost(factors: Factors) -> dict[str, Any]:
    """Return what no longer decays or turns, [1, width], by what to say of the channels."""
    if factors.change is None:
        return {}
    return {
        "the decay rounds to 1.0 in {}: they would never come to rest": factors.change.undamped,
        "the rotation rounds to 0 in {}: they would no longer turn": factors.change.dead,
    }


def _too_large(
    op: Population, coefs: Mapping[str, Any], state_bits: int, where: str
) -> Iterator[NeurodeployError]:
    """Name the channels in which a constant on the scale of the state does not fit a register."""
    for name, value in coefs.items():
        over = np.abs(value) >= 2 ** (state_bits - 1)
        if not op.model.kinds[name].dimensionless and over.any():
            yield FitError(
                "E302",
                f"{op.spec}: {name} needs more than {state_bits} bits in {_channels(over)}",
                where=f'population "{where}"',
                fix="a target with wider state registers; or retrain with a larger step"
                " length or input gain in these channels",
            )


def _channels(where: Any) -> str:
    """Say which channels of [..., width] are meant."""
    each = np.atleast_2d(where).any(axis=0)
    found = np.flatnonzero(each)
    return f"{found.size} of {each.size} channels (first: channel {found[0]})"


def _at_state_scale(value: Array, kind: Kind, options: Mapping[str, Any]) -> Any:
    if kind is Kind.THRESHOLD and options.get("compare") in (GE, GT):
        rounded = np.ceil(value) if options["compare"] == GE else np.floor(value)
    elif kind is Kind.THRESHOLD:
        rounded = np.maximum(np.rint(value), 1)
    else:
        rounded = np.rint(value)
    limit = 2.0**62  # what is beyond any register stays beyond it, without overflowing int64
    return np.clip(rounded, -limit, limit).astype(np.int64)
