"""From the calibrated float graph to the integer program.

Weights become integers with one unit per output channel, or per channel of a residual stream
(`units.py`); that unit moves, exactly, into the thresholds behind it. A population's state then
gets as many guard bits as its register allows (`registers.py`). A mean or sum over time becomes a
population of integrators; what follows it, or follows a graded value at the very end, stays with
the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.errors import NeurodeployError, together
from neurodeploy.graph.ir import Affine, Array, Concat, Graph, Input, Population, Reduce
from neurodeploy.graph.maps import Conv
from neurodeploy.graph.nonlinear import VectorOp
from neurodeploy.graph.weights import Weighted, matrix, per_row, rows_of, spread
from neurodeploy.matrices import Matrix, blocks, times
from neurodeploy.passes.bits import (
    DEFAULT,
    LEAST,
    Bits,
    coefficient_bits,
    recurrent_name,
    weight_bits,
    words_of,
)
from neurodeploy.passes.coefficients import output_scale, round_coefs
from neurodeploy.passes.convolutions import convolutions
from neurodeploy.passes.grids import head_units
from neurodeploy.passes.lowerable import (
    Lowerable,
    behind_readout,
    graded_source,
    head,
    is_head,
    joint,
)
from neurodeploy.passes.registers import Registers
from neurodeploy.passes.units import Units, input_format
from neurodeploy.passes.vector_nodes import VectorLowering
from neurodeploy.program import ir, synapses
from neurodeploy.targets import Target


@dataclass(frozen=True)
class Quantize:
    """Lower a folded, calibrated graph to integers of `target`.

    bits: of weights, by Linear; coef_bits: of dimensionless coefficients, by neurons (`bits.py`).
    """

    target: Target
    bits: Bits = None
    coef_bits: Bits = None
    name: str = "quantize"

    def __call__(self, graph: Graph) -> ir.Program:
        """Return the program, not yet timed or placed.

        Raises InputError E107 for what cannot be lowered, and FitError E302 naming every constant
        that is lost in the target's formats.
        """
        return self.lowered(Lowerable()(graph))[0]

    def lowered(self, graph: Graph) -> tuple[ir.Program, Mapping[str, tuple[Array, ...]]]:
        """Lower a graph that is `Lowerable` already.

        And return, by node, what one unit of each operand's current is worth, [width].
        """
        lowering = _Lowering(graph, self.target, self.bits, self.coef_bits)
        return lowering.program(), lowering.currents


class _Drive(NamedTuple):
    """Neurons, what drives them, and how that fits their registers; arrays [width]."""

    name: str
    op: Population
    source: str
    unit: Array  #: of the current
    bias: Array
    shift: Array  #: from current to state
    scale: Array  #: unit of a graded output per unit of state

    @property
    def lowered(self) -> tuple[str, Population, str, Array, Array, Array]:
        """All but the scale."""
        return self[:-1]

    @property
    def out_unit(self) -> Array:
        """What one unit of a graded output is worth."""
        return self.unit * 2.0**-self.shift * self.scale


class _Lowering:
    """One run of the pass: nodes and problems so far."""

    def __init__(self, graph: Graph, target: Target, bits: Bits, coef_bits: Bits) -> None:
        self.graph = graph
        self.target = target
        chosen = weight_bits(graph, target, bits)
        self.coef_bits = coefficient_bits(graph, target, coef_bits)
        self.numbers = replace(target.numbers, weight_bits=max(chosen.values(), default=DEFAULT))
        op = graph.input.op
        assert isinstance(op, Input)
        format_ = input_format(graph, self.numbers.input_bits)
        self.units = Units(graph, format_, chosen, self.numbers.input_bits)
        self.registers = Registers(graph, self.units, self.numbers)
        self.nodes: list[ir.ProgramNode] = [
            ir.Source(
                name=graph.input.name,
                width=op.width,
                low=format_.low,
                high=format_.high,
                unit=format_.unit,
                tokens=op.tokens,
            )
        ]
        self.problems: list[NeurodeployError] = []
        self.notes: dict[str, Any] = {}
        self.currents: dict[str, tuple[Array, ...]] = {}

    def program(self) -> ir.Program:
        readout: ir.Readout | None = None
        for node in self.graph:
            if isinstance(node.op, Population):
                if not any(joint(self.graph, reader) for reader in self.graph.readers(node.name)):
                    self._populations([node.name])
            elif isinstance(node.op, Reduce):
                readout = self._reduce(node.name, node.op, node.inputs[0])
                break
            elif isinstance(node.op, VectorOp):
                parts = (self._dense, self._recurrent, self.registers.margin, self.numbers)
                made = VectorLowering(self.graph, self.units, *parts).node(node.name)
                self.nodes.append(made[0])
                self.currents[node.name] = made[1]
            elif joint(self.graph, node):
                self._populations(list(node.inputs))
                self.units.graded[node.name] = self.units.of(node.inputs[0])
                self._stream(node.name)
            elif self._is_stream(node.name):
                self._stream(node.name)
        if self.problems:
            raise together(self.problems)
        return ir.Program(
            name=self.graph.output,
            target=self.target,
            numbers=self.numbers,
            nodes=tuple(self.nodes),
            readout=readout or self._steps(),
            notes={"calibration": self.graph.calibration, "layers": self.notes},
        )

    def _is_stream(self, name: str) -> bool:
        op = self.graph[name].op
        shapeless = isinstance(op, Input | Affine | Concat)
        return not (shapeless or is_head(self.graph, name) or self.units.private(name))

    def _edges(self, name: str, unit: Array) -> tuple[synapses.Edge, ...]:
        """Return the edges that bring node `name` to a reader whose current is worth `unit`."""
        node = self.graph[name]
        if isinstance(node.op, Affine):
            return (synapses.Tap(source=node.inputs[0], sign=node.op.gain.astype(np.int64)),)
        if not self.units.private(name):
            return (synapses.Tap(source=name, sign=np.ones(self.graph.widths[name], np.int64)),)
        return self._dense(name, unit)

    def _dense(self, name: str, unit: Array) -> tuple[synapses.Weighted, ...]:
        """Return the edges of a Linear or Conv: one, or one per part of a concatenation."""
        weight = self.units.integers(name, unit)
        exponent = self.units.exponents.get(name, 0)
        self._note_weights(name, weight, unit * 2.0**exponent)
        bits = self.units.bits[name] if np.abs(weight).max(initial=0) > 1 else LEAST
        parts = self.units.parts(self.graph[name].inputs[0])
        how: Any = {"weight_bits": bits, "exponent": exponent, "linear": name}
        op = self.units.op(name)
        if isinstance(op, Conv):
            return convolutions(op, weight, [(p, self.graph.widths[p]) for p in parts], how)
        ends = np.cumsum([self.graph.widths[part] for part in parts])[:-1]
        columns = np.split(weight, ends, axis=1)
        pairs = zip(parts, columns, strict=True)
        return tuple(synapses.Dense(source=part, weight=own, **how) for part, own in pairs)

    def _note_weights(self, name: str, weight: ir.Ints, unit: Array) -> None:
        op, exact = self.units.op(name), self.units.weights(name)
        rows = rows_of(op, unit)
        assert rows is not None
        self.notes[name] = {"weight_error_rms": _error_rms(weight, per_row(op, rows), exact)}
        self._note_grid(name, per_row(op, rows))

    def _note_grid(self, name: str, unit: Array) -> None:
        """Say whether weights that lay on the grid of a quantized file still do."""
        if name in self.graph.grids:
            grid = self.units.grid(name)
            own = None if grid is None else rows_of(self.units.op(name), grid)
            kept = own is not None and np.allclose(unit.reshape(-1)[own > 0], own[own > 0], 1e-9, 0)
            self.notes[name]["on_grid"] = bool(kept)

    def _stream(self, name: str) -> None:
        node, unit = self.graph[name], self.units.of(name)
        edges = (
            self._dense(name, unit)
            if isinstance(node.op, Weighted)
            else tuple(e for source in node.inputs for e in self._edges(source, unit))
        )
        self.currents[name] = (unit,)
        self.nodes.append(
            ir.Stream(name=name, width=self.graph.widths[name], edges=edges, unit=unit)
        )

    def _current_unit(self, source: str) -> Array:
        """Return what one unit of the current from `source` into neurons is worth."""
        return self.units.rows(source) if self.units.private(source) else self.units.of(source)

    def _populations(self, names: list[str]) -> None:
        """Append populations; graded outputs of several get one unit per channel."""
        drives = []
        for name in names:
            op = self.graph[name].op
            assert isinstance(op, Population)
            drives.append(self._drive(name, op, self.graph[name].inputs[0]))
        unit = np.max([drive.out_unit for drive in drives], axis=0)
        for drive in drives:
            self._append(drive, unit)

    def _drive(self, name: str, op: Population, source: str) -> _Drive:
        unit = self._current_unit(source)
        bias = op.bias
        linear = self.graph[source].op
        if self.units.private(source) and isinstance(linear, Weighted):
            bias = bias + spread(linear, linear.bias)
        scale = output_scale(op)
        shift = self.registers.shift(name, op, unit, bias, scale)
        return _Drive(name, op, source, unit, bias, shift, scale)

    def _append(self, drive: _Drive, out_unit: Array) -> None:
        name, op, source, unit, bias, shift = drive.lowered
        self.currents[name] = (unit,)
        lsb = unit * 2.0**-shift
        state_bits = self.registers.bits(name, op)
        scale = np.where(out_unit == drive.out_unit, drive.scale, out_unit / lsb)
        bits = words_of(op, name, self.coef_bits, self.numbers.coef_bits)
        rounded = round_coefs(op, lsb, scale, self.numbers, state_bits, bits, name)
        self.problems += rounded.problems
        edges = self._edges(source, unit)
        if not self.units.private(source):
            edges = tuple(_signed(edge, op.sign) for edge in edges)
        if not op.model.spiking:
            self.units.graded[name] = lsb * scale * op.amplitude
        self.notes[name] = {"shift_min": int(shift.min()), "shift_max": int(shift.max())}
        self.notes[name] |= rounded.notes
        again = self._recurrent(name, unit)
        self.nodes.append(
            ir.Population(
                name=name,
                width=len(unit),
                edges=(*edges, *again),
                spec=op.spec,
                options=dict(op.options),
                coefs=rounded.coefs,
                shift=shift.astype(np.int64),
                bias=np.rint(bias / lsb).astype(np.int64),
                state_bits=state_bits,
                unit=op.unit * lsb * scale,
                coef_frac=rounded.frac,
                words=rounded.words,
                reverse=op.reverse,
            )
        )

    def _recurrent(self, name: str, unit: Array) -> tuple[synapses.Dense, ...]:
        """Return the edge from a node to itself, if there is one, in the unit of its currents."""
        exact = self.units.recurrent_weights(name)
        if exact is None:
            return ()
        own = recurrent_name(name)
        most = self.units.weight_max(own)
        weight = np.clip(self.units.recurrent(name, unit), -most, most)
        edge = synapses.Dense(
            source=name,
            weight=weight.astype(np.int64),
            weight_bits=self.units.bits[own],
            exponent=self.units.exponents[own],
        )
        self._note_recurrent(name, exact, edge.weight, unit * 2.0**edge.exponent)
        return (edge,)

    def _note_recurrent(self, name: str, exact: Array, weight: ir.Ints, unit: Array) -> None:
        """Say what rounding and clipping did to the recurrent weights."""
        size = np.abs(np.rint(exact / unit[:, None]))
        clipped = size > self.units.weight_max(recurrent_name(name))
        self.notes.setdefault(name, {}).update(
            recurrent_weight_error_rms=_error_rms(weight, unit[:, None], blocks(exact)),
            recurrent_weights_clipped=int(np.count_nonzero(clipped)),
        )

    def _reduce(self, name: str, op: Reduce, source: str) -> ir.Readout:
        weight, offset = head(self.graph)
        linears = [n for n in behind_readout(self.graph) if isinstance(self.graph[n].op, Weighted)]
        if op.kind == "last":
            unit = self.units.of(source)
            how: Any = {"mean": False, "linears": linears}
            return self._head(source, "last", unit, weight, offset, op.bias, **how)
        width = self.graph.widths[name]
        one, zero = np.ones(width), np.zeros(width)
        integrator = Population(
            spec="li",
            options={"leak": False},
            coefs={"beta": one},
            sign=one,
            bias=op.bias,
            unit=one,
        )
        drive = self._drive(name, integrator, source)
        self._append(drive, drive.out_unit)
        lsb = self.units.graded[name]
        how = {"mean": op.kind == "mean", "linears": linears}
        return self._head(name, "last", lsb, weight, offset, zero, **how)

    def _head(
        self,
        source: str,
        kind: str,
        unit: Array,
        weight: Matrix | None,
        offset: Array,
        bias: Array,
        *,
        mean: bool,
        linears: Sequence[str] = (),
    ) -> ir.Readout:
        """Return the readout of integers worth `unit`, with what follows in integers.

        linears: the names of the Linears that `weight` is made of.
        """
        if weight is None:
            total = np.broadcast_to(offset, len(unit)) + bias
            return ir.Readout(source=source, kind=kind, unit=unit, offset=total, mean=mean)
        own = linears[0] if len(linears) == 1 else ""
        most, peaks = 2 ** (self.numbers.readout_bits - 1) - 1, self.graph.grids.get(own)
        scale, on_grid = head_units(weight, unit, peaks, most)
        if peaks is not None:
            self.notes[own] = {"on_grid": on_grid}
        whole = [
            synapses.fitted(np.rint(part * unit / scale[rows, None]).astype(np.int64))
            for rows, part in blocks(weight)
        ]
        return ir.Readout(
            source=source,
            kind=kind,
            unit=scale,
            offset=offset + times(weight, bias),
            weight=np.concatenate(whole),
            mean=mean,
        )

    def _steps(self) -> ir.Readout:
        """Return the readout of a graph without a reduction over time: every step's values."""
        name = self.graph.output
        op = self.graph[name].op
        source = graded_source(self.graph, name)
        offset = np.zeros(self.graph.widths[name])
        if isinstance(op, Weighted):
            offset = spread(op, op.bias)
            if source is not None:
                unit = self.units.of(source)
                none = np.zeros(len(unit))
                how: Any = {"mean": False, "linears": [name]}
                return self._head(source, "steps", unit, matrix(op), offset, none, **how)
        amplitude = op.amplitude if isinstance(op, Population) and op.model.spiking else 1.0
        unit = self.units.of(name) * amplitude
        return self._head(name, "steps", unit, None, offset, np.zeros(len(unit)), mean=False)


def _error_rms(weight: ir.Ints, unit: Array, exact: Iterable[tuple[slice, Array]]) -> float:
    """Return the error of integer weights, each worth its row of `unit`, relative to their size.

    exact: the weights that they stand for, some rows at a time.
    """
    squares = [
        (np.sum(part**2), np.sum((weight[rows] * unit[rows] - part) ** 2)) for rows, part in exact
    ]
    size, error = (float(np.sqrt(sum(each) / weight.size)) for each in zip(*squares, strict=True))
    return error / size if size else 0.0


def _signed(edge: synapses.Edge, sign: Array) -> synapses.Edge:
    assert isinstance(edge, synapses.Tap)
    return replace(edge, sign=edge.sign * sign.astype(np.int64))
