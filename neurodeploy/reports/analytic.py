r"""Operations of networks from their sizes alone, for tables that compare with the literature.

Everything is per time step (of a network without time: per input). A layer of n neurons reads m
values; `recurrent` says which layers also read their own n outputs of the step before.

    LSTM      4 (m n + n n) + 17 n MAC                      (without recurrence no n n)
    LIF       (m F_in + n F) n AC + n F AC + n MAC          F spikes per neuron and step, F_in
    TC-LIF    (m F_in + n F) n AC + 2 n F AC + 2 n MAC      those of the layer in front
    ReLU      m n MAC
    S4D       per channel and conjugate pair: 4 MAC of the state, 2 of the output; 1 MAC for D x;
              the mixing Linear of h channels to `mixed` values, h mixed MAC

LSTM, LIF and TC-LIF as in Zhang et al. 2023 (arXiv 2307.07231, Tables 2 and 6): with its
convention of 0.9 pJ for an AC and 4.6 pJ for a MAC (price table `paper45`) and its networks
the sums are 2834.78, 23.89 and 28.22 nJ per step (printed: 2834.7, 23.8, 28.2). To get there, the
synapses of real-valued pixels cost nothing, the classifier reads spikes, and its outputs are
updated like the neurons (an LSTM has no classifier there). `inputs="mac"` is what a chip would pay
for pixels; and outputs that only sum up need no MACs (`output_macs=False`): 24.14 and 28.42 nJ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from neurodeploy.errors import InputError
from neurodeploy.targets import Prices

INPUTS = ("free", "ac", "mac")


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Multiply-accumulates and accumulates (additions of a weight); averages need not be whole."""

    macs: float = 0.0
    acs: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(macs=self.macs + other.macs, acs=self.acs + other.acs)

    def times(self, count: float) -> Operations:
        """Return `count` such networks, or steps."""
        return Operations(macs=self.macs * count, acs=self.acs * count)

    def energy_pj(self, prices: Prices) -> float:
        """Return the energy under a table that prices synaptic additions and MACs."""
        table = prices.energy_pj
        return self.macs * table["synapse_mac"] + self.acs * table["synapse_add"]


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one neuron adds per step to its synapses: MACs always, ACs when it spikes."""

    macs: float
    acs_per_spike: float


LIF = Update(macs=1, acs_per_spike=1)
TCLIF = Update(macs=2, acs_per_spike=2)


def lstm(sizes: Sequence[int], *, recurrent: Sequence[bool]) -> Operations:
    """Return the operations of LSTM layers: sizes are the inputs and the width of every layer.

    Raises InputError E105 if `recurrent` does not name every layer.
    """
    _each("recurrent", recurrent, sizes[1:])
    macs = sum(
        4 * (m * n + (n * n if again else 0)) + 17 * n
        for (m, n), again in zip(pairwise(sizes), recurrent, strict=True)
    )
    return Operations(macs=macs)


def spiking(
    sizes: Sequence[int],
    rates: Sequence[float],
    update: Update,
    *,
    recurrent: Sequence[bool],
    inputs: str = "free",
    output_macs: bool = True,
) -> Operations:
    """Return the operations of spiking layers and a classifier that reads the last one's spikes.

    sizes: inputs, hidden widths, classes; rates (spikes per neuron and step) and recurrent: one
    for each hidden layer. inputs: "free"; "mac" for real values; "ac" for values that are spikes
    at every step. output_macs: the outputs are updated with the MACs of a neuron. Raises
    InputError E105 for other inputs, and for sequences of another length.
    """
    hidden = sizes[1:-1]
    _each("rates", rates, hidden)
    _each("recurrent", recurrent, hidden)
    if inputs not in INPUTS:
        raise InputError("E105", f"no inputs {inputs!r}", fix=f"one of {', '.join(INPUTS)}")
    first = sizes[0] * sizes[1]
    total = Operations(macs=first * (inputs == "mac"), acs=first * (inputs == "ac"))
    for n, rate, again in zip(hidden, rates, recurrent, strict=True):
        acs = (update.acs_per_spike + (n if again else 0)) * n * rate
        total += Operations(macs=update.macs * n, acs=acs)
    for (m, n), rate in zip(pairwise(sizes[1:]), rates, strict=True):
        total += Operations(acs=m * n * rate)
    return total + Operations(macs=update.macs * sizes[-1] * output_macs)


def relu_mlp(sizes: Sequence[int]) -> Operations:
    """Return the operations of Linears with ReLU between them, for one input."""
    return Operations(macs=sum(m * n for m, n in pairwise(sizes)))


def s4d(layers: int, width: int, pairs: int, *, mixed: int | None = None) -> Operations:
    """Return the operations of S4D layers run as recurrences, without encoder and classifier.

    pairs: conjugate pairs of states per channel (half of N). mixed: outputs of the Linear behind
    each layer; by default 2 width, which a gated linear unit halves.
    """
    outputs = 2 * width if mixed is None else mixed
    return Operations(macs=layers * width * (6 * pairs + 1 + outputs))


def _each(name: str, values: Sequence[float], layers: Sequence[int]) -> None:
    if len(values) != len(layers):
        what = f"{len(values)} {name} for {len(layers)} layers"
        raise InputError("E105", what, fix="give one for each layer")
