"""Integer programs written out a second time: neuron by neuron, in Python's whole numbers.

No width, no array, and nothing of the project's arithmetic, steps, windows or kernels: products and
currents are as large as they become, `//` drops bits, and only a register or a format has an end.
What a target does to a number is said by `Chip`; what a node, an edge, a model or a vector
operation does, by the function that stands for it in `NODES`, `SYNAPSES`, `STEPS`, and `MAPS` or
`MEMORIES`. Tables that a program holds are read from it: they are data.
"""

from support.by_hand.chip import Chip
from support.by_hand.edges import SYNAPSES
from support.by_hand.network import NODES, Written, run
from support.by_hand.neurons import STEPS
from support.by_hand.vectors import MAPS, MEMORIES

__all__ = ["MAPS", "MEMORIES", "NODES", "STEPS", "SYNAPSES", "Chip", "Written", "run"]
