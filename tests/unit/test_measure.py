"""Calibration in parts: the same ranges, whatever the length of a part; tokens stay ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.networks import TABLE_STEPS, chain, distinct, inputs_for, sdtcm, spiking_ssm

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.graph.interpret import Carry, comes_in_parts, interpret, run
from neurodeploy.graph.ir import Graph, Input, Node
from neurodeploy.neurons import SPECS
from neurodeploy.passes import measure
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.pipeline import fold
from neurodeploy.tokens import Tokens, one_hot, tokens


def ranges_of(graph, x, monkeypatch, part):
    monkeypatch.setattr(measure, "_PART", part)
    return Calibrate(x)(graph).ranges


def assert_same(ranges, others):
    assert list(ranges) == list(others)
    for name, seen in ranges.items():
        assert seen.whole == others[name].whole
        for key in ("low", "high", "peak"):
            close = {"rtol": 1e-12, "atol": 1e-12, "err_msg": f"{name} {key}"}
            np.testing.assert_allclose(getattr(others[name], key), getattr(seen, key), **close)


@pytest.mark.parametrize(("name", "options"), distinct(), ids=str)
def test_parts_of_a_sequence_give_its_ranges(name, options, monkeypatch):
    """Every neuron, tables and modes among them; parts of one step, and of a few."""
    rng = np.random.default_rng(4)
    graph = fold(chain(rng, [(name, options), (name, options)]))
    x = inputs_for(rng, graph, steps=TABLE_STEPS, samples=3)
    whole = ranges_of(graph, x, monkeypatch, 1 << 30)
    for steps in (1, 7):
        assert_same(whole, ranges_of(graph, x, monkeypatch, 3 * 5 * steps))


def mapped(rng):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 6), torch.nn.LayerNorm(6), torch.nn.GELU(), torch.nn.GLU(-1)]
    return nd.trace(torch.nn.Sequential(*layers, nd.nn.LIF(3), nd.nn.Readout("last")))


@pytest.mark.parametrize(
    "make",
    [
        *(
            lambda rng, kind=kind: sdtcm(rng, readout=kind)
            for kind in ("mean", "sum", "last", "steps")
        ),
        lambda rng: sdtcm(rng, bidirectional=True),
        spiking_ssm,
        lambda rng: chain(rng, [("lif", {"recurrent": True})]),
        mapped,
    ],
)
def test_every_readout_and_layer_gives_the_same_ranges_in_parts(make, monkeypatch):
    rng = np.random.default_rng(5)
    graph = fold(make(rng))
    x = inputs_for(rng, graph, steps=29, samples=20)
    whole = ranges_of(graph, x, monkeypatch, 1 << 30)
    assert_same(whole, ranges_of(graph, x, monkeypatch, 200))
    assert max(seen.peak.max() for seen in whole.values()) > 0


def test_what_needs_a_whole_sequence_is_known():
    rng = np.random.default_rng(6)
    assert comes_in_parts(sdtcm(rng))
    assert not comes_in_parts(sdtcm(rng, bidirectional=True))
    assert not comes_in_parts(chain(rng, [("lif", {"recurrent": True})]))
    assert not comes_in_parts(nd.trace(torch.nn.Sequential(torch.nn.LSTM(2, 3), nd.nn.LIF(3))))


def test_a_carried_run_goes_on_and_knows_how_long_it_was():
    rng = np.random.default_rng(7)
    graph = chain(rng, [("celif", {})], readout="mean")
    x, carry = inputs_for(rng, graph, steps=TABLE_STEPS), Carry()
    for first in range(0, TABLE_STEPS, 13):
        output, _, _ = run(graph, x[first : first + 13], carry=carry)
    np.testing.assert_allclose(output, interpret(graph, x), rtol=1e-12)
    with pytest.raises(InputError, match="65 steps is longer than the table"):
        run(graph, x[:1], carry=carry)


IDS = np.array([[[2], [0]], [[-1], [4]], [[2], [2]]])


def embedded(rng):
    torch.manual_seed(1)
    layers = [nd.nn.Embedding(5, 4), torch.nn.Linear(4, 3), nd.nn.LIF(3), nd.nn.Readout("sum")]
    return nd.trace(torch.nn.Sequential(*layers))


def test_ids_mean_what_their_spikes_mean():
    graph = embedded(None)
    spikes = one_hot(IDS, 5)
    output, seen = interpret(graph, IDS, ["input", graph.nodes[1].name])
    want, kept = interpret(graph, spikes, ["input", graph.nodes[1].name])
    np.testing.assert_array_equal(output, want)
    for name, value in kept.items():
        np.testing.assert_array_equal(seen[name], value)
    np.testing.assert_array_equal(seen["input"], spikes)
    alone = Graph((Node("input", Input(5, True, True)),), "input")
    np.testing.assert_array_equal(interpret(alone, IDS), spikes)


def test_ids_calibrate_as_their_spikes_do(monkeypatch):
    graph = fold(embedded(None))
    spikes = ranges_of(graph, one_hot(IDS, 5), monkeypatch, 1 << 30)
    assert_same(spikes, ranges_of(graph, IDS, monkeypatch, 1 << 30))
    assert_same(spikes, ranges_of(graph, IDS, monkeypatch, 8))
    low, high = spikes["input"].low, spikes["input"].high
    assert (low.tolist(), high.tolist()) == ([0, 0, 0, 0, 0], [1, 0, 1, 0, 1])
    constant = ranges_of(graph, np.full((3, 2, 1), 3), monkeypatch, 1 << 30)["input"]
    assert constant.low.tolist() == [0, 0, 0, 1, 0]


def test_tokens_are_cut_and_multiplied_as_spikes_are():
    found, weight = tokens(IDS, 5), np.random.default_rng(8).normal(size=(3, 5))
    assert isinstance(found, Tokens)
    assert (found.shape, len(found)) == ((3, 2, 5), 3)
    np.testing.assert_array_equal(found.times(weight), one_hot(IDS, 5) @ weight.T)
    single = weight.astype(np.float32)
    np.testing.assert_array_equal(found.times(single), one_hot(IDS, 5) @ single.T.astype(float))
    np.testing.assert_array_equal(found[1:, :1].one_hot(), one_hot(IDS, 5)[1:, :1])
    assert tokens(one_hot(IDS, 5), 5) is None
    with pytest.raises(InputError, match="nan is no token"):
        tokens(np.full((1, 1, 1), np.nan), 5)


def test_every_model_is_measured_here():
    assert {name for name, _ in distinct()} == set(SPECS)
