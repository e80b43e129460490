r"""How wide the integers of a step become, and so how wide they must be computed.

Every value of a traced step gets a range [low, high] that holds it whatever the input does, by the
rules of interval arithmetic; a register is bounded by its bits. Where all of them, and all that
is computed on the way, fit 32 bits, a kernel may compute in 32 bits and be exact. A product c z too
wide for that is computed in two halves. With F the bits it drops, z = h 2^F + l and 0 <= l < 2^F,

    (c z + r) >> F  =  c h + ((c l + r) >> F),       r the rounding's constant

since the first part is a multiple of 2^F. For F = 15, r = 2^14 and 0 <= c < 2^15, processors have
the second part as one operation (pmulhrsw). What a register cannot exceed is not clipped either. A
sum that nothing but saturating register writes reads may leave 32 bits by one: it wraps, which
signs show, and the register saturates all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from neurodeploy.arith import MOST_SPIKES, Fixed, Instr
from neurodeploy.neurons import Traced

NARROW = 32


@dataclass(frozen=True)
class Range:
    """The integers from low to high."""

    low: int
    high: int

    def __or__(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Range) -> Range:
        return Range(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Range) -> Range:
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(ends), max(ends))

    def inside(self, other: Range) -> bool:
        """Say whether the other holds all of this."""
        return other.low <= self.low and self.high <= other.high

    def fits(self, bits: int) -> bool:
        """Say whether signed integers of so many bits hold all of it."""
        return self.inside(Range(-(1 << (bits - 1)), (1 << (bits - 1)) - 1))


def _ends(value: Range) -> tuple[int, int]:
    return value.low, value.high


BOTH = Range(0, 1)  # of a condition
_FRACTION = Range(0, (1 << 15) - 1)


@dataclass(frozen=True)
class Width:
    """How to compute a step: in `bits`; which products in halves; which clips may be left out.

    A clip is a pair (value, "low" or "high"). `short`: the products of 64 bits whose two factors
    fit 32, which processors multiply faster. `fractions`: the halves whose second part is that of
    15 bits. `wrapping`: the sums, differences and choices that may leave 32 bits on their way to a
    register that saturates.
    """

    bits: int
    halves: frozenset[str] = frozenset()
    unclipped: frozenset[tuple[str, str]] = frozenset()
    short: frozenset[str] = frozenset()
    wrapping: frozenset[str] = frozenset()
    fractions: frozenset[str] = frozenset()


def width(
    step: Traced,
    fixed: Fixed,
    given: Mapping[str, Range],
    *,
    modes: int = 1,
    found: dict[str, Range] | None = None,
) -> Width:
    """Return how the step must be computed so that nothing overflows.

    given: the ranges of x and of each k_<name> that the step uses, and, by any other name, of what
    else must fit. found, if given, takes the ranges of all values.
    """
    register = _register(fixed)
    states = {f"z_{name}": register for name in step.states}
    clipped = _clipped(step) if fixed.overflow == "saturate" else frozenset()
    for _ in range(3):  # a state may also take a constant, which a register may not hold
        walk = _Walk(fixed, modes, clipped, {**given, **states})
        for instr in step.instrs:
            walk.take(instr)
        after = {
            f"z_{name}": walk.ranges[value] | states[f"z_{name}"]
            for name, value in zip(step.states, step.next_states, strict=True)
        }
        if after == states:
            if found is not None:
                found |= walk.ranges
            narrow = walk.narrow and all(r.fits(NARROW) for r in (*given.values(), *after.values()))
            kept = frozenset(walk.unclipped)
            if narrow:
                return Width(
                    NARROW,
                    frozenset(walk.halves),
                    kept,
                    wrapping=frozenset(walk.wrapping),
                    fractions=frozenset(walk.fractions),
                )
            return Width(64, unclipped=kept, short=frozenset(walk.short))
        states = after
    return Width(64)


def _clipped(step: Traced) -> frozenset[str]:
    """Return the sums that only register writes read, and the choices between such sums."""
    read = {step.out, *step.next_states}  # by others
    for i in reversed(step.instrs):
        if i.op == "select" and i.out not in read:
            read.add(i.args[0])
        elif i.op != "write":
            read.update(i.args)
    return frozenset(i.out for i in step.instrs if i.op in ("add", "sub", "select")) - read


def _register(fixed: Fixed) -> Range:
    if fixed.overflow == "saturate":
        return Range(-fixed.state_max, fixed.state_max)
    return Range(-fixed.state_max - 1, fixed.state_max)


def rounding(fixed: Fixed, bits: int) -> int:
    """Return the most that may be added before `bits` bits are dropped."""
    return {"floor": 0, "nearest": (1 << bits) >> 1, "toward_zero": (1 << bits) - 1}[fixed.rounding]


@dataclass
class _Walk:
    """Ranges of the values of a step, and what was found on the way."""

    fixed: Fixed
    modes: int
    clipped: frozenset[str]  #: sums that only writes which saturate read
    ranges: dict[str, Range]
    narrow: bool = True
    halves: set[str] = field(default_factory=set)
    unclipped: set[tuple[str, str]] = field(default_factory=set)
    short: set[str] = field(default_factory=set)
    wrapping: set[str] = field(default_factory=set)
    fractions: set[str] = field(default_factory=set)

    def take(self, i: Instr) -> None:
        """Find the range of one instruction's result."""
        values = [self.ranges[name] for name in i.args]
        if i.op == "mul":
            found = self._product(i.out, *values)
        elif i.op == "write":
            found = self._written(i.out, *values)
        elif i.op == "total":
            found = Range(self.modes * min(values[0].low, 0), self.modes * max(values[0].high, 0))
        elif i.op == "add":
            found = values[0] + values[1]
        elif i.op == "sub":
            found = values[0] - values[1]
        elif i.op == "times":
            found = values[0] * values[1]
        elif i.op == "count":
            found = Range(0, min(max(values[0].high, 0) // max(values[1].low, 1), MOST_SPIKES))
        elif i.op == "largest":
            found = Range(*(max(a, b) for a, b in zip(*map(_ends, values), strict=True)))
        elif i.op == "select":
            found = values[1] | values[2]
        else:
            found = values[0] if i.op == "read" else BOTH
        self.ranges[i.out] = found
        if not found.fits(NARROW):
            self.wrapping.add(i.out)
            noted = self.wrapping if i.op == "select" else ()  # a choice hands on what sums note
            pairs = zip(i.args, values, strict=True)
            fitting = all(v.fits(NARROW) or name in noted for name, v in pairs)
            self.narrow &= i.out in self.clipped and fitting

    def _product(self, out: str, coef: Range, value: Range) -> Range:
        bits = self.fixed.coef_frac
        added = Range(0, rounding(self.fixed, bits))
        whole = coef * value
        if coef.fits(NARROW) and value.fits(NARROW):
            self.short.add(out)
        if not (whole + added).fits(NARROW):
            self.halves.add(out)
            if (bits, self.fixed.rounding) == (15, "nearest") and coef.inside(_FRACTION):
                self.fractions.add(out)
            high = coef * Range(value.low >> bits, value.high >> bits)
            low = coef * Range(0, (1 << bits) - 1) + added
            self.narrow &= high.fits(NARROW) and low.fits(NARROW) and bits < NARROW
        return Range(whole.low >> bits, (whole.high + added.high) >> bits)

    def _written(self, out: str, value: Range) -> Range:
        ends = _register(self.fixed)
        if value.inside(ends):
            self.unclipped |= {(out, "low"), (out, "high")}
            return value
        if self.fixed.overflow == "wrap":
            return ends
        if value.low >= ends.low:
            self.unclipped.add((out, "low"))
        if value.high <= ends.high:
            self.unclipped.add((out, "high"))
        return Range(*(min(max(v, ends.low), ends.high) for v in (value.low, value.high)))
