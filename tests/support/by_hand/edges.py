"""Which synapses each kind of edge is: for every target, the senders that it hears, and weights."""

from __future__ import annotations

from itertools import product
from math import prod

from neurodeploy.program.synapses import Conv, Dense, Tap


def dense(edge: Dense, width):
    return [list(enumerate(row)) for row in edge.weight.tolist()]


def tap(edge: Tap, width):
    return [[(n, sign)] for n, sign in enumerate(edge.sign.tolist())]


def conv(edge: Conv, width):
    """As torch defines it: output p of an axis sees p * stride - padding + k * dilation."""
    maps, *size = edge.shape
    weight, axes = edge.weight.tolist(), len(size)
    inside, *kernel = edge.weight.shape[1:]
    each = len(weight) // edge.groups  # maps that a group makes
    before, after = edge.padding[:axes], edge.padding[axes:]
    ends = [s + b + a - 1 for s, b, a in zip(size, before, after, strict=True)]
    spans = [d * (k - 1) for d, k in zip(edge.dilation, kernel, strict=True)]
    outputs = [
        range(0, end - span + 1, s) for end, span, s in zip(ends, spans, edge.stride, strict=True)
    ]
    found = []
    for out in range(len(weight)):
        for corner in product(*outputs):
            pairs = []
            for i, place in product(range(inside), product(*map(range, kernel))):
                at = [
                    c + k * d - b
                    for c, k, d, b in zip(corner, place, edge.dilation, before, strict=True)
                ]
                if all(0 <= a < s for a, s in zip(at, size, strict=True)):
                    sender = out // each * inside + i
                    pairs.append((flat([sender, *at], [maps, *size]), item(weight[out][i], place)))
            found.append(pairs)
    return found


def flat(index, shape):
    """The place of an element where the last axis runs fastest."""
    return sum(at * prod(shape[axis + 1 :]) for axis, at in enumerate(index))


def item(nested, place):
    for at in place:
        nested = nested[at]
    return nested


SYNAPSES = {Dense: dense, Conv: conv, Tap: tap}


class Arrivals:
    """What one edge brings, and the values that are not zero that arrived at it, by sender."""

    def __init__(self, edge, width, senders):
        self.edge, self.rows = edge, SYNAPSES[type(edge)](edge, width)
        assert len(self.rows) == width
        self.events = [0] * senders
        self.reached = [0] * senders  # how many targets each sender has, weights of zero included
        for i, _ in (pair for row in self.rows for pair in row):
            self.reached[i] += 1

    def bring(self, sent):
        """The currents of one step of one sample."""
        for i, value in enumerate(sent):
            silent = isinstance(self.edge, Tap) and not self.edge.sign[i]
            self.events[i] += value != 0 and not silent
        return [sum(w * sent[i] for i, w in row) * 2**self.edge.exponent for row in self.rows]

    @property
    def operations(self):
        """What the events cost: one for every target of the sender."""
        return sum(n * to for n, to in zip(self.events, self.reached, strict=True))
