r"""LSTM layers, the baseline of the papers, in the counts of a run. There is no program of them.

    i, f, o = sigmoid(W x + U h + b),   g = tanh(W x + U h + b),   c = f c + i g,   h = o tanh(c)

Four Linears of m + n inputs (m where a layer is not recurrent) for n cells. In integers an update
looks five values up in interpolated tables (two comparisons, two entries, a product and three sums
each, as `program/vector/glu.py` has it), multiplies three times, and adds once, and four biases.
Values are 8 bits wide, the cell state has a register, weights come once a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from neurodeploy.errors import InputError
from neurodeploy.program.run import EdgeCount, NodeCount
from neurodeploy.reports.energy import Counts
from neurodeploy.targets import Target

_LOOKUPS = 5
_UPDATE = {"mul": _LOOKUPS + 3, "add": 3 * _LOOKUPS + 1 + 4, "cmp": 2 * _LOOKUPS, "write": 2}


def lstm(
    target: Target,
    *,
    sizes: Sequence[int],
    recurrent: bool | Sequence[bool] = True,
    steps: int = 1,
    weight_bits: int = 8,
) -> Counts:
    """Return what LSTM layers do in one inference; sizes: inputs, and the width of each layer.

    recurrent: of all layers, or of each. Raises InputError E105 if they are not one for each.
    """
    layers = len(sizes) - 1
    loops = list(recurrent) if isinstance(recurrent, Sequence) else [recurrent] * layers
    if len(loops) != layers:
        what = f"{len(loops)} recurrent for {layers} layers"
        raise InputError("E105", what, fix="give one for each layer")
    edges: list[EdgeCount] = []
    nodes: list[NodeCount] = []
    before = "input"
    for i, ((m, n), loop) in enumerate(zip(pairwise(sizes), loops, strict=True)):
        name = f"layers.{i}"
        edges.append(_edge(before, name, m, n, steps, weight_bits, target))
        edges += [_edge(name, name, n, n, steps, weight_bits, target)] if loop else []
        nodes.append(_node(name, n, steps, target))
        before = name
    return Counts(
        target=target,
        numbers=target.numbers,
        steps=steps,
        samples=1,
        inputs="input",
        input_kind="values",
        reverse=frozenset(),
        cores=1,
        edges=tuple(edges),
        nodes=tuple(nodes),
        readout_macs=0,
    )


def _edge(
    source: str, name: str, m: int, n: int, steps: int, weight_bits: int, target: Target
) -> EdgeCount:
    return EdgeCount(
        source=source,
        target=name,
        kind="mac",
        events=m * steps,
        fan_out=4 * n,
        weight_bits=weight_bits,
        synapses=4 * m * n,
        value_bits=target.numbers.input_bits,
        parts=(4 * n,),
        dense=4 * m * n * steps,
    )


def _node(name: str, n: int, steps: int, target: Target) -> NodeCount:
    register = target.numbers.state_bits
    entries = 2 * _LOOKUPS * 16
    return NodeCount(
        name=name,
        spec="lstm",
        width=n,
        updates=n * steps,
        spikes=0,
        overflows=0,
        per_update=_UPDATE,
        sums=4,
        value_bits=register,
        coef_bits=register,
        state_bits=register + 4 * register + entries,
        written_bits=register,
    )
