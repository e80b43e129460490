"""Integers at their edges: reference and simulator are a loop over Python's whole numbers.

`support.by_hand` writes targets and models a second time, and shares nothing with the project's
arithmetic. Numbers are drawn at the ends of their ranges, some formats are so narrow that most sums
saturate or wrap and half of the products lie on a tie. What is compared is what every node sent at
every step, its states after every step, and how often a register did not hold a value.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact import assert_exact, drawn, reference
from support.programs import CURRENT, Layer, program

import neurodeploy as nd
from neurodeploy.arith import OVERFLOWS, ROUNDINGS
from neurodeploy.errors import FitError
from neurodeploy.neurons import SPECS
from neurodeploy.program.ir import Population, Program, Readout, Source, Stream
from neurodeploy.program.synapses import Tap

FORMATS = [
    (1, 4),
    (12, 24),
    (30, 32),
    (6, 8),
    (15, 32),
]  # bits that products drop, bits of a register
WAYS = list(product(FORMATS, ROUNDINGS, OVERFLOWS))
CASES = [(spec.name, options) for spec in SPECS.values() for options in spec.variants()]
SOFT = [("lif", "soft"), ("lif", "soft_doubled"), ("cubalif", "soft"), ("alif", "soft")]
SOURCES = [(0, 1), (-128, 127), (-(2**29), 2**29), (-CURRENT, CURRENT)]


@pytest.mark.parametrize(("number", "case"), list(enumerate(CASES)))
def test_every_variant_of_every_model_is_the_loop(number, case):
    """Two formats of 30 each, in turn; what decides is that none is left out of any model."""
    spec, options = case
    for at in (2 * number, 2 * number + 13):
        (frac, bits), rounding, overflow = WAYS[at % len(WAYS)]
        rng = np.random.default_rng(number)
        source = (5, -128, 127)
        layers = [
            Layer(3, "spatial", SPECS["spatial"].options(), bits=8, frac=1),
            Layer(16, spec, options, bits=bits, frac=frac, recurrent=True),
        ]
        made = program(rng, source, layers, rounding=rounding, overflow=overflow, steps=6)
        want = assert_exact(made, drawn(rng, source, 6, 3), [reference])
        sent = np.array(want.values["n1"])
        assert len(np.unique(sent)) > 1
        assert want.lost["n1"] > 0 or bits > 8


@st.composite
def programs(draw, spec):
    """A program with a layer of this model, alone or with one before or behind, and inputs."""
    how = {
        "rounding": draw(st.sampled_from(ROUNDINGS)),
        "overflow": draw(st.sampled_from(OVERFLOWS)),
    }
    layers = [draw(drawn_layers([spec]))]
    if draw(st.booleans()):
        layers.insert(draw(st.integers(0, 1)), draw(drawn_layers([*SPECS, None])))
    source = (draw(st.sampled_from([1, 5, 17])), *draw(st.sampled_from(SOURCES)))
    steps, samples = draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([1, 3, 4, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    made = program(rng, source, layers, steps=steps, **how)
    return made, drawn(rng, source, steps, samples)


@st.composite
def drawn_layers(draw, models):
    width, spec = draw(st.sampled_from([1, 5, 16])), draw(st.sampled_from(models))
    if spec is None:
        return Layer(width)
    frac, bits = draw(st.sampled_from(FORMATS))
    bits = bits if SPECS[spec].spiking else min(bits, 24)
    options = draw(st.sampled_from(SPECS[spec].variants()))
    return Layer(width, spec, options, bits, frac, draw(st.booleans()), draw(st.booleans()))


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_any_program_is_the_loop(spec, data):
    assert_exact(*data.draw(programs(spec)))


@pytest.mark.parametrize("bits", [8, 24, 32])
@pytest.mark.parametrize(("spec", "reset"), SOFT)
def test_what_a_silent_neuron_would_have_stored_after_a_spike_is_no_overflow(spec, reset, bits):
    """Its membrane at the lowest end, less the threshold, fits no register, and goes to none."""
    top = 2 ** (bits - 1) - 1
    options = SPECS[spec].options() | {"reset": reset}
    chip = nd.target("asic45")
    coefs = {name: np.zeros(1, int) for name in SPECS[spec].kinds}
    coefs |= {"threshold": np.array([top]), "reset": np.array([top])}
    node = Population(
        name="n",
        width=1,
        edges=(Tap(source="input", sign=np.ones(1, int)),),
        **{"spec": spec, "options": options, "coefs": coefs, "state_bits": bits, "coef_frac": 8},
        **{"shift": np.zeros(1, int), "bias": np.zeros(1, int), "unit": np.ones(1)},
    )
    source = Source(name="input", width=1, low=-CURRENT, high=CURRENT, unit=1.0)
    readout = Readout(source="n", kind="steps", unit=np.ones(1), offset=np.zeros(1))
    how = {"target": chip, "numbers": chip.numbers, "readout": readout}
    made = Program(name="silent", nodes=(source, node), **how)
    x = np.array([-top, top, -top, 0]).reshape(4, 1, 1)
    assert assert_exact(made, x).lost == {"n": 0}


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_the_lowest_membrane_of_all_is_within_the_bounds_or_refused(overflow):
    """What wraps reaches -2^31, whose opposite fits no current of 32 bits."""
    numbers = replace(nd.target("asic45").numbers, overflow=overflow)
    one, zero = np.ones(1, int), np.zeros(1, int)
    li = {"spec": "li", "options": {"leak": False}, "coefs": {"beta": one << 30}, "shift": zero}
    li |= {"state_bits": 32, "coef_frac": 30, "unit": np.ones(1), "bias": zero, "width": 1}
    nodes = (
        Source(name="input", width=1, low=-CURRENT, high=CURRENT, unit=1.0),
        Population(name="n", edges=(Tap(source="input", sign=one),), **li),
        Stream(name="out", width=1, edges=(Tap(source="n", sign=-one),), unit=np.ones(1)),
    )
    readout = Readout(source="out", kind="steps", unit=np.ones(1), offset=np.zeros(1))
    chip = replace(nd.target("asic45"), numbers=numbers)
    made = Program(name="lowest", target=chip, numbers=numbers, nodes=nodes, readout=readout)
    x = np.array([-CURRENT, -1, 0]).reshape(3, 1, 1)
    if overflow == "wrap":
        with pytest.raises(FitError, match="adds currents in 32 bits"):
            nd.simulate(made, x)
    else:
        assert_exact(made, x)
