"""Lower one vector operation: the edges of its operands, and the constants of `vectors.py`.

An operand is a Linear of its own (whose rows have a unit each, and whose bias is added), or a node
as it is. An Affine in between costs nothing: the operand is scaled anyway. A GLU or an LSTM reads
one Linear, whose rows become its operands in groups; so do an LSTM's recurrent weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import Affine, Array, Graph, Input, Population
from neurodeploy.graph.nonlinear import Lstm, VectorOp
from neurodeploy.graph.weights import Weighted, spread
from neurodeploy.passes.units import Units
from neurodeploy.passes.vectors import Operand, Register, build, scaling
from neurodeploy.program import ir, synapses
from neurodeploy.targets.schema import Numbers


@dataclass(frozen=True, eq=False)
class VectorLowering:
    """What lowering needs.

    dense(name, unit) gives the edges of a Linear in a unit per row, again(name, unit) likewise
    those from a node to itself.
    """

    graph: Graph
    units: Units
    dense: Callable[[str, Array], tuple[synapses.Edge, ...]]
    again: Callable[[str, Array], tuple[synapses.Edge, ...]]
    margin: float  #: a format holds this many times what calibration saw
    numbers: Numbers

    def node(self, name: str) -> tuple[ir.Vector, tuple[Array, ...]]:
        """Return the program's node for the vector operation `name`.

        And what one unit of each operand's current is worth, [width].
        """
        op = self.graph[name].op
        assert isinstance(op, VectorOp)
        found = [self._operand(source) for source in self.graph[name].inputs]
        operands = [part for _, _, operand in found for part in _split(operand, op.parts)]
        whole = np.concatenate([operand.unit for _, _, operand in found])
        ends = [(i, own) for i, (own, _, _) in enumerate(found)] + [(0, self.again(name, whole))]
        edges = [
            (k, edge)
            for first, own in ends
            for k, group in enumerate(_grouped(own, op.parts), first)
            for edge in group
        ]
        unit = self.units.of(name)
        low, high = self._ends(name, unit)
        made = build(op, tuple(operands), unit, self._register(name, low, high))
        out_gain, out_shift = scaling(made.unit / unit)
        formats: dict[str, Any] = {
            key: np.array([getattr(form, key) for form in made.formats], np.int64)
            for key in ("gain", "shift", "offset", "limit")
        }
        node = ir.Vector(
            name=name,
            width=len(unit),
            edges=tuple(edge for _, edge in edges),
            operands=tuple(k for k, _ in edges),
            kind=made.kind,
            **formats,
            params=made.params,
            out_gain=out_gain,
            out_shift=out_shift,
            low=low,
            high=high,
            unit=unit,
            reverse=isinstance(op, Lstm) and op.reverse,
        )
        currents = [part for _, unit, _ in found for part in np.split(unit, op.parts)]
        return node, tuple(currents)

    def _operand(self, name: str) -> tuple[tuple[synapses.Edge, ...], Array, Operand]:
        """Return the edges that bring node `name` to a vector operation, and what they bring.

        Its current has the unit [width]; in between, an Affine may scale it.
        """
        op, source = self.graph[name].op, name
        gain, bias = np.ones(self.graph.widths[name]), np.zeros(self.graph.widths[name])
        if isinstance(op, Affine):
            gain, bias, source = op.gain, op.bias, self.graph[name].inputs[0]
        linear = self.graph[source].op
        edges: tuple[synapses.Edge, ...]
        if self.units.private(source) and isinstance(linear, Weighted):
            unit, bias = self.units.rows(source), bias + gain * spread(linear, linear.bias)
            edges = self.dense(source, unit)
        else:
            unit = self.units.of(source)
            edges = (synapses.Tap(source=source, sign=np.ones(len(unit), np.int64)),)
        seen = self.units.seen(name)
        reach = self.margin * max(np.abs(seen.low).max(), np.abs(seen.high).max())
        return edges, unit, Operand(unit * gain, bias, float(reach))

    def _ends(self, name: str, unit: Array) -> tuple[int, int]:
        """Return the least and greatest integer that a vector operation sends."""
        if self.units.hands_on(name):
            low, high = self._passed(self.graph[name].inputs[0])
            return min(low, 0), high
        if not self.units.summed(name):
            return self.units.sent(name)[:2]
        seen = self.units.seen(name)
        top = self.margin * np.maximum(np.abs(seen.low), np.abs(seen.high)) / unit
        high = min(math.ceil(float(top.max())), 2 ** (self.numbers.message_bits - 1) - 1)
        return -high, high

    def _passed(self, source: str) -> tuple[int, int]:
        """Return the least and greatest integer of a node that a delay hands on."""
        op = self.graph[source].op
        if isinstance(op, Input):
            return self.units.source.low, self.units.source.high
        if isinstance(op, Population):
            return 0, op.model.traced(op.options).most
        return self._ends(source, self.units.of(source))

    def _register(self, name: str, low: int, high: int) -> Register:
        """Return the register of a cell, or of values from `low` to `high` that wait."""
        most = max(-low, high)
        if isinstance(self.graph[name].op, Delay):
            return Register(most.bit_length() + (low < 0), 0.0, most)
        held = self.margin * float(self.units.seen(name).peak.max())
        return Register(self.numbers.state_bits, held)


def _split(operand: Operand, parts: int) -> list[Operand]:
    """Return the operands that the parts of the channels are."""
    units, biases = np.split(operand.unit, parts), np.split(operand.bias, parts)
    pairs = zip(units, biases, strict=True)
    return [Operand(unit, bias, operand.reach) for unit, bias in pairs]


def _grouped(edges: tuple[synapses.Edge, ...], parts: int) -> list[tuple[synapses.Edge, ...]]:
    """Return the edges into each part of the channels."""
    if parts == 1:
        return [edges]
    rows: list[list[synapses.Edge]] = [[] for _ in range(parts)]
    for edge in edges:
        assert isinstance(edge, synapses.Dense)
        for row, weight in zip(rows, np.split(edge.weight, parts), strict=True):
            row.append(replace(edge, weight=weight))
    return [tuple(row) for row in rows]
