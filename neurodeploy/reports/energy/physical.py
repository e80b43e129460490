"""What a program does, as quantities: the `physical` mode, and the same network without spikes.

    synapse        an addition for each synapse that a spike reaches, into a current; a multiply
                   more where the value is graded, at the width of the wider of weight and value
    neuron         multiplies, additions and comparisons of every update, as the `step` counts them,
                   at the width of its registers; of vector operations also divisions and roots
    weight memory  for each event and core the row of weights that it needs, in whole 64-bit words
    state memory   registers and constants read and registers written at every update; every current
                   read and written at every addition to it, and read and cleared at every update
    sequence memory  where layers run backwards: values kept of all steps (`program.buffers`),
                   written once, and read by each stage behind
    routing        packets to a core of the same router, and links crossed, by direction
    static         power of chip and cores, for as long as an inference takes

Every layer counts with its own rate, one that runs backwards like any other. A table that prices
events (`synapse_op`, `neuron_update_active`) has arithmetic and memory in them.

The same network without spikes has a ReLU and a rescaling for each spiking neuron, and every
synapse multiplies at every step. Its sums stay in registers; weights are read once a step,
activations once and written once, those of whole sequences too. What does not spike (state spaces,
vector operations) stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

from neurodeploy.neurons import SPECS
from neurodeploy.program.run import EdgeCount, NodeCount
from neurodeploy.reports.energy.book import WORD, Assumptions, Quantity
from neurodeploy.reports.energy.counts import ARITHMETIC, Counts, residual_adds
from neurodeploy.targets import Prices

READOUT, CHIP = "classifier, on the host", "chip"
NOT_COUNTED = ("the host and its link, but for the classifier", "start-up and loading of weights")


def quantities(counts: Counts, prices: Prices, how: Assumptions) -> Iterator[Quantity]:
    """Yield all that `counts` did, in the units that the table prices."""
    for node in counts.nodes:
        for edge in counts.into(node.name):
            yield from _synapses(edge, counts, how, events="synapse_op" in prices.energy_pj)
        yield from _updates(node, counts, how, events="neuron_update_active" in prices.energy_pj)
    yield from _sequences(counts)
    yield from readout(counts)
    yield from _routing(counts)
    yield from _static(counts, prices)


def _synapses(
    edge: EdgeCount, counts: Counts, how: Assumptions, *, events: bool
) -> Iterator[Quantity]:
    layer, done, width = edge.target, edge.operations, counts.numbers.current_bits
    if events:
        yield Quantity(layer=layer, cause="synapse", op="synapse_op", count=done)
        return
    bits = max(edge.weight_bits, edge.value_bits) if edge.kind == "mac" else width
    yield Quantity(
        layer=layer, cause="synapse", op=edge.kind, count=done, bits=bits, sum_bits=width
    )
    if edge.weight_bits > 1:
        words = _rows(edge, how)
        yield Quantity(layer=layer, cause="weight_memory", op="weight", count=words)
    if how.sums == "memory":
        words = 2 * done * _words(width, how)
        yield Quantity(layer=layer, cause="state_memory", op="state", count=words)


def _rows(edge: EdgeCount, how: Assumptions) -> float:
    """Return the words of weights that the events read."""
    if how.fetch == "word":
        return edge.operations
    if how.fetch == "bits":
        return edge.operations * edge.weight_bits / WORD
    return sum(rows * ceil(size * edge.weight_bits / WORD) for size, rows in edge.rows)


def _words(bits: int, how: Assumptions) -> float:
    """Return the words of neighbours' state that one neuron's `bits` take."""
    return ceil(bits / WORD) if how.fetch == "word" else bits / WORD


def _updates(
    node: NodeCount, counts: Counts, how: Assumptions, *, events: bool
) -> Iterator[Quantity]:
    if events:
        state = "active" if how.active else "inactive"
        count = node.updates if node.spec != "stream" else 0
        yield Quantity(layer=node.name, cause="neuron", op=f"neuron_update_{state}", count=count)
        return
    yield from _arithmetic(node)
    words = _words(node.state_bits, how) + _words(node.written_bits, how)
    if how.sums == "memory":
        words += 2 * node.sums * _words(counts.numbers.current_bits, how)
    yield Quantity(layer=node.name, cause="state_memory", op="state", count=node.updates * words)


def _arithmetic(node: NodeCount, *, real: bool = False) -> Iterator[Quantity]:
    for op in ARITHMETIC:
        width = max(node.value_bits, node.coef_bits) if op == "mul" else node.value_bits
        yield Quantity(
            layer=node.name,
            cause="neuron",
            op=op,
            count=node.updates * node.per_update.get(op, 0),
            bits=32 if real else width,
            real=real,
        )


def readout(counts: Counts, *, real: bool = False) -> Iterator[Quantity]:
    """Yield the multiply-accumulates of the host, after the last step; no memory."""
    numbers = counts.numbers
    bits = 32 if real else max(numbers.readout_bits, numbers.state_bits)
    yield Quantity(
        layer=READOUT,
        cause="synapse",
        op="mac",
        count=counts.readout_macs,
        bits=bits,
        sum_bits=bits,
        real=real,
    )


def _sequences(counts: Counts, bits: int | None = None) -> Iterator[Quantity]:
    """Yield the accesses to what is kept of whole sequences, in values of `bits` if given."""
    for kept in counts.buffers:
        words = (kept.bits if bits is None else kept.width * bits) / WORD * counts.steps
        count = words * (1 + len(kept.read)) * counts.samples
        yield Quantity(layer=kept.node, cause="sequence_memory", op="sequence", count=count)


def _routing(counts: Counts) -> Iterator[Quantity]:
    for packets in counts.packets or ():
        ways = {
            "spike_in_tile": packets.local,
            "hop_x": packets.hops_x,
            "hop_y": packets.hops_y,
            "hop_chip": packets.hops_chip,
        }
        for op, count in ways.items():
            yield Quantity(layer=packets.node, cause="routing", op=op, count=count or 0)


def _static(counts: Counts, prices: Prices) -> Iterator[Quantity]:
    """Yield the energy of power [pJ] as so many operations of 1 pJ."""
    if counts.seconds is None or not prices.power_w:
        return
    chips = ceil(counts.cores / counts.target.chip.cores)
    power = prices.power_w.get("chip", 0) * chips + prices.power_w.get("core", 0) * counts.cores
    joules = power * counts.seconds * counts.each
    yield Quantity(layer=CHIP, cause="static", op="picojoule", count=joules * 1e12)


def without_spikes(counts: Counts, bits: int, *, real: bool) -> Iterator[Quantity]:
    """Yield what the same network does whose weights and activations have `bits`, and no spikes."""
    sums = 32 if real else counts.numbers.current_bits
    for node in counts.nodes:
        heard = counts.into(node.name)
        adds = node.updates * residual_adds(node, heard)
        how: Any = {"layer": node.name, "sum_bits": sums, "real": real}
        yield Quantity(cause="synapse", op="add", count=adds, bits=sums, **how)
        for edge in (edge for edge in heard if edge.weight_bits > 1):
            yield Quantity(cause="synapse", op="mac", count=edge.dense, bits=bits, **how)
            weights, read = edge.dense * bits / WORD, edge.values * bits / WORD
            yield Quantity(cause="weight_memory", op="weight", count=weights, **how)
            yield Quantity(cause="state_memory", op="state", count=read, **how)
        yield from _activations(node, bits, sums, real=real)
    yield from _sequences(counts, bits)
    yield from readout(counts, real=real)


def _activations(node: NodeCount, bits: int, sums: int, *, real: bool) -> Iterator[Quantity]:
    spec = SPECS.get(node.spec)
    state: float = 0
    if spec is not None and spec.spiking:
        for op in ("cmp", "mul"):
            yield Quantity(
                layer=node.name, cause="neuron", op=op, count=node.updates, bits=sums, real=real
            )
    else:
        yield from _arithmetic(node, real=real)
        state = node.state_bits + node.written_bits
    words = node.updates * (state + bits) / WORD
    yield Quantity(layer=node.name, cause="state_memory", op="state", count=words)
