"""Random graphs of every operation, for laws that must hold for all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import (
    Add,
    Affine,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Population,
    Reduce,
    vector,
)
from neurodeploy.graph.maps import POOLINGS, Conv, Pool
from neurodeploy.graph.nonlinear import (
    Gelu,
    Glu,
    LayerNorm,
    Lstm,
    Product,
    Quantize,
    Relu,
    Rescale,
    Ternary,
)
from neurodeploy.graph.rules import check
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import fold
from support.networks import params

NAMES = ("input", "output", "a", "b.c", "b.c.d", "Z_9", "part0", "e", "f", "g", "h", "i.j", "k")


class _Maker:
    """Nodes so far.

    exact: every constant is exact in float32, and ties are likely; lowerable: no membranes are
    added to a stream that they come from; variants: the (model, options) to choose from.
    """

    def __init__(self, rng, *, exact, lowerable, variants):
        self.rng, self.exact, self.lowerable = rng, exact, lowerable
        self.variants = variants
        self.names = list(rng.permutation(NAMES))
        self.nodes, self.widths = [], {}

    def numbers(self, *shape, low=-1.0, high=1.0):
        values = self.rng.uniform(low, high, shape)
        return np.round(values * 8) / 8 if self.exact else values

    def positive(self, *shape):
        return self.numbers(*shape, low=0.25, high=1.5)

    def add(self, op, *inputs, width):
        name = str(self.names.pop()) if self.names else f"n{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs))
        self.widths[name] = width
        return name

    def linear(self, source, out=None):
        out = out or int(self.rng.integers(1, 5))
        weight = self.numbers(out, self.widths[source]) * 2
        return self.add(Linear(weight, self.numbers(out)), source, width=out)

    def affine(self, source):
        n = self.widths[source]
        return self.add(Affine(self.numbers(n), self.numbers(n)), source, width=n)

    def norm(self, source):
        n = self.widths[source]
        gamma = self.positive(n) * self.rng.choice([-1, 1], n)
        op = BatchNorm(gamma, self.numbers(n), self.numbers(n), self.positive(n), 1e-5)
        return self.add(op, source, width=n)

    def neurons(self, source, names=tuple(SPECS)):
        n, rng = self.widths[source], self.rng
        name = str(rng.choice([name for name in names if name in dict(self.variants)]))
        variants = [options for other, options in self.variants if other == name]
        options = variants[int(rng.integers(len(variants)))]
        values = params(rng, name, n, options)
        if self.exact:
            values = {k: np.round(v * 8) / 8 for k, v in values.items()}
            values |= {"v_reset": vector(0.0, n)} if "v_reset" in values else {}
        if name == "lif" and rng.random() < 0.2:
            values["beta"] = vector(rng.choice([0.0, 1.0]), n)
        op = Neurons(
            spec=name,
            options=options,
            params=values,
            gain=self.numbers(n, low=0.5, high=3) if rng.random() < 0.5 else np.ones(n),
            bias=self.numbers(n) if rng.random() < 0.5 else np.zeros(n),
            amplitude=float(rng.choice([1.0, 1.0, -0.75, 1.5])),
            reverse=bool(rng.random() < 0.3),
            recurrent=self.recurrent(name, n) if rng.random() < 0.3 else None,
        )
        return self.add(op, source, width=n)

    def recurrent(self, name, n):
        """Weights for what every format can feed back."""
        spec = SPECS[name]
        lasting = spec.state._fields and (spec.spiking or not self.lowerable)
        return self.numbers(n, n) if lasting else None

    def block(self, source):
        """Neurons behind a Linear, added to the stream; both directions at times."""
        names = [n for n in dict(self.variants) if SPECS[n].spiking or not self.lowerable]
        spikes = self.neurons(self.linear(source), names)
        if self.rng.random() < 0.4:
            other = self.neurons(source, names)
            width = self.widths[spikes] + self.widths[other]
            spikes = self.add(Concat(), spikes, other, width=width)
        n = self.widths[source]
        terms = [source, self.linear(spikes, n)]
        terms += [source] if self.rng.random() < 0.2 else []
        return self.add(Add(), *terms, width=n)

    def vector(self, source):
        """One of the vector operations."""
        n, kind = self.widths[source], int(self.rng.integers(10))
        if kind == 0:
            op = LayerNorm(self.positive(n), self.numbers(n), 1e-5)
        elif kind == 1:
            op = Gelu(str(self.rng.choice(["erf", "tanh"])))
        elif kind == 2:
            return self.add(Product(), source, self.linear(source, n), width=n)
        elif kind == 3:
            return self.add(Glu(), self.linear(source, 2 * n), width=n)
        elif kind == 4:
            op = Rescale()
        elif kind == 5:
            op = Relu()
        elif kind == 9:
            op = Delay(self.rng.integers(0, 4, n).astype(float))
        elif kind == 8:
            op = Quantize(0.125, -int(self.rng.integers(0, 9)), int(self.rng.integers(1, 8)))
        elif kind == 6:
            op = Lstm(self.numbers(4 * n, n), bool(self.rng.random() < 0.3))
            return self.add(op, self.linear(source, 4 * n), width=n)
        else:
            op = Ternary(per_step=bool(self.rng.random() < 0.5), level=0.15)
        return self.add(op, source, width=n)

    def maps(self, source):
        """A convolution or a pooling of channels that are taken for maps, of one or two axes."""
        rng, n = self.rng, self.widths[source]
        count = int(rng.choice([k for k in range(1, n + 1) if n % k == 0]))
        size = (n // count, 1) if rng.random() < 0.5 else (n // count,)
        axes, kernel = len(size), tuple(int(rng.integers(1, k + 1)) for k in size)
        pads = [int(rng.integers(0, k)) for k in kernel * 2]
        stride = tuple(rng.integers(1, 3, axes).tolist())
        if rng.random() < 0.4:
            kind, inside = str(rng.choice(POOLINGS)), bool(rng.random() < 0.5)
            op = Pool(kind, (count, *size), kernel, stride, tuple(pads), inside)
        else:
            groups = count if rng.random() < 0.3 else 1
            weight = self.numbers(groups * int(rng.integers(1, 3)), count // groups, *kernel)
            how = {"stride": stride, "padding": tuple(pads), "dilation": (1,) * axes}
            op = Conv(weight, self.numbers(len(weight)), (count, *size), **how, groups=groups)
        return self.add(op, source, width=op.width_of([n]))


VARIANTS = [(name, options) for name, spec in SPECS.items() for options in spec.variants()]


@st.composite
def graphs(draw, *, lowerable=False, layers=4, variants=tuple(VARIANTS), vectors=True, maps=True):
    """Draw a graph, half of them with constants that float32 holds, half of them folded."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    make = _Maker(rng, exact=draw(st.booleans()), lowerable=lowerable, variants=variants)
    width = draw(st.integers(1, 4))
    spiking = draw(st.booleans())
    tokens = spiking and width > 1 and draw(st.booleans())
    last = make.add(Input(width, spiking=spiking, tokens=tokens), width=width)
    kinds = ["linear", "affine", "norm", "neurons", "block"]
    kinds += (["vector"] if vectors else []) + (["maps"] if maps else [])
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=layers)):
        last = getattr(make, kind)(last)
    readout = draw(st.sampled_from(("mean", "sum", "last", "steps")))
    if readout != "steps":
        n = make.widths[last]
        last = make.add(Reduce(readout, make.numbers(n)), last, width=n)
        last = make.linear(last) if draw(st.booleans()) else last
        last = make.affine(last) if draw(st.booleans()) else last
    graph = check(Graph(tuple(make.nodes), last))
    spiking = not any(isinstance(n.op, Pool) and n.op.kind == "max" for n in graph)
    return fold(graph) if spiking and draw(st.booleans()) else graph


def first_flip_is_a_tie(graph, values, membranes, others):
    """Whether `others` (values by node) first differ from `values` at a tie, or nowhere."""
    for node in graph:
        if node.name not in others:
            continue
        differ = (values[node.name] != 0) != (others[node.name] != 0)
        if not differ.any():
            continue
        level = np.broadcast_to(threshold(node.op), differ.shape[-1:])
        gap = np.abs(membranes[node.name] - level)
        scale = np.maximum(np.abs(membranes[node.name]).max(axis=(0, 1)), np.abs(level))
        return bool(np.any(differ & (gap <= 1e-9 * np.where(scale > 0, scale, 1))))
    return True


def threshold(op):
    """Return the threshold on the scale of the folded state."""
    if isinstance(op, Population):
        return op.coefs["threshold"]
    return op.model.fold(op.model.params(**op.params), op.options, np).threshold
