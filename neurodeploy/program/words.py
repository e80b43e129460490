r"""How a constant stands in memory, and the whole number that it is.

A product is drop(K z): K is the coefficient times 2^frac, and `frac` bits of the product are
dropped. What memory holds is a word of fewer bits, a sign and a magnitude w:

    plain        |K| = w 2^(frac - bits + 1)
    scaled       |K| = w 2^(frac - f)               with a shift f of its own,
              or |K| = 2^frac - w 2^(frac - f)      which counts down from one
    shared        K  = w 2^s                        with one shift s for a channel of a table

so a small coefficient, and one that is nearly 1, keep all the digits of their word. Counting from
one costs a subtraction, (z << f) - w z; a shift costs memory alone: a product is shifted anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = Any
SHIFT_BITS = 6  #: a shift of 0 to 31, and whether the word counts from one
_MOST = 2.0**62


@dataclass(frozen=True, kw_only=True)
class Word:
    """`bits` for each constant, its sign included; form is "plain", "scaled" or "shared"."""

    bits: int
    form: str = "plain"

    def memory_bits(self, count: int) -> int:
        """Return what `count` of them take, in one neuron: modes, or rows of a table."""
        shifts = {"plain": 0, "scaled": count, "shared": 1}[self.form]
        return self.bits * count + SHIFT_BITS * shifts


def integers(value: Any, word: Word, frac: int) -> Ints:
    """Return `value` 2^frac as the whole numbers that words of this kind can hold.

    Dimensionless values are in [-1, 1]; 1 itself is always held, as the distance 0 from it. A table
    is [T, width].
    """
    if word.form == "shared":
        top = np.abs(value).max(axis=0, initial=0.0)
        return _rounded(value, frac - _fraction(top, word.bits), frac, word.bits)
    if word.form == "plain":
        return _rounded(value, frac - word.bits + 1, frac)
    size = np.abs(value)
    near, far = (np.minimum(_fraction(part, word.bits), frac) for part in (size, 1 - size))
    from_one = (1 << frac) - _rounded(1 - size, frac - far, frac)
    whole = np.where(far > near, from_one, _rounded(size, frac - near, frac))
    return np.where(value < 0, -whole, whole)


def _fraction(size: Any, bits: int) -> Ints:
    """Return the fraction bits with which numbers of this `size` fill the magnitude of a word."""
    return bits - 1 - np.frexp(size)[1].astype(np.int64)


def _rounded(value: Any, zeros: Any, frac: int, bits: int = 63) -> Ints:
    """Return the multiples of 2^zeros nearest to `value` 2^frac, words of at most `bits`."""
    zeros = np.clip(zeros, 0, 62 - min(bits, 32))
    limit = min(2.0 ** (bits - 1) - 1, _MOST)
    return np.rint(np.clip(value * 2.0 ** (frac - zeros), -limit, limit)).astype(np.int64) << zeros


def counts_from_one(value: Ints, word: Word) -> Any:
    """Return which of the whole numbers a word holds only as a distance from one."""
    return digits(value) > word.bits - 1


def digits(value: Ints) -> Ints:
    """Return how many bits whole numbers have, without sign and zeros at the end."""
    size = np.abs(np.asarray(value, np.int64))
    odd = size // np.maximum(size & -size, 1)
    return np.frexp(odd.astype(np.float64))[1].astype(np.int64)
