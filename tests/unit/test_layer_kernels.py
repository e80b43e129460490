"""Compiled layers: rows of weights, whatever their bytes and whoever fires; bits; ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.arith import OVERFLOWS, ROUNDINGS, Fixed
from neurodeploy.backends.simulator import layers as layers_module
from neurodeploy.backends.simulator.inputs import convert, packed, packing, readable
from neurodeploy.backends.simulator.memory import Values, address, padded, record, words, zeros
from neurodeploy.backends.simulator.run import Simulator
from neurodeploy.errors import InputError
from neurodeploy.kernels import native, pack
from neurodeploy.kernels.events import byte_count, planes
from neurodeploy.kernels.layer import Feed, Form, kernel, list_bytes
from neurodeploy.kernels.layer import record as fields
from neurodeploy.kernels.ranges import Range, width
from neurodeploy.neurons import SPECS
from neurodeploy.program.ir import Program, Readout, Source, Stream
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.synapses import Dense
from neurodeploy.targets import target

RATES = (0.0, 0.03, 0.3, 0.5, 0.7, 1.0)


def spikes_of(rng, steps, senders):
    """Steps of every rate, from silence to all at once."""
    rates = np.array(RATES)[np.arange(steps) % len(RATES)]
    return (rng.random((steps, senders)) < rates[:, None]).astype(np.uint8)


def bits_of(spikes):
    made = zeros((len(spikes), words(spikes.shape[1])), np.uint64)
    octets = np.packbits(spikes, axis=-1, bitorder="little")
    made.view(np.uint8)[:, : octets.shape[-1]] = octets
    return made


def sums(spikes, weight, *, shift=0, base=None, compress=False):
    """Return base + (spikes @ weight.T) << shift as the kernel adds it, and its events."""
    steps, senders = spikes.shape
    columns = padded(len(weight))
    parts, totals = planes(weight)
    bits, out, events = bits_of(spikes), zeros((steps, columns), np.int32), np.zeros(1, np.int64)
    if base is not None:
        out[:, : len(weight)] = base
    form = Form((Feed(len(parts), shift != 0),), current=base is not None)
    listed = list_bytes(senders)
    scratch = zeros((listed + 4 * columns,), np.uint8)
    values = {
        "steps": steps,
        "samples": 1,
        "origin": 0,
        "way": 1,
        "columns": columns,
        "listed": listed,
        "current": address(out),
        "out": address(out),
        "out_row": 4 * columns,
        "0.bits": address(bits),
        "0.words": bits.shape[1],
        "0.offset": 0,
        "0.weights": address(parts),
        "0.sums": address(totals),
        "0.senders": senders,
        "0.shift": shift,
        "0.events": address(events),
    }
    made = record(fields(form), values)
    kernel(form, compress=compress)(address(made), address(scratch), 0, 1)
    assert not out[:, len(weight) :].any()
    return out[:, : len(weight)], int(events[0])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("byte", [1, 2, 3])
@pytest.mark.parametrize("senders", [1, 63, 64, 65, 300, 1500])
def test_rows_are_added_for_any_weights_and_spikes(senders, byte, compress):
    rng = np.random.default_rng(senders)
    top = 1 << (8 * byte - 1)
    for out in (1, 65, 300):
        weight = rng.integers(-top, top, (out, senders))
        weight[0, 0], weight[-1, -1] = -top, top - 1
        if byte < 3:
            weight[:, senders // 2 :] = rng.choice([-top, top - 1], out)[:, None]
        assert byte_count(weight) == byte
        spikes = spikes_of(rng, 12, senders)
        want = spikes.astype(np.int64) @ weight.T
        got, events = sums(spikes, weight, compress=compress)
        np.testing.assert_array_equal(got, want)
        assert events == spikes.sum()


@pytest.mark.parametrize("byte", [1, 2])
def test_sums_are_shifted_and_added_to_what_is_there(byte):
    rng = np.random.default_rng(1)
    top = 1 << (8 * byte - 1)
    weight, base = rng.integers(-top, top, (70, 90)), rng.integers(-(2**29), 2**29, (6, 70))
    spikes = spikes_of(rng, 6, 90)
    got, _ = sums(spikes, weight, shift=5, base=base)
    np.testing.assert_array_equal(got, base + ((spikes.astype(np.int64) @ weight.T) << 5))


@pytest.mark.parametrize(
    ("low", "high", "count"),
    [(0, 0, 1), (-128, 127, 1), (-129, 0, 2), (0, 128, 2), (-32768, 32767, 2), (0, 32768, 3)],
)
def test_weights_take_as_many_bytes_as_they_need(low, high, count):
    assert byte_count(np.array([[low, high]])) == count


def network(weight, exponent=0):
    """Spikes, a Dense, a stream: its values are the sums."""
    out, senders = weight.shape
    base = target("asic45")
    edge = Dense(source="input", weight=weight, weight_bits=16, exponent=exponent)
    stream = Stream(name="sum", width=out, edges=(edge,), unit=np.ones(out))
    return Program(
        name="sums",
        target=base,
        numbers=base.numbers,
        nodes=(Source(name="input", width=senders, low=0, high=1, unit=1.0), stream),
        readout=Readout(source="sum", kind="steps", unit=np.ones(out), offset=np.zeros(out)),
    )


def test_more_senders_than_a_list_can_number_come_in_several(monkeypatch):
    rng = np.random.default_rng(2)
    program = network(rng.integers(-100, 100, (3, 200)))
    x = spikes_of(rng, 6, 200)[:, None]
    monkeypatch.setattr(layers_module, "MOST_SENDERS", 64)
    simulator = Simulator(program)
    assert len(simulator._layers["sum"][0].feeds) == 4
    run = simulator.run(x)
    np.testing.assert_array_equal(run.integers, execute(program, x).values["sum"])
    assert run.edges[0].events == x.sum()


def test_a_silent_half_costs_nothing_that_matters():
    """Exponents of 31 and more can only scale zeros."""
    program = network(np.zeros((2, 3), int), exponent=40)
    assert not Simulator(program).run(np.ones((2, 1, 3))).integers.any()


def take(source, x, into):
    """Write inputs as a run does; return how many were clipped."""
    kernel = packing(source, x, into)
    if kernel is None:
        return convert(source, x, into)
    kernel(into.packing.place, 0, 0, x.shape[1])
    return packed(x, into)


@pytest.mark.parametrize("kind", list(pack.KINDS), ids=str)
@pytest.mark.parametrize("channels", [1, 63, 64, 65, 130])
def test_arrays_of_zeros_and_ones_become_bits_and_numbers_again(kind, channels):
    rng = np.random.default_rng(channels)
    source = Source(name="input", width=channels, low=0, high=1, unit=1.0)
    for x in (
        (rng.random((5, 3, channels)) < 0.4).astype(kind),
        (rng.random((5, 6, channels)) < 0.4).astype(kind)[:, ::2],
        np.ones((1, 1, channels), kind),
        np.asfortranarray(rng.random((5, 3, channels)) < 0.4).astype(kind),
    ):
        into = Values(channels, bits=zeros((x.shape[1], len(x), words(channels)), np.uint64))
        assert take(source, x, into) == 0
        np.testing.assert_array_equal(into.whole(), (x == 1).transpose(1, 0, 2))
        np.testing.assert_array_equal(into.end(), x[-1] == 1)
        room = np.full((len(x) + 2, x.shape[1] + 1, channels), -1, np.int32)
        pack.back()(into.writing(room[1:-1, 1:]), 0, 0, x.shape[1])
        np.testing.assert_array_equal(room[1:-1, 1:], x == 1)
        assert (room[[0, -1]] == -1).all()
        assert (room[:, 0] == -1).all()


OTHERS = (0.5, 0.51, -0.4, 1.49, 2, -1, 3, 127, -128, 200, 255, 1e30, -1e30)


@pytest.mark.parametrize("kind", list(pack.KINDS), ids=str)
@pytest.mark.parametrize("channels", [1, 63, 70, 130])
def test_other_numbers_are_rounded_to_spikes_and_count_as_clipped(kind, channels):
    rng = np.random.default_rng(channels)
    source = Source(name="input", width=channels, low=0, high=1, unit=1.0)
    fit = [
        v
        for v in OTHERS
        if kind.kind == "f" or (v == int(v) and np.can_cast(np.min_scalar_type(int(v)), kind))
    ]
    for share in (0.01, 0.5):
        x = (rng.random((5, 4, channels)) < 0.4).astype(kind)
        there = rng.random(x.shape) < share
        x[there] = rng.choice(np.array(fit or [1], kind), there.sum())
        want, clipped = to_integers(source, x)
        into = Values(channels, bits=zeros((4, 5, words(channels)), np.uint64))
        assert packing(source, x, into) is not None
        assert take(source, x, into) == clipped
        np.testing.assert_array_equal(into.whole(), want.transpose(1, 0, 2))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 63, 64, 79, 80, 81])
def test_what_is_no_number_is_refused(kind, value, channel):
    source = Source(name="input", width=82, low=0, high=1, unit=1.0)
    x = np.zeros((2, 3, 82), kind)
    x[1, 2, channel] = value
    into = Values(82, bits=zeros((3, 2, 2), np.uint64))
    with pytest.raises(InputError, match="E106"):
        take(source, x, into)
    assert take(source, np.zeros_like(x), into) == 0


def test_ids_of_tokens_become_bits():
    source = Source(name="input", width=100, low=0, high=1, unit=1.0, tokens=True)
    ids = np.array([[[0], [99]], [[-1], [64]]])
    for x in (ids, ids.astype(np.float32)):
        into = Values(100, bits=zeros((2, 2, 2), np.uint64))
        into.bits.fill(1)
        take(source, readable(source, x), into)
        assert np.argwhere(into.whole()).tolist() == [[0, 0, 0], [1, 0, 99], [1, 1, 64]]


def test_compiled_code_is_kept_and_a_damaged_file_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path))
    text = pack.source(np.dtype(np.uint8)).replace("pack", "other")
    calls = []
    made = native._object
    monkeypatch.setattr(native, "_object", lambda text: calls.append(1) or made(text))

    def run(name):
        native._address.cache_clear()
        return native._address(text.replace("other", name), name)

    run("first")
    (path,) = (tmp_path / "objects").glob("first-*.o")
    code = path.read_bytes()
    path.write_bytes(code[:-7])
    assert native._kept(path) is None
    path.write_bytes(code)
    assert native._kept(path) == code[32:]
    assert len(calls) == 1
    path.rename(path.with_name(path.name.replace("first", "second")))
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("no folder")
    run("third")
    assert len(calls) == 2


FORMATS = [Fixed(5, 9, rounding, overflow) for rounding in ROUNDINGS for overflow in OVERFLOWS]
VARIANTS = [(spec, options) for spec in SPECS.values() for options in spec.variants()]


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(VARIANTS),
    fixed=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**16),
    top=st.sampled_from([0, 3, 200, 5000]),
)
def test_every_value_of_a_step_is_inside_its_range(case, fixed, seed, top):
    spec, options = case
    step, rng, count, modes = spec.traced(options), np.random.default_rng(seed), 500, 3
    given_ = {"x": Range(-top, top // 2)}
    given_ |= {f"k_{name}": Range(*sorted(rng.integers(-32, 33, 2).tolist())) for name in step.used}
    ranges = {}
    width(step, fixed, given_, modes=modes, found=ranges)

    def drawn(name, bound):
        shape = (modes, count) if name[2:] in step.modal else (count,)
        values = rng.integers(bound.low, bound.high + 1, shape)
        ends = rng.choice([bound.low, bound.high], shape)
        return np.where(rng.random(shape) < 0.5, ends, values)

    values = {name: drawn(name, bound) for name, bound in ranges.items() if name[0] in "xkz"}
    for i in step.instrs:
        a = [values[name] for name in i.args]
        values[i.out] = {
            "mul": lambda a: fixed.mul(*a),
            "add": lambda a: a[0] + a[1],
            "sub": lambda a: a[0] - a[1],
            "write": lambda a: fixed.write(*a),
            "select": lambda a: np.where(*a),
            "times": lambda a: fixed.times(*a),
            "count": lambda a: fixed.count(*a),
            "largest": lambda a: fixed.largest(*a),
            "read": lambda a: a[0],
            "total": lambda a: a[0].sum(axis=0),
            "ge": lambda a: a[0] >= a[1],
            "gt": lambda a: a[0] > a[1],
        }[i.op](a)
        assert values[i.out].min() >= ranges[i.out].low
        assert values[i.out].max() <= ranges[i.out].high
