"""What a run costs under a price table.

    synapses        additions and multiply-accumulates, as counted
    neurons         multiplies, adds and compares of every update, as the `step` counts them; of
                    vector operations also divisions and square roots, which no table prices
    readout         multiply-accumulates after the last step
    weight memory   the weight bits of every operation, in 64-bit words
    state memory    registers and constants read, registers written, at every update, likewise

An operation whose price a table does not have is not priced, and named in `not_priced`; it is never
zero. Memory is priced only where the target states the memory's size and the table has that size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neurodeploy.program.run import NodeCount, Run
from neurodeploy.targets import Prices, Target

ARITHMETIC = ("mul", "add", "cmp", "div", "sqrt")  #: what is priced, each as neuron_<name>
_WORD = 64


@dataclass(frozen=True, kw_only=True)
class LayerEnergy:
    """One node's energy per inference, by cause [pJ]."""

    name: str
    synapses_pj: float
    neurons_pj: float
    weight_memory_pj: float
    state_memory_pj: float

    @property
    def total_pj(self) -> float:
        """The sum of all causes."""
        return self.synapses_pj + self.neurons_pj + self.weight_memory_pj + self.state_memory_pj


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of one inference, averaged over a run, under one table and its scope."""

    table: str
    scope: str
    grade: str
    layers: tuple[LayerEnergy, ...]
    readout_pj: float
    dense_pj: float | None  #: without spikes: every synapse a MAC at every step; None: not priced
    not_priced: tuple[str, ...]
    not_modelled: tuple[str, ...]

    @property
    def total_pj(self) -> float:
        """All layers and the readout."""
        return sum(layer.total_pj for layer in self.layers) + self.readout_pj

    def by_cause(self) -> dict[str, float]:
        """Return the sums over layers, by cause [pJ]."""
        causes = ("synapses_pj", "neurons_pj", "weight_memory_pj", "state_memory_pj")
        sums = {cause: sum(getattr(layer, cause) for layer in self.layers) for cause in causes}
        return {**sums, "readout_pj": self.readout_pj}


def energy(run: Run, prices: Prices) -> Energy:
    """Price `run` under `prices`, on the memories of the program's target."""
    target = run.program.target
    cost, dense = _Pricing(prices.energy_pj, target), _Pricing(prices.energy_pj, target)
    layers = tuple(cost.layer(run, node) for node in run.nodes)
    without = sum(dense.layer(run, node, spiking=False).total_pj for node in run.nodes)
    readout = cost.price("synapse_mac", run.readout_macs) / max(run.samples, 1)
    return Energy(
        table=prices.name,
        scope=prices.scope,
        grade=prices.grade,
        layers=layers,
        readout_pj=readout,
        dense_pj=None if dense.missing - cost.missing else without + readout,
        not_priced=tuple(sorted(cost.missing)),
        not_modelled=target.not_modelled,
    )


class _Pricing:
    """A price table, the memories it is applied to, and the prices that were missing."""

    def __init__(self, table: Mapping[str, float], target: Target) -> None:
        self.table, self.missing = table, set[str]()
        core = target.core
        self.weight_memory = _memory(core.weight_kib or core.memory_kib)
        self.state_memory = _memory(core.state_kib or core.memory_kib)

    def price(self, key: str, count: float) -> float:
        """Return the energy of `count` operations [pJ]; note it if the table has no price."""
        if key not in self.table:
            if count:
                self.missing.add(key)
            return 0.0
        return self.table[key] * count

    def layer(self, run: Run, node: NodeCount, *, spiking: bool = True) -> LayerEnergy:
        """Price one node per sample; without spikes every Dense synapse is a MAC at every step."""
        synapses = weights = 0.0
        for edge in (edge for edge in run.edges if edge.target == node.name):
            graded = edge.kind == "mac" or (not spiking and edge.weight_bits > 1)
            count = edge.operations if spiking else edge.dense
            synapses += self.price("synapse_mac" if graded else "synapse_add", count)
            if edge.weight_bits > 1:
                weights += self.price(self.weight_memory, count * edge.weight_bits / _WORD)
        neurons = sum(
            self.price(f"neuron_{op}", node.updates * node.per_update.get(op, 0))
            for op in ARITHMETIC
        )
        words = node.updates * (node.state_bits + node.written_bits) / _WORD
        state = self.price(self.state_memory, words)
        each = max(run.samples, 1)
        return LayerEnergy(
            name=node.name,
            synapses_pj=synapses / each,
            neurons_pj=neurons / each,
            weight_memory_pj=weights / each,
            state_memory_pj=state / each,
        )


def _memory(kib: int | None) -> str:
    return f"sram_{kib}kib_64b" if kib else "memory of unknown size"


def operations(run: Run) -> dict[str, Any]:
    """Return the operations of one inference, and those of the same network without spikes."""
    each = max(run.samples, 1)
    neurons = {
        op: sum(node.updates * node.per_update.get(op, 0) for node in run.nodes) / each
        for op in (*ARITHMETIC, "read", "select", "write")
    }
    return {
        "synaptic_adds": sum(e.operations for e in run.edges if e.kind == "add") / each,
        "synaptic_macs": sum(e.operations for e in run.edges if e.kind == "mac") / each,
        "dense_macs": sum(e.dense for e in run.edges if e.weight_bits > 1) / each,
        "readout_macs": run.readout_macs / each,
        "neuron_updates": sum(n.updates for n in run.nodes if n.spec != "stream") / each,
        "neuron_operations": neurons,
        "spikes": sum(node.spikes for node in run.nodes) / each,
    }
