"""One node of a program in memory: its buffers, its states, and the calls of its kernel.

All arrays are [B, T, ...], made once and used again by every run. States stay where they are
between runs, so a sequence may come in pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.backends.simulator.layers import Layer
from neurodeploy.backends.simulator.memory import Values, address, padded, record, words, zeros
from neurodeploy.kernels import layer as kernels
from neurodeploy.kernels.events import GROUP
from neurodeploy.program.ir import Ints, Population, Program, ProgramNode, Vector, backwards

if TYPE_CHECKING:
    from neurodeploy.backends.simulator.vectors import Mapper


@dataclass(frozen=True)
class Extent:
    """How many samples and steps a run has; the address of memory that its kernels share."""

    samples: int
    steps: int
    scratch: int
    listed: int  #: bytes of that memory, for a list of who fired


def room(program: Program, node: ProgramNode, extent: Extent) -> Values:
    """Return room for what a node sends."""
    size = extent.samples, extent.steps
    if program.spikes(node.name):
        return Values(node.width, bits=zeros((*size, words(node.width)), np.uint64))
    return Values(node.width, graded=zeros((*size, padded(node.width)), np.int32))


class Call:
    """One layer's kernel, and all that it reads and writes.

    `heard` is what other nodes send; counts [`Layer.counters`, B] are added to.
    """

    def __init__(
        self,
        layer: Layer,
        heard: Mapping[str, Values],
        out: Values,
        counts: Ints,
        extent: Extent,
    ) -> None:
        self.layer, self.out, self.counts = layer, out, counts
        self._heard, self._extent = heard, extent
        samples, columns = extent.samples, padded(layer.node.width)
        self.z = zeros((_state_rows(layer), samples, columns), layer.constants.dtype)
        sent = out.graded if out.bits is None else out.bits
        self._before = zeros((samples, sent.shape[-1]), sent.dtype)
        self._current = out.graded
        if layer.form and layer.form.cell:
            size = (samples, extent.steps, columns) if layer.form.current else (0,)
            self._current = zeros(size, np.int32)
        self._row: int | None = None
        if layer.form:
            names = kernels.record(layer.form)
            self._record = record(names, self._fields())
            self._place = address(self._record)
            self._kernel = kernels.kernel(layer.form)
            self._row = names.index("row") if layer.form.cell else None

    def reset(self) -> None:
        """Put the states back to rest."""
        self.z.fill(0)
        self._before.fill(0)
        if self._row is not None:
            self._record[self._row] = 0

    def go_on_from(self, other: Call) -> None:
        """Take over the states of a call for as many samples."""
        self.z[...], self._before[...] = other.z, other._before
        if self._row is not None:
            self._record[self._row] = other._record[self._row]

    def run(self) -> None:
        """Run all steps from where the states are."""
        if self.layer.others:
            self._current.fill(0)
            current = self._current[..., : self.layer.node.width]
            counts = self.counts[len(self.layer.feeds) :]
            for count, edge in zip(counts, self.layer.others, strict=False):
                count[:1] += edge.add(self._heard[edge.source].whole(), current)
        if self.layer.form:
            extent = self._extent
            self._kernel(self._place, extent.scratch, 0, extent.samples)
            if self._row is not None:
                self._record[self._row] += extent.steps

    def _fields(self) -> dict[str, int]:
        layer, extent, out = self.layer, self._extent, self.out
        sent = out.graded if out.bits is None else out.bits
        found = {
            "steps": extent.steps,
            "samples": extent.samples,
            "origin": extent.steps - 1 if backwards(layer.node) else 0,
            "way": -1 if backwards(layer.node) else 1,
            "columns": padded(layer.node.width),
            "listed": extent.listed,
            "current": address(self._current),
            "out": address(sent),
            "out_row": sent.itemsize * sent.shape[-1],
        }
        for i, feed in enumerate(layer.feeds):
            bits = self._before if feed.own else self._heard[feed.source].bits
            found |= {
                f"{i}.bits": address(bits),
                f"{i}.words": bits.shape[-1],
                f"{i}.offset": feed.first // 8,
                f"{i}.weights": address(feed.weights),
                f"{i}.sums": address(feed.sums),
                f"{i}.senders": feed.senders,
                f"{i}.shift": feed.exponent,
                f"{i}.events": address(self.counts[i]),
            }
        return found | (self._neurons(layer.node) if isinstance(layer.node, Population) else {})

    def _neurons(self, node: Population) -> dict[str, int]:
        layer = self.layer
        return {
            "groups": -(-node.width // GROUP),
            "live": address(layer.live),
            "z": address(self.z),
            "constants": address(layer.constants),
            "rows": layer.constants.shape[1],
            "tables": address(layer.tables),
            "table_rows": layer.tables.shape[1] if len(layer.tables) else 0,
            "row": 0,
            "modes": node.modes,
            "before": address(self._before),
            "spikes": address(self.counts[-2]),
            "lost": address(self.counts[-1]),
        }


def _state_rows(layer: Layer) -> int:
    node = layer.node
    return (
        node.model.rows(node.model.state._fields, node.modes) if isinstance(node, Population) else 0
    )


def _mapper(node: Vector, samples: int) -> Mapper:
    from neurodeploy.backends.simulator.vectors import Mapper

    return Mapper(node, samples)


class Stage:
    """A node: its calls, one or one per operand, and what it sends."""

    def __init__(
        self,
        program: Program,
        node: ProgramNode,
        layers: Sequence[Layer],
        heard: Mapping[str, Values],
        counts: Sequence[Ints],
        extent: Extent,
    ) -> None:
        self.node, self.values = node, room(program, node, extent)
        self._mapper = _mapper(node, extent.samples) if isinstance(node, Vector) else None
        outs = [room(program, node, extent) if self._mapper else self.values for _ in layers]
        self.calls = [
            Call(layer, heard, out, own, extent)
            for layer, out, own in zip(layers, outs, counts, strict=True)
        ]

    def reset(self) -> None:
        """Put the states back to rest."""
        for call in self.calls:
            call.reset()
        if self._mapper is not None:
            self._mapper.reset()

    def go_on_from(self, other: Stage) -> None:
        """Take over the states of the same node, for as many samples."""
        for own, before in zip(self.calls, other.calls, strict=True):
            own.go_on_from(before)
        if self._mapper is not None and other._mapper is not None:
            self._mapper.go_on_from(other._mapper)

    def run(self) -> None:
        """Run all steps."""
        for call in self.calls:
            call.run()
        if self._mapper is not None:
            sent, lost, heard = self._mapper.run([call.out.whole() for call in self.calls])
            self.values.graded[..., : self.node.width] = sent
            self.calls[0].counts[-1, :1] += lost
            for call in self.calls:
                call.counts[len(call.layer.feeds) + len(call.layer.others) : -2, :1] += heard

    @property
    def states(self) -> Any:
        """The states of neurons or registers, [states, B, width] int64; None if there are none."""
        if self._mapper is not None:
            return self._mapper.kept.copy() if len(self._mapper.kept) else None
        if not isinstance(self.node, Population):
            return None
        return self.calls[0].z[..., : self.node.width].astype(np.int64)
