"""The laws of compilation, over every shape of network: folds change nothing, integers are one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import (
    chain,
    chip_for,
    inputs_for,
    linear,
    neuron_names,
    neurons,
    sdtcm,
    spiking_ssm,
)

from neurodeploy.backends.simulator import simulate
from neurodeploy.errors import FitError, InputError
from neurodeploy.graph.interpret import interpret, run
from neurodeploy.graph.ir import Add, Affine, BatchNorm, Graph, Input, Neurons, Node
from neurodeploy.graph.rules import check
from neurodeploy.neurons import SPECS
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.lowerable import Lowerable
from neurodeploy.passes.pipeline import compile_graph, fold, folds
from neurodeploy.passes.verify import compare_graphs, unit
from neurodeploy.program.ir import Vector, edges
from neurodeploy.program.limits import current_bounds
from neurodeploy.program.reference import execute, read, to_integers
from neurodeploy.program.synapses import Tap
from neurodeploy.targets import target

SHAPES = list(
    product(("pre", "post", None), (False, True), (False, True), ("mean", "sum", "last", "steps"))
)
VARIANTS = [(spec.name, options) for spec in SPECS.values() for options in spec.variants()]
every_shape = pytest.mark.parametrize(("norm", "outer", "bidirectional", "readout"), SHAPES)


@every_shape
def test_every_fold_keeps_every_membrane_and_spike(norm, outer, bidirectional, readout):
    rng = np.random.default_rng(1)
    graph = sdtcm(rng, norm=norm, outer=outer, bidirectional=bidirectional, readout=readout)
    x = inputs_for(rng, graph)
    names, spikes = neuron_names(graph), 0
    for step in folds():
        after = check(step(graph))
        verdict = compare_graphs(graph, after, x, step)
        assert verdict.membrane_error < 1e-9
        assert verdict.output_error < 1e-9
        assert verdict.flips == verdict.ties == 0
        spikes, graph = verdict.spikes, after
    assert spikes > 100
    kinds = {type(node.op) for node in graph}
    assert not kinds & {BatchNorm, Affine, Neurons}
    assert all(graph[name].op.amplitude == 1 for name in names)


@every_shape
def test_lowering_keeps_the_function(norm, outer, bidirectional, readout):
    rng = np.random.default_rng(2)
    graph = fold(sdtcm(rng, norm=norm, outer=outer, bidirectional=bidirectional, readout=readout))
    x = inputs_for(rng, graph)
    np.testing.assert_allclose(interpret(Lowerable()(graph), x), interpret(graph, x), rtol=1e-9)


@every_shape
@pytest.mark.parametrize("name", ["asic45", "loihi2"])
def test_the_simulator_is_the_reference_bit_for_bit(norm, outer, bidirectional, readout, name):
    if bidirectional and name == "loihi2":
        return  # refused: tests/unit/test_limits.py
    rng = np.random.default_rng(3)
    graph = sdtcm(rng, norm=norm, outer=outer, bidirectional=bidirectional, readout=readout)
    x = inputs_for(rng, graph)
    program = compile_graph(graph, target(name), calibration=x[:, :2] * 0.6).program
    assert_simulator_is_reference(program, x)


def assert_simulator_is_reference(program, x):
    whole, clipped = to_integers(program.source, x)
    done = execute(program, whole)
    names = [node.name for node in program]
    got = simulate(program, x, record=names, states=True)
    for name in names:
        np.testing.assert_array_equal(got.values[name], done.values[name], err_msg=name)
    for name, state in done.states.items():
        np.testing.assert_array_equal(got.states[name], state, err_msg=name)
    integers, outputs = read(program.readout, done.values[program.readout.source])
    np.testing.assert_array_equal(got.integers, integers)
    np.testing.assert_array_equal(got.outputs, outputs)
    counted = {node.name: node.overflows for node in got.nodes if node.spec != "stream"}
    assert counted == done.overflows
    assert got.clipped_inputs == clipped
    bounds = current_bounds(program)
    bounds |= {n.name: (n.low, n.high) for n in program if isinstance(n, Vector)}
    for name, (low, high) in bounds.items():
        if name not in done.states:
            assert np.all(done.values[name] >= low)
            assert np.all(done.values[name] <= high)


LAYERS = st.lists(
    st.sampled_from(
        [(spec.name, options) for spec in SPECS.values() for options in spec.variants()]
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    layers=LAYERS,
    width=st.sampled_from([1, 5]),
    readout=st.sampled_from(["mean", "sum", "last", "steps"]),
    spiking=st.booleans(),
    norm=st.booleans(),
    steps=st.sampled_from([1, 2, 17]),
    samples=st.sampled_from([0, 1, 3]),
    name=st.sampled_from(["asic45", "loihi2"]),
    bits=st.sampled_from([2, 5, 8]),
)
def test_any_chain_folds_and_simulates_exactly(
    seed, layers, width, readout, spiking, norm, steps, samples, name, bits
):
    rng = np.random.default_rng(seed)
    graph = chain(rng, layers, width=width, readout=readout, spiking=spiking, norm=norm)
    x = inputs_for(rng, graph, steps=max(steps, 2))
    for step in folds():
        after = check(step(graph))
        compare_graphs(graph, after, x, step)
        graph = after
    program = compile_graph(graph, chip_for(layers, name), calibration=x, bits=bits).program
    assert_simulator_is_reference(program, inputs_for(rng, graph, steps=steps, samples=samples))


def test_integers_follow_the_float_model():
    """On a network with margins, 8 bits reproduce nearly every spike; 2 bits clearly do not."""
    rng = np.random.default_rng(5)
    graph = sdtcm(rng, width=16)
    x = inputs_for(rng, graph, steps=80, samples=8)
    names = neuron_names(graph)
    _, spikes, _ = run(graph, x, names)

    def agreement(bits):
        program = compile_graph(graph, target("asic45"), calibration=x, bits=bits).program
        got = simulate(program, x, record=names)
        return np.mean([np.mean((spikes[n] != 0) == (got.values[n] != 0)) for n in names])

    assert agreement(8) > 0.98
    assert agreement(14) > agreement(8)
    assert agreement(2) < agreement(8) - 0.02


def test_a_program_is_the_same_however_it_is_chunked_or_threaded(monkeypatch):
    rng = np.random.default_rng(6)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph, samples=7)
    program = compile_graph(graph, target("asic45"), calibration=x).program
    whole = simulate(program, x)
    monkeypatch.setattr("neurodeploy.backends.simulator.run._PIECE", 1)
    monkeypatch.setattr("neurodeploy.kernels.threads._SMALL", 1)
    monkeypatch.setenv("NEURODEPLOY_THREADS", "3")
    parts = simulate(program, x)
    np.testing.assert_array_equal(parts.integers, whole.integers)
    assert parts.edges == whole.edges
    assert parts.nodes == whole.nodes


def test_interpretation_is_the_same_compiled_or_by_step():
    rng = np.random.default_rng(7)
    graph = sdtcm(rng, bidirectional=True)
    x = inputs_for(rng, graph)
    np.testing.assert_array_equal(interpret(graph, x), interpret(graph, x, compiled=False))


def test_units_translate_membranes_back():
    """A folded membrane times its unit is the published one."""
    rng = np.random.default_rng(8)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph)
    folded = fold(graph)
    names = neuron_names(graph)
    _, _, before = run(graph, x, names)
    _, _, after = run(folded, x, names)
    for name in names:
        np.testing.assert_allclose(
            unit(folded, name) * after[name], unit(graph, name) * before[name], rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("with_data", [True, False])
def test_calibration_covers_what_is_reached(with_data):
    rng = np.random.default_rng(9)
    graph = fold(sdtcm(rng, readout="sum"))
    x = np.clip(inputs_for(rng, graph, samples=20), -1, 1)
    ranges = Calibrate(x if with_data else None)(graph).ranges
    _, values, membranes = run(graph, x, [node.name for node in graph])
    for name, value in values.items():
        assert np.all(value.reshape(-1, value.shape[-1]) <= ranges[name].high + 1e-9)
        assert np.all(value.reshape(-1, value.shape[-1]) >= ranges[name].low - 1e-9)
    for name, membrane in membranes.items():
        assert np.all(np.abs(membrane).max(axis=(0, 1)) <= ranges[name].peak + 1e-9)


@pytest.mark.parametrize("with_data", [True, False])
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_no_register_leaves_what_calibration_covers(name, options, with_data):
    """With the inputs that calibration saw, or any within its bounds, nothing saturates."""
    if SPECS[name].tables and not with_data:
        return  # its bound is that of the slowest pole, and no more than an estimate
    rng = np.random.default_rng(16)
    graph = fold(chain(rng, [(name, options)], width=8))
    signs = np.sign(rng.normal(size=(3, 4, 3)))
    x = np.concatenate([signs.repeat(9, axis=0), rng.uniform(-1, 1, (11, 4, 3))])
    ranges, reach = Calibrate(x if with_data else None)(graph).ranges, {}
    run(graph, x, watch=lambda name, value, top: reach.update({name: top}))
    for node in neuron_names(graph):
        peak = reach[node]
        assert np.all(peak <= ranges[node].peak + 1e-9)
    chip = chip_for([(name, options)], "loihi2")
    program = compile_graph(graph, chip, calibration=x if with_data else None).program
    assert not any(execute(program, to_integers(program.source, x)[0]).overflows.values())


@pytest.mark.parametrize("where", ["weight", "bias", "dt", "theta", "v_th", "gamma", "amplitude"])
def test_every_constant_reaches_the_integers(where):
    """Change one constant by 10 % (a weight, a threshold, …): the compiled network changes."""
    rng = np.random.default_rng(10)
    graph = sdtcm(rng, blocks=1, width=4)
    x = inputs_for(rng, graph)
    changed = _changed(graph, where)
    outputs = [
        simulate(compile_graph(g, target("asic45"), calibration=x).program, x).outputs
        for g in (graph, changed)
    ]
    assert not np.array_equal(*outputs)


def _changed(graph, where):
    names = {
        "weight": "blocks.0.linear1",
        "bias": "encoder",
        "gamma": "blocks.0.norm",
        "amplitude": "blocks.0.sn",
    }
    name = names.get(where, "blocks.0.tn")
    op = graph[name].op
    if where in ("dt", "theta", "v_th"):
        return graph.replace(name, replace(op, params={**op.params, where: op.params[where] * 1.1}))
    return graph.replace(name, replace(op, **{where: getattr(op, where) * 1.1}))


def test_spikes_of_amplitude_zero_say_nothing():
    rng = np.random.default_rng(11)
    graph = chain(rng, [("lif", {"amplitude": 0.0})], readout="sum")
    x = inputs_for(rng, graph)
    np.testing.assert_allclose(interpret(fold(graph), x), interpret(graph, x), rtol=1e-12)


def test_a_membrane_added_to_its_own_stream_is_refused_by_name():
    rng = np.random.default_rng(12)
    nodes = (
        Node("input", Input(3)),
        Node("f", linear(rng, 4, 3), ("input",)),
        Node("i", linear(rng, 4, 4), ("f",)),
        Node("g", neurons(rng, "li", 4), ("i",)),
        Node("h", linear(rng, 4, 4), ("g",)),
        Node("sum", Add(), ("f", "h")),
    )
    graph = Graph(nodes, "sum")
    with pytest.raises(InputError, match="added to the very stream that drives it") as caught:
        compile_graph(graph, target("asic45"), calibration=inputs_for(rng, graph))
    assert caught.value.where == 'node "g"'


@pytest.mark.parametrize("model", ["li", "s4d"])
@pytest.mark.parametrize("last", ["n", "out"])
def test_a_membrane_behind_a_gain_keeps_its_size(last, model):
    rng = np.random.default_rng(13)
    gain = np.array([2.0, -3.0, 0.5, 0.0])
    nodes = [Node("input", Input(4)), Node("n", neurons(rng, model, 4, gain=gain), ("input",))]
    nodes += [Node("out", linear(rng, 2, 4), ("n",))] if last == "out" else []
    graph = check(Graph(tuple(nodes), last))
    x = inputs_for(rng, graph)
    want = interpret(graph, x)
    np.testing.assert_allclose(interpret(fold(graph), x), want, atol=1e-9)
    program = compile_graph(graph, target("asic45"), calibration=x, bits=12).program
    np.testing.assert_allclose(simulate(program, x).outputs, want, atol=0.02 * np.abs(want).max())


@pytest.mark.parametrize("name", ["asic45", "loihi2"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", ["mean", "steps"])
def test_state_spaces_drive_neurons_one_to_one(name, bidirectional, readout):
    """Exactly simulated, within a per cent of the float model, and without synapses between."""
    if bidirectional and name == "loihi2":
        return  # refused: a layer would run backwards
    rng = np.random.default_rng(13)
    graph = spiking_ssm(rng, bidirectional=bidirectional, readout=readout)
    x = inputs_for(rng, graph, steps=60, size=1.0)
    program = compile_graph(graph, target(name), calibration=x, verify=True).program
    assert_simulator_is_reference(program, x)
    between = [
        e for node in ("lif", "both") if node in names_of(program) for e in edges(program[node])
    ]
    assert all(isinstance(edge, Tap) for edge in between)
    _, values = interpret(graph, x, ["s4d", "lif"])
    got = simulate(program, x, record=["s4d", "lif"])
    level = got.values["s4d"] * program["s4d"].unit
    assert np.abs(level - values["s4d"]).max() < 0.02 * np.abs(values["s4d"]).max()
    assert np.mean(values["lif"] == got.values["lif"]) > 0.99
    assert 0.05 < values["lif"].mean() < 0.95
    assert all(node.overflows == 0 for node in got.nodes)


def names_of(program):
    return [node.name for node in program]


def test_summed_state_spaces_have_one_unit():
    rng = np.random.default_rng(14)
    graph = spiking_ssm(rng, bidirectional=True)
    x = inputs_for(rng, graph)
    program = compile_graph(graph, target("asic45"), calibration=x).program
    np.testing.assert_array_equal(program["s4d"].unit, program["back"].unit)
    np.testing.assert_array_equal(program["s4d"].unit, program["both"].unit)


def test_modes_are_counted_and_stored():
    rng = np.random.default_rng(15)
    graph = spiking_ssm(rng)
    x = inputs_for(rng, graph)
    program = compile_graph(graph, target("loihi2"), calibration=x).program
    node = program["s4d"]
    assert node.modes == 3
    assert node.register_bits == 2 * 3 * 24
    assert {word.form for word in node.words.values()} == {"plain"}
    assert node.constant_bits() == (4 * 3 + 1) * 13
    counts = {item.name: item.per_update for item in simulate(program, x).nodes}
    assert counts["s4d"]["mul"] == 6 * 3 + 1
    assert counts["s4d"]["add"] == 4 * 3 + (3 - 1) + 1 + bool(np.any(node.bias))


def test_a_mode_that_no_longer_decays_is_refused_by_name():
    rng = np.random.default_rng(16)
    graph = spiking_ssm(rng)
    op = graph["s4d"].op
    slow = {"a_re": np.full((3, 5), 1 - 1e-9), "a_im": np.zeros((3, 5))}
    graph = graph.replace("s4d", replace(op, params={**op.params, **slow}))
    with pytest.raises(FitError, match=r"the decay rounds to 1\.0 in 5 of 5 channels") as caught:
        compile_graph(graph, target("loihi2"), calibration=inputs_for(rng, graph))
    assert caught.value.where == 'population "s4d"'
