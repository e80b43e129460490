"""The reading of `Fixed` in lanes: each instruction of a traced step as integer machine code.

A step is done for some neurons at once, one to a lane, in the width that `ranges` found. What does
not fit its register is noted as a condition, for whoever runs the step to count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from neurodeploy.arith import MOST_SPIKES, Fixed, Instr
from neurodeploy.kernels.lanes import Value
from neurodeploy.kernels.ranges import Width, rounding

_COMPARE = {"ge": ">=", "gt": ">"}


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


@dataclass
class Step:
    """The values of one step for the neurons of some lanes: take instructions, read results."""

    fixed: Fixed
    width: Width
    values: dict[str, Value] = field(default_factory=dict)
    lost: list[Value] = field(default_factory=list)  #: conditions: a register write did not fit

    def take(self, instrs: Iterable[Instr]) -> None:
        """Write the code of some instructions without modes' sums."""
        for i in instrs:
            self.values[i.out] = self._one(i, [self.values[name] for name in i.args])

    def _one(self, i: Instr, a: list[Value]) -> Value:
        if i.op == "mul":
            return self._product(i.out, *a)
        if i.op == "write":
            return self._written(i.out, *a)
        if i.op == "add":
            return a[0] + a[1]
        if i.op == "sub":
            return a[0] - a[1]
        if i.op == "times":
            return a[0] * a[1]
        if i.op == "count":
            return a[0].most(0).over(a[1].most(1)).least(MOST_SPIKES)
        if i.op == "largest":
            return a[0].most(a[1])
        if i.op == "select":
            return a[0].where(a[1], a[2])
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
        low = coef * (value & ((1 << bits) - 1))
        return coef * (value >> bits) + drop(low, bits, added, self.fixed, coef ^ value)

    def _written(self, out: str, value: Value) -> Value:
        stored, free = value, self.width.unclipped
        if self.fixed.overflow == "saturate":
            stored = stored if (out, "high") in free else stored.least(self.fixed.state_max)
            stored = stored if (out, "low") in free else stored.most(-self.fixed.state_max)
        elif (out, "low") not in free:
            spare = value.kind.element.width - self.fixed.state_bits
            stored = (value << spare) >> spare
        if stored is not value:
            self.lost.append(stored.compare("!=", value))
        return stored
