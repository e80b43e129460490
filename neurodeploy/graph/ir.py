"""The float graph: what the user trained.

Every node maps a sequence [T, B, width of its inputs] to a sequence [T, B, width]; only `Reduce`
drops the time axis. Nothing here knows about files, frameworks, integers or chips. Arrays are
float64; those of a float32 model hold exactly the values that were trained, and a Linear keeps
them in as much memory (`kept`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neurodeploy.errors import InputError
from neurodeploy.graph.kept import Kept, kept, stored
from neurodeploy.matrices import Matrix, Scaled, blocks
from neurodeploy.neurons import SPECS, NeuronSpec

Array = npt.NDArray[np.float64]

REDUCTIONS = ("mean", "sum", "last")
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def vector(value: Any, width: int) -> Array:
    """Return `value`, a scalar or [width], as a float64 array [width]."""
    return np.array(np.broadcast_to(np.asarray(value, np.float64), (width,)))


@dataclass(frozen=True, eq=False)
class Op:
    """An operation."""

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            kept_narrow = isinstance(getattr(type(self), name, None), Kept)
            if isinstance(value, np.ndarray) and not kept_narrow:
                object.__setattr__(self, name, value.astype(np.float64))

    def width_of(self, inputs: Sequence[int]) -> int:
        """Return the channels of the output, given those of the inputs."""
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Input(Op):
    """What comes from outside: real numbers, or spikes (0 and 1) where `spiking`.

    With `tokens` the spikes are one-hot, and may be given as ids [T, B, 1] (`neurodeploy.tokens`).
    """

    width: int
    spiking: bool = False
    tokens: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens and not self.spiking:
            raise InputError("E107", "tokens are spikes", fix="use Input(width, True, True)")

    def width_of(self, inputs: Sequence[int]) -> int:  # noqa: ARG002
        """Return the width."""
        return self.width


@kept("weight")
@dataclass(frozen=True, eq=False)
class Linear(Op):
    """y = weight @ x + bias. weight [out, in], bias [out] (zeros if there is none)."""

    weight: Array
    bias: Array

    @property
    def stored(self) -> Matrix:
        """The weight as it is kept: the same numbers, in float32 where that loses nothing."""
        return stored(self, "weight")

    def width_of(self, inputs: Sequence[int]) -> int:  # noqa: ARG002
        """Return the rows of the weight."""
        return len(self.stored)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stored.ndim != 2 or self.bias.shape != self.stored.shape[:1]:
            raise InputError(
                "E107",
                f"a Linear has weight {self.stored.shape} and bias {self.bias.shape}",
                fix="a weight is [out, in] and its bias [out]",
            )


@dataclass(frozen=True, eq=False)
class Affine(Op):
    """y = gain * x + bias, channel by channel; both [width]."""

    gain: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """y = gamma (x - mean) / sqrt(var + eps) + beta, channel by channel; all [width]."""

    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float


@dataclass(frozen=True, eq=False)
class Neurons(Op):
    """Neurons of one model with trained parameters, driven by `gain * x + bias`.

    The output is `amplitude` times the spikes (or times the membrane, where the model does not
    spike). `reverse`: the neurons run from the last step to the first; the output is in the
    order of the input. `recurrent` [width, width]: the drive gains `recurrent @ y`, with y the
    output of the step that was run before (zero at first), amplitude included.
    """

    spec: str
    options: Mapping[str, Any]
    params: Mapping[str, Array]  #: each [width], tables [T, width], with modes [modes, width]
    gain: Array
    bias: Array
    amplitude: float = 1.0
    reverse: bool = False
    recurrent: Array | None = None

    @property
    def model(self) -> NeuronSpec:
        """The neuron model."""
        return SPECS[self.spec]

    @property
    def folded(self) -> Any:
        """The coefficients of the model's step."""
        return self.model.fold(self.model.params(**self.params), self.options, np)

    @property
    def longest(self) -> int | None:
        """How many steps the tables are for; None: any number."""
        coefs = self.model.arranged(self.folded, len(self.gain))
        return self.model.longest(coefs._asdict(), self.options)


#: The arrays of a surrogate dynamic network, `graph.surrogate`.
NETWORK = {
    "taps": (8, 8),
    "taps_bias": (8,),
    "mix": (8, 8),
    "mix_bias": (8,),
    "out": (8,),
    "out_bias": (1,),
}


@dataclass(frozen=True, eq=False)
class Surrogate(Neurons):
    """Neurons whose spikes a network computes, all steps at once, as in training.

    The neurons are those it was trained to stand for, with threshold 1. `drop-surrogate` makes
    plain Neurons of it before anything else is done.
    """

    network: Mapping[str, Array] = field(default_factory=dict)  #: of the shapes in NETWORK


@dataclass(frozen=True, eq=False)
class Population(Op):
    """Neurons after folding: driven by `sign * x + bias`, on the scale of x.

    `unit` [width] is the published membrane per unit of folded state. `recurrent`, on the scale
    of x, adds to the drive as it does in `Neurons`.
    """

    spec: str
    options: Mapping[str, Any]
    coefs: Mapping[str, Array]  #: each [width], tables [T, width], with modes [modes, width]
    sign: Array  #: -1, 0 or 1
    bias: Array
    unit: Array
    amplitude: float = 1.0
    reverse: bool = False
    recurrent: Array | None = None

    @property
    def model(self) -> NeuronSpec:
        """The neuron model."""
        return SPECS[self.spec]

    @property
    def folded(self) -> Any:
        """The coefficients of the model's step."""
        return self.model.coefs(**self.coefs)

    @property
    def longest(self) -> int | None:
        """How many steps the tables are for; None: any number."""
        return self.model.longest(self.coefs, self.options)


@dataclass(frozen=True, eq=False)
class Add(Op):
    """The sum of its inputs: a membrane residual stream."""


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """The channels of its inputs, one after the other."""

    def width_of(self, inputs: Sequence[int]) -> int:
        """Return the channels of all inputs."""
        return sum(inputs)


@dataclass(frozen=True, eq=False)
class Reduce(Op):
    """The mean, the sum or the last of x[t] + bias over time; bias [width]."""

    kind: str
    bias: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in REDUCTIONS:
            raise InputError("E107", f"unknown reduction {self.kind!r}", fix=f"use {REDUCTIONS}")


@dataclass(frozen=True, eq=False)
class Node:
    """A named operation and the names it reads."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                "E107",
                f"{self.name!r} is not a node name",
                fix="use letters, digits and _, with single dots between parts",
            )


@dataclass(frozen=True, eq=False)
class Range:
    """What calibration saw at a node; arrays [width], on the scale of the node's output.

    `peak` is the largest magnitude of a population's membrane and other registers, on the scale of
    its folded state (zeros elsewhere). `whole`: all values were whole numbers.
    """

    low: Array
    high: Array
    peak: Array
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in execution order. Passes return new graphs; nothing is changed in place."""

    nodes: tuple[Node, ...]
    output: str
    ranges: Mapping[str, Range] = field(default_factory=dict)
    calibration: str = "none"  #: what the ranges come from
    bits: Mapping[str, int] = field(default_factory=dict)  #: of constants, by node, where chosen
    grids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By node whose weights are whole multiples of one number per row: the greatest, row by row."""

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self._index[name]

    def __contains__(self, name: object) -> bool:
        return name in self._index

    @cached_property
    def _index(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def input(self) -> Node:
        """The one Input node."""
        return next(node for node in self.nodes if isinstance(node.op, Input))

    def readers(self, name: str) -> tuple[Node, ...]:
        """Return the nodes that read `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)

    def replace(self, name: str, op: Op) -> Graph:
        """Return the graph with another operation at node `name`."""
        nodes = (replace(node, op=op) if node.name == name else node for node in self)
        return replace(self, nodes=tuple(nodes))

    @cached_property
    def widths(self) -> dict[str, int]:
        """The number of channels of every node."""
        found: dict[str, int] = {}
        for node in self.nodes:
            found[node.name] = node.op.width_of([found[name] for name in node.inputs])
        return found


def identical(a: Graph, b: Graph) -> bool:
    """Say whether two graphs have the same nodes, wiring and, bit for bit, constants."""
    return digest(a) == digest(b)


def digest(graph: Graph) -> str:
    """Return a fingerprint of nodes, wiring and constants."""
    found = hashlib.sha256(repr(graph.output).encode())
    for node in graph:
        found.update(repr((node.name, type(node.op).__name__, node.inputs)).encode())
        for item in fields(node.op):
            value = vars(node.op)[item.name]
            if value is not None:
                _update(found, (item.name, value))
    return found.hexdigest()


def _update(found: Any, value: Any) -> None:
    """Add a value to a fingerprint; of arrays the numbers, however they are kept."""
    if isinstance(value, np.ndarray | Scaled):
        found.update(repr(value.shape).encode())
        for _, rows in blocks(value if isinstance(value, Scaled) else np.atleast_1d(value)):
            found.update(np.ascontiguousarray(rows).data)
    elif isinstance(value, Mapping):
        _update(found, sorted(value.items()))
    elif isinstance(value, list | tuple):
        for item in value:
            _update(found, item)
    else:
        found.update(repr(value).encode() + b"\0")
