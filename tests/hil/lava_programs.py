"""Programs for the Lava tests, mostly made by hand: also such as no compiler would choose."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from support import maps
from support.networks import TABLE_STEPS, distinct, inputs_for, neurons, sdtcm

from neurodeploy.graph.ir import Graph, Input, Node
from neurodeploy.graph.rules import check
from neurodeploy.neurons import SPECS
from neurodeploy.passes.align_delays import AlignDelays
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.ir import Population, Program, Readout, Source, Stream
from neurodeploy.program.reference import to_integers
from neurodeploy.program.synapses import Dense, Tap
from neurodeploy.targets import target

LOIHI = target("loihi2")


def assembled(nodes, *, numbers=LOIHI.numbers, chip=LOIHI):
    """Return a program of these nodes, timed for the target; it reads out the last node."""
    last = nodes[-1]
    rng = np.random.default_rng(1)
    readout = Readout(
        source=last.name,
        kind="last",
        unit=np.array([0.5, 0.25]),
        offset=np.array([1.0, -1.0]),
        weight=rng.integers(-9, 9, (2, last.width)),
        mean=True,
    )
    program = Program(
        name="made", target=chip, numbers=numbers, nodes=tuple(nodes), readout=readout
    )
    return AlignDelays(chip)(program)


def source(width=3, low=-127, high=127):
    return Source(name="x", width=width, low=low, high=high, unit=0.01)


def dense(rng, node, width, exponent=0, bits=8):
    top = 2 ** (bits - 1)
    weight = rng.integers(-top, top, (width, node.width))
    return Dense(source=node.name, weight=weight, weight_bits=bits, exponent=exponent)


def tap(rng, node, exponent=0):
    sign = rng.integers(-1, 2, node.width)
    return Tap(source=node.name, sign=sign, exponent=exponent)


def stream(name, width, *edges):
    return Stream(name=name, width=width, edges=edges, unit=np.ones(width))


def population(
    rng, name, width, spec, edges, *, options=None, state_bits=24, high=2000, coef_frac=12, **given
):
    """Neurons with random integers: shifts of both signs, biases, thresholds that some cross."""
    options = SPECS[spec].options(**(options or {}))
    shift = given.pop("shift", rng.integers(-4, 9, width))
    scale, kinds = 2.0**shift, SPECS[spec].kinds
    read = SPECS[spec].traced(options).tables

    def rows(table):
        return TABLE_STEPS if table in read else 0

    sizes = {
        "beta": rng.integers(1500, 4097, width)
        if options.get("leak", True)
        else np.full(width, 4096),
        "alpha": rng.integers(1500, 3500, width),
        "rho": rng.integers(1500, 4000, width),
        "alpha1": rng.integers(1500, 4000, width),
        "alpha2": rng.integers(1500, 4000, width),
        "beta1": rng.integers(-3000, 0, width),
        "beta2": rng.integers(500, 3000, width),
        "jump": np.rint(rng.uniform(0, 50, width) * scale).astype(int),
        "gamma": np.rint(rng.uniform(0, 50, width) * scale).astype(int),
        "c": rng.integers(-2700, 2700, width),
        "d": rng.integers(-2700, 2700, width),
        "threshold": np.ceil(rng.uniform(20, high, width) * scale).astype(int),
        "reset": np.rint(rng.uniform(-50, 50, width) * scale).astype(int),
        "floor": np.rint(rng.uniform(-500, 0, width) * scale).astype(int),
    }
    if SPECS[spec].tables:
        sizes |= {
            "alpha": rng.integers(1500, 4097, width),
            "jump": np.rint(rng.uniform(10, 500, width) * scale).astype(int),
            "factor": rng.integers(-1500, 1500, (rows("factor"), width)),
            "amount": np.rint(rng.uniform(-300, 300, (rows("amount"), width)) * scale).astype(int),
        }
    if spec == "s4d":
        modes = ("a_re", "a_im", "c_re", "c_im")
        sizes = {key: rng.integers(-2700, 2700, (3, width)) for key in modes}
        sizes["d"] = rng.integers(-4096, 4097, width)
    coefs = {key: given.pop(key, sizes[key]) for key in SPECS[spec].coefs._fields}
    if coef_frac > 12:
        finer = {k: _finer(rng, v, coef_frac) for k, v in coefs.items() if kinds[k].dimensionless}
        coefs |= finer
    return Population(
        name=name,
        width=width,
        edges=tuple(edges),
        spec=spec,
        options=options,
        coefs=coefs,
        shift=shift,
        bias=given.pop("bias", np.rint(rng.normal(size=width) * 50 * scale).astype(int)),
        state_bits=state_bits,
        coef_frac=coef_frac,
        unit=np.ones(width),
        **given,
    )


def _finer(rng, value, frac):
    """Return coefficients of 12 fraction bits with more of them, none above 1."""
    lower = rng.integers(0, 2 ** (frac - 12), value.shape)
    return np.clip((value << (frac - 12)) + lower, -(2**frac), 2**frac)


def zoo(seed=0, *, overflow="saturate", spiking=False):
    """Every neuron model in its variants, each reading two or three earlier nodes."""
    rng = np.random.default_rng(seed)
    nodes = [source(width=4, low=0, high=1) if spiking else source(width=4)]
    nodes.append(stream("enc", 4, dense(rng, nodes[0], 4, exponent=1)))
    heard = [*nodes]
    for i, (spec, options) in enumerate(distinct()):
        width = int(rng.choice([1, 4, 4, 5]))
        picked = [heard[k] for k in rng.choice(len(heard), size=2, replace=False)]
        edges = [dense(rng, node, width, exponent=int(rng.integers(0, 3))) for node in picked]
        same = [node for node in nodes if node.width == width]
        edges += [tap(rng, same[int(rng.integers(len(same)))], exponent=2)] if same else []
        bits = 24 if SPECS[spec].spiking else 15
        node = population(
            rng,
            f"{i}.{spec}",
            width,
            spec,
            edges,
            options=options,
            state_bits=bits,
            high=200 if spiking else 2000,
            coef_frac=24 if i % 2 else 12,
        )
        nodes.append(node)
        if SPECS[spec].spiking:
            heard.append(node)
    nodes.append(stream("sum", 4, *(tap(rng, n) for n in nodes if n.width == 4)))
    wide = np.full(4, 15)
    full = dense(rng, nodes[0], 4, exponent=3)
    nodes.append(population(rng, "full", 4, "prf", [full], shift=wide))
    nodes.append(population(rng, "out", 4, "li", [tap(rng, nodes[-2])]))
    return assembled(nodes, numbers=replace(LOIHI.numbers, overflow=overflow))


def recurrent(seed=0):
    """Every model that spikes, hearing itself too; one could be lava's LIFReset but for that."""
    rng = np.random.default_rng(seed)
    nodes = [source(width=4)]
    for i, (spec, options) in enumerate(distinct()):
        if not SPECS[spec].spiking:
            continue
        width, name = int(rng.choice([1, 4, 5])), f"{i}.{spec}"
        nodes.append(
            population(
                rng, name, width, spec, [dense(rng, nodes[-1], width)], options=options, high=200
            )
        )
        nodes[-1] = hears_itself(rng, nodes[-1], exponent=int(rng.integers(0, 3)))
    almost = lif(rng, "lif", [dense(rng, nodes[0], 4)], 4, ">", 64 * 300)
    nodes.append(hears_itself(rng, almost))
    last = [dense(rng, nodes[-2], 3), dense(rng, nodes[-1], 3)]
    nodes.append(population(rng, "out", 3, "li", last))
    return assembled(nodes)


def hears_itself(rng, node, exponent=0):
    """Return the population with a recurrent edge as strong as the others."""
    return replace(node, edges=(*node.edges, dense(rng, node, node.width, exponent=exponent)))


def stock(seed=0):
    """Three populations that are lava's LIFReset, to the bit, and one that almost is."""
    rng = np.random.default_rng(seed)
    nodes = [source(low=-100, high=100)]
    for i, (compare, limit) in enumerate(((">", 64 * 1500), (">=", 64 * 300), (">", 64 * 200))):
        width = 5 - i
        edges = [dense(rng, nodes[-1], width)]
        nodes.append(lif(rng, f"lif{i}", edges, width, compare, limit))
    nodes.append(lif(rng, "soft", [dense(rng, nodes[1], 4)], 4, ">", 64 * 300, reset="soft"))
    last = [dense(rng, nodes[3], 2), dense(rng, nodes[4], 2, exponent=2)]
    nodes.append(population(rng, "out", 2, "li", last))
    return assembled(nodes)


def lif(rng, name, edges, width, compare, limit, *, reset="hard", **given):
    """Neurons with what LIFReset can hold: shift 6, reset to 0, a threshold of 64 n."""
    values = {
        "beta": np.full(width, 3700 if compare == ">" else 4096),
        "threshold": np.full(width, limit + (compare == ">=")),
        "reset": np.zeros(width, int) if reset == "hard" else np.full(width, limit),
        "shift": np.full(width, 6),
        "bias": rng.integers(-4096, 4096, width) * 2 ** rng.integers(0, 3, width),
    }
    options = {"reset": reset, "compare": compare}
    return population(rng, name, width, "lif", edges, options=options, **{**values, **given})


def small():
    """Width 1 everywhere, and the weight that lava's mode for negative weights does not have."""
    rng = np.random.default_rng(5)
    nodes = [source(width=1)]
    nodes.append(stream("enc", 1, Dense(source="x", weight=np.array([[-128]]), weight_bits=8)))
    nodes.append(population(rng, "prf", 1, "prf", [tap(rng, nodes[0]), tap(rng, nodes[1])]))
    nodes.append(population(rng, "li", 1, "li", [dense(rng, nodes[2], 1)]))
    return assembled(nodes)


def narrow():
    """Weights of 2, 3, 5 and 7 bits, side by side."""
    rng = np.random.default_rng(6)
    nodes = [source(width=3)]
    edges = [dense(rng, nodes[0], 6, exponent=4, bits=2), dense(rng, nodes[0], 6, bits=7)]
    nodes.append(stream("enc", 6, *edges))
    nodes.append(population(rng, "lif", 5, "lif", [dense(rng, nodes[1], 5, bits=3)]))
    nodes.append(population(rng, "li", 2, "li", [dense(rng, nodes[2], 2, exponent=3, bits=5)]))
    return assembled(nodes)


def tokens():
    """Neurons that read an embedding of five tokens."""
    rng = np.random.default_rng(6)
    nodes = [replace(source(width=5, low=0, high=1), unit=1.0, tokens=True)]
    nodes.append(stream("embedding", 4, dense(rng, nodes[0], 4)))
    nodes.append(population(rng, "tclif", 4, "tclif", [tap(rng, nodes[1])], high=200))
    return assembled(nodes)


def trained_like(*, norm="pre", outer=True, width=8, blocks=2):
    """An SD-TCM network as the compiler lowers it."""
    rng = np.random.default_rng(3)
    graph = sdtcm(rng, width=width, blocks=blocks, norm=norm, outer=outer)
    x = inputs_for(rng, graph)
    return compile_graph(graph, LOIHI, calibration=x).program


def convolutions(seed=1, *, axes=2, spiking=False):
    """Convolutions of all kinds, pooling, a residual and a concatenation, as they are lowered."""
    rng = np.random.default_rng(seed)
    graph = maps.network(rng, axes=axes, spiking=spiking)
    return compile_graph(graph, LOIHI, calibration=inputs_for(rng, graph)).program


def convolution(seed, *, axes, spiking):
    """One convolution of random settings, groups and dilations among them, and neurons."""
    rng = np.random.default_rng(seed)
    op = maps.conv(rng, axes=axes)
    nodes = (
        Node("input", Input(prod(op.shape), spiking=spiking)),
        Node("conv", op, ("input",)),
        Node("cells", neurons(rng, "lif", prod(op.out_shape)), ("conv",)),
    )
    graph = check(Graph(nodes, "cells"))
    return compile_graph(graph, LOIHI, calibration=inputs_for(rng, graph)).program


def integers(program, steps, samples, seed=0):
    """Return inputs [T, B, C] over the whole range, its ends included."""
    rng = np.random.default_rng(seed)
    low, high = program.source.low, program.source.high
    x = rng.integers(low, high + 1, (steps, samples, program.source.width))
    x[0], x[-1] = high, low
    return x


def real(program, x):
    """Return the same inputs as real numbers."""
    values = x * program.source.unit
    assert np.array_equal(to_integers(program.source, values)[0], x)
    return values
