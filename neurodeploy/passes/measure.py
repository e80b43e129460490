"""What every node of a graph reaches on data, a part of the sequence at a time.

What is kept of a part is the least and the greatest value of each channel, so memory does not grow
with the sequence; but where a layer runs backwards or hears itself, the sequence is one part.
"""

from __future__ import annotations

import numpy as np

from neurodeploy.graph.interpret import Carry, Value, comes_in_parts, dense, run
from neurodeploy.graph.ir import Array, Graph, Input, Range, Reduce
from neurodeploy.passes.lowerable import behind_readout
from neurodeploy.tokens import Tokens

_PART = 1 << 20  # values of the widest node in a part


def measured(graph: Graph, data: Value) -> dict[str, Range]:
    """Return the range of every node on inputs [T, B, C]."""
    found, carry = _Ranges(graph), Carry()
    widths = [graph.widths[n.name] for n in graph if not isinstance(n.op, Input)]
    widest = max(widths, default=1)
    steps = max(1, _PART // (data.shape[1] * widest)) if comes_in_parts(graph) else len(data)
    for first in range(0, len(data), steps):
        found.ended = first + steps >= len(data)
        run(graph, data[first : first + steps], watch=found.note, carry=carry)
    return found.ranges


def union(a: Range | None, b: Range) -> Range:
    """Return the range of what was seen in both."""
    if a is None:
        return b
    return Range(
        np.minimum(a.low, b.low),
        np.maximum(a.high, b.high),
        np.maximum(a.peak, b.peak),
        a.whole and b.whole,
    )


class _Ranges:
    """The ranges so far; `ended` in the last part."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.ended = graph, False
        self.ranges: dict[str, Range] = {}
        self._sums: dict[str, tuple[Array, Array]] = {}  # of readouts: now, and at their largest
        readouts = [node.name for node in graph if isinstance(node.op, Reduce)]
        self._late = {*readouts, *behind_readout(graph)}

    def note(self, name: str, value: Value, top: Array | None) -> None:
        """Take what a node sends in a part; what a readout gives is there in the end."""
        if name not in self._late or self.ended:
            low, high, whole = _ends(value)
            peak = np.zeros(len(low)) if top is None else top
            if name in self._sums:
                peak = self._sums[name][1]
            self.ranges[name] = union(self.ranges.get(name), Range(low, high, peak, whole))
        for reader in self.graph.readers(name):
            if isinstance(reader.op, Reduce) and reader.op.kind != "last":
                self._add(reader.name, dense(value) + reader.op.bias)

    def _add(self, name: str, x: Array) -> None:
        """Sum up what a readout reads: its running sum is what a register holds."""
        now, largest = self._sums.get(name, (None, np.zeros(x.shape[-1])))
        if now is not None:
            x[0] += now
        running = np.cumsum(x, axis=0)
        self._sums[name] = running[-1], np.maximum(largest, np.abs(running).max(axis=(0, 1)))


def _ends(value: Value) -> tuple[Array, Array, bool]:
    """Return the least and greatest value of each channel, and whether all are whole numbers."""
    if isinstance(value, Tokens):
        counts = np.bincount(value.ids[value.ids >= 0].reshape(-1), minlength=value.width)
        always, ever = counts == value.ids.size, counts > 0
        return always.astype(np.float64), ever.astype(np.float64), True
    axes = tuple(range(value.ndim - 1))
    return value.min(axis=axes), value.max(axis=axes), bool(np.all(value == np.rint(value)))
