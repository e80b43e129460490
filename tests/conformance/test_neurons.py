"""The laws every neuron obeys. A neuron is supported when it passes this file.

Each law is parametrised over the registry and all options of each model.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bounds import follows
from support.counting import counted
from support.networks import distinct, params
from support.recurrences import PUBLISHED
from support.running import one_population, run_from

from neurodeploy.arith import OVERFLOWS, ROUNDINGS, Count, Fixed, Real
from neurodeploy.kernels import exact, packed, real_kernel
from neurodeploy.kernels.layer import kernel
from neurodeploy.neurons import SPECS
from neurodeploy.neurons.spec import over_batch, scaled

CASES = [(spec, options) for spec in SPECS.values() for options in spec.variants()]
COMPILED = [(SPECS[name], options) for name, options in distinct()]


def label(value):
    if isinstance(value, dict):
        return "-".join(f"{k}={v}" for k, v in value.items())
    return value.name


every_neuron = pytest.mark.parametrize(("spec", "options"), CASES, ids=label)
every_dynamics = pytest.mark.parametrize(("spec", "options"), COMPILED, ids=label)

CHIP = Fixed(12, 24, "toward_zero", "saturate")
FORMATS = [Fixed(12, 24, rounding, overflow) for rounding in ROUNDINGS for overflow in OVERFLOWS]
NARROW = [Fixed(9, 12, rounding, overflow) for rounding in ROUNDINGS for overflow in OVERFLOWS]
WIDE = [Fixed(24, 24, "toward_zero"), Fixed(30, 32, "nearest", "wrap")]
FULL = [Fixed(15, 32, rounding) for rounding in ROUNDINGS]  # registers as wide as narrow lanes
LSB = 2.0**-10
WIDTH = 4


def folded(spec, options, seed=0, width=WIDTH):
    rng = np.random.default_rng(seed)
    values = spec.params(**params(rng, spec.name, width, options))
    assert spec.check(values, options) == []
    coefs = spec.fold(values, options, np)
    return values, spec.arranged(coefs, width)


def integers(spec, coefs, fixed, lsb=LSB):
    rounded = (
        np.rint(value * 2**fixed.coef_frac if spec.kinds[name].dimensionless else value / lsb)
        for name, value in coefs._asdict().items()
    )
    return spec.coefs(*(value.astype(np.int64) for value in rounded))


def modes_of(spec, coefs):
    return spec.modes(coefs._asdict())


def rest(spec, coefs, *shape, dtype=float):
    modes = modes_of(spec, coefs)
    rows = spec.rows(spec.state._fields, modes)
    return spec.parts(spec.state, np.zeros((rows, *shape), dtype), modes)


def drawn_state(spec, coefs, data, number):
    modes = modes_of(spec, coefs)
    rows = [
        data.draw(st.lists(number, min_size=WIDTH, max_size=WIDTH))
        for _ in range(spec.rows(spec.state._fields, modes))
    ]
    return spec.parts(spec.state, np.array(rows), modes)


def drive(seed=0, steps=60, samples=3, width=WIDTH, size=1.5):
    return np.random.default_rng(seed).normal(size=(steps, samples, width)) * size


@every_neuron
def test_real_equals_the_published_recurrence(spec, options):
    values, coefs = folded(spec, options)
    unit = np.broadcast_to(spec.unit(values, options, np), (WIDTH,))
    z = rest(spec, coefs, 3, WIDTH)
    coefs = over_batch(spec, coefs)
    fired = 0
    for t, (x, (want, states)) in enumerate(
        zip(drive(), PUBLISHED[spec.name](values, options, drive()), strict=True)
    ):
        out, z = spec.step(Real(), spec.at(coefs, t), z, x, options)
        if spec.spiking:
            np.testing.assert_array_equal(out, want)
            fired += int(np.sum(out))
        if spec.state._fields:
            wanted = states if isinstance(states, tuple) else [states]
            for mine, theirs in zip([out] if spec.modal else z, wanted, strict=False):
                np.testing.assert_allclose(mine * unit, theirs, rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_array_equal(np.broadcast_to(out, want.shape), want)
    assert fired > 0 or not spec.spiking


@every_neuron
def test_homogeneity_a_scaled_neuron_spikes_the_same(spec, options):
    _, coefs = folded(spec, options)
    z = big = rest(spec, coefs, 3, WIDTH)
    coefs = over_batch(spec, coefs)
    larger = scaled(spec, coefs, 8.0)
    for t, x in enumerate(drive()):
        out, z = spec.step(Real(), spec.at(coefs, t), z, x, options)
        out_big, big = spec.step(Real(), spec.at(larger, t), big, 8 * x, options)
        np.testing.assert_array_equal(out_big, out if spec.spiking else 8 * out)
        for a, b in zip(z, big, strict=True):
            np.testing.assert_array_equal(b, 8 * a)


@every_dynamics
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_registers_never_leave_their_format(spec, options, data):
    fixed = data.draw(st.sampled_from([*FORMATS, *NARROW, *WIDE]))
    _, coefs = folded(spec, options)
    ints = integers(spec, coefs, fixed)
    edge = fixed.state_max
    number = st.one_of(st.sampled_from([0, 1, -1, edge, -edge]), st.integers(-edge, edge))
    z = drawn_state(spec, coefs, data, number)
    x = np.array(data.draw(st.lists(st.integers(-(2**40), 2**40), min_size=WIDTH, max_size=WIDTH)))
    ints = ints._replace(
        **{
            k: np.clip(v, -edge, edge)
            for k, v in ints._asdict().items()
            if not spec.kinds[k].dimensionless
        }
    )
    _, after = spec.step(fixed, spec.at(ints, 0), z, x, options)
    low = -edge if fixed.overflow == "saturate" else -edge - 1
    for part in after:
        assert np.all(part <= edge)
        assert np.all(part >= low)


@every_dynamics
def test_fixed_follows_real_within_the_computed_bound(spec, options):
    _, coefs = folded(spec, options)
    for fixed in FORMATS[::2]:
        assert follows(spec, options, coefs, fixed, LSB, drive(size=0.8)) > 0.5


@pytest.mark.parametrize("fixed", [*FORMATS, NARROW[3], NARROW[4], *WIDE], ids=str)
def test_generated_kernels_equal_fixed_on_random_and_edge_states(fixed):
    """All formats on two models here; all models below."""
    for name, options in (("prf", {}), ("lif", {"reset": "soft"})):
        assert_kernel_equals_step(SPECS[name], SPECS[name].options(**options), fixed)


@every_dynamics
def test_generated_kernel_equals_fixed(spec, options):
    assert_kernel_equals_step(spec, options, CHIP)


@pytest.mark.parametrize("fixed", FULL, ids=str)
@pytest.mark.parametrize("reset", ["hard", "soft"])  # their sums go to registers, all of them
def test_narrow_lanes_saturate_where_sums_leave_them(reset, fixed):
    """32 bits hold every current up to the first bound, shifted by 5; sums with the state wrap."""
    ends = ((2**26 - 1, 32), (2**26, 64))
    spec = SPECS["lif"]
    assert_kernel_equals_step(spec, spec.options(reset=reset), fixed, ends)


@pytest.mark.parametrize("fixed", FULL, ids=str)
@every_dynamics
def test_any_model_is_exact_in_registers_as_wide_as_lanes(spec, options, fixed):
    assert_kernel_equals_step(spec, options, fixed, ((2**26 - 1, None), (2**26, 64)))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_fractions_are_exact_on_processors_with_and_without_them(reset, there, monkeypatch):
    """Of 15 bits, rounded to nearest: one operation of some processors, several of others."""
    spec, taken = SPECS["lif"], []
    made = exact._fraction

    def fraction(*factors):
        taken.append(made(*factors) if there else None)
        return taken[-1]

    monkeypatch.setattr(exact, "_fraction", fraction)
    kernel.cache_clear()
    assert_kernel_equals_step(
        spec, spec.options(reset=reset), Fixed(15, 32, "nearest"), ((2**26 - 1, 32),)
    )
    kernel.cache_clear()
    assert taken


def assert_kernel_equals_step(spec, options, fixed, ends=((2**20, 32), (2**30, 64))):
    """In 32-bit lanes, where the greatest current allows it, and in those of 64 bits.

    ends: the greatest current and the bits that it takes, None for either.
    """
    rng = np.random.default_rng(3)
    samples, steps = 5, 30
    _, coefs = folded(spec, options, width=WIDTH)
    modes = modes_of(spec, coefs)
    ints = integers(spec, coefs, fixed, lsb=2.0 ** (4 - fixed.state_bits))
    edge = fixed.state_max
    starts = rng.integers(-edge, edge, (spec.rows(spec.state._fields, modes), samples, WIDTH))
    starts[:, 0], starts[:, 1] = edge, -edge
    shift, bias = np.array([-3, 0, 2, 5]), np.array([0, 7, -9, 1])
    for top, bits in ends:
        current = rng.integers(-(2**14), 2**14, (steps, samples, WIDTH))
        current[:, 2] = 0
        current[:, 3] = rng.integers(-top, top, (steps, WIDTH))
        current[0, 0], current[0, 1] = top, -top
        z, want = spec.parts(spec.state, starts.copy(), modes), []
        k, writes = over_batch(spec, ints), Watched(*dataclasses.astuple(fixed))
        for t in range(steps):
            x = fixed.shift(current[t], shift) + bias
            out, z = spec.step(writes, spec.at(k, t), z, x, options)
            want.append(out)
        how = {"shift": shift, "bias": bias, "top": top}
        program = one_population(spec, options, ints, fixed, **how)
        got, state, over, found = run_from(program, current, starts)
        assert found == (64 if fixed in WIDE else bits or found)
        np.testing.assert_array_equal(got, np.array(want))
        np.testing.assert_array_equal(state, spec.stack(z, state.shape[1:]))
        assert over == writes.lost[0]
    assert over > 0 or not spec.state._fields


@dataclasses.dataclass(frozen=True)
class Watched(Fixed):
    """`Fixed`, counting the register writes that did not fit."""

    lost: list = dataclasses.field(default_factory=lambda: [0], compare=False)

    def write(self, value):
        stored = super().write(value)
        self.lost[0] += int(np.count_nonzero(stored != value))
        return stored


@every_dynamics
def test_the_float_kernel_is_the_real_reading_to_the_last_bit(spec, options):
    _, coefs = folded(spec, options)
    x = drive(7)
    z, want = rest(spec, coefs, 3, WIDTH), []
    for t, row in enumerate(x):
        out, z = spec.step(Real(), spec.at(over_batch(spec, coefs), t), z, row, options)
        want.append(out)
    state = np.zeros((spec.rows(spec.state._fields, modes_of(spec, coefs)), 3, WIDTH))
    got, none = np.empty_like(x), np.empty((0, 3, WIDTH))
    kernel = real_kernel(spec.name, tuple(sorted(options.items())))
    packs = packed(spec.traced(options), coefs._asdict(), len(x), np.float64)
    kernel(x, *packs, state, got, none, none[:, 0], False, 0, 3)
    np.testing.assert_array_equal(got, np.array(want, float))
    np.testing.assert_array_equal(state, spec.stack(z, state.shape[1:]))


@every_neuron
def test_count_equals_what_a_counting_run_measures(spec, options):
    _, coefs = folded(spec, options)
    modes = modes_of(spec, coefs)
    cost = spec.cost(options, modes)
    counts = {key: value for key, value in cost.items() if key not in ("write", "read")}
    assert counted(spec, options, coefs) == counts
    assert cost["write"] >= spec.rows(spec.state._fields, modes)


@every_neuron
def test_the_traced_words_are_the_counted_ones(spec, options):
    for modes in (1, 5) if spec.modal else (1,):
        words = [
            instr.op
            for instr in spec.traced(options).instrs
            for _ in range(modes if instr.modal else 1)
        ]
        sums = words.count("total") * (modes - 1)
        cost = spec.cost(options, modes)
        assert words.count("mul") + words.count("times") == cost["mul"]
        assert words.count("add") + words.count("sub") + sums == cost["add"]
        assert sum(map(words.count, ("ge", "gt", "largest", "count"))) == cost["cmp"]
        assert words.count("count") == cost["div"]
        assert words.count("read") == cost["read"]


@every_neuron
def test_tables_are_read_by_the_word_and_nothing_else_is(spec, options):
    for instr in spec.traced(options).instrs:
        tables = {f"k_{name}" for name in spec.tables} & set(instr.args)
        assert bool(tables) == (instr.op == "read")


@every_dynamics
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_an_undriven_neuron_comes_to_rest_where_products_round_towards_zero(spec, options, data):
    _, coefs = folded(spec, options)
    if spec.poles(coefs) is None or np.any(np.abs(spec.poles(coefs)) >= 1):
        return  # no memory, or a sum that is meant to stay
    ints = integers(spec, coefs, CHIP)
    number = st.integers(-CHIP.state_max, CHIP.state_max)
    z = drawn_state(spec, coefs, data, number)
    for _ in range(1500):
        _, z = spec.step(CHIP, spec.at(ints, 0), z, np.zeros(WIDTH, np.int64), options)
    still = z
    _, z = spec.step(CHIP, spec.at(ints, 0), z, np.zeros(WIDTH, np.int64), options)
    for a, b in zip(still, z, strict=True):
        np.testing.assert_array_equal(a, b)


@given(
    value=st.integers(-(2**45), 2**45),
    bits=st.integers(0, 20),
    rounding=st.sampled_from(ROUNDINGS),
)
def test_dropping_bits_is_the_named_rounding_of_the_exact_quotient(value, bits, rounding):
    exact = Fraction(value, 2**bits)
    want = {
        "floor": math.floor(exact),
        "toward_zero": math.trunc(exact),
        "nearest": math.floor(exact + Fraction(1, 2)),
    }[rounding]
    fixed = Fixed(bits, 24, rounding)
    assert int(fixed.mul(1, value)) == want
    assert int(fixed.shift(value, -bits)) == want


@given(value=st.integers(-(2**40), 2**40), bits=st.integers(2, 32))
def test_a_register_saturates_or_wraps(value, bits):
    top = 2 ** (bits - 1)
    assert int(Fixed(8, bits, "floor", "saturate").write(value)) == max(
        -top + 1, min(value, top - 1)
    )
    assert int(Fixed(8, bits, "floor", "wrap").write(value)) == (value + top) % (2 * top) - top


def test_an_unknown_rounding_is_refused():
    with pytest.raises(ValueError, match="rounding 'up'"):
        Fixed(8, 8, "up")


def test_prf_costs_what_its_equations_say():
    """Four products; two sums, one of them with the input; one comparison."""
    assert SPECS["prf"].cost({"compare": ">="}) == {
        "mul": 4,
        "add": 3,
        "cmp": 1,
        "select": 0,
        "write": 2,
        "read": 0,
        "div": 0,
    }


def test_a_count_starts_at_zero():
    assert set(Count().ops.values()) == {0}


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("prf", {"dt": np.zeros(WIDTH)}, "dt must be > 0"),
        ("prf", {"tau": -np.ones(WIDTH)}, "tau must be > 0"),
        ("prf", {"v_th": np.full(WIDTH, np.nan)}, "v_th must be > 0"),
        ("lif", {"beta": np.full(WIDTH, np.nan)}, "beta must be in [0, 1]"),
        ("lif", {"beta": np.full(WIDTH, 1.1)}, "beta must be in [0, 1]"),
        ("lif", {"gain": np.zeros(WIDTH)}, "gain must be > 0"),
        ("lif", {"v_reset": np.ones(WIDTH)}, "v_reset has no meaning"),
        ("spatial", {"v_th": np.full(WIDTH, np.inf)}, "v_th must be finite"),
        ("li", {"beta": np.full(WIDTH, -0.1)}, "beta must be in [0, 1]"),
        ("s4d", {"a_re": np.full((3, WIDTH), 1.1)}, "|a| must be <= 1"),
        ("s4d", {"a_im": np.full((3, WIDTH), np.nan)}, "|a| must be <= 1"),
        ("s4d", {"b_re": np.ones((2, WIDTH))}, "must all be [modes, channels]"),
        ("s4d", {"c_im": np.ones(WIDTH)}, "must all be [modes, channels]"),
    ],
)
def test_parameters_outside_their_range_are_named(name, change, says):
    spec = SPECS[name]
    values, _ = folded(spec, spec.options())
    assert any(says in wrong for wrong in spec.check(values._replace(**change), spec.options()))


def test_a_hard_reset_above_the_threshold_is_named():
    spec, options = SPECS["lif"], SPECS["lif"].options(reset="hard")
    values, _ = folded(spec, options)
    assert "v_reset must be below v_th" in spec.check(values._replace(v_reset=values.v_th), options)


def test_an_unknown_option_is_refused():
    with pytest.raises(ValueError, match="lif: reset='sometimes'"):
        SPECS["lif"].options(reset="sometimes")
