"""Convolutions, inputs and readouts at their edges: reference, simulator and sessions are the loop.

And no kind of node, edge, model or vector operation lacks a definition by hand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import by_hand, drawn_vectors, maps, vectors
from support.exact import assert_exact, compare, drawn, in_pieces, reference, simulator
from support.networks import inputs_for
from support.programs import CURRENT, Layer, program

import neurodeploy as nd
from neurodeploy.arith import OVERFLOWS, ROUNDINGS
from neurodeploy.errors import FitError
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.ir import Program, ProgramNode, Readout, Source, Stream
from neurodeploy.program.synapses import Conv, Dense, Edge
from neurodeploy.program.vector import KINDS
from neurodeploy.targets import target

SOURCES = [(0, 1), (-128, 127), (-CURRENT, CURRENT)]
HEARERS = [None, "lif", "li", *KINDS]


def test_every_kind_is_written_by_hand_and_drawn():
    """Whoever adds one writes it a second time in `support/by_hand`, and says how it is drawn."""
    assert set(by_hand.NODES) == set(get_args(ProgramNode))
    assert set(by_hand.SYNAPSES) == set(get_args(Edge))
    assert set(by_hand.STEPS) == set(SPECS)
    assert {*by_hand.MAPS, *by_hand.MEMORIES} == set(KINDS)
    assert not set(by_hand.MAPS) & set(by_hand.MEMORIES)
    assert set(drawn_vectors.PARAMS) == set(KINDS)


@st.composite
def convolving(draw, hearer):
    """A program in which nodes of a kind hear a convolution, of neurons, values or membranes."""
    options = SPECS[hearer].options() if hearer in SPECS else {}
    layers = [Layer(draw(st.sampled_from([1, 4, 12])))] if draw(st.booleans()) else []
    if draw(st.booleans()):
        before = draw(st.sampled_from(["spatial", "multispike", "li"]))
        layers.append(Layer(12, before, SPECS[before].options(), bits=8, frac=4))
    layers.append(Layer(0, hearer, options, bits=12, frac=6, conv=True))
    if draw(st.booleans()):
        layers.append(Layer(0, conv=True))
    source = (draw(st.sampled_from([1, 2, 12, 36])), *draw(st.sampled_from(SOURCES)))
    steps, samples = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 3, 4, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    how = {"rounding": draw(st.sampled_from(ROUNDINGS))}
    how["overflow"] = draw(st.sampled_from(OVERFLOWS))
    made = program(rng, source, layers, steps=steps, **how)
    return made, drawn(rng, source, steps, samples)


@pytest.mark.parametrize("hearer", HEARERS)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_any_convolution_is_the_loop(hearer, data):
    assert_exact(*data.draw(convolving(hearer)))


@pytest.mark.parametrize("seed", range(3))
def test_compiled_networks_over_maps_are_the_loop(seed):
    """With poolings, residuals and concatenations, in the formats that the compiler chooses."""
    rng = np.random.default_rng(seed)
    graph = maps.network(rng, axes=1 + seed % 2, spiking=seed == 0, readout="last")
    x = inputs_for(rng, graph, steps=4, samples=2)
    made = compile_graph(graph, target("asic45"), calibration=x).program
    assert any(isinstance(edge, Conv) for node in made for edge in getattr(node, "edges", ()))
    assert_whole(made, x)


def assert_whole(made, x):
    want = by_hand.run(made, x)
    for found in (reference(made, x), simulator(made, x), in_pieces(made, x, [1, 2])):
        compare(made, found, want)


@pytest.mark.parametrize("first", vectors.KINDS)
def test_compiled_networks_of_vector_operations_are_the_loop(first):
    """Inputs go far beyond what calibration saw."""
    at = vectors.KINDS.index(first)
    rng = np.random.default_rng(at)
    kinds = [first, vectors.KINDS[at - 3]]
    graph = vectors.network(rng, kinds, width=(1, 4, 5)[at % 3], residual=at % 2 == 0)
    x = inputs_for(rng, graph, steps=6, samples=2)
    made = compile_graph(graph, target("asic45"), calibration=x, bits=(2, 8)[at % 2]).program
    assert_whole(made, 8 * x)


@pytest.mark.parametrize("unit", [0.25, 1.0])
def test_inputs_between_integers_and_beyond_the_ends(unit):
    """To the nearest, of two to the even one; what is beyond the ends is clipped and counted."""
    rng = np.random.default_rng(0)
    made = program(
        rng, (5, -7, 9), [Layer(4), Layer(3)], rounding="nearest", overflow="wrap", steps=3
    )
    first, *others = made.nodes
    made = replace(made, nodes=(replace(first, unit=unit), *others))
    x = unit * rng.integers(-24, 24, (3, 4, 5)) / 2
    want = assert_exact(made, x)
    assert want.clipped > 0
    assert (2 * x / unit % 2 == 1).any()


def test_a_sum_fits_in_any_order_or_is_refused():
    """Of inputs that are never 0, two edges may nearly cancel; alone, each leaves 32 bits."""
    source, one = Source(name="input", width=1, low=100, high=101, unit=1.0), np.ones(1)
    readout = Readout(source="out", kind="steps", unit=one, offset=0 * one)
    chip = target("asic45")

    def made(weight):
        pair = [np.array([[weight]]), np.array([[1 - weight]])]
        both = tuple(Dense(source="input", weight=w, weight_bits=32) for w in pair)
        nodes = (source, Stream(name="out", width=1, edges=both, unit=one))
        how = {"target": chip, "numbers": chip.numbers, "readout": readout}
        return Program(name="p", nodes=nodes, **how)

    x = np.array([100, 101]).reshape(2, 1, 1)
    assert_exact(made(2**31 // 101), x)
    with pytest.raises(FitError, match="adds currents in 32 bits"):
        nd.simulate(made(2**26), x)


@pytest.mark.parametrize("layer", [Layer(3), Layer(3, "spatial", SPECS["spatial"].options())])
def test_tokens_are_one_spike_or_none(layer):
    rng = np.random.default_rng(1)
    layers = [layer, Layer(0, conv=True)]
    made = program(rng, (6, 0, 1), layers, rounding="floor", overflow="saturate", steps=4)
    first, *others = made.nodes
    made = replace(made, nodes=(replace(first, tokens=True), *others))
    assert isinstance(first, Source)
    x = rng.integers(-1, 6, (4, 3, 1))
    x[0, 0] = -1
    assert_exact(made, x)
