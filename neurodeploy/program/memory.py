"""How much memory a node needs, from the widths of its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neurodeploy.program.ir import Population, Program, ProgramNode, Vector, edges
from neurodeploy.program.vector import constant_bits, register_bits


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What some neurons take; bits."""

    neurons: int = 0
    synapses: int = 0
    weights: int = 0  #: synapses that share one counted once, where cores can share
    weight_bits: int = 0
    state_bits: int = 0  #: registers and constants of the neurons

    @property
    def total_bits(self) -> int:
        """Weights and neurons together."""
        return self.weight_bits + self.state_bits

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(
            neurons=self.neurons + other.neurons,
            synapses=self.synapses + other.synapses,
            weights=self.weights + other.weights,
            weight_bits=self.weight_bits + other.weight_bits,
            state_bits=self.state_bits + other.state_bits,
        )


def footprint(program: Program, name: str, first: int = 0, last: int | None = None) -> Footprint:
    """Return what the neurons `first` to `last` (all) of a node take on one core.

    Weights: `weight_bits` per synapse of a Dense, zeros included; of a Conv likewise, or, where the
    target's cores share weights, once for all positions of a map that is there, or partly there; a
    Tap keeps a sign bit. Neurons: per state one register; per constant that the step uses one word
    (dimensionless, or of a table) or register, in a table per row; of both as many as there are
    modes; the bias register and a 5-bit shift. A Stream keeps one current, a Vector one per
    operand, its constants, its share of its tables, and its registers (a Delay as
    many values per channel as it has steps).
    """
    node = program[name]
    last = node.width if last is None else last
    shared = program.target.core.shared_weights
    kept = [
        ((edge.stored if shared else edge.synapses)(first, last), edge.weight_bits)
        for edge in edges(node)
    ]
    return Footprint(
        neurons=last - first,
        synapses=sum(edge.synapses(first, last) for edge in edges(node)),
        weights=sum(count for count, _ in kept),
        weight_bits=sum(count * bits for count, bits in kept),
        state_bits=(last - first) * _neuron_bits(program, node) + _kept_bits(node, first, last),
    )


def _neuron_bits(program: Program, node: ProgramNode) -> int:
    numbers = program.numbers
    if isinstance(node, Population):
        return node.register_bits + node.state_bits + node.constant_bits() + 5
    if isinstance(node, Vector):
        return numbers.current_bits * len(node.gain) + constant_bits(node)
    return numbers.current_bits


def _kept_bits(node: ProgramNode, first: int, last: int) -> int:
    return register_bits(node, first, last) if isinstance(node, Vector) else 0


def most(program: Program, name: str, first: int, fits: Callable[[Footprint], bool]) -> int:
    """Return how many neurons of a node, from `first` on, take no more than `fits` allows."""
    low, high = 0, program[name].width - first
    while low < high:
        middle = (low + high + 1) // 2
        if fits(footprint(program, name, first, first + middle)):
            low = middle
        else:
            high = middle - 1
    return low
