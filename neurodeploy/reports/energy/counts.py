"""What is priced: operations, accesses and packets of some inferences. No joules here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.program.buffers import Buffer, buffers, peak_bits
from neurodeploy.program.ir import Program, Reals, backwards
from neurodeploy.program.routes import PacketCount, packet_counts
from neurodeploy.program.run import EdgeCount, NodeCount, Run
from neurodeploy.targets import Target
from neurodeploy.targets.schema import Numbers

ARITHMETIC = ("mul", "add", "cmp", "div", "sqrt")  #: what of an update is priced
OTHERS = ("read", "select", "write")  #: what is counted and costs nothing of its own


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What `samples` inferences of `steps` steps did, all together, and on what.

    Of a run, or expected from an architecture and firing rates (then numbers need not be whole).
    """

    target: Target
    numbers: Numbers
    steps: int
    samples: int
    inputs: str  #: the node that the input is
    input_kind: str  #: "spikes", "tokens" or "values"
    reverse: frozenset[str]  #: nodes that run backwards in time
    loads: Mapping[int, tuple[float, float]]  #: synaptic operations and updates, by core in use
    edges: tuple[EdgeCount, ...]
    nodes: tuple[NodeCount, ...]
    readout_macs: float
    buffers: tuple[Buffer, ...] = ()  #: what is kept of whole sequences
    packets: tuple[PacketCount, ...] | None = None  #: None: not counted
    seconds: float | None = None  #: that one inference takes, if it is known

    @property
    def each(self) -> int:
        """What to divide by for one inference."""
        return max(self.samples, 1)

    @property
    def cores(self) -> int:
        """How many cores are in use."""
        return len(self.loads)

    @property
    def weight_bits(self) -> int:
        """The bits of all weights."""
        return sum(edge.synapses * edge.weight_bits for edge in self.edges if edge.weight_bits > 1)

    @property
    def sequence_bits(self) -> int:
        """The most bits that are kept of one whole sequence."""
        return peak_bits(self.buffers, self.steps)

    def into(self, node: str) -> tuple[EdgeCount, ...]:
        """Return the edges into a node."""
        return tuple(edge for edge in self.edges if edge.target == node)


def residual_adds(node: NodeCount, heard: Sequence[EdgeCount]) -> int:
    """Return the additions per channel of a stream that are not those of synapses."""
    if node.spec != "stream":
        return 0
    taps = sum(edge.weight_bits == 1 for edge in heard)
    return taps if taps < len(heard) else max(taps - 1, 0)


def of_program(
    program: Program,
    *,
    edges: tuple[EdgeCount, ...],
    nodes: tuple[NodeCount, ...],
    **counted: Any,
) -> Counts:
    """Return counts on a program's target; `counted` are the other fields of `Counts`."""
    source = program.source
    kind = "tokens" if source.tokens else "spikes" if source.spiking else "values"
    return Counts(
        target=program.target,
        numbers=program.numbers,
        inputs=source.name,
        input_kind=kind,
        reverse=frozenset(node.name for node in program if backwards(node)),
        loads=_loads(program, edges, nodes),
        buffers=buffers(program),
        edges=edges,
        nodes=nodes,
        **counted,
    )


def _loads(
    program: Program, edges: tuple[EdgeCount, ...], nodes: tuple[NodeCount, ...]
) -> dict[int, tuple[float, float]]:
    """Return what each core does: of a node on several, each its share of the neurons."""
    done = {node.name: np.array([0.0, node.updates]) for node in nodes}
    for edge in edges:
        done[edge.target][0] += edge.operations
    sums: dict[int, Reals] = {}
    for part in program.placement:
        share = (part.last - part.first) / program[part.node].width
        sums[part.core] = sums.get(part.core, np.zeros(2)) + share * done[part.node]
    return {core: (float(ops), float(updates)) for core, (ops, updates) in sums.items()}


def of_run(run: Run) -> Counts:
    """Return what a run did; its packets, if it counted what neurons sent."""
    return of_program(
        run.program,
        steps=run.steps,
        samples=run.samples,
        edges=run.edges,
        nodes=run.nodes,
        readout_macs=run.readout_macs,
        packets=packet_counts(run.program, run.sent) if run.sent else None,
        seconds=run.cycles.latency_s if run.cycles else None,
    )


def operations(run: Run | Counts) -> dict[str, Any]:
    """Return the operations of one inference, and those of the same network without spikes."""
    each = max(run.samples, 1)
    neurons = {
        op: sum(node.updates * node.per_update.get(op, 0) for node in run.nodes) / each
        for op in (*ARITHMETIC, *OTHERS)
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
