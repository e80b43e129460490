"""The reading of `Fixed` in lanes: each instruction of a traced step as integer machine code.

A step is done for some neurons at once, one to a lane, in the width that `ranges` found. What does
not fit its register is noted as a condition, for whoever runs the step to count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce

from neurodeploy.arith import MOST_SPIKES, Fixed, Instr
from neurodeploy.kernels.lanes import I16, Value, lanes
from neurodeploy.kernels.native import features
from neurodeploy.kernels.ranges import Width, rounding

_COMPARE = {"ge": ">=", "gt": ">"}

#: By extension, widest first: the operation, and the 16-bit lanes that it takes.
_FRACTIONS = {
    "avx512bw": ("llvm.x86.avx512.pmul.hr.sw.512", 32),
    "avx2": ("llvm.x86.avx2.pmul.hr.sw", 16),
}


def drop(value: Value, bits: Value | int, added: Value | int, fixed: Fixed, sign: Value) -> Value:
    """Drop `bits` bits of `value` by the rounding of `fixed`.

    added: what the rounding adds before, `ranges.rounding(fixed, bits)`; of rounding toward zero,
    only where the value is negative, as `sign` is then too.
    """
    if fixed.rounding == "floor":
        return value >> bits
    if fixed.rounding == "nearest":
        return (value + added) >> bits
    return (value + (_spread_sign(sign) & added)) >> bits


def _spread_sign(value: Value) -> Value:
    """Return -1 where a value is negative, else 0."""
    return value >> (int(value.kind.element.width) - 1)


def _fraction(a: Value, b: Value) -> Value | None:
    """Return (a b + 2^14) >> 15 of 32-bit lanes of 0 to 2^15 - 1, if the processor has it."""
    count, parts = 2 * a.kind.count, []  # 16-bit words, of which the upper half of a lane is 0
    named = [n for n in _FRACTIONS if n in features()]
    if not named:
        return None
    name, most = _FRACTIONS[named[0]]
    words, kind = lanes(I16, count), lanes(I16, most)
    for at in range(0, count, most):
        both = (v.seen_as(words).lanes(at, most) for v in (a, b))
        parts.append(a.code.call(name, kind, *both))
    return reduce(Value.followed_by, parts).seen_as(a.kind)


@dataclass
class Step:
    """The values of one step for the neurons of some lanes: take instructions, read results."""

    fixed: Fixed
    width: Width
    values: dict[str, Value] = field(default_factory=dict)
    lost: list[Value] = field(default_factory=list)  #: conditions: a register write did not fit
    wrapped: dict[str, Value] = field(default_factory=dict)  #: sums, choices: < 0 where they did

    def take(self, instrs: Iterable[Instr]) -> None:
        """Write the code of some instructions without modes' sums."""
        for i in instrs:
            self.values[i.out] = self._one(i, [self.values[name] for name in i.args])

    def _one(self, i: Instr, a: list[Value]) -> Value:
        if i.op == "mul":
            return self._product(i.out, *a)
        if i.op == "write":
            return self._written(i, *a)
        if i.op in ("add", "sub"):
            return self._sum(i, *a)
        if i.op == "times":
            return a[0] * a[1]
        if i.op == "count":
            return a[0].most(0).over(a[1].most(1)).least(MOST_SPIKES)
        if i.op == "largest":
            return a[0].most(a[1])
        if i.op == "select":
            return self._chosen(i, *a)
        if i.op == "read":
            return a[0]
        return a[0].compare(_COMPARE[i.op], a[1])

    def _product(self, out: str, coef: Value, value: Value) -> Value:
        bits = self.fixed.coef_frac
        added = rounding(self.fixed, bits)
        if out not in self.width.halves:
            short = out in self.width.short
            product = coef.short() * value.short() if short else coef * value
            return drop(product, bits, added, self.fixed, product)
        rest = value & ((1 << bits) - 1)
        fraction = _fraction(coef, rest) if out in self.width.fractions else None
        if fraction is not None:
            return coef * (value >> bits) + fraction
        return coef * (value >> bits) + drop(coef * rest, bits, added, self.fixed, coef ^ value)

    def _sum(self, i: Instr, a: Value, b: Value) -> Value:
        """Return a + b or a - b; note the sign of `wrapped` where a sum may wrap."""
        added = i.op == "add"
        total = a + b if added else a - b
        if i.out in self.width.wrapping:
            self.wrapped[i.out] = (a ^ total) & ((b if added else a) ^ (total if added else b))
        return total

    def _chosen(self, i: Instr, condition: Value, yes: Value, no: Value) -> Value:
        """Return one of two values, and whether it wrapped."""
        signs = [self.wrapped.get(name) for name in i.args[1:]]
        if any(sign is not None for sign in signs):
            fits = yes & 0
            first, second = (fits if sign is None else sign for sign in signs)
            self.wrapped[i.out] = condition.where(first, second)
        return condition.where(yes, no)

    def _written(self, i: Instr, value: Value) -> Value:
        out, stored, free = i.out, value, self.width.unclipped
        if i.args[0] in self.wrapped:  # a sum that wrapped has the other sign
            end = _spread_sign(value) ^ -(1 << 31)
            stored = self.wrapped[i.args[0]].compare("<", 0).where(end, value)
        if self.fixed.overflow == "saturate":
            stored = stored if (out, "high") in free else stored.least(self.fixed.state_max)
            stored = stored if (out, "low") in free else stored.most(-self.fixed.state_max)
        elif (out, "low") not in free:
            spare = value.kind.element.width - self.fixed.state_bits
            stored = (value << spare) >> spare
        if stored is not value:
            self.lost.append(stored.compare("!=", value))
        return stored
