"""What a kind of vector operation is, and the integer arithmetic that several share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = Any  #: int64 arrays
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of vector operation; its name is the word that a target must have.

    run(params, operand ...) maps int64 operands [..., width]; cost(width) counts what one channel
    of one step takes; `own_bits` are constants per channel other than scalings and tables.
    `registers` (of params) are kept from step to step, `params["state_bits"]` each: run then takes
    them before the operands and returns y, the registers, and how many values did not fit one.
    One that `loops` may hear what it sent before, and run backwards in time.
    """

    name: str
    operands: int
    run: Callable[..., Any]
    cost: Callable[[int], Mapping[str, float]]
    params: tuple[str, ...] = ()
    own_bits: int = 0
    registers: Callable[[Params], tuple[str, ...]] = lambda params: ()
    loops: bool = False


def rounded(value: Ints, shift: Ints) -> Ints:
    """Return value / 2**shift, rounded to nearest, halves up; shift >= 0."""
    return (value + ((np.int64(1) << shift) >> 1)) >> shift


def looked_up(table: Ints, position: Ints, step: int) -> Ints:
    """Return table(position / 2**step), interpolated between entries and rounded to nearest.

    position >= 0; behind the last entry the table goes on with it.
    """
    place = np.minimum(position, (len(table) - 1) << step)
    left = np.minimum(place >> step, len(table) - 2)
    rest = place - (left << step)
    here = table[left]
    return rounded((here << step) + (table[left + 1] - here) * rest, step)


def isqrt(value: Ints) -> Ints:
    """Return the largest r with r * r <= value, exactly; 0 <= value < 2**62.

    Newton's iteration from a power of two above the root falls until it is there.
    """
    given = np.asarray(value, np.int64)
    value = np.maximum(given, 1)
    bits, rest = np.zeros_like(value), value
    for width in (32, 16, 8, 4, 2, 1):
        high = rest >> width
        bits = np.where(high > 0, bits + width, bits)
        rest = np.where(high > 0, high, rest)
    root = np.int64(1) << (bits // 2 + 1)
    while True:
        lower = (root + value // root) >> 1
        if np.all(lower >= root):
            return np.where(given > 0, root, 0)
        root = np.minimum(root, lower)
