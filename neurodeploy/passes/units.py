"""What one integer is worth, at every node of a graph that is about to be lowered.

Spikes are worth 1. The rows of a Linear in front of neurons each have their own unit, since a
neuron's threshold can absorb any (scale invariance); so do those in front of a vector operation,
which scales its operands. Recurrent weights, which end in the same
current, share it up to a power of two. The channels of a residual stream share theirs among all
Linears that add to it, up to a power of two per Linear: so Linears of different size, or of weights
of different width, still add exactly. Neurons that read a stream put their recurrent weights into
its unit likewise.

Weights of a quantized file that lie on a grid (`Graph.grids`) keep its step as their unit, so that
their integers are the file's, wherever a row has its own unit and folding kept the rows' ratios.

What a vector operation sends has one unit in all channels, and as many bits as an input where
weights multiply it; what it adds to a sum directly has the unit of the sum. A delay hands on the
very integers of spikes, inputs and other vector operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import Add, Affine, Array, Concat, Graph, Input, Population, Range, Reduce
from neurodeploy.graph.maps import Conv
from neurodeploy.graph.nonlinear import Lstm, Quantize, Ternary, VectorOp
from neurodeploy.graph.weights import Weighted, one_size, per_row, rows_of, spread, times_columns
from neurodeploy.matrices import blocks
from neurodeploy.passes.bits import recurrent_name
from neurodeploy.passes.grids import grid_units, row_tops
from neurodeploy.program.ir import Ints
from neurodeploy.program.synapses import fitted

EXPONENT_MAX = 7
WIDE_BITS = 16  #: of what a vector operation sends where no weights multiply it


@dataclass(frozen=True)
class InputFormat:
    """How real inputs become integers."""

    low: int
    high: int
    unit: float


def input_format(graph: Graph, bits: int) -> InputFormat:
    """Choose the integers of the input: spikes if all that was seen are 0 and 1.

    Other whole numbers that fit stay as they are, and a quantizer that alone reads it has chosen.
    """
    name, op = graph.input.name, graph.input.op
    assert isinstance(op, Input)
    seen, readers = graph.ranges[name], [reader.op for reader in graph.readers(name)]
    if len(readers) == 1 and isinstance(readers[0], Quantize) and not op.spiking:
        only = readers[0]
        if only.low >= -(2 ** (bits - 1)) and only.high - only.low < 2**bits:
            return InputFormat(only.low, only.high, only.scale)
    top = float(max(np.abs(seen.low).max(), np.abs(seen.high).max()))
    if op.spiking or (seen.whole and seen.low.min() >= 0 and top == 1):
        return InputFormat(0, 1, 1.0)
    low, high = (
        (0, 2**bits - 1) if seen.low.min() >= 0 else (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    )
    unit = 1.0 if (seen.whole and top <= high) or top == 0 else top / high
    return InputFormat(low, high, unit)


@dataclass(frozen=True, eq=False)
class Units:
    """Units of nodes and exponents of Linears, found on demand and remembered."""

    graph: Graph
    source: InputFormat
    bits: Mapping[str, int]  #: of the weights of every Linear
    value_bits: int = 8  #: of what a vector operation sends to weights
    graded: dict[str, Array] = field(default_factory=dict)
    """Populations that send their membrane, and sums of weighted outputs; filled by lowering."""
    exponents: dict[str, int] = field(default_factory=dict)
    _streams: dict[str, Array] = field(default_factory=dict)
    _grids: dict[str, Array | None] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)

    def weight_max(self, name: str) -> int:
        """Return the largest weight of Linear `name`."""
        return int(2 ** (self.bits[name] - 1) - 1)

    def of(self, name: str) -> Array:
        """Return the unit of node `name`, [width]."""
        op = self.graph[name].op
        width = self.graph.widths[name]
        if isinstance(op, Input):
            return np.full(width, self.source.unit)
        if isinstance(op, Population):
            return np.ones(width) if op.model.spiking else self._membrane(name)
        if isinstance(op, Concat):
            return np.concatenate([self.of(part) for part in self.graph[name].inputs])
        if isinstance(op, Affine):
            return self.of(self.graph[name].inputs[0])
        if self.hands_on(name):
            return self.of(self.graph[name].inputs[0])
        if isinstance(op, VectorOp) and not self.summed(name):
            return np.full(width, self.sent(name)[2])
        if name in self.graded:
            return self.graded[name]
        if name not in self._streams:
            self._group(name)
        return self._streams[name]

    def _membrane(self, name: str) -> Array:
        """Return the unit of a population that sends its membrane, known once it is lowered."""
        if name not in self.graded:
            raise InputError(
                "E107",
                "its membrane is added to the very stream that drives it",
                where=f'node "{name}"',
                fix="put spiking neurons between the membrane and the stream",
            )
        return self.graded[name]

    def summed(self, name: str) -> bool:
        """Whether node `name` is added to others as it is."""
        return any(isinstance(reader.op, Add) for reader in self.graph.readers(name))

    def sent(self, name: str) -> tuple[int, int, float]:
        """Return the least and greatest integer that a vector operation sends, and their unit."""
        op = self.graph[name].op
        if isinstance(op, Ternary):
            return -1, 1, 1.0
        if isinstance(op, Quantize):
            return op.low, op.high, op.scale
        seen = self.seen(name)
        top = float(max(np.abs(seen.low).max(), np.abs(seen.high).max()))
        heard = isinstance(op, Lstm)  # by itself, through weights
        weighted = heard or self._weighted(name)
        bits, top = (self.value_bits, top) if weighted else (WIDE_BITS, 2 * top)
        signed = bool(seen.low.min() < 0)
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        return -high if signed else 0, high, top / high or 1.0

    def _weighted(self, name: str) -> bool:
        """Whether weights multiply what a node sends, now or later."""
        readers = self.graph.readers(name)
        late = any(isinstance(r.op, Delay) and self._weighted(r.name) for r in readers)
        return late or any(isinstance(r.op, Weighted) for r in readers)

    def hands_on(self, name: str) -> bool:
        """Whether node `name` is a delay that sends the very integers it reads: not a sum's."""
        node = self.graph[name]
        if not isinstance(node.op, Delay) or self.summed(name):
            return False
        (source,) = node.inputs
        op = self.graph[source].op
        if isinstance(op, Population):
            return op.model.spiking
        return isinstance(op, Input) or (isinstance(op, VectorOp) and not self.summed(source))

    def private(self, name: str) -> bool:
        """Whether node `name` is a Linear that lives in the edges of its one reader."""
        node, readers = self.graph[name], self.graph.readers(name)
        if not isinstance(node.op, Weighted) or len(readers) != 1 or name == self.graph.output:
            return False
        reader = readers[0]
        once = reader.inputs.count(name) == 1
        if isinstance(reader.op, Reduce):
            return once and reader.op.kind != "last"
        return once and isinstance(reader.op, Add | Population | VectorOp)

    def parts(self, name: str) -> list[str]:
        """Return the nodes that a node's channels come from, concatenations taken apart."""
        if not isinstance(self.graph[name].op, Concat):
            return [name]
        return [part for inner in self.graph[name].inputs for part in self.parts(inner)]

    def weights(self, name: str) -> Iterator[tuple[slice, Array]]:
        """Yield the weights of a Linear in front of integers: columns times their units.

        Some rows at a time, and which they are (`matrices`).
        """
        parts = times_columns(self.op(name), self.of(self.graph[name].inputs[0]))
        assert parts is not None  # what a convolution reads has one unit per map
        return parts

    def op(self, name: str) -> Weighted:
        """Return the Linear or Conv at node `name`."""
        op = self.graph[name].op
        assert isinstance(op, Weighted)
        return op

    def rows(self, name: str) -> Array:
        """Return the unit of each channel of a private Linear in front of neurons or vectors.

        In front of vectors, and in a pooling, weights of one size in all rows become -1, 0 and 1.
        """
        (reader,) = self.graph.readers(name)
        again = self.recurrent_weights(reader.name)
        op = self.op(name)
        alone = isinstance(reader.op, VectorOp) or isinstance(op, Conv)
        alone = alone and again is None and self.grid(name) is None
        if alone and one_size(part for _, part in self.weights(name)):
            return np.full(self.graph.widths[name], self._tops(name).max())
        tops = {name: self._finest(name)}
        if again is not None:
            own = recurrent_name(reader.name)
            tops[own] = np.abs(again).max(axis=1, initial=0.0) / self.weight_max(own)
        return _even(self._shared(tops), _positions(op))

    def recurrent_weights(self, name: str) -> Array | None:
        """Return the recurrent weights of node `name` in front of the integers it sends, if any."""
        op = self.graph[name].op
        if isinstance(op, Lstm):
            return op.recurrent * self.of(name)
        return op.recurrent if isinstance(op, Population) else None

    def _finest(self, name: str, *, alone: bool = False) -> Array:
        """Return the least unit of each channel of a Linear in which its weights have their bits.

        Alone in a sum, a pooling has weights 1; weights on a grid have the unit of that.
        """
        grid = self.grid(name)
        if grid is not None:
            return grid
        pooling = alone and isinstance(self.op(name), Conv)
        plain = pooling and one_size(part for _, part in self.weights(name))
        return np.asarray(self._tops(name) / (1 if plain else self.weight_max(name)))

    def grid(self, name: str) -> Array | None:
        """Return the unit of each channel of a Linear in which its weights are those of the file.

        None where they lie on no grid, and where they have fewer bits than that.
        """
        if name not in self._grids:
            peaks, units = self.graph.grids.get(name), None
            if peaks is not None:
                units = grid_units(self.weights(name), peaks, self.weight_max(name))
            self._grids[name] = None if units is None else spread(self.op(name), units)
        return self._grids[name]

    def _tops(self, name: str) -> Array:
        """Return the greatest magnitude of the weights of each channel of a Linear."""
        parts = [row_tops(part) for _, part in self.weights(name)]
        return spread(self.op(name), np.concatenate(parts))

    def recurrent(self, name: str, unit: Array) -> Array:
        """Return the integer recurrent weights of a node whose currents are worth `unit`.

        Before clipping to the weight register. Where the unit is that of a stream, the exponent is
        the least that avoids clipping, if one does.
        """
        own, weight = recurrent_name(name), self.recurrent_weights(name)
        assert weight is not None
        if own not in self.exponents:
            most = float((np.abs(weight).max(axis=1, initial=0.0) / unit).max())
            steps = np.ceil(np.log2(max(most / self.weight_max(own), 1.0)))
            self.exponents[own] = int(min(steps, EXPONENT_MAX))
        scale = unit * 2.0 ** self.exponents[own]
        return np.asarray(np.rint(weight / scale[:, None]))

    def _shared(self, finest: dict[str, Array], reach: float = 0.0) -> Array:
        """Return the unit of rows that end in the same sums, and note each name's exponent.

        finest: by name, the least unit of each row in which its weights have their bits; reach: of
        what vector operations add.
        """
        typical = {
            k: float(np.median(u[u > 0])) if np.any(u > 0) else 0.0 for k, u in finest.items()
        }
        added = reach / (2 ** (self.value_bits - 1) - 1)
        least = min((v for v in (*typical.values(), added) if v > 0), default=1.0)
        for name, value in typical.items():
            steps = round(float(np.log2(value / least))) if value > 0 else 0
            self.exponents[name] = min(max(steps, 0), EXPONENT_MAX)
        parts = [each / 2.0 ** self.exponents[name] for name, each in finest.items()]
        return _positive(np.max(parts, axis=0))

    def integers(self, name: str, unit: Array) -> Ints:
        """Return the integer weights of a Linear whose rows are worth `unit`."""
        rows_unit = rows_of(self.op(name), unit * 2.0 ** self.exponents.get(name, 0))
        assert rows_unit is not None  # `_even` has seen to it
        scale, most = per_row(self.op(name), rows_unit), self.weight_max(name)
        least = -most if self.grid(name) is None else -most - 1
        parts = [
            np.clip(np.rint(part / scale[rows]), least, most).astype(np.int16)
            for rows, part in self.weights(name)
        ]
        return fitted(np.concatenate(parts))

    def _group(self, name: str) -> None:
        """Choose the unit of every stream connected with `name`, and its Linears' exponents."""
        if name in self._open:
            raise InputError(
                "E107",
                "a Linear reads the very stream it adds to",
                where=f'node "{name}"',
                fix="put neurons between them",
            )
        members = self._connected(name)
        self._open.update(members)
        linears = [m for m in members if isinstance(self.graph[m].op, Weighted)]
        sums = [m for m in members if isinstance(self.graph[m].op, Add)]
        linears += [i for m in sums for i in self.graph[m].inputs if self.private(i)]
        reach = max((self._reach(m) for m in members), default=0.0)
        unit = np.full(self.graph.widths[name], reach / (2 ** (WIDE_BITS - 1) - 1) or 1.0)
        if linears:
            alone = len(linears) == 1 and not reach
            unit = self._shared({i: self._finest(i, alone=alone) for i in linears}, reach)
        if any(self._one_unit(m) for m in members):
            unit = np.full_like(unit, unit.max())
        unit = _even(unit, *(_positions(self.op(i)) for i in linears), *self._seen_maps(members))
        for member in members:
            self._streams[member] = unit
        self._open.difference_update(members)

    def _seen_maps(self, members: Sequence[str]) -> Iterator[int]:
        """Yield the positions of the maps as which convolutions read a stream."""
        for member in members:
            for reader in self.graph.readers(member):
                if isinstance(reader.op, Conv):
                    yield reader.op.windows.inputs
                elif isinstance(reader.op, Concat):
                    yield from self._seen_maps([reader.name])

    def seen(self, name: str) -> Range:
        """Return the range of a node; of one that lowering added, that of what it passes on."""
        while name not in self.graph.ranges:
            name = self.graph[name].inputs[0]
        return self.graph.ranges[name]

    def _reach(self, name: str) -> float:
        """Return the largest value that a vector operation sent; 0 for other nodes."""
        if not isinstance(self.graph[name].op, VectorOp):
            return 0.0
        seen = self.seen(name)
        return float(max(np.abs(seen.low).max(), np.abs(seen.high).max()))

    def _one_unit(self, name: str) -> bool:
        """Whether a reader of a stream would have to multiply if its channels differed in unit."""
        return any(
            (isinstance(reader.op, Ternary) and reader.op.per_step)
            or (
                isinstance(reader.op, Weighted) and one_size(p for _, p in blocks(reader.op.stored))
            )
            for reader in self.graph.readers(name)
        )

    def _connected(self, name: str) -> list[str]:
        """Return the streams that share a unit with `name`, through sums, in graph order."""
        found, todo = {name}, [name]
        while todo:
            here = todo.pop()
            near = [r.name for r in self.graph.readers(here) if isinstance(r.op, Add | Affine)]
            if isinstance(self.graph[here].op, Add | Affine):
                near += [i for i in self.graph[here].inputs if not self.private(i)]
            for other in near:
                if other not in found:
                    found.add(other)
                    todo.append(other)
        return [node.name for node in self.graph if node.name in found]


def _positions(op: Weighted) -> int:
    """Return how many neighbouring channels share a row."""
    return op.windows.positions if isinstance(op, Conv) else 1


def _even(unit: Array, *positions: int) -> Array:
    """Return the least units, from `unit` up, that are one for each so many neighbours."""
    last = None
    while last is None or np.any(unit != last):
        last = unit
        for count in positions:
            unit = np.repeat(unit.reshape(-1, count).max(axis=1), count)
    return unit


def _flat(weight: Array) -> Array:
    return weight.reshape(len(weight), -1)


def _positive(unit: Array) -> Array:
    """Give channels without weights the unit of the others (or 1)."""
    used = unit[unit > 0]
    return np.where(unit > 0, unit, float(np.median(used)) if used.size else 1.0)
