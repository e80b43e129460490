"""The readings of a neuron's `step`.

A neuron is written once, as a straight-line function over an `Arith`. `+` and `-` are Python's
own; every other word of the vocabulary is a method here. A model may keep several *modes* per
channel: its modal states and coefficients have a first axis of modes, and so has what is computed
from them, until `total` sums over it. What a step *is* depends on who reads it:

    Real     float64 numpy: what the equation means
    Fixed    chip integers, bit for bit: the definition of the integer program
    Count    what one update of one neuron costs
    Trace    a straight-line program, from which kernels and ONNX bodies are generated

The trainable reading, `Surrogate`, lives beside the torch modules that need it
(`neurodeploy.nn.surrogate`). This file needs numpy only: emitted bundles carry it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Protocol

import numpy as np

ROUNDINGS = ("floor", "toward_zero", "nearest")
OVERFLOWS = ("saturate", "wrap")
MOST_SPIKES = 255  #: that an integer neuron sends at one step: a message of 8 bits


class Arith(Protocol):
    """The vocabulary of a step, besides `+` and `-`."""

    def mul(self, coef: Any, value: Any) -> Any:
        """Scale a state by a dimensionless coefficient."""

    def write(self, value: Any) -> Any:
        """Store a value in a state register."""

    def spike(self, value: Any, threshold: Any, compare: str) -> Any:
        """Fire where `value >= threshold`, or `>`, as `compare` says."""

    def select(self, condition: Any, yes: Any, no: Any) -> Any:
        """Return `yes` where the condition holds, else `no`."""

    def count(self, value: Any, threshold: Any) -> Any:
        """Fire once for each whole threshold (> 0) in the value, if there is one."""

    def times(self, number: Any, amount: Any) -> Any:
        """Take an amount as often as a count says: exact, nothing is rounded."""

    def largest(self, a: Any, b: Any) -> Any:
        """Return the larger of two values."""

    def read(self, table: Any) -> Any:
        """Return this step's row of a table: who runs the step hands it that row."""

    def total(self, value: Any) -> Any:
        """Sum a modal value over the modes, first to last."""


def _fires(value: Any, threshold: Any, compare: str) -> Any:
    return value >= threshold if compare == ">=" else value > threshold


class _Numpy:
    """The words that mean the same in `Real` and `Fixed`."""

    def spike(self, value: Any, threshold: Any, compare: str) -> Any:
        """Compare."""
        return _fires(value, threshold, compare)

    def select(self, condition: Any, yes: Any, no: Any) -> Any:
        """Choose element by element."""
        return np.where(condition, yes, no)

    def times(self, number: Any, amount: Any) -> Any:
        """Multiply."""
        return number * amount

    def largest(self, a: Any, b: Any) -> Any:
        """Compare element by element."""
        return np.maximum(a, b)

    def read(self, table: Any) -> Any:
        """Return the row."""
        return table

    def total(self, value: Any) -> Any:
        """Sum over the modes."""
        return _total(value)


def _total(value: Any) -> Any:
    """Sum over the first axis in order; numpy's own sum may choose another order."""
    return reduce(lambda so_far, mode: so_far + mode, value)


@dataclass(frozen=True)
class Real(_Numpy):
    """Exact reading: what the equation means."""

    def mul(self, coef: Any, value: Any) -> Any:
        """Multiply."""
        return coef * value

    def write(self, value: Any) -> Any:
        """Keep the value: real registers have no edge."""
        return value

    def count(self, value: Any, threshold: Any) -> Any:
        """Divide, and drop what is left."""
        return np.maximum(np.floor(value / threshold), 0.0)


@dataclass(frozen=True)
class Fixed(_Numpy):
    """Chip reading, bit exact: int64 in flight, `state_bits` at rest.

    A product drops `coef_frac` bits by `rounding`: `floor`, `toward_zero` (sign and magnitude,
    as Loihi's neuron models do), or `nearest` (ties up). A register either saturates at
    +-(2**(state_bits - 1) - 1) or wraps in two's complement.
    """

    coef_frac: int
    state_bits: int
    rounding: str = "nearest"
    overflow: str = "saturate"

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS or self.overflow not in OVERFLOWS:
            raise ValueError(f"unknown rounding {self.rounding!r} or overflow {self.overflow!r}")

    @property
    def state_max(self) -> int:
        """Largest magnitude that saturation keeps, and that quantization may use."""
        return int(2 ** (self.state_bits - 1) - 1)

    def mul(self, coef: Any, value: Any) -> Any:
        """Multiply and drop `coef_frac` bits."""
        product = np.asarray(coef, np.int64) * np.asarray(value, np.int64)
        return self._drop(product, self.coef_frac)

    def write(self, value: Any) -> Any:
        """Store in the register."""
        if self.overflow == "saturate":
            return np.clip(value, -self.state_max, self.state_max)
        half = 1 << (self.state_bits - 1)
        return ((np.asarray(value, np.int64) + half) & ((1 << self.state_bits) - 1)) - half

    def count(self, value: Any, threshold: Any) -> Any:
        """Divide, drop what is left, and send `MOST_SPIKES` at most."""
        held = np.maximum(value, 0) // np.maximum(threshold, 1)
        return np.minimum(held, MOST_SPIKES)

    def shift(self, value: Any, bits: Any) -> Any:
        """Bring an integer current to a state's scale: `value * 2**bits`, rounded if negative."""
        left, right = np.maximum(bits, 0), np.maximum(-np.asarray(bits, np.int64), 0)
        return self._drop(np.asarray(value, np.int64) << left, right)

    def _drop(self, value: Any, bits: Any) -> Any:
        if self.rounding == "floor":
            return value >> bits
        if self.rounding == "toward_zero":
            return np.sign(value) * (np.abs(value) >> bits)
        return (value + ((np.int64(1) << bits) >> 1)) >> bits


COUNTED = ("mul", "add", "cmp", "select", "write", "read", "div")


@dataclass
class Count:
    """Cost reading: run a step on `Tick`s and read off what one update costs.

    What is done once per mode counts `modes` times; a total is one addition less.
    """

    modes: int = 1
    ops: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    def tick(self, op: str, *args: Any) -> Tick:
        """Record one operation on `args`."""
        modal = any(isinstance(arg, Tick) and arg.modal for arg in args)
        self.ops[op] += self.modes if modal else 1
        return Tick(self, modal)

    def mul(self, coef: Any, value: Any) -> Any:
        """Count a multiply."""
        return self.tick("mul", coef, value)

    def write(self, value: Any) -> Any:
        """Count a register write; saturation is part of it."""
        return self.tick("write", value)

    def spike(self, value: Any, threshold: Any, compare: str) -> Any:  # noqa: ARG002
        """Count a compare."""
        return self.tick("cmp", value, threshold)

    def select(self, condition: Any, yes: Any, no: Any) -> Any:
        """Count a choice."""
        return self.tick("select", condition, yes, no)

    def count(self, value: Any, threshold: Any) -> Any:
        """Count a division, and a compare with zero."""
        return self.tick("cmp", self.tick("div", value, threshold))

    def times(self, number: Any, amount: Any) -> Any:
        """Count a multiply."""
        return self.tick("mul", number, amount)

    def largest(self, a: Any, b: Any) -> Any:
        """Count a compare."""
        return self.tick("cmp", a, b)

    def total(self, value: Any) -> Any:  # noqa: ARG002
        """Count the additions."""
        self.ops["add"] += self.modes - 1
        return Tick(self)

    def read(self, table: Any) -> Any:  # noqa: ARG002
        """Count a table read."""
        return self.tick("read")


@dataclass(frozen=True)
class Tick:
    """A value that only knows how to be counted, and whether it has modes."""

    count: Count
    modal: bool = False

    def __add__(self, other: object) -> Tick:
        return self.count.tick("add", self, other)

    __sub__ = __radd__ = __rsub__ = __add__


@dataclass(frozen=True)
class Instr:
    """One instruction of a traced step: `out = op(*args)`; arguments are names or literals.

    `modal`: done once per mode. A `total` is not, though what it sums is.
    """

    out: str
    op: str
    args: tuple[str, ...]
    modal: bool = False


@dataclass
class Trace:
    """Recording reading: run a step on `Sym`s and keep what it did."""

    instrs: list[Instr] = field(default_factory=list)

    def emit(self, op: str, *args: Any) -> Sym:
        """Record one instruction and return its result."""
        names = tuple(arg.name if isinstance(arg, Sym) else repr(arg) for arg in args)
        out = f"t{len(self.instrs)}"
        modal = op != "total" and any(isinstance(arg, Sym) and arg.modal for arg in args)
        self.instrs.append(Instr(out, op, names, modal))
        return Sym(self, out, modal)

    def mul(self, coef: Any, value: Any) -> Sym:
        """Record a multiply."""
        return self.emit("mul", coef, value)

    def write(self, value: Any) -> Sym:
        """Record a register write."""
        return self.emit("write", value)

    def spike(self, value: Any, threshold: Any, compare: str) -> Sym:
        """Record a compare."""
        return self.emit("ge" if compare == ">=" else "gt", value, threshold)

    def select(self, condition: Any, yes: Any, no: Any) -> Sym:
        """Record a choice."""
        return self.emit("select", condition, yes, no)

    def count(self, value: Any, threshold: Any) -> Sym:
        """Record a division."""
        return self.emit("count", value, threshold)

    def times(self, number: Any, amount: Any) -> Sym:
        """Record an exact multiply."""
        return self.emit("times", number, amount)

    def largest(self, a: Any, b: Any) -> Sym:
        """Record a maximum."""
        return self.emit("largest", a, b)

    def read(self, table: Any) -> Sym:
        """Record a table read."""
        return self.emit("read", table)

    def total(self, value: Any) -> Sym:
        """Record a sum over the modes."""
        return self.emit("total", value)


@dataclass(frozen=True)
class Sym:
    """A value that only knows its name, and whether it has modes."""

    trace: Trace
    name: str
    modal: bool = False

    def __add__(self, other: Any) -> Sym:
        return self.trace.emit("add", self, other)

    def __sub__(self, other: Any) -> Sym:
        return self.trace.emit("sub", self, other)

    def __radd__(self, other: Any) -> Sym:
        return self.trace.emit("add", other, self)

    def __rsub__(self, other: Any) -> Sym:
        return self.trace.emit("sub", other, self)
