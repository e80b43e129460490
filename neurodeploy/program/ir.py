"""The integer program: all that a backend may read.

Every node maps integer sequences [T, B, width of its inputs] to one [T, B, width]. A node's input
current is the int32 sum over its edges; what it does with the current:

    Source      nothing: its values are given, integers in [low, high]
    Stream      passes the current on, a graded value (a membrane residual stream)
    Vector      a nonlinear map of one step's values, sent graded (`program/vector` has the kinds;
                some keep registers from step to step)
    Population  x = shift(current) + bias, then one `step` of its neuron model; sends spikes, or
                its membrane where the model does not spike

An edge from a node to itself is recurrent: it brings what the node sent in the step before (in the
step after, where time runs backwards; nothing before the first).

Real numbers appear only as units, which say what an integer stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neurodeploy.arith import Fixed
from neurodeploy.neurons import SPECS, NeuronSpec
from neurodeploy.program.synapses import Dense, Edge, fitted
from neurodeploy.program.vector import KINDS
from neurodeploy.program.words import Word, counts_from_one
from neurodeploy.targets.schema import Numbers, Target

Ints = npt.NDArray[Any]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """Inputs: integers in [low, high], each worth `unit`; `tokens`: one-hot, given as ids too."""

    name: str
    width: int
    low: int
    high: int
    unit: float
    tokens: bool = False

    @property
    def spiking(self) -> bool:
        """Whether the values are spikes."""
        return (self.low, self.high) == (0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Stream:
    """A graded sum; one unit of channel c is worth `unit[c]`."""

    name: str
    width: int
    edges: tuple[Edge, ...]
    unit: Reals
    latency: int = 0  #: steps by which this node lags behind the input


@dataclass(frozen=True, eq=False, kw_only=True)
class Population:
    """Neurons of one model; arrays [width], tables [T, width], with modes [modes, width].

    `shift` brings the current to the scale of the state, `bias` is on that scale. Registers have
    `state_bits`, fewer than the target's where a membrane is sent on and must fit a current.
    Products drop `coef_frac` bits; `words` says how `coefs` are stored, where not as widely.
    `unit` is the published membrane worth of one unit of state.
    """

    name: str
    width: int
    edges: tuple[Edge, ...]
    spec: str
    options: Mapping[str, Any]
    coefs: Mapping[str, Ints]
    shift: Ints
    bias: Ints
    state_bits: int
    unit: Reals
    coef_frac: int
    words: Mapping[str, Word] = field(default_factory=dict)
    reverse: bool = False
    latency: int = 0  #: steps by which this node lags behind the input

    def __post_init__(self) -> None:
        own = [edge for edge in self.edges if edge.source == self.name]
        if len(own) > 1 or not all(isinstance(edge, Dense) for edge in own):
            raise ValueError(f"{self.name} has recurrent edges other than one Dense")
        if own and not self.model.spiking:
            raise ValueError(f"{self.name} feeds a membrane back to itself")

    @property
    def model(self) -> NeuronSpec:
        """The neuron model."""
        return SPECS[self.spec]

    @property
    def most(self) -> int:
        """The most spikes that a neuron sends at one step; 0 if it sends its membrane."""
        return self.model.traced(self.options).most

    @property
    def recurrent(self) -> Dense | None:
        """The edge from the population to itself, if there is one."""
        own = (e for e in self.edges if isinstance(e, Dense) and e.source == self.name)
        return next(own, None)

    @property
    def modes(self) -> int:
        """How many modes a neuron has."""
        return self.model.modes(self.coefs)

    @cached_property
    def longest(self) -> int | None:
        """How many steps the tables are for; None: any number."""
        return self.model.longest(self.coefs, self.options)

    @property
    def register_bits(self) -> int:
        """The bits of one neuron's state registers."""
        return self.model.rows(self.model.state._fields, self.modes) * self.state_bits

    def word(self, name: str) -> Word:
        """Return how coefficient `name` is stored."""
        widest = self.coef_frac + 1 if self.model.kinds[name].dimensionless else self.state_bits
        return self.words.get(name, Word(bits=widest))

    @property
    def coef_bits(self) -> int:
        """The bits of the widest word that is multiplied by."""
        kinds = self.model.kinds
        return max((self.word(name).bits for name in kinds if kinds[name].dimensionless), default=0)

    def constant_bits(self, *, steps: int | None = None) -> int:
        """Return the bits of one neuron's coefficients.

        Those that the step uses, of all modes; of its tables all rows, or `steps`.
        """
        total = 0
        for name in self.model.traced(self.options).used:
            count = self.modes if name in self.model.modal else 1
            if name in self.model.tables:
                count = len(self.coefs[name]) if steps is None else steps
            total += self.word(name).memory_bits(count)
        return total

    @property
    def subtractions(self) -> float:
        """How many a neuron's update takes for coefficients that are stored from one; a mean."""
        total, step = 0.0, self.model.traced(self.options)
        for name, value in self.coefs.items():
            if name in step.coefs and self.model.kinds[name].dimensionless:
                times = sum(i.op == "mul" and f"k_{name}" in i.args for i in step.instrs)
                from_one = np.count_nonzero(counts_from_one(value, self.word(name)))
                total += times * int(from_one) / self.width
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class Vector:
    """A nonlinear map of one step's values; `program/vector` says what the constants do.

    Edge i adds to operand `operands[i]`. `gain`, `shift`, `offset` are [operands, width], `limit`
    [operands], `out_gain` and `out_shift` [width]; `low` and `high` are the ends of what is sent.
    One unit of channel c is worth `unit[c]`.
    """

    name: str
    width: int
    edges: tuple[Edge, ...]
    operands: tuple[int, ...]
    kind: str
    gain: Ints
    shift: Ints
    offset: Ints
    limit: Ints
    params: Mapping[str, Ints]
    out_gain: Ints
    out_shift: Ints
    low: int
    high: int
    unit: Reals
    reverse: bool = False
    latency: int = 0  #: steps by which this node lags behind the input

    def __post_init__(self) -> None:
        own = [edge for edge in self.edges if edge.source == self.name]
        if (own or self.reverse) and not KINDS[self.kind].loops:
            raise ValueError(f"{self.name}: a {self.kind} neither hears itself nor runs backwards")
        if not all(isinstance(edge, Dense) for edge in own):
            raise ValueError(f"{self.name} has recurrent edges other than Dense")

    @property
    def ternary(self) -> bool:
        """Whether it sends only -1, 0 and 1, which cost no multiply at a synapse."""
        return self.low >= -1 and self.high <= 1


ProgramNode = Source | Stream | Population | Vector


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout:
    """What the host makes of node `source`, once per inference or (kind "steps") per step.

    kind "last" takes the last value; "steps" takes all. With a weight [out, n] the integer result
    is `weight @ value`, else the value. One unit of it is worth unit[out], divided by the number
    of steps where `mean`; `offset` [out] is added to that, in real numbers.
    """

    source: str
    kind: str
    unit: Reals
    offset: Reals
    weight: Ints | None = None
    mean: bool = False

    def __post_init__(self) -> None:
        if self.weight is not None:
            object.__setattr__(self, "weight", fitted(self.weight))


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Neurons `first` to `last` (excluded) of a node, on one core."""

    node: str
    first: int
    last: int
    core: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """Nodes in execution order, a readout, and where things stand on the chip.

    `numbers` are the target's, with the most weight bits that any synapse has.
    """

    name: str
    target: Target
    numbers: Numbers
    nodes: tuple[ProgramNode, ...]
    readout: Readout
    placement: tuple[Slice, ...] = ()
    notes: Mapping[str, Any] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.notes is None:
            object.__setattr__(self, "notes", {})

    def __iter__(self) -> Iterator[ProgramNode]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> ProgramNode:
        return self._index[name]

    @cached_property
    def _index(self) -> dict[str, ProgramNode]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def source(self) -> Source:
        """The input."""
        return next(node for node in self.nodes if isinstance(node, Source))

    @cached_property
    def populations(self) -> tuple[Population, ...]:
        """The neuron populations, in execution order."""
        return tuple(node for node in self.nodes if isinstance(node, Population))

    @property
    def latency(self) -> int:
        """Steps between an input and its effect on the readout."""
        node = self[self.readout.source]
        return 0 if isinstance(node, Source) else node.latency

    def fixed(self, node: Population) -> Fixed:
        """Return the integer reading in which the neurons of `node` are stepped."""
        how = self.numbers.rounding, self.numbers.overflow
        return Fixed(node.coef_frac, node.state_bits, *how)

    def graded(self, name: str) -> bool:
        """Whether node `name` sends graded values (each costs a multiply at a synapse)."""
        node = self[name]
        if isinstance(node, Vector):
            return not node.ternary
        return not self.spikes(name)

    def spikes(self, name: str) -> bool:
        """Whether node `name` sends only 0 and 1."""
        node = self[name]
        if isinstance(node, Source):
            return node.spiking
        return isinstance(node, Population) and node.most == 1


def edges(node: ProgramNode, *, recurrent: bool = True) -> tuple[Edge, ...]:
    """Return the edges into a node, on request only those from others; a Source has none."""
    found = () if isinstance(node, Source) else node.edges
    return found if recurrent else tuple(edge for edge in found if edge.source != node.name)


def backwards(node: ProgramNode) -> bool:
    """Whether a node runs backwards in time."""
    return isinstance(node, Population | Vector) and node.reverse
