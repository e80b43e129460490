"""Random convolutions and poolings of every setting, and networks of them."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import Add, BatchNorm, Concat, Graph, Input, Node, Reduce
from neurodeploy.graph.maps import POOLINGS, Conv, Pool
from neurodeploy.graph.rules import check
from neurodeploy.program import ir, synapses
from neurodeploy.windows import Windows, same
from support.networks import batchnorm, linear, neurons


def windows(rng, *, axes, dilated=True, empty=True):
    """Return random windows that fit; padding is asymmetric at times, or larger than the kernel.

    empty: windows may lie outside of the map altogether.
    """
    while True:
        found = Windows(
            size=tuple(rng.integers(1, 6, axes).tolist()),
            kernel=tuple(rng.integers(1, 4, axes).tolist()),
            stride=tuple(rng.integers(1, 4, axes).tolist()),
            padding=tuple(rng.integers(0, 3, 2 * axes).tolist()),
            dilation=tuple(rng.integers(1, 3 if dilated else 2, axes).tolist()),
        )
        if not list(found.problems()) and (empty or np.all(found.real)):
            return found


def conv(rng, *, axes=2, maps=None, **more):
    """Return a random convolution; groups and maps divide."""
    w = windows(rng, axes=axes, **more)
    groups = int(rng.integers(1, 3)) if maps is None or maps % 2 == 0 else 1
    maps = maps or groups * int(rng.integers(1, 3))
    out = groups * int(rng.integers(1, 3))
    weight = rng.normal(size=(out, maps // groups, *w.kernel))
    shape = (maps, *w.size)
    settings = {"stride": w.stride, "padding": w.padding, "dilation": w.dilation}
    return Conv(weight, rng.normal(size=out), shape, **settings, groups=groups)


def pool(rng, *, kind, axes=2):
    """Return a random pooling whose windows are not empty."""
    w = windows(rng, axes=axes, dilated=False, empty=False)
    shape, count = (int(rng.integers(1, 4)), *w.size), bool(rng.integers(2))
    return Pool(kind, shape, w.kernel, w.stride, w.padding, count)


class _Maker:
    """The nodes of a network over maps so far; `shapes` are those of its maps."""

    def __init__(self, rng, axes):
        self.rng, self.axes = rng, axes
        self.nodes, self.shapes = [], {}

    def add(self, name, op, *sources, shape=None):
        self.nodes.append(Node(name, op, sources))
        self.shapes[name] = shape or self.shapes[sources[0]]
        return name

    def conv(self, name, source, *, maps, kernel=3, stride=1, padding=1, groups=1):
        """A convolution of any setting that keeps something of the map; biases are not zero."""
        shape = self.shapes[source]
        kernel = tuple(min(kernel, size) for size in shape[1:])
        ends = self.rng.integers(0, padding + 1, 2 * self.axes).tolist()
        weight = self.rng.normal(size=(maps, shape[0] // groups, *kernel))
        op = Conv(
            weight / np.sqrt(weight[0].size),
            self.rng.normal(size=maps) * 0.1,
            shape,
            (stride,) * self.axes,
            tuple(ends),
            (1,) * self.axes,
            groups,
        )
        return self.add(name, op, source, shape=op.out_shape)

    def one_by_one(self, name, source, maps):
        return self.conv(name, source, maps=maps, kernel=1, padding=0)

    def pool(self, name, source, kind):
        shape = self.shapes[source]
        kernel = tuple(min(2, size) for size in shape[1:])
        count = bool(self.rng.integers(2))
        pads = tuple((self.rng.integers(0, kernel)).tolist()) + (0,) * self.axes
        op = Pool(kind, shape, kernel, kernel, pads, count)
        return self.add(name, op, source, shape=op.out_shape)

    def norm(self, name, source, *, by_map=True):
        maps, positions = self.shapes[source][0], prod(self.shapes[source][1:])
        op = batchnorm(self.rng, maps if by_map else maps * positions)
        if by_map:
            arrays = (op.gamma, op.beta, op.mean, op.var)
            op = BatchNorm(*(np.repeat(value, positions) for value in arrays), op.eps)
        return self.add(name, op, source)

    def cells(self, name, source, model, *, gain=3.0, **how):
        width = prod(self.shapes[source])
        op = neurons(self.rng, model, width, gain=np.full(width, gain), **how)
        return self.add(name, op, source)


def network(rng, *, axes=2, spiking=False, readout="mean"):
    """A spiking network with convolutions of all kinds, pooling, a residual and a concatenation."""
    make = _Maker(rng, axes)
    shape = (2, *rng.integers(5, 8, axes).tolist())
    x = make.add("input", Input(prod(shape), spiking=spiking), shape=shape)
    a = make.conv("conv1", x, maps=4, stride=int(rng.integers(1, 3)))
    a = make.norm("norm1", a, by_map=bool(rng.integers(4)))
    a = make.cells("cells1", a, "lif", reset="hard", amplitude=float(rng.choice([1.0, 0.5])))
    kind = str(rng.choice(POOLINGS))
    b = make.pool("pool", a, kind)
    b = make.conv("conv2", b, maps=4, groups=2, kernel=2)
    b = make.cells("cells2", b, "prf")
    u = make.add("sum", Add(), make.one_by_one("left", b, 6), make.one_by_one("right", b, 6))
    c = make.cells("cells3", make.norm("norm2", u), "spatial")
    d = make.cells("cells4", u, "lif", compare=">")
    maps = make.shapes[c][0] + make.shapes[d][0]
    e = make.add("both", Concat(), c, d, shape=(maps, *make.shapes[c][1:]))
    e = make.conv("conv3", e, maps=3, kernel=2, groups=int(rng.choice([1, 3])))
    e = make.cells("cells5", e, "lif", reset="none")
    width = prod(make.shapes[e])
    last = make.add("out", linear(rng, 3, width), e, shape=(3, 1))
    if readout != "steps":
        last = make.add("readout", Reduce(readout, np.zeros(3)), last)
    return check(Graph(tuple(make.nodes), last))


def stock(rng, *, axes=2, model="lif", readout="mean"):
    """A network that stock NIR holds: hard resets, and convolutions and pooling of all settings."""
    make = _Maker(rng, axes)
    shape = (2, *rng.integers(6, 10, axes).tolist())
    x = make.add("input", Input(prod(shape), spiking=bool(rng.integers(2))), shape=shape)
    hard = {"reset": "hard", "compare": str(rng.choice([">", ">="]))}
    a = stock_conv(make, "conv1", x, maps=4)
    a = make.norm("norm1", a) if rng.random() < 0.5 else a
    a = make.cells("cells1", a, model, **hard)
    kind, inside = str(rng.choice(["sum", "avg"])), bool(rng.integers(2))
    pads = (0,) * axes if not inside or rng.random() < 0.5 else (1,) * axes
    op = Pool(kind, make.shapes[a], (2,) * axes, (2,) * axes, pads * 2, inside)
    b = make.add("pool", op, a, shape=op.out_shape)
    b = make.cells("cells2", b, model, **hard)
    steps = rng.integers(0, 3, prod(make.shapes[b])).astype(float)
    c = make.add("late", Delay(steps), b)
    c = make.add("sum", Add(), b, stock_conv(make, "square", c, maps=4, plain=True))
    maps = make.shapes[b][0] + make.shapes[c][0]
    d = make.add("both", Concat(), b, c, shape=(maps, *make.shapes[c][1:]))
    d = stock_conv(make, "conv2", d, maps=4)
    d = make.cells("cells3", d, model, **hard)
    last = make.add("out", linear(rng, 3, prod(make.shapes[d])), d, shape=(3, 1))
    if readout != "steps":
        last = make.add("readout", Reduce(readout, rng.normal(size=3)), last)
    return check(Graph(tuple(make.nodes), last))


def stock_conv(make, name, source, *, maps, plain=False):
    """Add a convolution that stock NIR holds: uneven by as much on both axes, or padded to keep.

    plain: it keeps the size.
    """
    rng, axes, shape = make.rng, make.axes, make.shapes[source]
    kernel = tuple(int(rng.integers(1, 3)) + (2 if rng.random() < 0.3 else 0) for _ in shape[1:])
    dilation = (int(rng.integers(1, 3)),) * axes if plain else (1,) * axes
    stride, padding = (1,) * axes, same(kernel, dilation)
    if not plain and rng.random() < 0.8:
        side = int(rng.integers(1, min(3, *shape[1:]) + 1))
        uneven = int(rng.integers(0, 2))
        kernel = tuple(side + 2 * int(rng.random() < 0.3) for _ in range(axes))
        stride = tuple(rng.integers(1, 3, axes).tolist())
        padding = (1,) * axes + (1 + uneven,) * axes
    groups = int(rng.choice([1, 2]))
    weight = rng.normal(size=(maps, shape[0] // groups, *kernel))
    weight /= np.sqrt(weight[0].size)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    op = Conv(weight, rng.normal(size=maps) * 0.3 + 0.2, shape, **how)
    return make.add(name, op, source, shape=op.out_shape)


def unrolled(program):
    """Return the program with every convolution as the equal matrix."""

    def dense(edge):
        if not isinstance(edge, synapses.Conv):
            return edge
        names = ("source", "weight_bits", "exponent", "delay", "linear")
        matrix = edge.windows.matrix(edge.weight, edge.groups)
        return synapses.Dense(weight=matrix, **{name: getattr(edge, name) for name in names})

    nodes = (
        replace(node, edges=tuple(map(dense, node.edges))) if ir.edges(node) else node
        for node in program
    )
    return replace(program, nodes=tuple(nodes))
