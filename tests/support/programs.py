"""Random integer programs, whose numbers like to stand at the ends of their ranges."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from neurodeploy.neurons import SPECS, Kind
from neurodeploy.program.ir import Dense, Population, Program, Readout, Source, Stream, Tap
from neurodeploy.targets import target

CURRENT = 2**31 - 1  #: the greatest that the simulator adds in 32 bits


@dataclass(frozen=True)
class Layer:
    """A node to draw: neurons of a model, or a stream (spec None)."""

    width: int
    spec: str | None = None
    options: dict = field(default_factory=dict)
    bits: int = 24
    frac: int = 12
    reverse: bool = False
    recurrent: bool = False


def edgy(rng, low, high, *shape):
    """Integers from low to high: the ends, what is around zero, and every order of magnitude."""
    ends = np.clip([low, high, 0, 1, -1], low, high)
    size = np.exp2(rng.uniform(0, np.log2(max(high - low, 1) + 1), shape))
    spread = rng.integers(low, high, shape, endpoint=True)
    around = np.clip(rng.choice([-1, 1], shape) * size, low, high).astype(np.int64)
    return np.choose(rng.integers(0, 3, shape), [rng.choice(ends, shape), spread, around])


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
        sends[name] = (layer.width, most)
    last = nodes[-1]
    ones = np.ones(last.width)
    return Program(
        name="random",
        target=replace(target("asic45"), numbers=numbers),
        numbers=numbers,
        nodes=tuple(nodes),
        readout=Readout(source=last.name, kind="steps", unit=ones, offset=0 * ones),
    )


def _node(rng, name, layer, sends, steps):
    *others, before = sends
    heard = [before, *(other for other in others if rng.random() < 0.5)]
    model = SPECS[layer.spec] if layer.spec else None
    spikes = model.traced(layer.options).most if model else 0
    if layer.recurrent and spikes:
        sends, heard = {**sends, name: (layer.width, spikes)}, [*heard, name]
    ends = [
        _edge(rng, h, *sends[h], layer.width, CURRENT // len(heard), own=h == name) for h in heard
    ]
    made = tuple(edge for edge, _ in ends)
    reach = sum(most for _, most in ends)
    if model is None:
        return Stream(name=name, width=layer.width, edges=made, unit=np.ones(layer.width)), reach
    top = 2 ** (layer.bits - 1) - 1
    fitting = layer.bits - 1 - reach.bit_length()
    node = Population(
        name=name,
        width=layer.width,
        edges=made,
        spec=layer.spec,
        options=layer.options,
        coefs=_coefs(rng, model, layer, top, steps),
        shift=np.clip(fitting + rng.integers(-2, 5, layer.width), -16, 15),
        bias=edgy(rng, -top, top, layer.width) * rng.integers(0, 2, layer.width),
        state_bits=layer.bits,
        unit=np.ones(layer.width),
        coef_frac=layer.frac,
        reverse=layer.reverse,
    )
    return node, spikes or top + 1


def _edge(rng, source, senders, most, width, room, *, own):
    """Return an edge, and the most that it can bring: no more than there is room for."""
    room //= max(most, 1)  # what the weights of a row may add up to, shifted
    each = max(room // senders, 1)
    exponent = int(rng.integers(0, min(4, each.bit_length())))
    how = {"source": source, "exponent": exponent, "delay": int(own)}
    if senders == width and not own and rng.random() < 0.3:
        sign = rng.integers(-1, 2, width) * (room > 0)
        return Tap(sign=sign, **how), (most << exponent) * (room > 0)
    limit = min(each >> exponent, int(rng.choice([1, 127, 32767])))
    weight = edgy(rng, -limit, limit, width, senders)
    if limit * senders > room >> exponent:  # one for each row, or none
        weight *= np.arange(senders) == rng.integers(0, senders, (width, 1))
        weight *= room > 0
    reach = int(np.abs(weight).sum(axis=1).max(initial=0))
    return Dense(weight=weight, weight_bits=16, **how), reach * most << exponent


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
