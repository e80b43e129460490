"""What a target does to a number, in Python's whole numbers."""

from __future__ import annotations

from dataclasses import dataclass


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
