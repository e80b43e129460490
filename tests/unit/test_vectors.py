"""Integers of vector operations against float64: every value of an operand, to stated bounds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.graph.nonlinear import (
    Gelu,
    Glu,
    LayerNorm,
    Product,
    Quantize,
    Relu,
    Rescale,
    Ternary,
)
from neurodeploy.graph.vectors import bounds_of, gelu, sigmoid, values_of
from neurodeploy.passes.vectors import Operand, build, scaling
from neurodeploy.program.vector import KINDS
from neurodeploy.program.vector.base import isqrt, rounded

REACHES = (0.02, 0.7, 5.0, 200.0)


def operand(width=1, unit=1e-3, bias=0.0, reach=5.0):
    return Operand(np.full(width, float(unit)), np.full(width, float(bias)), reach)


def y_of(made, *operands):
    """Run the kind's own map on integers of the operands' formats."""
    return KINDS[made.kind].run(made.params, *(np.asarray(x, np.int64) for x in operands))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**62 - 1))
def test_the_root_is_exact(value):
    assert int(isqrt(np.array([value]))[0]) == math.isqrt(value)


def test_the_root_is_exact_around_every_square():
    roots = np.concatenate([np.arange(1, 3000), 2 ** np.arange(2, 31) - 1])
    for offset in (-1, 0, 1):
        value = roots.astype(np.int64) ** 2 + offset
        want = [math.isqrt(int(v)) for v in value]
        np.testing.assert_array_equal(isqrt(value), want)


@settings(max_examples=200, deadline=None)
@given(value=st.integers(-(2**50), 2**50), shift=st.integers(0, 46))
def test_shifts_round_to_nearest_halves_up(value, shift):
    want = math.floor(Fraction(value, 2**shift) + Fraction(1, 2))
    assert int(rounded(np.int64(value), np.int64(shift))) == want


@given(st.floats(1e-9, 1e4))
def test_a_scaling_is_within_its_bound(ratio):
    gain, shift = scaling(np.array([ratio, -ratio]))
    assert gain[0] == -gain[1]
    assert abs(gain[0] * 2.0 ** -shift[0] / ratio - 1) <= 2.0**-15
    whole, drop = scaling(np.array([2.0**-7, 1.0, -0.25]))
    np.testing.assert_array_equal(whole, [1, 1, -1])
    np.testing.assert_array_equal(drop, [7, 0, 2])


@pytest.mark.parametrize("form", ["erf", "tanh"])
@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("same", [True, False])
def test_gelu_is_within_its_bound_for_every_operand(form, reach, same):
    sent = np.array([reach / 127, reach / 127 * (1 if same else 1.7)])
    made = build(Gelu(form), (operand(2, unit=reach / 3000, reach=reach),), sent)
    u, step = made.formats[0].unit[0], made.params["step"]
    limit = min(made.formats[0].limit, math.ceil(reach / u))
    x = np.arange(-limit, limit + 1)
    h = u * 2**step if step else 0.0
    end = (len(made.params["table"]) - 1) * u * 2**step
    cut = abs(float(gelu(form, np.array([-end]))[0])) if made.params["table"][-1] == 0 else 0.0
    bound = h**2 / 8 * 0.8 + cut + made.unit[0]
    error = np.abs(y_of(made, x) * made.unit[0] - gelu(form, x * u))
    assert error.max() <= bound
    assert error.max() > 0
    assert bound < max(6e-5, sent[0] / 16)


def test_the_curvature_that_the_bounds_state():
    a = np.linspace(0, 12, 240_001)
    for form in ("erf", "tanh"):
        assert np.abs(np.gradient(np.gradient(-gelu(form, -a), a), a)[2:-2]).max() < 0.8
    assert np.abs(np.gradient(np.gradient(sigmoid(a), a), a)[2:-2]).max() < 0.0963


@pytest.mark.parametrize("reach", REACHES)
def test_the_sigmoid_of_a_glu_is_within_its_bound_for_every_gate(reach):
    made = build(Glu(), (operand(reach=2.0), operand(reach=reach)), np.array([2 / 127]))
    b, step = made.formats[1].unit[0], made.params["step"]
    gates = np.arange(-(2**16), 2**16 + 1)
    bound = (b * 2**step) ** 2 / 8 * 0.0963 + 1 - float(sigmoid(np.array([12.0]))[0]) + 2.0**-15
    for x in (1, -777, 32767):
        y = y_of(made, np.full_like(gates, x), gates) * 2.0**-15
        assert np.abs(y - x * sigmoid(gates * b)).max() <= abs(x) * bound
    assert bound < 1e-4
    ends = y_of(made, np.array([5, 5]), np.array([-(2**31), 2**31]))
    np.testing.assert_array_equal(ends, [0, 5 * 2**15])


@pytest.mark.parametrize("n", [2, 3, 64, 1000])
@pytest.mark.parametrize("reach", REACHES)
def test_layernorm_is_within_its_bound(n, reach):
    rng = np.random.default_rng(n)
    op = LayerNorm(np.ones(n), np.zeros(n), 1e-5)
    made = build(op, (operand(n, unit=reach / 3000, reach=reach),), np.full(n, 3 / 127))
    u, p = made.formats[0].unit[0], made.params
    rows = [rng.integers(-32767, 32768, (50, n)), rng.integers(-3, 4, (50, n))]
    rows += [rng.choice([-32767, 32767], (50, n)), np.eye(n, dtype=np.int64)[:20]]
    rows += [32766 + np.eye(n, dtype=np.int64)[:20]]
    x = np.concatenate(rows)
    x = x[x.min(axis=1) != x.max(axis=1)]
    exact = LayerNorm(op.gamma, op.beta, p["eps"] * u**2 / n**2)
    z = _exact_layernorm(x, p["eps"])
    np.testing.assert_allclose(z, values_of(exact, [x * u]), rtol=1e-6, atol=1e-9)
    root = 2.0 ** p["guard"] * math.sqrt(n - 1) - 1
    largest = 2.0 ** p["guard"] * n * 32768
    bound = made.unit[0] / 2 + np.abs(z) * (1 / root + (largest + 1) / p["dividend"])
    assert np.all(np.abs(y_of(made, x) * made.unit[0] - z) <= bound + 1e-12)


def _exact_layernorm(x, eps):
    n = x.shape[1]
    rows = []
    for row in x.tolist():
        total = sum(row)
        spread = n * sum(v * v for v in row) - total**2 + eps
        rows.append([(n * v - total) / math.sqrt(spread) for v in row])
    return np.array(rows)


@pytest.mark.parametrize("n", [1, 2, 7, 4096])
def test_layernorm_of_equal_channels_is_zero_and_no_sum_overflows(n):
    op = LayerNorm(np.ones(n), np.zeros(n), 1e-5)
    made = build(op, (operand(n, unit=1e-4, reach=3.0),), np.full(n, 1 / 127))
    for value in (0, 1, -32767, 32767):
        np.testing.assert_array_equal(y_of(made, np.full((2, n), value)), 0)
    spike = np.full((1, n), -32767)
    spike[0, 0] = 32767
    want = _exact_layernorm(spike, made.params["eps"]) if n > 1 else np.zeros((1, 1))
    np.testing.assert_allclose(y_of(made, spike) * made.unit[0], want, rtol=1e-3, atol=1 / 127)


def test_ternary_per_step_is_exact_at_ties():
    made = build(Ternary(per_step=True, level=0.15), (operand(3, reach=1.0),), np.ones(3))
    assert (made.params["num"], made.params["den"]) == (3, 20)
    top = np.arange(1, 4000)
    for offset in (-1, 0, 1):
        x = (3 * top) // 20 + offset
        rows = np.stack([top, x, -x], axis=1)
        want = np.where(20 * x >= 3 * top, 1, np.where(20 * x <= -3 * top, -1, 0))
        got = y_of(made, rows)
        np.testing.assert_array_equal(got[:, 1], want)
        np.testing.assert_array_equal(got[:, 2], np.where(-x * 20 >= 3 * top, 1, -want))
    np.testing.assert_array_equal(y_of(made, np.zeros((1, 3))), 1)  # 0 >= 0, the first case


def test_ternary_with_a_constant_threshold_takes_units_signs_and_biases_into_it():
    unit, bias = np.array([0.1, -0.25, 0.3, 0.0]), np.array([0.0, 0.05, -0.2, 0.6])
    made = build(Ternary(per_step=False, level=0.5), (Operand(unit, bias, 3.0),), np.ones(4))
    current = np.arange(-40, 41)[:, None] * np.ones(4, np.int64)
    x = np.array(
        [
            [Fraction(str(u)) * int(c) + Fraction(str(b)) for c, u, b in row]
            for row in (zip(values, unit, bias, strict=True) for values in current)
        ]
    )
    level = Fraction(1, 2)
    want = np.where(x >= level, 1, np.where(x <= -level, -1, 0))
    np.testing.assert_array_equal(y_of(made, current * made.formats[0].gain), want)
    assert np.all(np.abs(made.formats[0].gain) <= 1)


def is_power(gain):
    return not np.any(np.abs(gain) & (np.abs(gain) - 1))


def test_formats_that_fit_need_no_multiply():
    """One unit for all channels: the operand of a norm, and one of a product, is only shifted."""
    sent = np.full(4, 0.01)
    plain = operand(4, unit=1e-6, reach=3.0)
    rows = Operand(np.array([1.0, 2, 3, 4]) * 1e-6, np.zeros(4), 3.0)
    norm = build(LayerNorm(np.ones(4), np.zeros(4), 1e-5), (plain,), sent)
    assert is_power(norm.formats[0].gain)
    for pair in ((plain, rows), (rows, plain)):
        made = build(Product(), pair, sent)
        shifts = [is_power(form.gain) for form in made.formats]
        assert shifts == [pair[0] is plain, pair[1] is plain]
        gain, _ = scaling(made.unit / sent)
        np.testing.assert_array_equal(gain, 1)
    ternary = build(Ternary(per_step=True, level=0.15), (plain,), np.ones(4))
    np.testing.assert_array_equal(ternary.formats[0].gain, 1)


OPS = [
    LayerNorm(np.array([1.0, -2, 0.5, 3]), np.array([0.1, 0, -1, 2]), 1e-5),
    Gelu("erf"),
    Gelu("tanh"),
    Relu(),
    Rescale(),
    Glu(),
    Product(),
    Quantize(0.25, -3, 5),
    Ternary(per_step=True, level=0.15),
    Ternary(per_step=False, level=0.4),
]


@pytest.mark.parametrize("op", OPS, ids=lambda op: type(op).__name__)
def test_bounds_hold(op):
    rng = np.random.default_rng(0)
    count = 2 if isinstance(op, Product) else 1
    lows = [rng.normal(size=4) - 0.5 for _ in range(count)]
    highs = [low + rng.uniform(0, 3, 4) for low in lows]
    low, high = bounds_of(op, lows, highs)
    inputs = [rng.uniform(a, b, (5000, 4)) for a, b in zip(lows, highs, strict=True)]
    inputs = [np.concatenate([x, [a], [b]]) for x, a, b in zip(inputs, lows, highs, strict=True)]
    values = values_of(op, inputs)
    assert np.all(values >= low - 1e-12)
    assert np.all(values <= high + 1e-12)
