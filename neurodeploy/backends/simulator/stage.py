"""One node of a program in memory: its buffers, its states, and what is to do for it.

All arrays are [B, T, ...], made once and used again by every run. States stay where they are
between runs, so a sequence may come in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.backends.simulator import chain
from neurodeploy.backends.simulator.layers import Layer
from neurodeploy.backends.simulator.memory import Values, address, padded, record, words, zeros
from neurodeploy.kernels import layer as kernels
from neurodeploy.kernels.events import GROUP
from neurodeploy.program.ir import Ints, Population, Program, ProgramNode, Vector, backwards

if TYPE_CHECKING:
    from neurodeploy.backends.simulator.vectors import Mapper

Work = chain.Call | Callable[[], None]  #: a call of a kernel, or what Python does between them


@dataclass(frozen=True)
class Extent:
    """How many samples and steps a run has."""

    samples: int
    steps: int
    listed: int  #: bytes for a list of who fired, of the memory of each thread


def room(program: Program, node: ProgramNode, extent: Extent) -> Values:
    """Return room for what a node sends."""
    size = extent.samples, extent.steps
    if program.spikes(node.name):
        return Values(node.width, bits=zeros((*size, words(node.width)), np.uint64))
    return Values(node.width, graded=zeros((*size, padded(node.width)), np.int32))


class Call:
    """One layer's kernel, and all that it reads and writes.

    `heard` is what other nodes send; counts [`Layer.counters`] are added to.
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
        self._hears_itself = any(feed.own for feed in layer.feeds)
        self._current = out.graded
        if layer.form and layer.form.cell:
            size = (samples, extent.steps, columns) if layer.form.current else (0,)
            self._current = zeros(size, np.int32)
        self._row: int | None = None
        if layer.form:
            names = kernels.record(layer.form)
            self._record = record(names, self._fields())
            self._row = names.index("row") if layer.form.cell and len(layer.tables) else None

    @property
    def row(self) -> Any:
        """The table row of the next step, [1]; None of neurons without tables."""
        return None if self._row is None else self._record[self._row :][:1]

    @property
    def kept(self) -> list[Ints]:
        """What is kept from step to step, all of it 0 at rest."""
        kept = [self.z] if self.z.size else []
        kept += [self._before] if self._hears_itself else []
        return kept + ([] if self._row is None else [self.row])

    @property
    def work(self) -> list[Work]:
        """What is to do, in order."""
        found: list[Work] = [self._add_others] if self.layer.others else []
        if self.layer.form:
            found.append((kernels.kernel(self.layer.form).address, address(self._record)))
        return found

    def _add_others(self) -> None:
        self._current.fill(0)
        current = self._current[..., : self.layer.node.width]
        for i, edge in enumerate(self.layer.others, len(self.layer.feeds)):
            self.counts[i] += edge.add(self._heard[edge.source].whole(), current)

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
                f"{i}.events": address(self.counts[i:]),
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
            "spikes": address(self.counts[-2:]),
            "lost": address(self.counts[-1:]),
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

    @property
    def kept(self) -> list[Ints]:
        """What is kept from step to step, all of it 0 at rest."""
        own = [array for call in self.calls for array in call.kept]
        return own + (self._mapper.all_kept if self._mapper is not None else [])

    @property
    def work(self) -> list[Work]:
        """What is to do, in order, to run all steps from where the states are."""
        own = [each for call in self.calls for each in call.work]
        return own if self._mapper is None else [*own, self._map]

    def _map(self) -> None:
        assert self._mapper is not None
        sent, lost, heard = self._mapper.run([call.out.whole() for call in self.calls])
        self.values.graded[..., : self.node.width] = sent
        self.calls[0].counts[-1] += lost
        for call in self.calls:
            call.counts[len(call.layer.feeds) + len(call.layer.others) : -2] += heard

    @property
    def states(self) -> Any:
        """The states of neurons or registers, [states, B, width] int64; None if there are none."""
        if self._mapper is not None:
            return self._mapper.kept.copy() if len(self._mapper.kept) else None
        if not isinstance(self.node, Population):
            return None
        return self.calls[0].z[..., : self.node.width].astype(np.int64)
