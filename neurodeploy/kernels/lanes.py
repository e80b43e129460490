"""A small language for machine code: integers, vectors of them, memory, loops.

A `Code` is one function of LLVM's intermediate language under construction. A `Value` of it is an
integer or a vector of integers with Python's operators; arithmetic wraps, `>>` keeps the sign. An
operation on vectors is one for all lanes: what the processor lacks in width, LLVM does in parts,
so the same code runs, and gives the same integers, on any processor. Addresses are integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

BIT, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


def lanes(kind: Any, count: int) -> Any:
    """Return the type of `count` lanes of a kind of number."""
    return ir.VectorType(kind, count)


def size(kind: Any) -> int:
    """Return the bytes that a number or vector of this type takes in memory."""
    if isinstance(kind, ir.VectorType):
        return int(kind.count) * size(kind.element)
    if isinstance(kind, ir.IntType):
        return int(kind.width) // 8
    return 4 if kind is F32 else 8


@dataclass(frozen=True, eq=False)
class Value:
    """A number, or a vector of numbers, in the code under construction."""

    code: Code
    raw: Any

    @property
    def kind(self) -> Any:
        """Its type."""
        return self.raw.type

    def _other(self, other: Value | float) -> Any:
        return other.raw if isinstance(other, Value) else self.code.number(self.kind, other).raw

    def _made(self, op: str, other: Value | int) -> Value:
        return Value(self.code, getattr(self.code.at, op)(self.raw, self._other(other)))

    def __add__(self, other: Value | int) -> Value:
        return self._made("add", other)

    def __sub__(self, other: Value | int) -> Value:
        return self._made("sub", other)

    def __mul__(self, other: Value | int) -> Value:
        return self._made("mul", other)

    def __and__(self, other: Value | int) -> Value:
        return self._made("and_", other)

    def __or__(self, other: Value | int) -> Value:
        return self._made("or_", other)

    def __xor__(self, other: Value | int) -> Value:
        return self._made("xor", other)

    def __lshift__(self, other: Value | int) -> Value:
        return self._made("shl", other)

    def __rshift__(self, other: Value | int) -> Value:
        return self._made("ashr", other)

    def over(self, other: Value | int) -> Value:
        """Divide; what is not whole is dropped, towards zero."""
        return self._made("sdiv", other)

    def unsigned_shift(self, bits: Value | int) -> Value:
        """Shift right and fill with zeros."""
        return self._made("lshr", bits)

    def compare(self, sign: str, other: Value | float) -> Value:
        """Compare as signed integers, or as floats (never true of NaN): "<", ">=", "==", ..."""
        real = getattr(self.kind, "element", self.kind) in (F32, F64)
        how = self.code.at.fcmp_ordered if real else self.code.at.icmp_signed
        return Value(self.code, how(sign, self.raw, self._other(other)))

    def where(self, yes: Value, no: Value) -> Value:
        """Choose by this condition."""
        return Value(self.code, self.code.at.select(self.raw, yes.raw, no.raw))

    def least(self, other: Value | int) -> Value:
        """Return the lesser of two."""
        return self.compare("<", other).where(self, Value(self.code, self._other(other)))

    def most(self, other: Value | int) -> Value:
        """Return the greater of two."""
        return self.compare(">", other).where(self, Value(self.code, self._other(other)))

    def unsigned(self, kind: Any) -> Value:
        """Widen with zeros."""
        return Value(self.code, self.code.at.zext(self.raw, kind))

    def signed(self, kind: Any) -> Value:
        """Widen with the sign."""
        return Value(self.code, self.code.at.sext(self.raw, kind))

    def cut(self, kind: Any) -> Value:
        """Keep the low bits."""
        return Value(self.code, self.code.at.trunc(self.raw, kind))

    def short(self) -> Value:
        """Return what is known to fit 32 bits, so that the processor knows it too."""
        kind = self.kind
        half = lanes(I32, kind.count) if isinstance(kind, ir.VectorType) else I32
        return self.cut(half).signed(kind)

    def seen_as(self, kind: Any) -> Value:
        """Read the same bits as another type."""
        return Value(self.code, self.code.at.bitcast(self.raw, kind))

    def lanes(self, first: int, count: int) -> Value:
        """Return some neighbouring lanes."""
        return self._shuffled(range(first, first + count))

    def to_all(self, count: int) -> Value:
        """Return a vector of which every lane is this number."""
        empty = ir.Constant(lanes(self.kind, count), ir.Undefined)
        first = self.code.at.insert_element(empty, self.raw, I32(0))
        return Value(self.code, first)._shuffled([0] * count)

    def followed_by(self, other: Value) -> Value:
        """Return the lanes of this and of another vector of the same type, one behind the other."""
        return self._shuffled(range(2 * self.kind.count), other)

    def _shuffled(self, order: Sequence[int], other: Value | None = None) -> Value:
        chosen = ir.Constant(lanes(I32, len(order)), list(order))
        behind = other.raw if other else ir.Constant(self.kind, ir.Undefined)
        return Value(self.code, self.code.at.shuffle_vector(self.raw, behind, chosen))

    def ones(self) -> Value:
        """Count the bits that are set."""
        return self.code.call(f"llvm.ctpop.i{self.kind.width}", self.kind, self)

    def bits(self) -> Value:
        """Return conditions [n] as an integer of n bits, the first lane lowest."""
        return self.seen_as(ir.IntType(self.kind.count))


class Code:
    """One function `name(argument, ...)`, all of them 64-bit integers, without a result."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.module = ir.Module(name)
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(arguments))
        self._function = ir.Function(self.module, kind, name)
        self._entry = ir.IRBuilder(self._function.append_basic_block("entry"))
        self._start = self._function.append_basic_block("start")
        self.at = ir.IRBuilder(self._start)
        self.arguments = {
            argument: Value(self, raw)
            for argument, raw in zip(arguments, self._function.args, strict=True)
        }

    def finished(self) -> str:
        """End the function; return the text of its module."""
        self.at.ret_void()
        self._entry.branch(self._start)
        return str(self.module)

    def number(self, kind: Any, value: float) -> Value:
        """Return a constant; of a vector type, in all lanes."""
        many = isinstance(kind, ir.VectorType)
        return Value(self, ir.Constant(kind, [value] * kind.count if many else value))

    def numbers(self, kind: Any, values: Sequence[int]) -> Value:
        """Return a constant vector."""
        return Value(self, ir.Constant(lanes(kind, len(values)), list(values)))

    def variable(self, start: Value) -> Variable:
        """Return a variable that holds `start` from here on."""
        made = Variable(self, self._entry.alloca(start.kind))
        made.set(start)
        return made

    def load(self, address: Value, kind: Any, align: int = 1) -> Value:
        """Read from memory."""
        place = self.at.inttoptr(address.raw, kind.as_pointer())
        return Value(self, self.at.load(place, align=align))

    def store(self, value: Value, address: Value, align: int = 1) -> None:
        """Write to memory."""
        place = self.at.inttoptr(address.raw, value.kind.as_pointer())
        self.at.store(value.raw, place, align=align)

    def add_at_once(self, value: Value, address: Value) -> Value:
        """Add to an integer in memory, whatever other threads do; return what it was.

        Who sees the sum sees what this thread wrote before.
        """
        place = self.at.inttoptr(address.raw, value.kind.as_pointer())
        return Value(self, self.at.atomic_rmw("add", place, value.raw, "seq_cst"))

    def load_at_once(self, address: Value) -> Value:
        """Read a 64-bit integer that other threads add to."""
        place = self.at.inttoptr(address.raw, I64.as_pointer())
        return Value(self, self.at.load_atomic(place, "seq_cst", 8))

    def go(self, address: Value, *arguments: Value) -> None:
        """Call a function of 64-bit integers that is at an address."""
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(arguments))
        function = self.at.inttoptr(address.raw, kind.as_pointer())
        self.at.call(function, [a.raw for a in arguments])

    def fields(self, address: Value, names: Sequence[str]) -> dict[str, Value]:
        """Read a record of 64-bit integers."""
        return {name: self.load(address + 8 * i, I64) for i, name in enumerate(names)}

    def table(self, name: str, values: Sequence[int]) -> Value:
        """Return the address of constant bytes."""
        held = self.module.globals.get(name)
        if held is None:
            kind = ir.ArrayType(I8, len(values))
            held = ir.GlobalVariable(self.module, kind, name)
            held.global_constant, held.linkage = True, "internal"
            held.initializer = ir.Constant(kind, bytearray(values))
        return Value(self, self.at.ptrtoint(held, I64))

    def call(self, name: str, kind: Any, *arguments: Value) -> Value:
        """Call one of LLVM's own functions."""
        known = self.module.globals.get(name)
        if known is None:
            signature = ir.FunctionType(kind, [a.kind for a in arguments])
            known = ir.Function(self.module, signature, name)
        return Value(self, self.at.call(known, [a.raw for a in arguments]))

    @contextmanager
    def loop(self, start: Value | int, stop: Value | int, step: int = 1) -> Iterator[Value]:
        """Repeat what is written inside for start, start + step, ... below stop."""
        first, last = (v if isinstance(v, Value) else self.number(I64, v) for v in (start, stop))
        head, body, after = (self._function.append_basic_block(n) for n in ("head", "body", "end"))
        before = self.at.block
        self.at.branch(head)
        self.at.position_at_end(head)
        index = self.at.phi(I64)
        index.add_incoming(first.raw, before)
        self.at.cbranch(self.at.icmp_signed("<", index, last.raw), body, after)
        self.at.position_at_end(body)
        yield Value(self, index)
        index.add_incoming(self.at.add(index, I64(step)), self.at.block)
        self.at.branch(head)
        self.at.position_at_end(after)

    @contextmanager
    def during(self, condition: Callable[[], Value]) -> Iterator[None]:
        """Repeat what is written inside as long as the condition, written in front, holds."""
        head, body, after = (self._function.append_basic_block(n) for n in ("head", "body", "end"))
        self.at.branch(head)
        self.at.position_at_end(head)
        self.at.cbranch(condition().raw, body, after)
        self.at.position_at_end(body)
        yield
        self.at.branch(head)
        self.at.position_at_end(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Do what is written inside if the condition holds."""
        with self.at.if_then(condition.raw):
            yield

    @contextmanager
    def either(self, condition: Value) -> Iterator[tuple[Any, Any]]:
        """Give two places: `with yes:` what is done if the condition holds, `with no:` if not."""
        with self.at.if_else(condition.raw) as places:
            yield places


@dataclass(frozen=True, eq=False)
class Variable:
    """A place for a value that changes."""

    code: Code
    place: Any

    def get(self) -> Value:
        """Return its value here."""
        return Value(self.code, self.code.at.load(self.place))

    def set(self, value: Value) -> None:
        """Let it hold another value from here on."""
        self.code.at.store(value.raw, self.place)
