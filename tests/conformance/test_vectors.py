"""The laws of vector operations: one meaning in float64, one in integers, and how far they part."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import onnxruntime
import pytest
import torch
from conformance.test_passes import assert_simulator_is_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import inputs_for
from support.vectors import KINDS, network

import neurodeploy as nd
from neurodeploy.backends.onnx.program import write
from neurodeploy.errors import FitError, InputError
from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.nonlinear import Gelu
from neurodeploy.passes.pipeline import compile_graph, fold
from neurodeploy.program.io import read as read_program
from neurodeploy.program.ir import Vector
from neurodeploy.program.reference import execute, read, to_integers
from neurodeploy.program.text import program_text
from neurodeploy.reports.energy import energy
from neurodeploy.reports.text import run_text
from neurodeploy.targets import prices, target

ASIC = target("asic45")
NETWORKS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)


def assert_onnx_is_reference(program, x, path):
    write(program, path)
    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"input": x}), strict=True))
    done = execute(program, to_integers(program.source, x)[0])
    whole, real = read(program.readout, done.values[program.readout.source])
    np.testing.assert_array_equal(found["output_integers"], whole)
    np.testing.assert_array_equal(found["output"], real)
    for node in program:
        if isinstance(node, Vector):
            np.testing.assert_array_equal(found[f"{node.name}/values"], done.values[node.name])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    kinds=NETWORKS,
    width=st.sampled_from([1, 5, 8]),
    residual=st.booleans(),
    readout=st.sampled_from(["mean", "sum", "last", "steps"]),
    spiking=st.booleans(),
    steps=st.sampled_from([1, 9]),
    bits=st.sampled_from([2, 5, 8]),
    silent=st.booleans(),
)
def test_any_network_folds_and_is_the_same_everywhere(
    tmp_path_factory, seed, kinds, width, residual, readout, spiking, steps, bits, silent
):
    rng = np.random.default_rng(seed)
    how = {"residual": residual, "readout": readout, "spiking": spiking}
    graph = network(rng, kinds, width=width, **how)
    x = inputs_for(rng, graph, steps=12)
    np.testing.assert_allclose(interpret(fold(graph), x), interpret(graph, x), rtol=1e-7, atol=1e-9)
    program = compile_graph(graph, ASIC, calibration=x, bits=bits).program
    again = inputs_for(rng, graph, steps=steps, size=0.0 if silent else 9.0)
    assert_simulator_is_reference(program, again)
    if len(kinds) <= 2:
        assert_onnx_is_reference(program, again, tmp_path_factory.mktemp("v") / "p.onnx")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_every_pair_of_kinds_follows_the_float_graph(first, kind, residual):
    """Node by node, on what calibration saw; ternary values may flip where x is near t."""
    rng = np.random.default_rng(KINDS.index(kind) + 10 * KINDS.index(first))
    graph = network(rng, [first, kind], width=6, residual=residual)
    x = inputs_for(rng, graph, steps=30, samples=8, size=1.0)
    compiled = compile_graph(graph, ASIC, calibration=x, verify=True)
    vectors = [node for node in compiled.program if isinstance(node, Vector)]
    names = [node.name for node in vectors]
    _, want = interpret(compiled.graph, x, names)
    got = nd.simulate(compiled.program, x, record=names).values
    noise = 0.25 if "ternary" in first + kind else 0.06
    for node in vectors:
        exact = want[node.name]
        error = np.sqrt(np.mean((got[node.name] * node.unit - exact) ** 2))
        assert error <= noise * np.sqrt(np.mean(exact**2)), node.name


def mlp(*layers, inputs=20, seed=0):
    """Return a torch network of these layers between Linears, and inputs for it."""
    torch.manual_seed(seed)
    widths = [inputs, *[24] * len(layers)]
    parts = []
    for width, layer in zip(widths, layers, strict=False):
        parts += [torch.nn.Linear(width, 24), layer(24)]
    model = torch.nn.Sequential(*parts, nd.nn.Readout("mean"), torch.nn.Linear(24, 4))
    return model.double().eval(), np.random.default_rng(seed).normal(size=(10, 40, inputs))


def relu(width):
    return torch.nn.ReLU()


def gsu(width):
    return torch.nn.Sequential(nd.nn.GSU(width), torch.nn.LayerNorm(width), torch.nn.GELU())


def glu(width):
    wide = torch.nn.Linear(width, 2 * width)
    return torch.nn.Sequential(torch.nn.GELU(), wide, torch.nn.GLU())


@pytest.mark.parametrize(("layer", "share"), [(relu, 0.04), (glu, 0.04), (gsu, 0.25)])
def test_eight_bits_follow_the_float_network(layer, share):
    """Closely; of ternary values some are at their threshold, and flip."""
    model, x = mlp(layer, layer)
    graph = nd.trace(model, x)
    program = nd.compile(graph, ASIC, calibration=x, verify=True)
    y, got = interpret(graph, x), nd.simulate(program, x).outputs
    assert np.abs(got - y).max() < share * np.abs(y).max()
    finer = nd.compile(graph, ASIC, calibration=x, bits=10)
    assert np.abs(nd.simulate(finer, x).outputs - y).mean() < np.abs(got - y).mean()


def test_every_constant_of_a_vector_operation_reaches_the_integers():
    model, x = mlp(gsu)
    graph = nd.trace(model, x)
    before = nd.simulate(nd.compile(graph, ASIC, calibration=x), x).integers
    norm, ternary = graph["1.1"].op, graph["1.0.ternary"].op
    for name, op in (
        ("1.1", replace(norm, gamma=norm.gamma * 1.3)),
        ("1.1", replace(norm, beta=norm.beta + 0.2)),
        ("1.1", replace(norm, eps=norm.eps + 0.5)),
        ("1.0.ternary", replace(ternary, level=0.3)),
        ("1.2", Gelu("tanh")),
    ):
        other = nd.simulate(nd.compile(graph.replace(name, op), ASIC, calibration=x), x).integers
        assert not np.array_equal(other, before), name


def test_a_gsu_multiplies_by_no_weight_behind_ternary_values_and_weights():
    model, x = mlp(gsu, gsu)
    program = nd.compile(nd.trace(model, x), ASIC, calibration=x)
    run = nd.simulate(program, x)
    product = [edge for edge in run.edges if edge.target in ("1.0", "3.0")]
    assert [edge.kind for edge in product] == ["add"] * 4
    assert sorted(edge.weight_bits for edge in product) == [2, 2, 8, 8]
    signs = [edge for edge in program["1.0"].edges if np.abs(edge.weight).max() == 1]
    assert [edge.weight_bits for edge in signs] == [2]
    assert {edge.kind for edge in run.edges if edge.target == "2"} <= {"mac"}


def test_membranes_in_front_of_a_gsu_get_one_unit():
    """So that its branches still only add: one multiply a channel, in front of both."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 16), nd.nn.LI(16, beta=0.8), nd.nn.GSU(16), torch.nn.LayerNorm(16)]
    model = torch.nn.Sequential(*layers, nd.nn.Readout("mean"), torch.nn.Linear(16, 3))
    x = np.random.default_rng(0).normal(size=(20, 10, 6))
    graph = nd.trace(model.double().eval(), x)
    program = nd.compile(graph, ASIC, calibration=x)
    assert_simulator_is_reference(program, x)
    rescaled = program["1.rescaled"]
    assert (rescaled.kind, rescaled.low, rescaled.high) == ("rescale", -127, 127)
    assert len(np.unique(program["1"].unit)) > 1
    run = nd.simulate(program, x)
    assert {edge.kind for edge in run.edges if edge.target == "2"} == {"add"}
    np.testing.assert_array_equal(program["2.ternary"].gain, 1)
    error = np.abs(run.outputs - interpret(graph, x)).max()
    assert error < 0.15 * np.abs(run.outputs).max()


def test_operations_are_counted_and_what_has_no_price_is_named():
    model, x = mlp(gsu)
    program = nd.compile(nd.trace(model, x), ASIC, calibration=x)
    run = nd.simulate(program, x)
    counts = {node.name: node for node in run.nodes}
    norm = counts["1.1"]
    assert norm.updates == 10 * 40 * 24
    assert norm.per_update["sqrt"] * norm.updates == pytest.approx(10 * 40)
    assert norm.per_update["div"] * norm.updates == pytest.approx(10 * 40)
    assert counts["1.2"].per_update["read"] == 2
    priced = energy(run, prices("horowitz45"))
    assert {"neuron_div", "neuron_sqrt"} <= set(priced.not_priced)
    assert all(
        layer.by_cause["neuron"] > 0 for layer in priced.layers if layer.name.startswith("1.")
    )
    text = run_text(run, priced, None)
    assert "neuron_div" in text
    assert "nan" not in text


def test_a_relu_network_is_priced_as_what_it_is():
    """Every value that is not zero is a multiply-accumulate, and there are no spikes."""
    model, x = mlp(relu, relu)
    run = nd.simulate(nd.compile(nd.trace(model, x), ASIC, calibration=x), x)
    weighted = [edge for edge in run.edges if edge.weight_bits > 1]
    assert {edge.kind for edge in weighted} == {"mac"}
    assert sum(edge.operations for edge in weighted) < sum(edge.dense for edge in weighted)
    assert sum(node.spikes for node in run.nodes) == 0


def test_loihi_2_refuses_all_of_them_at_once_and_says_what_to_use():
    model, x = mlp(gsu, glu)
    with pytest.raises(FitError) as caught:
        nd.compile(nd.trace(model, x), nd.target("loihi2"), calibration=x)
    rows = [r for r in caught.value.records() if "vector operation" in r["what"]]
    assert [row["where"] for row in rows] == [
        'vector "1.0.ternary" (ternary_step)',
        'vector "1.0" (product)',
        'vector "1.1" (layernorm)',
        'vector "1.2" (gelu)',
        'vector "3.0" (gelu)',
        'vector "3.2" (glu)',
    ]
    assert {row["code"] for row in rows} == {"E303"}
    assert all("BatchNorm" in row["fix"] and "asic45" in row["fix"] for row in rows)


def test_lava_refuses_them(tmp_path):
    model, x = mlp(relu)
    program = nd.compile(nd.trace(model, x), ASIC, calibration=x)
    with pytest.raises(FitError, match="Lava has no process for relu"):
        nd.emit(program, tmp_path / "p", backend="lava")


def test_a_program_with_them_is_stored_whole(tmp_path):
    rng = np.random.default_rng(0)
    graph = network(rng, KINDS, width=4)
    x = inputs_for(rng, graph)
    program = nd.compile(graph, ASIC, calibration=x)
    nd.emit(program, tmp_path / "a")
    again = read_program(tmp_path / "a")
    np.testing.assert_array_equal(nd.simulate(again, x).integers, nd.simulate(program, x).integers)
    for node in program:
        if isinstance(node, Vector):
            for field in fields(Vector):
                mine, other = getattr(node, field.name), getattr(again[node.name], field.name)
                if field.name in ("edges", "params"):
                    assert len(mine) == len(other)
                else:
                    np.testing.assert_array_equal(mine, other)
            for key, value in node.params.items():
                np.testing.assert_array_equal(again[node.name].params[key], value)
                assert f"    {key} = " in program_text(program)


def test_saturated_values_are_counted():
    rng = np.random.default_rng(0)
    graph = network(rng, ["gelu", "layernorm", "glu"], width=6)
    x = inputs_for(rng, graph, steps=20)
    program = nd.compile(graph, ASIC, calibration=x)
    assert sum(node.overflows for node in nd.simulate(program, x).nodes) == 0
    narrow = [
        replace(node, low=node.low // 8, high=node.high // 8, limit=node.limit // 8)
        if isinstance(node, Vector)
        else node
        for node in program
    ]
    program = replace(program, nodes=tuple(narrow))
    assert_simulator_is_reference(program, x)
    lost = {node.name: node.overflows for node in nd.simulate(program, x).nodes}
    assert min(lost[name] for name in ("0.gelu", "1.layernorm", "2.glu")) > 0


def test_bounds_instead_of_data_compile_too():
    rng = np.random.default_rng(1)
    graph = network(rng, KINDS, width=4)
    program = nd.compile(graph, ASIC)
    x = np.clip(inputs_for(rng, graph), -1, 1)
    assert_simulator_is_reference(program, x)
    assert all(node.overflows == 0 for node in nd.simulate(program, x).nodes)


def test_nir_says_what_it_cannot_hold(tmp_path):
    graph = network(np.random.default_rng(0), ["gelu", "layernorm"])
    with pytest.raises(InputError) as caught:
        nd.export(graph, tmp_path / "g.nir")
    whats = [record["what"] for record in caught.value.records()]
    assert whats == ["Gelu has no form in NIR", "LayerNorm has no form in NIR"]
