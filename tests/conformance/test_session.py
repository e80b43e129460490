"""The law of sessions: steps, one or some at a time, are the run of the whole sequence."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.maps import network as convolutions
from support.networks import chain, chip_for, inputs_for, sdtcm, spiking_ssm
from support.vectors import KINDS, network

import neurodeploy as nd
from neurodeploy.errors import FitError, InputError
from neurodeploy.neurons import SPECS

ASIC = nd.target("asic45")
NEURONS = [  # of each model two variants: the very first and the very last
    (spec.name, dict(options))
    for spec in SPECS.values()
    for options in {tuple(spec.variants()[i].items()): None for i in (0, -1)}
]
FORWARDS = [kind for kind in KINDS if "reverse" not in kind]


def assert_session_is_run(graph, chip=ASIC, *, steps=10, samples=3, size=3.0):
    """Spikes, states, outputs and counts: step by step, and in parts of several lengths."""
    rng = np.random.default_rng(7)
    x = inputs_for(rng, graph, steps=steps, samples=samples, size=size)
    program = nd.compile(graph, chip, calibration=inputs_for(rng, graph, samples=2))
    names = [node.name for node in program]
    session = nd.Session(program, samples, record=names)
    for ends in (range(steps + 1), (0, 1, 2, 6, 9, steps)):
        session.reset()
        for first, last in pairwise(ends):
            alone = last - first == 1
            answer = session.step(x[first]) if alone else session.run(x[first:last])
            same(answer, nd.simulate(program, x[:last], record=names), last - first)
        whole = nd.simulate(program, x, states=True)
        assert session.states.keys() == whole.states.keys()
        for name, state in whole.states.items():
            np.testing.assert_array_equal(session.states[name], state, err_msg=name)
        found = session.result()
        assert (found.steps, found.samples) == (steps, samples)
        assert (found.edges, found.nodes) == (whole.edges, whole.nodes)
        assert found.clipped_inputs == whole.clipped_inputs
    return whole


def same(answer, whole, steps):
    """The answer after so many steps is what a run up to there has in the end."""
    at = slice(-steps, None) if steps > 1 else -1
    for name, value in whole.values.items():
        np.testing.assert_array_equal(answer.values[name], value[at], err_msg=name)
    end = at if whole.program.readout.kind == "steps" else ...
    np.testing.assert_array_equal(answer.integers, whole.integers[end])
    if not whole.program.readout.mean:
        np.testing.assert_array_equal(answer.outputs, whole.outputs[end])


@pytest.mark.parametrize(("name", "options"), NEURONS, ids=str)
def test_every_neuron_steps_as_it_runs(name, options):
    layers = [(name, {**options, "recurrent": SPECS[name].spiking})]
    graph = chain(np.random.default_rng(1), layers, readout="mean")
    whole = assert_session_is_run(graph, chip_for([(name, options)], "asic45"))
    assert sum(whole.spikes.values()) > 10 or not SPECS[name].spiking
    assert np.all(whole.outputs != 0)


@pytest.mark.parametrize("kind", FORWARDS)
@pytest.mark.parametrize("readout", ["sum", "steps"])
def test_every_vector_operation_steps_as_it_runs(kind, readout):
    graph = network(np.random.default_rng(2), [kind, kind], residual=True, readout=readout)
    whole = assert_session_is_run(graph)
    assert np.any(whole.outputs != 0)


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "steps"])
def test_networks_step_as_they_run(readout):
    rng = np.random.default_rng(3)
    for graph in (
        sdtcm(rng, readout=readout),
        spiking_ssm(rng, readout=readout),
        convolutions(rng, readout=readout),
        convolutions(rng, readout=readout, spiking=True),
    ):
        assert_session_is_run(graph, samples=2, size=9.0)


def test_samples_and_long_parts_are_spread_and_cut(monkeypatch):
    monkeypatch.setattr("neurodeploy.backends.simulator.run._PIECE", 1)
    monkeypatch.setattr("neurodeploy.kernels.threads._SMALL", 1)
    monkeypatch.setenv("NEURODEPLOY_THREADS", "2")
    assert_session_is_run(sdtcm(np.random.default_rng(4)), samples=5)


def program_of(rng, **more):
    graph = sdtcm(rng, **more)
    return nd.compile(graph, ASIC, calibration=inputs_for(rng, graph))


def test_backward_layers_are_refused_by_name_with_a_way_out():
    program = program_of(np.random.default_rng(5), bidirectional=True)
    with pytest.raises(FitError, match="backwards in time") as caught:
        nd.Session(program)
    assert caught.value.code == "E303"
    assert 'population "blocks.0.tn_reverse"' in caught.value.where
    assert "`simulate`" in caught.value.fix


def test_one_sample_needs_no_axis():
    rng = np.random.default_rng(6)
    program = program_of(rng)
    session, other = nd.Session(program, record=["blocks.0.tn"]), nd.Session(program)
    for x in rng.normal(size=(5, 2)):
        alone, batch = session.step(x), other.step(x[None])
        assert alone.outputs.shape == (3,)
        assert alone.values["blocks.0.tn"].shape == (7,)
        np.testing.assert_array_equal(alone.outputs, batch.outputs[0])


BAD = [
    np.zeros(3),
    np.zeros((2, 2)),
    np.full((1, 2), np.nan),
    0.0,
    np.zeros((1, 2), complex),
    np.full((1, 2), "a"),
    np.full((1, 2), None),
]


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_leaves_a_session_where_it_was(bad):
    rng = np.random.default_rng(8)
    program, x = program_of(rng), rng.normal(size=(4, 1, 2))
    session = nd.Session(program)
    session.run(x[:2])
    with pytest.raises(InputError) as caught:
        session.step(bad)
    assert caught.value.code == "E106"
    assert caught.value.fix
    assert session.steps == 2
    np.testing.assert_array_equal(session.run(x[2:]).outputs, nd.simulate(program, x).outputs)


@pytest.mark.parametrize(
    ("how", "says"),
    [({"samples": 0}, "0 samples"), ({"samples": 1.5}, "1.5 samples"), ({"record": ["a"]}, "'a'")],
)
def test_sessions_of_nothing_are_refused(how, says):
    with pytest.raises(InputError, match=says) as caught:
        nd.Session(program_of(np.random.default_rng(9)), **how)
    assert caught.value.code == "E105"


@pytest.mark.parametrize("run", [nd.Session, lambda graph: nd.simulate(graph, np.zeros((2, 1, 3)))])
def test_a_graph_must_be_compiled_first(run):
    with pytest.raises(InputError, match="no program") as caught:
        run(chain(np.random.default_rng(0), [("celif", {})]))
    assert caught.value.code == "E105"
    assert "nd.compile" in caught.value.fix


def test_what_are_no_spikes_is_told_where_spikes_are_read():
    """Calibrated on 0 and 1, a program rounds 0.4 to silence: it says how often."""
    spikes = np.random.default_rng(9).integers(0, 2, (6, 2, 2)).astype(float)
    program = nd.compile(sdtcm(np.random.default_rng(9)), ASIC, calibration=spikes)
    assert program.source.spiking
    x = np.zeros((6, 2, 2))
    x[:3] = (0.4, 1.0)
    x[4:, 0] = (2.0, -1.0)
    lost = 3 * 2 + 2 * 2
    assert nd.simulate(program, x).clipped_inputs == lost
    session = nd.Session(program, samples=2)
    session.run(x)
    assert session.result().clipped_inputs == lost
    assert nd.simulate(program, np.rint(x).clip(0, 1)).clipped_inputs == 0


def test_a_table_ends_a_session_as_it_ends_a_run():
    rng = np.random.default_rng(10)
    graph = chain(rng, [("celif", {})])
    program = nd.compile(graph, ASIC, calibration=inputs_for(rng, graph))
    longest = program.populations[0].longest
    session = nd.Session(program)
    session.run(np.zeros((longest, 1, 3)))
    with pytest.raises(InputError, match="longer than the table"):
        session.step(np.zeros(3))


def test_token_ids_are_inputs_of_steps():
    rng = np.random.default_rng(0)
    graph = chain(rng, [("lif", {})], inputs=7, spiking=True)
    graph = graph.replace("input", replace(graph.input.op, tokens=True))
    ids = rng.integers(-1, 7, (9, 2, 1))
    program = nd.compile(graph, ASIC, calibration=ids)
    session = nd.Session(program, 2)
    answers = [session.step(each) for each in ids]
    np.testing.assert_array_equal(answers[-1].outputs, nd.simulate(program, ids).outputs)
    assert np.any(answers[-1].outputs != 0)


def test_latency_is_of_steps_and_in_order():
    session = nd.Session(program_of(np.random.default_rng(11)))
    assert session.latency.steps == 0
    for _ in range(30):
        session.step(np.zeros(2))
    session.run(np.zeros((5, 1, 2)))
    found = session.latency
    assert found.steps == 30
    assert 0 < found.p50_s <= found.p90_s <= found.p99_s <= found.max_s < 1
