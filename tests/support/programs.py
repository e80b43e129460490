"""Random integer programs, whose numbers like to stand at the ends of their ranges."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from neurodeploy.neurons import SPECS, Kind
from neurodeploy.program.ir import Population, Program, Readout, Source, Stream
from neurodeploy.program.vector import KINDS
from neurodeploy.targets import target
from support import drawn_edges, drawn_vectors
from support.drawn_edges import CURRENT, edgy

__all__ = ["CURRENT", "Layer", "edgy", "program"]


@dataclass(frozen=True)
class Layer:
    """A node to draw: neurons of a model, a vector operation of a kind, or (spec None) a stream.

    conv: the edge from the node before is a convolution, which makes the width.
    """

    width: int
    spec: str | None = None
    options: dict = field(default_factory=dict)
    bits: int = 24
    frac: int = 12
    reverse: bool = False
    recurrent: bool = False
    conv: bool = False


def program(rng, source, layers, *, rounding, overflow, steps):
    """Return a program whose nodes hear the one before, and some of those before it.

    source: (width, low, high); steps: the rows of tables.
    """
    numbers = replace(target("asic45").numbers, rounding=rounding, overflow=overflow)
    width, low, high = source
    nodes = [Source(name="input", width=width, low=low, high=high, unit=1.0)]
    sends = {"input": (width, max(-low, high))}  # how many, and at most what
    for number, layer in enumerate(layers):
        name = f"n{number}"
        node, most = _node(rng, name, layer, sends, steps)
        nodes.append(node)
        sends[name] = (node.width, most)
    return Program(
        name="random",
        target=replace(target("asic45"), numbers=numbers),
        numbers=numbers,
        nodes=tuple(nodes),
        readout=_readout(rng, nodes[-1]),
    )


def _readout(rng, node):
    """All steps or the last, as they are or weighted; 16 bits of weights, as targets have."""
    weight = None if rng.random() < 0.5 else edgy(rng, -(2**15) + 1, 2**15 - 1, 3, node.width)
    width = node.width if weight is None else len(weight)
    how = {"unit": rng.uniform(0.1, 2, width), "offset": rng.normal(size=width)}
    kind, mean = str(rng.choice(["steps", "last"])), bool(rng.integers(2))
    return Readout(source=node.name, kind=kind, weight=weight, mean=mean, **how)


def _node(rng, name, layer, sends, steps):
    """Return a node, and the most that it sends."""
    *others, before = sends
    heard = [before, *(other for other in others if rng.random() < 0.5)]
    form = drawn_edges.convolution(rng, sends[before][0]) if layer.conv else None
    width = form.width if form else layer.width
    if layer.spec in KINDS:
        how = {"reverse": layer.reverse, "recurrent": layer.recurrent, "form": form}
        return drawn_vectors.vector(rng, name, layer.spec, width, sends, heard, **how)
    model = SPECS[layer.spec] if layer.spec else None
    spikes = model.traced(layer.options).most if model else 0
    if layer.recurrent and spikes:
        sends, heard = {**sends, name: (width, spikes)}, [*heard, name]
    made, reach = drawn_edges.edges(rng, sends, heard, width, own=name, form=form)
    if model is None:
        return Stream(name=name, width=width, edges=made, unit=np.ones(width)), reach
    top = 2 ** (layer.bits - 1) - 1
    fitting = layer.bits - 1 - reach.bit_length()
    node = Population(
        name=name,
        width=width,
        edges=made,
        spec=layer.spec,
        options=layer.options,
        coefs=_coefs(rng, model, replace(layer, width=width), top, steps),
        shift=np.clip(fitting + rng.integers(-2, 5, width), -16, 15),
        bias=edgy(rng, -top, top, width) * rng.integers(0, 2, width),
        state_bits=layer.bits,
        unit=np.ones(width),
        coef_frac=layer.frac,
        reverse=layer.reverse,
    )
    return node, spikes or top + 1


def _coefs(rng, model, layer, top, steps):
    one, tables = 2**layer.frac, model.traced(layer.options).tables
    modes, found = int(rng.integers(1, 4)), {}
    for name, kind in model.kinds.items():
        shape = (layer.width,)
        if name in model.tables:
            shape = (steps if name in tables else 0, layer.width)
        elif name in model.modal:
            shape = (modes, layer.width)
        low, high = (-one, one) if kind.dimensionless else (-top, top)
        if kind is Kind.THRESHOLD and model.name == "multispike":
            low = 1
        found[name] = edgy(rng, low, high, *shape)
    return found
