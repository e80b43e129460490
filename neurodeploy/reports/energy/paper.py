"""What the spiking literature counts: the `paper` mode, in accumulates (AC) and MACs.

It is for comparing with published figures, and counts as they do, network by network:

    synapse   an AC for each synapse that a spike reaches, every layer with its own rate; an AC for
              each channel of a residual sum; a MAC where a value is graded and not the input
    neuron    MACs and ACs of each update, by the published formula of its model (`FORMULAS`); of a
              model without one, its multiplies as MACs and its further additions as ACs; of a
              classifier's outputs, the MACs of the neurons in front of it

Not counted, as published: synapses of real-valued inputs and of token embeddings; layers that run
backwards (and so half of every bidirectional layer); reductions over time and what follows them;
all memory, routing and static power. `physical` counts all of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from neurodeploy.program.run import EdgeCount, NodeCount
from neurodeploy.reports.energy.book import Quantity
from neurodeploy.reports.energy.counts import Counts, residual_adds

TABLE = "paper45"
AC, MAC = "synapse_add", "synapse_mac"  #: the prices of both
_PRICE = {"add": AC, "mac": MAC}
SCOPE = "accumulates and multiply-accumulates as the papers of these models count them"
NOT_COUNTED = (
    "synapses of real-valued inputs and of token embeddings",
    "layers that run backwards in time",
    "reductions over time and what follows them",
    "memory, routing, control and static power",
)


@dataclass(frozen=True, kw_only=True)
class Formula:
    """What one neuron adds per update, and per spike that it sends."""

    macs: float
    acs: float = 0
    acs_per_spike: float = 0
    inputs: bool = False  #: whether synapses of real-valued inputs count
    source: str


_TCLIF = "Zhang et al. 2023, arXiv 2307.07231, Table 2 and 6"
_CELIF = "Chen et al. 2023, arXiv 2308.15150, Table 4"
_PRF = "Huang et al. 2024, arXiv 2410.03530, Table 7"

FORMULAS = {
    "lif": Formula(macs=1, acs_per_spike=1, source=_TCLIF),
    "tclif": Formula(macs=2, acs_per_spike=2, source=_TCLIF),
    "two_compartment": Formula(macs=2, acs_per_spike=2, source=_TCLIF),
    "alif": Formula(macs=4, acs_per_spike=2, source=_CELIF),
    "celif": Formula(macs=3, acs_per_spike=1, source=_CELIF),
    "prf": Formula(macs=5, acs=3, source=_PRF),
    "spatial": Formula(macs=0, source=_PRF),
    "lstm": Formula(macs=17, inputs=True, source=_TCLIF),
}


def quantities(counts: Counts) -> Iterator[Quantity]:
    """Yield the ACs and MACs of `counts`, by layer and cause."""
    for node in counts.nodes:
        if node.name in counts.reverse:
            continue
        heard = [edge for edge in counts.into(node.name) if edge.source not in counts.reverse]
        for edge in heard:
            if edge.weight_bits > 1 and _counted(edge, node, counts):
                yield _item(node, "synapse", _PRICE[edge.kind], edge.operations)
        yield _item(node, "synapse", AC, node.updates * residual_adds(node, heard))
        if node.spec != "stream":
            yield from _update(node, heard, counts)


def _item(node: NodeCount, cause: str, op: str, count: float) -> Quantity:
    return Quantity(layer=node.name, cause=cause, op=op, count=count)


def _counted(edge: EdgeCount, node: NodeCount, counts: Counts) -> bool:
    free = edge.source == counts.inputs and counts.input_kind != "spikes"
    return not free or _formula(node).inputs


def _update(node: NodeCount, heard: list[EdgeCount], counts: Counts) -> Iterator[Quantity]:
    formula = _formula(node)
    if node.spec == "li":
        formula = _classifier(heard, counts)
    acs = node.updates * formula.acs + node.spikes * formula.acs_per_spike
    yield _item(node, "neuron", MAC, node.updates * formula.macs)
    yield _item(node, "neuron", AC, acs)


def _formula(node: NodeCount) -> Formula:
    if node.spec in FORMULAS:
        return FORMULAS[node.spec]
    muls, adds = (node.per_update.get(op, 0) for op in ("mul", "add"))
    return Formula(macs=muls, acs=max(adds - muls, 0), source="no published formula")


def _classifier(heard: list[EdgeCount], counts: Counts) -> Formula:
    """Return the formula of outputs: a classifier's are updated like the neurons in front of it."""
    weighed = {edge.source for edge in heard if edge.weight_bits > 1}
    macs = [_formula(node).macs for node in counts.nodes if node.name in weighed]
    return Formula(macs=max(macs, default=0), source=_TCLIF)


def without_spikes(counts: Counts) -> Iterator[Quantity]:
    """Yield the MACs of the same network if every synapse multiplied at every step."""
    for edge in counts.edges:
        if edge.weight_bits > 1:
            yield Quantity(layer=edge.target, cause="synapse", op=MAC, count=edge.dense)
