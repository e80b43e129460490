"""Vector operations of a program, as standard ONNX operators on int64.

Each `_<kind>` says in operators what `program/vector/<kind>.py` computes. `x >> s` to nearest is
(y - (y & (2^s - 1))) / 2^s with y = x + 2^s / 2. The exact integer root comes from a float64 root,
which is at most one off, and two comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neurodeploy.backends.onnx.exact import clamped, smaller
from neurodeploy.graph.forms.sheet import Body, Sheet
from neurodeploy.program.ir import Vector
from neurodeploy.program.synapses import Dense
from neurodeploy.program.vector import lstm, registers
from neurodeploy.program.vector.glu import FRACTION

FINAL_LINE = "final_ago"  #: the registers of a delay, [longest, B, width]
_DOUBLE, _INT64 = 11, 7  # onnx.TensorProto


class Writer:
    """Calls and constants of one Vector; `put` and `constant` append to the file."""

    def __init__(
        self, node: Vector, put: Callable[..., str], constant: Callable[[str, Any], str]
    ) -> None:
        self.node, self._append, self._constant = node, put, constant
        self.count = 0

    def put(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Append an operator with one result."""
        self.count += 1
        name = f"{self.node.name}/{out or f'{kind.lower()}_{self.count}'}"
        return self._append(kind, *inputs, out=name, **attributes)

    def number(self, value: Any) -> str:
        """Return an int64 constant."""
        self.count += 1
        return self._constant(
            f"{self.node.name}/constant_{self.count}", np.asarray(value, np.int64)
        )

    def shifted(self, value: str, shift: Any) -> str:
        """Divide by 2**shift, rounded to nearest, halves up."""
        size = np.int64(1) << np.asarray(shift, np.int64)
        if not np.any(np.asarray(shift)):
            return value
        raised = self.put("Add", value, self.number(size >> 1))
        low = self.put("BitwiseAnd", raised, self.number(size - 1))
        return self.put("Div", self.put("Sub", raised, low), self.number(size))

    def scaled(self, value: str, gain: Any, offset: Any, shift: Any) -> str:
        """Append (value * gain + offset) >> shift."""
        product = self.put("Mul", value, self.number(gain))
        return self.shifted(self.put("Add", product, self.number(offset)), shift)

    def looked_up(self, position: str, name: str = "table", key: str = "step") -> str:
        """Append the interpolated table `name` at a position >= 0."""
        table, step = np.asarray(self.node.params[name]), int(self.node.params[key])
        place = smaller(self.put, position, self.number((len(table) - 1) << step))
        size = self.number(1 << step)
        last = self.number(max(len(table) - 2, 0))
        left = smaller(self.put, self.put("Div", place, size), last)
        rest = self.put("Sub", place, self.put("Mul", left, size))
        entries = self.number(table)
        here = self.put("Gather", entries, left)
        after = self.put("Gather", entries, self.put("Add", left, self.number(1)))
        slope = self.put("Mul", self.put("Sub", after, here), rest)
        return self.shifted(self.put("Add", self.put("Mul", here, size), slope), step)


def write(
    node: Vector,
    currents: Sequence[str],
    put: Callable[..., str],
    constant: Callable[[str, Any], str],
) -> str:
    """Append what `node` sends for its operands' currents, int64; return its name."""
    w = Writer(node, put, constant)
    return _sent(w, _KINDS[node.kind](w, *_operands(w, currents)), "values")


def _operands(w: Writer, currents: Sequence[str]) -> list[str]:
    operands, node = [], w.node
    for k, current in enumerate(currents):
        wide = w.scaled(current, node.gain[k], node.offset[k], node.shift[k])
        limit = int(node.limit[k])
        operands.append(clamped(w.put, wide, w.number(-limit), w.number(limit)))
    return operands


def _sent(w: Writer, y: str, out: str) -> str:
    node = w.node
    wide = w.scaled(y, node.out_gain, np.zeros_like(node.out_gain), node.out_shift)
    return clamped(w.put, wide, w.number(node.low), w.number(node.high), out)


def step_body(node: Vector, constant: Callable[[str, Any], str]) -> Body:
    """Return the Scan body of a kind with registers.

    From registers, what was sent and the currents of a step to registers, what is sent, and that
    once more. Constants go to the file, where the body sees them.
    """
    sheet, name = Sheet(), node.name
    w = Writer(node, sheet.put, constant)
    names = registers(node)
    kept, before = [f"{name}/{key}_before" for key in names], f"{name}/sent_before"
    steps = [f"{name}/current{k}_t" for k in range(len(node.gain))]
    totals = list(steps)
    for k, edge in zip(node.operands, node.edges, strict=True):
        if edge.source == name:
            assert isinstance(edge, Dense)
            rows = w.number(edge.weight.T.astype(np.int64) << edge.exponent)
            totals[k] = w.put("Add", totals[k], w.put("MatMul", before, rows))
    y, *new = WITH_STEPS[node.kind](w, *kept, *_operands(w, totals))
    after = [
        w.put("Identity", value, out=f"{key}_after") for key, value in zip(names, new, strict=True)
    ]
    sent = _sent(w, y, "sent")
    outputs = (*after, w.put("Identity", sent, out="sent_after"), sent)
    return Body((*kept, before, *steps), outputs, tuple(sheet.calls))


def _relu(w: Writer, x: str) -> str:
    return w.put("Max", x, w.number(0))


def _gelu(w: Writer, x: str) -> str:
    fine = w.number(1 << int(w.node.params["fine"]))
    above = w.put("Mul", w.put("Max", x, w.number(0)), fine)
    return w.put("Sub", above, w.looked_up(w.put("Abs", x)))


def _glu(w: Writer, x: str, gate: str) -> str:
    above = w.looked_up(w.put("Abs", gate))
    negative = w.put("Less", gate, w.number(0))
    signed = w.put("Where", negative, w.put("Neg", above), above)
    return w.put("Mul", x, w.put("Add", signed, w.number(1 << (FRACTION - 1))))


def _lstm(w: Writer, cell: str, *gates: str) -> tuple[str, str]:
    """Return y and the cell."""
    params = w.node.params

    def odd(x: str, name: str, key: str) -> str:
        above = w.looked_up(w.put("Abs", x), name, key)
        return w.put("Where", w.put("Less", x, w.number(0)), w.put("Neg", above), above)

    def sigmoid(x: str) -> str:
        half = w.number(1 << (lstm.FRACTION - 1))
        return w.put("Add", odd(x, "table_sigmoid", "sigmoid_step"), half)

    i, f, o = (sigmoid(gates[k]) for k in (0, 1, 3))
    g = odd(gates[2], "table_tanh", "tanh_step")
    up, down = lstm.shifts(params)
    old = w.put("Mul", w.put("Mul", f, cell), w.number(1 << down))
    new = w.put("Mul", w.put("Mul", i, g), w.number(1 << up))
    wide = w.shifted(w.put("Add", old, new), lstm.FRACTION + down)
    most = (1 << (int(params["state_bits"]) - 1)) - 1
    kept = clamped(w.put, wide, w.number(-most), w.number(most))
    return w.put("Mul", o, odd(kept, "table_tanh", "cell_step")), kept


def _product(w: Writer, a: str, b: str) -> str:
    return w.put("Mul", a, b)


def _delay(w: Writer, x: str) -> str:
    """Append the line of registers and x, each channel from its own row on; and the line behind.

    That is the last values, the youngest first, as the simulator keeps them.
    """
    steps = np.asarray(w.node.params["steps"], np.int64)
    longest = len(registers(w.node))
    start = w.put("Concat", w.number([longest]), w.put("Shape", x, start=1), axis=0)
    zeros = w.put("Cast", w.put("ConstantOfShape", start), to=_INT64)
    whole = w.put("Concat", zeros, x, axis=0)
    ends = (w.number([n]) for n in (-1, -longest - 1, 0, -1))
    w.put("Slice", whole, *ends, out=FINAL_LINE)
    length = w.put("Squeeze", w.put("Shape", x, end=1))
    times = w.put("Range", w.number(0), length, w.number(1))
    column = w.put("Unsqueeze", times, w.number([1, 2]))
    rows = w.put("Add", column, w.number(longest - steps))
    every = w.put("Expand", rows, w.put("Shape", x))
    return w.put("GatherElements", whole, every, axis=0)


def _sign(w: Writer, x: str, upper: str, lower: str) -> str:
    one, zero = w.number(1), w.number(0)
    below = w.put("Where", w.put("LessOrEqual", x, lower), w.number(-1), zero)
    return w.put("Where", w.put("GreaterOrEqual", x, upper), one, below)


def _ternary(w: Writer, x: str) -> str:
    params = w.node.params
    return _sign(w, x, w.number(params["upper"]), w.number(params["lower"]))


def _ternary_step(w: Writer, x: str) -> str:
    num, den = (int(w.node.params[key]) for key in ("num", "den"))
    top = w.put("ReduceMax", w.put("Abs", x), w.number([-1]), keepdims=1)
    raised = w.put("Add", w.put("Mul", top, w.number(num)), w.number(den - 1))
    level = w.put("Div", raised, w.number(den))
    return _sign(w, x, level, w.put("Neg", level))


def _layernorm(w: Writer, x: str) -> str:
    n, params = w.number(w.node.width), w.node.params
    axis = w.number([-1])
    total = w.put("ReduceSum", x, axis, keepdims=1)
    squares = w.put("ReduceSum", w.put("Mul", x, x), axis, keepdims=1)
    spread = w.put("Sub", w.put("Mul", n, squares), w.put("Mul", total, total))
    spread = w.put("Add", spread, w.number(int(params["eps"])))
    wide = w.put("Mul", spread, w.number(1 << (2 * int(params["guard"]))))
    root = w.put("Max", _root(w, wide), w.number(1))
    inverse = w.put("Div", w.number(int(params["dividend"])), root)
    centred = w.put("Sub", w.put("Mul", n, x), total)
    return w.shifted(w.put("Mul", centred, inverse), int(params["shift"]))


def _root(w: Writer, value: str) -> str:
    real = w.put("Sqrt", w.put("Cast", value, to=_DOUBLE))
    near = w.put("Cast", real, to=_INT64)
    one = w.number(1)
    over = w.put("Greater", w.put("Mul", near, near), value)
    near = w.put("Sub", near, w.put("Cast", over, to=_INT64))
    after = w.put("Add", near, one)
    under = w.put("LessOrEqual", w.put("Mul", after, after), value)
    return w.put("Add", near, w.put("Cast", under, to=_INT64))


_KINDS: dict[str, Callable[..., str]] = {
    "relu": _relu,
    "rescale": lambda w, x: x,
    "delay": _delay,
    "gelu": _gelu,
    "glu": _glu,
    "product": _product,
    "ternary": _ternary,
    "ternary_step": _ternary_step,
    "layernorm": _layernorm,
}
#: Kinds that run step by step, in a Scan.
WITH_STEPS: dict[str, Callable[..., tuple[str, ...]]] = {"lstm": _lstm}
