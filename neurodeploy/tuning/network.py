"""A folded graph as a torch module whose forward pass is its integer program.

At every call the constants are lowered to integers by the compiler's own code, and the program is
run: values are whole numbers in float64 tensors, which hold every sum of the program exactly. The
backward pass takes every rounding for the identity, at the scale it has at the moment:

    W   = unit 2^e / unit_in * rint(...)      dL/dW   = dL/dW_int   unit_in / (unit 2^e)
    b   = lsb rint(b / lsb)                   dL/db   = dL/db_int   / lsb
    k   = 2^-frac rint(k 2^frac)              dL/dk   = dL/dk_int   2^frac

(straight-through, Bengio et al. 2013, arXiv 1308.3432; scales are constants, as in Jacob et al.
2018, arXiv 1712.05877). Neurons and vector operations are differentiated at the integers they
computed (`steps.py`, `vectors.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurodeploy.graph.ir import Affine, Graph, Op, Population
from neurodeploy.graph.maps import Conv
from neurodeploy.graph.nonlinear import VectorOp
from neurodeploy.graph.weights import Weighted
from neurodeploy.neurons import Kind
from neurodeploy.passes.bits import Bits, coefficient_bits, words_of
from neurodeploy.passes.coefficients import sound
from neurodeploy.passes.lowerable import Lowerable
from neurodeploy.passes.quantize import Quantize
from neurodeploy.program import ir, synapses
from neurodeploy.program.reference import to_integers
from neurodeploy.targets import Target
from neurodeploy.tuning.constants import Constants
from neurodeploy.tuning.convolution import convolved, rounded
from neurodeploy.tuning.head import Head, head
from neurodeploy.tuning.reading import straight
from neurodeploy.tuning.steps import placed, steps
from neurodeploy.tuning.vectors import Operand, values


class Tuned(torch.nn.Module):
    """The integer program of a folded, calibrated graph, trainable.

    bits, coef_bits: as in `compile_graph`. surrogate, steepness: of spikes, as in training.
    Raises the errors of lowering.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        *,
        bits: Bits = None,
        coef_bits: Bits = None,
        surrogate: str = "arctan",
        steepness: float = 2.0,
    ) -> None:
        super().__init__()
        self.quantize = Quantize(target, bits, coef_bits)
        self.quantize(graph)
        self.coef_bits = coefficient_bits(graph, target, coef_bits)
        self.constants = Constants(graph)
        self.surrogate, self.steepness = surrogate, steepness

    def graph(self) -> Graph:
        """Return the folded graph with the constants as they are now."""
        return self.constants.graph()

    def program(self) -> ir.Program:
        """Return the integer program of the constants as they are now, not timed or placed."""
        return self.quantize(self.graph())

    def sound(self, name: str, first: Op, now: Op) -> Any:
        """Return the channels [width] of neurons `name` that still compile, as far as poles go."""
        assert isinstance(first, Population)
        assert isinstance(now, Population)
        numbers = self.quantize.target.numbers
        bits = words_of(now, name, self.coef_bits, numbers.coef_bits)
        return sound(first, now, numbers, bits)

    def forward(self, x: Any) -> Tensor:
        """Return the program's outputs [B, N], or [T, B, N], for real inputs x [T, B, C]."""
        return self.run(x)[0]

    def run(self, x: Any, record: Collection[str] = ()) -> tuple[Tensor, dict[str, Any]]:
        """Return outputs, and the integers [T, B, width] of the named nodes."""
        once = _Pass(self)
        output = once.output(x)
        kept = {name: once.values[name].detach().numpy().astype(np.int64) for name in record}
        return output, kept


class _Pass:
    """One forward pass: the program of the moment, and what its nodes send."""

    def __init__(self, model: Tuned) -> None:
        self.model = model
        self.graph = Lowerable()(model.graph())
        self.program, self.currents = model.quantize.lowered(self.graph)
        self.tensors = model.constants.tensors()
        self.values: dict[str, Tensor] = {}
        self.units: dict[str, Any] = {}  #: what one integer of a node's values is worth, [width]

    def output(self, x: Any) -> Tensor:
        source = self.program.source
        whole, _ = to_integers(source, x)
        self.values[source.name] = torch.from_numpy(whole.astype(np.float64))
        self.units[source.name] = np.full(source.width, source.unit)
        for node in self.program:
            if isinstance(node, ir.Population):
                self._population(node)
            elif isinstance(node, ir.Vector):
                self._vector(node)
            elif isinstance(node, ir.Stream):
                self.values[node.name] = self._current(node.edges, node.unit)
                self.units[node.name] = node.unit
        return self._readout()

    def _current(
        self, edges: Sequence[synapses.Edge], unit: Any, rows: slice = slice(None)
    ) -> Tensor:
        """Return the sum over edges, one of which is worth `unit` [width].

        rows: those of their Linears that it comes from.
        """
        parts = []
        column: dict[str, int] = {}
        for edge in edges:
            value = self.values[edge.source]
            if isinstance(edge, synapses.Dense):
                first = column.get(edge.linear, 0)
                column[edge.linear] = last = first + edge.weight.shape[1]
                weight = self._trained(edge, (rows, slice(first, last)))
                part = value @ self._weight(edge, weight, unit).T
            elif isinstance(edge, synapses.Conv):
                first = column.get(edge.linear, 0)
                column[edge.linear] = first + edge.shape[0]
                part = convolved(value, self._kernel(edge, unit, first), edge)
            else:
                part = value * _tensor(edge.sign)
            parts.append(part * 2.0**edge.exponent if edge.exponent else part)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _trained(self, edge: synapses.Dense, where: tuple[slice, slice]) -> Tensor | None:
        """Return the real weights of an edge; what lowering wrote out has none."""
        weight = self.tensors.get((edge.linear, "weight"))
        return None if weight is None or weight.ndim != 2 else weight[where]

    def _weight(self, edge: synapses.Dense, weight: Tensor | None, unit: Any) -> Tensor:
        """Return the integers of an edge, with the gradient of the real weights they stand for."""
        whole = _tensor(edge.weight)
        if weight is None:
            return whole
        scale = unit[:, None] * 2.0**edge.exponent / self.units[edge.source]
        return straight(weight / _tensor(scale), whole)

    def _kernel(self, edge: synapses.Conv, unit: Any, first: int) -> Tensor:
        weight, op = self.tensors.get((edge.linear, "weight")), self.graph[edge.linear].op
        if weight is None or not isinstance(op, Conv):
            return _tensor(edge.weight)
        return rounded(edge, weight, op.groups, first, (unit, self.units[edge.source]))

    def _population(self, node: ir.Population) -> None:
        op = self.graph[node.name].op
        (unit,) = self.currents[node.name]
        factor = 2.0 ** node.shift.astype(np.float64)
        fixed, bias, lsb = self.program.fixed(node), self._bias(node, unit / factor), unit / factor
        amplitude = op.amplitude if isinstance(op, Population) else 1.0
        model_unit = op.unit if isinstance(op, Population) else 1.0
        graded = node.unit / model_unit * amplitude
        self.units[node.name] = np.ones(node.width) if node.model.spiking else graded
        scales = {kind: _tensor(lsb) for kind in Kind}
        scales[Kind.UNIT] = torch.ones(1, dtype=torch.float64)
        scales[Kind.OUTPUT] = _tensor(node.unit / (model_unit * lsb))
        coefs = {name: self._coef(node, name, scales) for name in node.model.coefs._fields}
        current = self._current(ir.edges(node, recurrent=False), unit)
        given: list[Any] = [node, fixed, node.model.coefs(**coefs)]
        how = self.model.surrogate, self.model.steepness
        if node.recurrent is None:
            given += [placed(current, factor, bias, fixed), *how]
        else:
            again = self._weight(node.recurrent, self.tensors[node.name, "recurrent"], unit)
            weight = again * _tensor(2.0**node.recurrent.exponent * factor)[:, None]
            given += [current * _tensor(factor), *how, (weight, bias)]
        self.values[node.name] = steps(*given)

    def _bias(self, node: ir.Population, lsb: Any) -> Tensor:
        """Return the bias, with the gradients of the node's own and of its Linear's."""
        (source,) = self.graph[node.name].inputs
        found = [self.tensors[key] for key in [(node.name, "bias")] if key in self.tensors]
        if _reads(node, source) and (source, "bias") in self.tensors:
            rows = self.tensors[source, "bias"]
            found.append(rows.repeat_interleave(node.width // len(rows)))
        whole = _tensor(node.bias)
        return straight(torch.stack(found).sum(0) / _tensor(lsb), whole) if found else whole

    def _coef(self, node: ir.Population, name: str, scales: Mapping[Kind, Tensor]) -> Tensor:
        """Return a coefficient as `steps` reads it, with the gradient of the real one."""
        kind = node.model.kinds[name]
        worth = 2.0**-node.coef_frac if kind.dimensionless else 1.0
        whole = _tensor(node.coefs[name] * worth)
        value = self.tensors.get((node.name, f"coefs.{name}"))
        return whole if value is None else straight(value / scales[kind], whole)

    def _vector(self, node: ir.Vector) -> None:
        op, units = self.graph[node.name].op, self.currents[node.name]
        assert isinstance(op, VectorOp)
        self.units[node.name] = node.unit
        currents, again = [], []
        for k, unit in enumerate(units):
            rows = slice(k * node.width, (k + 1) * node.width) if op.parts > 1 else slice(None)
            ends = [e for e, j in zip(node.edges, node.operands, strict=True) if j == k]
            others = [e for e in ends if e.source != node.name]
            currents.append(self._current(others, unit, rows))
            for edge in ends:
                if isinstance(edge, synapses.Dense) and edge.source == node.name:
                    weight = self._weight(edge, self.tensors[node.name, "recurrent"][rows], unit)
                    again.append(weight * 2.0**edge.exponent)
        operands = [
            Operand(current, _tensor(unit) * gain, bias)
            for current, unit, (gain, bias) in zip(
                currents, units, self._maps(node, op.parts), strict=True
            )
        ]
        self.values[node.name] = values(op, node, operands, again)

    def _maps(self, node: ir.Vector, parts: int) -> list[tuple[Tensor, Tensor]]:
        """Return gain and bias [width] that come to each operand's current."""
        found: list[tuple[Tensor, Tensor]] = []
        for name in self.graph[node.name].inputs:
            op, source = self.graph[name].op, name
            gain, bias = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
            if isinstance(op, Affine):
                gain, bias, source = _tensor(op.gain), _tensor(op.bias), self.graph[name].inputs[0]
            linear = self.graph[source].op
            if isinstance(linear, Weighted) and _reads(node, source):
                own = self.tensors.get((source, "bias"), _tensor(linear.bias))
                width = self.graph.widths[source]
                bias = bias + gain * own.repeat_interleave(width // len(own))
            wide = self.graph.widths[name]
            pair = (torch.split(part.expand(wide), wide // parts) for part in (gain, bias))
            found += zip(*pair, strict=True)
        return found

    def _readout(self) -> Tensor:
        readout = self.program.readout
        value = self.values[readout.source]
        whole = value if readout.kind == "steps" else value[-1]
        found = head(self.graph, self.tensors)
        if readout.weight is not None:
            assert found.weight is not None
            exact = found.weight * _tensor(self.units[readout.source])
            weight = straight(exact / _tensor(readout.unit)[:, None], _tensor(readout.weight))
            whole = whole @ weight.T
        scale = readout.unit / len(value) if readout.mean else readout.unit
        return whole * _tensor(scale) + _offset(found, readout)


def _reads(node: ir.Population | ir.Vector, source: str) -> bool:
    """Whether a Linear lives in the edges of a node."""
    return any(isinstance(edge, synapses.Weighted) and edge.linear == source for edge in node.edges)


def _offset(found: Head, readout: ir.Readout) -> Tensor:
    offset = _tensor(readout.offset)
    return straight(found.bias.expand(offset.shape), offset)


def _tensor(value: Any) -> Tensor:
    return torch.tensor(np.asarray(value, np.float64))
