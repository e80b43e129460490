"""A folded graph as a torch module whose forward pass is its integer program.

At every call the constants are lowered to integers by the compiler's own code, and the program is
run: values are whole numbers in float64 tensors, which hold every sum of the program exactly. The
backward pass takes every rounding for the identity, at the scale it has at the moment:

    W   = unit 2^e / unit_in * rint(...)      dL/dW   = dL/dW_int   unit_in / (unit 2^e)
    b   = lsb rint(b / lsb)                   dL/db   = dL/db_int   / lsb
    k   = 2^-frac rint(k 2^frac)              dL/dk   = dL/dk_int   2^frac

(straight-through, Bengio et al. 2013, arXiv 1308.3432; scales are constants, as in Jacob et al.
2018, arXiv 1712.05877). Neurons are differentiated at the integers they computed (`steps.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph.ir import Graph, Op, Population
from neurodeploy.graph.maps import Conv
from neurodeploy.neurons import Kind
from neurodeploy.passes.bits import Bits, coefficient_bits, words_of
from neurodeploy.passes.coefficients import sound
from neurodeploy.passes.lowerable import Lowerable
from neurodeploy.passes.quantize import Quantize
from neurodeploy.program import ir
from neurodeploy.program.reference import to_integers
from neurodeploy.targets import Target
from neurodeploy.tuning.constants import Constants
from neurodeploy.tuning.convolution import convolved, rounded
from neurodeploy.tuning.head import Head, head
from neurodeploy.tuning.reading import straight
from neurodeploy.tuning.steps import sequential, steps


class Tuned(torch.nn.Module):
    """The integer program of a folded, calibrated graph, trainable.

    bits, coef_bits: as in `compile_graph`. surrogate, steepness: of spikes, as in training.
    Raises InputError E104 naming everything that tuning does not cover, and the errors of
    lowering.
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
        covered(self.quantize(graph))
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


def covered(program: ir.Program) -> ir.Program:
    """Return `program`, or raise InputError E104 naming every node that tuning does not cover."""
    problems: list[NeurodeployError] = [
        InputError(
            "E104",
            f"tuning does not cover {what}",
            where=f'node "{node.name}"',
            fix="compile without tuning, or with more bits",
        )
        for node in program
        if (what := _not_covered(node))
    ]
    if problems:
        raise together(problems)
    return program


def _not_covered(node: ir.ProgramNode) -> str:
    if not isinstance(node, ir.Source | ir.Stream | ir.Population):
        return f"{type(node).__name__} nodes"
    if isinstance(node, ir.Population):
        shapes = {name: np.shape(value) for name, value in node.coefs.items()}
        odd = [name for name, shape in shapes.items() if shape != (node.width,)]
        return f"{node.spec} nodes, whose {', '.join(odd)} has steps or modes" if odd else ""
    return ""


class _Pass:
    """One forward pass: the program of the moment, and what its nodes send."""

    def __init__(self, model: Tuned) -> None:
        self.model = model
        self.graph = Lowerable()(model.graph())
        self.program = model.quantize(self.graph)
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
            elif isinstance(node, ir.Stream):
                self.values[node.name] = self._current(node, node.unit)
                self.units[node.name] = node.unit
        return self._readout()

    def _current(self, node: ir.Stream | ir.Population, unit: Any) -> Tensor:
        """Return the sum over a node's edges, one of which is worth `unit` [width]."""
        parts = []
        column: dict[str, int] = {}
        for edge in ir.edges(node, recurrent=False):
            value = self.values[edge.source]
            if isinstance(edge, ir.Dense):
                first = column.get(edge.linear, 0)
                column[edge.linear] = first + edge.weight.shape[1]
                part = value @ self._weight(edge, unit, first).T
            elif isinstance(edge, ir.Conv):
                first = column.get(edge.linear, 0)
                column[edge.linear] = first + edge.shape[0]
                part = convolved(value, self._kernel(edge, unit, first), edge)
            else:
                part = value * _tensor(edge.sign)
            parts.append(part * 2.0**edge.exponent)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _weight(self, edge: ir.Dense, unit: Any, first: int) -> Tensor:
        whole = _tensor(edge.weight)
        weight = self.tensors.get((edge.linear, "weight"))
        if weight is None or weight.ndim != 2:  # what lowering wrote out stays as it is
            return whole
        scale = unit[:, None] * 2.0**edge.exponent / self.units[edge.source]
        columns = weight[:, first : first + edge.weight.shape[1]]
        return straight(columns / _tensor(scale), whole)

    def _kernel(self, edge: ir.Conv, unit: Any, first: int) -> Tensor:
        weight, op = self.tensors.get((edge.linear, "weight")), self.graph[edge.linear].op
        if weight is None or not isinstance(op, Conv):
            return _tensor(edge.weight)
        return rounded(edge, weight, op.groups, first, (unit, self.units[edge.source]))

    def _population(self, node: ir.Population) -> None:
        op = self.graph[node.name].op
        lsb = node.unit / op.unit if isinstance(op, Population) else node.unit
        fixed, factor = self.program.fixed(node), 2.0 ** node.shift.astype(np.float64)
        bias = self._bias(node, lsb)

        def placed(current: Tensor) -> Tensor:
            moved = fixed.shift(current.detach().numpy().astype(np.int64), node.shift)
            return straight(current * _tensor(factor), _tensor(moved)) + bias

        current = self._current(node, lsb * factor)
        coefs = [self._coef(node, name, lsb) for name in node.model.coefs._fields]
        table = torch.stack(coefs) if coefs else current.new_zeros((0, node.width))
        how = self.model.surrogate, self.model.steepness
        if node.recurrent is None:
            sent = steps(node, fixed, table, placed(current), *how)
        else:
            heard = self._recurrent(node.name, node.recurrent, lsb * factor)
            sent = sequential(
                node, fixed, table, current, *how, lambda row, out: placed(row + out @ heard)
            )
        self.values[node.name] = sent
        amplitude = op.amplitude if isinstance(op, Population) else 1.0
        self.units[node.name] = np.ones(node.width) if node.model.spiking else lsb * amplitude

    def _recurrent(self, name: str, edge: ir.Dense, unit: Any) -> Tensor:
        """Return the recurrent weights of neurons `name`, [senders, neurons], exponent included."""
        scale = _tensor(unit[:, None] * 2.0**edge.exponent)
        weight = self.tensors[name, "recurrent"]
        return straight(weight / scale, _tensor(edge.weight)).T * 2.0**edge.exponent

    def _bias(self, node: ir.Population, lsb: Any) -> Tensor:
        """Return the bias, with the gradients of the node's own and of its Linear's."""
        (source,) = self.graph[node.name].inputs
        found = [self.tensors[key] for key in [(node.name, "bias")] if key in self.tensors]
        private = any(isinstance(e, ir.Weighted) and e.linear == source for e in node.edges)
        if private and (source, "bias") in self.tensors:
            rows = self.tensors[source, "bias"]
            found.append(rows.repeat_interleave(node.width // len(rows)))
        whole = _tensor(node.bias)
        return straight(torch.stack(found).sum(0) / _tensor(lsb), whole) if found else whole

    def _coef(self, node: ir.Population, name: str, lsb: Any) -> Tensor:
        whole = _tensor(node.coefs[name])
        value = self.tensors.get((node.name, f"coefs.{name}"))
        if value is None:
            return whole
        unit = node.model.kinds[name] is Kind.UNIT
        scale = 2.0**-node.coef_frac if unit else _tensor(lsb)
        return straight(value / scale, whole)

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


def _offset(found: Head, readout: ir.Readout) -> Tensor:
    offset = _tensor(readout.offset)
    return straight(found.bias.expand(offset.shape), offset)


def _tensor(value: Any) -> Tensor:
    return torch.tensor(np.asarray(value, np.float64))
