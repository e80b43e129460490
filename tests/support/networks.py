"""Small random networks for the tests: every fixture has non-zero biases and non-square weights."""

from __future__ import annotations

import copy

import numpy as np

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
    Reduce,
    vector,
)
from neurodeploy.graph.rules import check
from neurodeploy.neurons import SPECS
from neurodeploy.neurons.celif import TABLED
from neurodeploy.targets import target

TABLE_STEPS = 64  # rows of the tables here: the longest sequence


def distinct():
    """Return (model, options) of every model in every variant that is worth compiling kernels for.

    Where the comparison multiplies many variants, each has its default comparison only.
    """
    return [
        (spec.name, options)
        for spec in SPECS.values()
        for options in spec.variants()
        if len(spec.variants()) < 8 or options.get("compare") == spec.options().get("compare")
    ]


def chip_for(layers, chip):
    """Return a target for layers (model, options): `chip`, if its cores have all their words."""
    words = {
        word
        for name, options in layers
        for word in SPECS[name]
        .traced({k: options.get(k, v) for k, v in SPECS[name].options().items()})
        .words
    }
    return target(chip if words <= set(target(chip).words) else "asic45")


def linear(rng, out, inside):
    return Linear(rng.normal(size=(out, inside)) / np.sqrt(inside), rng.normal(size=out) * 0.1)


def batchnorm(rng, width):
    """Gains of both signs, none of them near zero."""
    gamma = rng.uniform(0.5, 3, width) * rng.choice([-1, 1], width)
    beta, mean = rng.normal(size=width) * 0.3, rng.normal(size=width) * 0.1
    return BatchNorm(gamma, beta, mean, rng.uniform(0.2, 1, width), 1e-5)


def params(rng, name, width, options=None):
    """Return trained parameters of a neuron model, fast enough to spike within a few steps."""
    options = options or {}
    if name == "s4d":
        return modes(rng, width, skip=options.get("skip", True))
    context = options.get("context")
    own = copy.deepcopy(rng)  # draws of later models leave those of earlier ones as they are
    values = {
        "prf": {
            "dt": rng.uniform(0.2, 0.9, width),
            "tau": vector(2.0, width),
            "theta": rng.uniform(0, 3, width),
            "v_th": vector(1.0, width),
        },
        "lif": {
            "beta": rng.uniform(0.3, 0.95, width),
            "v_th": rng.uniform(0.5, 1.5, width),
            "gain": rng.uniform(0.5, 2, width),
            "v_reset": vector(-0.1 if "hard" in options.get("reset", "") else 0.0, width),
        },
        "alif": {
            "beta": own.uniform(0.3, 0.95, width),
            "rho": own.uniform(0.5, 0.97, width),
            "v_th": own.uniform(0.5, 1, width),
            "jump": own.uniform(0, 0.5, width),
            "gain": own.uniform(0.5, 2, width),
            "v_reset": vector(-0.1 if "hard" in options.get("reset", "") else 0.0, width),
        },
        "tclif": {
            "beta1": -own.uniform(0.2, 0.8, width),
            "beta2": own.uniform(0.2, 0.8, width),
            "gamma": own.uniform(0, 0.7, width),
            "v_th": own.uniform(0.8, 1.8, width),
        },
        "two_compartment": {
            "alpha1": own.uniform(0.5, 0.95, width),
            "alpha2": own.uniform(0.5, 0.95, width),
            "beta1": own.uniform(-0.8, 0.1, width),
            "beta2": own.uniform(0.2, 0.8, width),
            "gamma": own.uniform(0, 0.7, width),
            "v_th": own.uniform(0.5, 1.2, width),
        },
        "cubalif": {
            "alpha": own.uniform(0.2, 0.7, width),
            "beta": own.uniform(0.3, 0.9, width),
            "v_th": own.uniform(0.8, 2.5, width),
            "gain": own.uniform(0.5, 2, width),
            "v_reset": vector(-0.1 if "hard" in options.get("reset", "") else 0.0, width),
        },
        "multispike": {
            "beta": own.uniform(0.3, 0.95, width),
            "v_th": own.uniform(0.5, 1.1, width),
            "gain": own.uniform(0.5, 2, width),
            "v_reset": vector(-0.1 if options.get("reset") == "hard" else 0.0, width),
            "v_min": -own.uniform(0.2, 0.9, width) if options.get("floor") else vector(0.0, width),
        },
        "spatial": {"v_th": rng.uniform(0.2, 0.8, width)},
        "li": {
            "beta": vector(1.0, width)
            if options.get("leak") is False
            else rng.uniform(0.3, 0.95, width)
        },
        "celif": {
            "alpha": rng.uniform(0.3, 0.9, width),
            "beta": rng.uniform(0.5, 0.95, width),
            "theta0": rng.uniform(0.4, 1.0, width),
            "gamma": vector(0.6 if context == "s" else 0.0, width),
            "te": rng.normal(0.05, 0.2, (TABLE_STEPS if context in TABLED else 0, width)),
        },
    }
    return values[name]


def modes(rng, width, *, skip=True, count=3):
    """Return parameters of rotations that last some steps, some of them fast."""
    rho, angle = rng.uniform(0.5, 0.9, (count, width)), rng.uniform(0, 2.5, (count, width))
    b_re, b_im, c_re, c_im = rng.uniform(-0.7, 0.7, (4, count, width))
    return {
        "a_re": rho * np.cos(angle),
        "a_im": rho * np.sin(angle),
        "b_re": b_re,
        "b_im": b_im,
        "c_re": c_re,
        "c_im": c_im,
        "d": rng.normal(size=width) if skip else np.zeros(width),
    }


def neurons(
    rng,
    name,
    width,
    *,
    amplitude=1.0,
    reverse=False,
    gain=None,
    bias=None,
    recurrent=False,
    **options,
):
    chosen = SPECS[name].options(**options)
    return Neurons(
        spec=name,
        options=chosen,
        params=params(rng, name, width, chosen),
        gain=np.ones(width) if gain is None else gain,
        bias=np.zeros(width) if bias is None else bias,
        amplitude=amplitude,
        reverse=reverse,
        recurrent=rng.normal(size=(width, width)) / np.sqrt(width) if recurrent else None,
    )


def sdtcm(
    rng,
    *,
    inputs=2,
    width=7,
    blocks=2,
    classes=3,
    norm="pre",
    outer=False,
    bidirectional=False,
    readout="mean",
):
    """An SD-TCM network as a graph, written out by hand from its equations."""
    nodes = [
        Node("input", Input(inputs)),
        Node("scale", Affine(vector(0.3, inputs), vector(0.05, inputs)), ("input",)),
        Node("encoder", linear(rng, width, inputs), ("scale",)),
    ]

    def add(name, op, *sources):
        nodes.append(Node(name, op, sources))
        return name

    u = "encoder"
    for b in range(blocks):
        at = f"blocks.{b}"
        v = add(f"{at}.norm", batchnorm(rng, width), u) if norm == "pre" else u
        s = add(f"{at}.tn", neurons(rng, "prf", width, amplitude=1.3), v)
        if bidirectional:
            back = neurons(rng, "prf", width, amplitude=0.7, reverse=True)
            s = add(f"{at}.concat", Concat(), s, add(f"{at}.tn_reverse", back, v))
        first = linear(rng, width, 2 * width if bidirectional else width)
        base = v if norm == "pre" and outer else u
        x = add(f"{at}.add", Add(), base, add(f"{at}.linear1", first, s))
        q = add(f"{at}.sn", neurons(rng, "spatial", width, amplitude=1.7), x)
        y = add(f"{at}.add_1", Add(), x, add(f"{at}.linear2", linear(rng, width, width), q))
        y = add(f"{at}.add_2", Add(), u, y) if outer else y
        u = add(f"{at}.norm", batchnorm(rng, width), y) if norm == "post" else y
    u = add("norm", batchnorm(rng, width), u) if norm == "pre" else u
    u = add("readout", Reduce(readout, np.zeros(width)), u) if readout != "steps" else u
    add("classifier", linear(rng, classes, width), u)
    return check(Graph(tuple(nodes), "classifier"))


def chain(rng, layers, *, inputs=3, width=5, outputs=2, readout="sum", spiking=False, norm=False):
    """Linear, neurons, Linear, neurons, …, Linear, readout. layers: (model, options) each."""
    nodes, last, wide = [Node("input", Input(inputs, spiking=spiking))], "input", inputs
    for i, (name, options) in enumerate(layers):
        nodes.append(Node(f"{i}.linear", linear(rng, width, wide), (last,)))
        last = f"{i}.linear"
        if norm:
            nodes.append(Node(f"{i}.norm", batchnorm(rng, width), (last,)))
            last = f"{i}.norm"
        nodes.append(Node(f"{i}.neurons", neurons(rng, name, width, **options), (last,)))
        last, wide = f"{i}.neurons", width
    nodes.append(Node("out", linear(rng, outputs, wide), (last,)))
    last = "out"
    if readout != "steps":
        nodes.append(Node("readout", Reduce(readout, np.zeros(outputs)), ("out",)))
        last = "readout"
    return check(Graph(tuple(nodes), last))


def spiking_ssm(rng, *, inputs=2, width=5, classes=3, bidirectional=False, readout="mean"):
    """State spaces, scaled, in front of LIF neurons; both directions are summed."""
    nodes = [Node("input", Input(inputs)), Node("encoder", linear(rng, width, inputs), ("input",))]
    gain = rng.uniform(0.5, 2, width) * rng.choice([-1, 1], width)
    ssm = neurons(rng, "s4d", width, gain=gain, bias=rng.normal(size=width) * 0.1)
    nodes.append(Node("s4d", ssm, ("encoder",)))
    last = "s4d"
    if bidirectional:
        back = neurons(rng, "s4d", width, gain=gain, skip=False, reverse=True)
        nodes.append(Node("back", back, ("encoder",)))
        nodes.append(Node("both", Add(), ("s4d", "back")))
        last = "both"
    nodes += [
        Node("threshold", Affine(rng.uniform(0.5, 2, width), np.zeros(width)), (last,)),
        Node("lif", neurons(rng, "lif", width, reset="hard"), ("threshold",)),
        Node("out", linear(rng, classes, width), ("lif",)),
    ]
    if readout != "steps":
        nodes.append(Node("readout", Reduce(readout, np.zeros(classes)), ("out",)))
    return check(Graph(tuple(nodes), nodes[-1].name))


def inputs_for(rng, graph, steps=40, samples=4, size=3.0):
    op = graph.input.op
    shape = (steps, samples, op.width)
    if op.spiking:
        return (rng.random(shape) < 0.3).astype(float)
    return rng.normal(size=shape) * size


def neuron_names(graph):
    return [node.name for node in graph if hasattr(node.op, "spec")]
