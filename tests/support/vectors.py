"""Random networks of vector operations: every kind, between Linears, streams and neurons."""

from __future__ import annotations

import numpy as np

from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import Add, Affine, Graph, Input, Node, Reduce
from neurodeploy.graph.nonlinear import Gelu, Glu, LayerNorm, Lstm, Product, Relu, Ternary
from neurodeploy.graph.rules import check
from support.networks import linear, neurons

KINDS = (
    *("layernorm", "gelu", "gelu_tanh", "relu", "glu", "product", "ternary", "ternary_step"),
    *("lstm", "lstm_reverse", "delay"),
)
_WIDER = {"glu": 2, "lstm": 4, "lstm_reverse": 4}  # what reads several groups of channels


def layernorm(rng, width):
    gamma = rng.uniform(0.5, 2, width) * rng.choice([-1, 1], width)
    return LayerNorm(gamma, rng.normal(size=width) * 0.5, 1e-5)


def lstm(rng, width, *, reverse=False):
    return Lstm(rng.normal(size=(4 * width, width)) / np.sqrt(width), reverse)


def _op(rng, kind, width):
    return {
        "layernorm": lambda: layernorm(rng, width),
        "gelu": lambda: Gelu("erf"),
        "gelu_tanh": lambda: Gelu("tanh"),
        "relu": Relu,
        "delay": lambda: Delay(rng.integers(0, 5, width).astype(float)),
        "glu": Glu,
        "product": Product,
        "lstm": lambda: lstm(rng, width),
        "lstm_reverse": lambda: lstm(rng, width, reverse=True),
        "ternary": lambda: Ternary(per_step=False, level=0.4),
        "ternary_step": lambda: Ternary(per_step=True, level=0.15),
    }[kind]()


def network(
    rng, kinds, *, width=5, inputs=3, residual=False, readout="mean", spiking=False, plain=False
):
    """Return input, Linear, kind, Linear, kind, ..., Linear, readout.

    `residual` adds the stream in front of each kind (with as many channels) to what it sends.
    Every second kind reads what is there without a Linear of its own. What stands behind the kinds
    is drawn, or, if `plain`, one Linear.
    """
    nodes = [Node("input", Input(inputs, spiking=spiking))]

    def add(name, op, *sources):
        nodes.append(Node(name, op, sources))
        return name

    last = add("encoder", linear(rng, width, inputs), "input")
    for i, kind in enumerate(kinds):
        source = last
        if kind in _WIDER:
            source = add(f"{i}.linear", linear(rng, _WIDER[kind] * width, width), last)
        elif i % 2 == 0:
            source = add(f"{i}.linear", linear(rng, width, width), last)
        sources = [source]
        if kind == "product":
            sources.append(add(f"{i}.gate", linear(rng, width, width), last))
        y = add(f"{i}.{kind}", _op(rng, kind, width), *sources)
        last = add(f"{i}.add", Add(), last, y) if residual else y
    if plain:
        nodes += [Node("head", linear(rng, 2, width), (last,))]
        nodes += [Node("readout", Reduce(readout, np.zeros(2)), ("head",))]
        return check(Graph(tuple(nodes), "readout"))
    if rng.random() < 0.3:
        gain = rng.uniform(0.5, 2, width) * rng.choice([-1, 1], width)
        last = add("scale", Affine(gain, rng.normal(size=width) * 0.1), last)
    if rng.random() < 0.5:
        last = add("neurons", neurons(rng, str(rng.choice(["lif", "li"])), width), last)
    last = add("head", linear(rng, 2, width), last) if rng.random() < 0.7 else last
    if readout != "steps":
        wide = 2 if last == "head" else width
        last = add("readout", Reduce(readout, np.zeros(wide)), last)
    return check(Graph(tuple(nodes), last))
