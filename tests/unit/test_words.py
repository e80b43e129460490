"""How constants stand in memory: what a word can hold, how near it is, what it takes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import chain, inputs_for, neurons, sdtcm, spiking_ssm
from support.words import held

from neurodeploy.arith import ROUNDINGS, Fixed
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.memory import footprint
from neurodeploy.program.run import node_count
from neurodeploy.program.words import SHIFT_BITS, Word, counts_from_one, integers
from neurodeploy.targets import target

value = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 1 - 2.0**-12, 1 - 2.0**-13, 2.0**-24, 4095.5 / 4096]),
    st.floats(-1, 1),
    st.floats(-24, 0).map(lambda power: 2.0**power),
    st.floats(-24, 0).map(lambda power: 2.0**power - 1),
)


@settings(max_examples=200)
@given(
    k=value,
    bits=st.integers(2, 16),
    more=st.integers(0, 15),
    form=st.sampled_from(["plain", "scaled"]),
)
def test_a_word_holds_what_is_multiplied_and_is_near_the_coefficient(k, bits, more, form):
    frac, word = bits - 1 + more, Word(bits=bits, form=form)
    whole = int(integers(np.array([k]), word, frac)[0])
    assert held(whole, word, frac)
    error = abs(Fraction(whole, 2**frac) - Fraction(k))
    assert error <= Fraction(1, 2**bits)
    if form == "scaled":  # as near as a half step of its own digits, or of the last bit of all
        size = min(abs(Fraction(k)), 1 - abs(Fraction(k)))
        assert error <= max(size / 2 ** (bits - 1), Fraction(1, 2 ** (frac + 1)))


@given(
    rows=st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=6),
    size=st.floats(-20, 0),
    bits=st.integers(2, 16),
    frac=st.sampled_from([0, 15, 30]),
)
def test_a_shared_shift_fits_the_largest_entry_of_a_channel(rows, size, bits, frac):
    scale = 2.0**size * (1 if frac else 2.0**30)  # without fraction: numbers on the state's scale
    table = np.array([rows, rows[::-1]]).T[:, :1] * scale
    whole = integers(table, Word(bits=bits, form="shared"), frac)
    top = max(abs(table.max()), abs(table.min())) * 2.0**frac
    step = max(2.0 ** (np.ceil(np.log2(top)) - bits + 1), 1) if top else 1
    assert np.all(whole % step == 0)
    assert np.abs(whole).max() / step <= 2 ** (bits - 1) - 1
    assert np.all(np.abs(whole - table * 2.0**frac) <= step)


@given(
    k=st.integers(-(2**30), 2**30),
    z=st.integers(-(2**31), 2**31),
    zeros=st.integers(0, 30),
    rounding=st.sampled_from(ROUNDINGS),
)
def test_zeros_at_the_end_change_no_product(k, z, zeros, rounding):
    """So a word with a shift of its own needs no arithmetic of its own; and nothing overflows."""
    k = k >> zeros
    wide, narrow = Fixed(30, 32, rounding), Fixed(30 - zeros, 32, rounding)
    assert wide.mul(k << zeros, z) == narrow.mul(k, z)
    exact = Fraction(k * z, 2 ** (30 - zeros))
    assert abs(int(wide.mul(k << zeros, z)) - exact) <= 1


def slow(rng, width=6):
    """A network whose rotations last some thousand steps and turn from slowly to fast."""
    graph = chain(rng, [("prf", {})], width=width)
    op = neurons(rng, "prf", width)
    dt = np.geomspace(1e-3, 0.1, width)
    turned = {"dt": dt, "theta": np.geomspace(0.05, 30, width), "v_th": 40 * dt}
    return graph.replace("0.neurons", replace(op, params={**op.params, **turned}))


def compiled(graph, x, chip="loihi2", **numbers):
    own = target(chip)
    own = replace(own, numbers=replace(own.numbers, **numbers))
    return compile_graph(graph, own, calibration=x).program


def test_slow_decays_get_a_shift_of_their_own_where_the_target_has_shifts():
    rng = np.random.default_rng(0)
    graph = slow(rng)
    x = inputs_for(rng, graph, steps=200)
    plain = compiled(graph, x, coef_frac=12)
    scaled = compiled(graph, x)
    found = {}
    for program, form, frac in ((plain, "plain", 12), (scaled, "scaled", 24)):
        node = program["0.neurons"]
        assert node.words == dict.fromkeys("cd", Word(bits=13, form=form))
        assert node.coef_frac == program.fixed(node).coef_frac == frac
        found[form] = program.notes["layers"]["0.neurons"]
    assert found["plain"]["time_constant_error_max"] > 0.02
    assert found["plain"]["frequency_error_max"] > 0.02
    assert found["scaled"]["time_constant_error_max"] < 0.01
    assert found["scaled"]["frequency_error_max"] < 0.001
    assert len(found["scaled"]["time_constant_errors"]) == 6


def test_coefficients_from_one_cost_their_subtraction_and_shifts_their_memory():
    rng = np.random.default_rng(0)
    graph = slow(rng)
    x = inputs_for(rng, graph, steps=50)
    counts, bits = {}, {}
    for frac in (12, 24):
        program = compiled(graph, x, coef_frac=frac)
        node = program["0.neurons"]
        counts[frac] = node_count(program, "0.neurons", updates=1).per_update
        bits[frac] = footprint(program, node.name, 0, 1).state_bits
    from_one = np.count_nonzero(counts_from_one(node.coefs["c"], node.words["c"]))
    from_one += np.count_nonzero(counts_from_one(node.coefs["d"], node.words["d"]))
    assert from_one >= 4
    assert counts[24]["add"] - counts[12]["add"] == pytest.approx(2 * from_one / node.width)
    assert counts[24]["mul"] == counts[12]["mul"]
    assert bits[24] - bits[12] == 2 * SHIFT_BITS


@pytest.mark.parametrize("bits", [4, 7, 13])
@pytest.mark.parametrize("make", [sdtcm, spiking_ssm, slow])
def test_every_word_of_a_compiled_program_holds_its_coefficient(make, bits):
    rng = np.random.default_rng(bits)
    graph = make(rng)
    x = inputs_for(rng, graph)
    program = compile_graph(graph, target("loihi2"), calibration=x, coef_bits=bits).program
    for node in program.populations:
        for name, word in node.words.items():
            assert word.bits == (bits if node.name != program.readout.source else 13)
            for whole in np.ravel(node.coefs[name]):
                assert held(int(whole), word, node.coef_frac), (node.name, name)


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_only_what_stands_in_a_register_is_multiplied(spec):
    """So a product has at most the bits of a register and of a coefficient, and fits int64."""
    for options in spec.variants():
        step = spec.traced(options)
        states = {f"z_{name}" for name in step.states}
        kept = {*step.registers, *states}
        for instr in step.instrs:
            assert instr.op != "mul" or instr.args[1] in kept
