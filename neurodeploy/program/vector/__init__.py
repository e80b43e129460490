"""Vector operations in integers: nonlinear maps of one step's values.

A `Vector` node sums its edges into one or more operands, as neurons sum theirs into a current.
Then, for each operand, channel by channel,

    x = clip((current * gain + offset) >> shift, -limit, limit)      brings it into its format
    y = the kind's own map of x                                      (one file per kind)
    sent = clip((y * out_gain) >> out_shift, low, high)

where `>>` rounds to nearest, halves up. All is int64 and exact on every platform; no real numbers
are used when a program runs. A gain that is a power of two is a shift, and costs no multiply.
A kind with registers (an LSTM, a delay) also reads and writes these; an LSTM may hear what it sent
before, and run backwards.

Each file states how far its integers may be from the real function of the same x. To that come half
a unit of x and of what is sent, for the two roundings, and the relative error of a gain, 2**-15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurodeploy.program.vector import delay, gelu, glu, layernorm, lstm, product, relu, ternary
from neurodeploy.program.vector.base import Kind, rounded

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        layernorm.KIND,
        gelu.KIND,
        relu.KIND,
        relu.RESCALE,
        glu.KIND,
        lstm.KIND,
        delay.KIND,
        product.KIND,
        *ternary.KINDS,
    )
}


def run(node: Any, currents: Sequence[Any]) -> tuple[Any, int]:
    """Return what a Vector node sends for its operands' currents [..., width], int64.

    And how many values did not fit: an operand its format, or a result what is sent.
    """
    operands, lost = _operands(node, currents)
    sent, more = _sent(node, KINDS[node.kind].run(node.params, *operands))
    return sent, lost + more


def step(node: Any, registers: Sequence[Any], currents: Sequence[Any]) -> tuple[Any, Any, int]:
    """Return what a node with registers sends in one step, its registers, and what did not fit."""
    operands, lost = _operands(node, currents)
    y, *kept, over = KINDS[node.kind].run(node.params, *registers, *operands)
    sent, more = _sent(node, y)
    return sent, kept, lost + int(over) + more


def over_time(node: Any, line: Any, current: Any) -> tuple[Any, Any, int]:
    """Return what a delay sends for currents [T, B, width], its registers, and what did not fit.

    line: its registers [longest, B, width] so far.
    """
    (operand,), lost = _operands(node, [current])
    y, line = delay.over_time(node.params, line, operand)
    sent, more = _sent(node, y)
    return sent, line, lost + more


def registers(node: Any) -> tuple[str, ...]:
    """Return the names of what a Vector node keeps from step to step."""
    return KINDS[node.kind].registers(node.params)


def _operands(node: Any, currents: Sequence[Any]) -> tuple[list[Any], int]:
    lost, operands = 0, []
    for k, current in enumerate(currents):
        wide = rounded(current.astype(np.int64) * node.gain[k] + node.offset[k], node.shift[k])
        limit = int(node.limit[k])
        operands.append(np.clip(wide, -limit, limit))
        lost += int(np.count_nonzero(operands[-1] != wide))
    return operands, lost


def _sent(node: Any, y: Any) -> tuple[Any, int]:
    out = rounded(y * node.out_gain, node.out_shift)
    sent = np.clip(out, node.low, node.high)
    return sent, int(np.count_nonzero(sent != out))


def cost(node: Any) -> dict[str, float]:
    """Return the operations of one channel in one step; those of a whole step are shared."""
    ops = dict(KINDS[node.kind].cost(node.width))
    scalings = [_multiplies(gain) for gain in (*node.gain, node.out_gain)]
    ops["mul"] = ops.get("mul", 0.0) + sum(map(int, scalings))
    ops["add"] = ops.get("add", 0.0) + sum(int(np.any(offset)) for offset in node.offset)
    ops["write"] = ops.get("write", 0.0) + 1
    return {key: float(value) for key, value in ops.items() if value}


def _multiplies(gain: Any) -> bool:
    size = np.abs(gain)
    return bool(np.any(size & (size - 1)))


def constant_bits(node: Any) -> int:
    """Return the bits of the constants of one channel, its share of a table included.

    A scaling keeps 16 bits and a shift of 6, an offset 32; a table is kept once per operation.
    """
    bits: int = KINDS[node.kind].own_bits
    for gain in (*node.gain, node.out_gain):
        bits += 22 if _multiplies(gain) else 6
    bits += 32 * sum(int(np.any(offset)) for offset in node.offset)
    return bits + _share(node)


def read_bits(node: Any) -> int:
    """Return the bits of constants that one update of a channel reads."""
    entries = int(KINDS[node.kind].cost(node.width).get("read", 0))
    return constant_bits(node) - _share(node) + 16 * entries


def register_bits(node: Any, first: int, last: int) -> int:
    """Return the bits of the registers of the channels `first` to `last`: of a delay its steps."""
    bits = int(node.params.get("state_bits", 0))
    if "steps" in node.params:
        return int(np.sum(node.params["steps"][first:last])) * bits
    return (last - first) * len(registers(node)) * bits


def written_bits(node: Any) -> int:
    """Return the bits of registers that an update of a channel reads, and those it writes.

    A delay is a ring: whatever its length, one value leaves it and one enters.
    """
    bits = int(node.params.get("state_bits", 0))
    if "steps" in node.params:
        return bits if np.any(node.params["steps"]) else 0
    return len(registers(node)) * bits


def _share(node: Any) -> int:
    """Return the bits of the tables, divided by the channels."""
    entries = sum(np.size(value) for key, value in node.params.items() if key.startswith("table"))
    return -(-16 * int(entries) // int(node.width))
