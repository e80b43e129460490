"""How much memory a node needs, from the widths of its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.program.ir import Dense, Population, ProgramNode, Vector, edges
from neurodeploy.program.vector import constant_bits, register_bits
from neurodeploy.targets.schema import Numbers


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What some neurons take; bits."""

    neurons: int = 0
    synapses: int = 0
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
            weight_bits=self.weight_bits + other.weight_bits,
            state_bits=self.state_bits + other.state_bits,
        )

    def times(self, count: int) -> Footprint:
        """Return what `count` such things take."""
        return Footprint(
            neurons=self.neurons * count,
            synapses=self.synapses * count,
            weight_bits=self.weight_bits * count,
            state_bits=self.state_bits * count,
        )


def footprint(node: ProgramNode, numbers: Numbers) -> Footprint:
    """Return what one neuron of `node` takes.

    Weights: its `weight_bits` per Dense synapse, zeros included; a Tap keeps a sign bit. Neurons:
    per state one register; per constant that the step uses one word (dimensionless, or of a table)
    or register, in a table per row; of both as many as there are modes; the bias register and a
    5-bit shift. A Stream keeps one current, a Vector one per operand, its constants, its share of
    its tables, and its registers.
    """
    synapses = sum(e.weight.shape[1] if isinstance(e, Dense) else 1 for e in edges(node))
    weights = sum(
        e.weight.shape[1] * e.weight_bits if isinstance(e, Dense) else 1 for e in edges(node)
    )
    if not isinstance(node, Population):
        own = numbers.current_bits
        if isinstance(node, Vector):
            own = own * len(node.gain) + constant_bits(node) + register_bits(node)
        return Footprint(neurons=1, synapses=synapses, weight_bits=weights, state_bits=own)
    return Footprint(
        neurons=1,
        synapses=synapses,
        weight_bits=weights,
        state_bits=node.register_bits + node.state_bits + node.constant_bits() + 5,
    )
