"""The energy of one inference: by layer and cause, with its range, and without spikes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.program.buffers import peak_bits
from neurodeploy.program.run import Run
from neurodeploy.reports.energy import paper, physical
from neurodeploy.reports.energy.book import CAUSES, Assumptions, Book, Quantity
from neurodeploy.reports.energy.counts import Counts, of_run
from neurodeploy.targets import Prices, price_names
from neurodeploy.targets import prices as price_table

MODES = ("paper", "physical")

#: what is varied: its name, what the ends are, and the ends
VARIED: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("sums of currents", "in registers .. in memory", {"sums": "registers"}, {}),
    ("weight fetch", "the bits alone .. a word each", {"fetch": "bits"}, {"fetch": "word"}),
    ("memory", "a published size less .. more", {"memory_step": -1}, {"memory_step": 1}),
    ("neuron updates", "all inactive .. all active", {"active": False}, {}),
    ("published ranges", "least .. greatest figure", {"end": -1}, {"end": 1}),
)
_ROUTING = dict.fromkeys(("spike_in_tile", "hop_x", "hop_y", "hop_chip"), "routing")
ANN_BITS = 8  #: of weights and activations of the quantized network without spikes


@dataclass(frozen=True, kw_only=True)
class LayerEnergy:
    """One node's energy per inference, by cause [pJ]."""

    name: str
    by_cause: Mapping[str, float]

    @property
    def total_pj(self) -> float:
        """The sum of all causes."""
        return sum(self.by_cause.values())


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The same network without spikes; `total_pj` is None where the table does not price it."""

    name: str
    total_pj: float | None
    by_cause: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Varied:
    """The energy at both ends of one assumption, all others as they are [pJ]."""

    name: str
    ends: str
    low_pj: float
    high_pj: float


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of one inference, averaged over a run, in one mode under one table."""

    mode: str
    table: str
    scope: str
    grade: str
    layers: tuple[LayerEnergy, ...]  #: nodes, then what is of no node
    beside: tuple[Beside, ...]
    varied: tuple[Varied, ...]
    low_pj: float
    high_pj: float
    not_priced: tuple[str, ...]
    not_modelled: tuple[str, ...]
    least_s: float | None = None  #: the events of the busiest core one after another, if timed

    @property
    def total_pj(self) -> float:
        """All layers."""
        return sum(layer.total_pj for layer in self.layers)

    def by_cause(self) -> dict[str, float]:
        """Return the sums over layers, by cause [pJ]."""
        return _by_cause(self.layers)


def energy(done: Run | Counts, prices: Prices | None = None, *, mode: str = "physical") -> Energy:
    """Return the energy of one inference of a run, or of counts.

    prices: the table of the physical mode, by default the target's; the paper mode has its own,
    `paper45`. Raises InputError E105 for another mode or table, and where no table applies.
    """
    counts = of_run(done) if isinstance(done, Run) else done
    if mode not in MODES:
        raise InputError("E105", f"no mode {mode!r}", fix=f"one of {', '.join(MODES)}")
    if mode == "paper":
        if prices is not None and prices.name != paper.TABLE:
            fix = "leave the table out, or price in physical mode"
            raise InputError("E105", f"the paper mode is priced by {paper.TABLE}", fix=fix)
        return _paper(counts)
    if prices is None and counts.target.prices is None:
        what = f"no price table applies to {counts.target.name}"
        raise InputError("E105", what, fix="name one: neurodeploy targets")
    return _physical(counts, prices or price_table(str(counts.target.prices)))


def spread(done: Run | Counts) -> tuple[Energy, ...]:
    """Return the physical energy under every table that ships: what the choice of one decides."""
    counts = of_run(done) if isinstance(done, Run) else done
    return tuple(_physical(counts, price_table(name)) for name in price_names())


def _paper(counts: Counts) -> Energy:
    table = price_table(paper.TABLE)
    book = Book(table, counts.target, Assumptions(), 0, 0)
    layers = _layers(paper.quantities(counts), book, counts)
    total = sum(layer.total_pj for layer in layers)
    ann = _beside("ANN, every synapse a MAC", paper.without_spikes(counts), book, counts)
    return Energy(
        mode="paper",
        table=table.name,
        scope=paper.SCOPE,
        grade=table.grade,
        layers=layers,
        beside=(ann,),
        varied=(),
        low_pj=total,
        high_pj=total,
        not_priced=_missing(book),
        not_modelled=paper.NOT_COUNTED,
    )


def _physical(counts: Counts, prices: Prices) -> Energy:
    least_s = _least_s(counts, prices)
    counts = replace(counts, seconds=counts.seconds or least_s)
    layers, book = _priced(counts, prices)
    varied, lows, highs = [], dict[str, Any](), dict[str, Any]()
    for name, ends, low, high in VARIED:
        least, most = (_total(counts, prices, **end) for end in (low, high))
        if least != most:
            varied.append(Varied(name=name, ends=ends, low_pj=least, high_pj=most))
            lows |= low
            highs |= high
    return Energy(
        mode="physical",
        table=prices.name,
        scope=prices.scope,
        grade=prices.grade,
        layers=layers,
        beside=tuple(_anns(counts, prices, book)),
        varied=tuple(varied),
        low_pj=_total(counts, prices, **lows),
        high_pj=_total(counts, prices, **highs),
        not_priced=_missing(book) + _gaps(counts, prices),
        not_modelled=counts.target.not_modelled + physical.NOT_COUNTED,
        least_s=least_s,
    )


def _least_s(counts: Counts, prices: Prices) -> float | None:
    """Return the time of an inference's events on the busiest core, if the table has times."""
    times = [prices.time_ns.get(key) for key in ("synapse_op", "neuron_update_active")]
    if None in times:
        return None
    loads = np.array([*counts.loads.values(), (0.0, 0.0)])
    return float((loads @ np.array(times, float)).max()) * 1e-9 / counts.each


def _priced(counts: Counts, prices: Prices, **how: Any) -> tuple[tuple[LayerEnergy, ...], Book]:
    book = Book(prices, counts.target, Assumptions(**how), counts.weight_bits, counts.sequence_bits)
    return _layers(physical.quantities(counts, prices, book.how), book, counts), book


def _total(counts: Counts, prices: Prices, **how: Any) -> float:
    return sum(layer.total_pj for layer in _priced(counts, prices, **how)[0])


def _missing(book: Book) -> tuple[str, ...]:
    """Return the prices that the table does not have; what only the host lacks is one of them."""
    names = {
        physical.READOUT if layers == {physical.READOUT} else _ROUTING.get(key, key)
        for key, layers in book.missing.items()
    }
    return tuple(sorted(names))


def _gaps(counts: Counts, prices: Prices) -> tuple[str, ...]:
    """Return what could not be priced since it is not known."""
    gaps = []
    if counts.cores > counts.target.cores:
        gaps.append(f"routing (needs {counts.cores} cores, has {counts.target.cores})")
    elif counts.packets is None:
        gaps.append("routing (packets were not counted)")
    elif any(packets.local is None for packets in counts.packets):
        gaps.append(f"routing ({counts.target.name} does not say where its cores are)")
    if not prices.power_w:
        gaps.append("static power")
    elif counts.seconds is None:
        gaps.append("static power (the time of a run is not known; give --timing)")
    return tuple(gaps)


def _anns(counts: Counts, prices: Prices, spiking: Book) -> Iterator[Beside]:
    synapses = sum(edge.synapses for edge in counts.edges if edge.weight_bits > 1)
    for name, bits, real in ((f"int{ANN_BITS} ANN", ANN_BITS, False), ("fp32 ANN", 32, True)):
        same = tuple(replace(each, bits=each.width * bits) for each in counts.buffers)
        kept = peak_bits(same, counts.steps)
        book = Book(prices, counts.target, Assumptions(), synapses * bits, kept)
        found = _beside(name, physical.without_spikes(counts, bits, real=real), book, counts)
        more = [k for k in book.missing if k not in spiking.missing and not k.endswith("_64b")]
        yield replace(found, total_pj=None) if more else found


def _beside(name: str, quantities: Iterable[Quantity], book: Book, counts: Counts) -> Beside:
    causes = _by_cause(_layers(quantities, book, counts))
    return Beside(name=name, total_pj=sum(causes.values()), by_cause=causes)


def _layers(quantities: Iterable[Quantity], book: Book, counts: Counts) -> tuple[LayerEnergy, ...]:
    """Return the energies of all nodes, and of what is of no node where it costs anything."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(CAUSES, 0.0))
    for item in quantities:
        sums[item.layer][item.cause] += book.pj(item) / counts.each
    nodes = {node.name for node in counts.nodes}
    return tuple(
        LayerEnergy(name=name, by_cause=dict(causes))
        for name, causes in sums.items()
        if name in nodes or any(causes.values())
    )


def _by_cause(layers: Iterable[LayerEnergy]) -> dict[str, float]:
    every = list(layers)
    return {cause: sum(layer.by_cause[cause] for layer in every) for cause in CAUSES}
