"""What neurons hear of themselves, as one matrix; and biases that wait for it.

On the way back a loop may have any weights, maps and scales. Their bias comes with what is sent, so
a tool that starts loops at 0 has none at the first step (`late`).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.frontends.nir_maps import Shape, made
from neurodeploy.frontends.nir_wiring import Wiring
from neurodeploy.graph import weights
from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.ir import Affine, Array, Graph, Input, Linear, Neurons, Node, Op
from neurodeploy.graph.maps import Conv

_FIX = "give the model as .pt"


def feedback(wired: Wiring, name: str, shape: Shape) -> tuple[Array, Array]:
    """Return matrix [width, width] and bias [width] of what comes back to neurons of `shape`.

    Raises InputError E107 and E108.
    """
    width = prod(shape)
    found = {name: (shape, np.eye(width), np.zeros(width))}
    for inner in wired.loops[name]:
        reads = wired.reads[inner]
        ops, after = made(inner, wired.parts[inner], found[reads[0]][0])
        weight, bias = _total(found, reads, inner)
        for op in ops:
            weight, bias = _through(op, weight, bias, inner)
        found[inner] = (after, weight, bias)
    weight, bias = _total(found, wired.back[name], name)
    if len(weight) != width:
        what = f"a loop brings {len(weight)} values to {width} neurons"
        raise InputError("E107", what, where=f'node "{name}"', fix="correct the file")
    return weight, bias


def _total(
    found: dict[str, tuple[Shape, Array, Array]], reads: tuple[str, ...] | list[str], name: str
) -> tuple[Array, Array]:
    (_, weight, bias), *others = (found[source] for source in reads)
    for _, more, offset in others:
        if len(more) != len(weight):
            what = f"it adds {len(weight)} and {len(more)} values"
            raise InputError("E107", what, where=f'node "{name}"', fix="correct the file")
        weight, bias = weight + more, bias + offset
    return weight, bias


def _through(op: Op, weight: Array, bias: Array, name: str) -> tuple[Array, Array]:
    """Return the matrix and bias of `op` behind those of what it reads."""
    if isinstance(op, Linear | Conv):
        matrix = np.asarray(weights.matrix(op), np.float64)
        return matrix @ weight, matrix @ bias + weights.spread(op, op.bias)
    if isinstance(op, Affine):
        return op.gain[:, None] * weight, op.gain * bias + op.bias
    if isinstance(op, Neurons):
        raise InputError("E108", "a threshold in a loop", where=f'node "{name}"', fix=_FIX)
    width = len(weight)
    alone = Graph((Node("x", Input(width)), Node("y", op, ("x",))), "y")
    matrix = interpret(alone, np.eye(width)[:, None])[:, 0].T
    return matrix @ weight, matrix @ bias


def late(bias: Array, width: int) -> Iterator[tuple[str, Op]]:
    """Yield a chain behind an input of `width` that gives `bias` from the second step on, and 0.

    A neuron counts the steps and fires when there are more than one.
    """
    yield "clock", Linear(np.zeros((1, width)), np.ones(1))
    params = {"beta": 1.0, "v_th": 1.0, "gain": 1.0, "v_reset": 0.0}
    values = {key: np.full(1, value) for key, value in params.items()}
    options = {"reset": "none", "compare": ">"}
    yield "begun", Neurons("lif", options, values, np.ones(1), np.zeros(1))
    yield "late", Linear(bias[:, None], np.zeros_like(bias))
