"""Graphs as NIR files: which primitives stand for what, and what stock readers make of them."""

from __future__ import annotations

import sys
from dataclasses import replace

import h5py
import nir
import numpy as np
import pytest
from support.euler import simulate
from support.networks import chain, distinct, inputs_for, neurons, sdtcm

from neurodeploy.api import export
from neurodeploy.backends.nir.graph import exported_form, write
from neurodeploy.errors import InputError, NeurodeployError, ToolError
from neurodeploy.frontends import nir_child, nir_walk
from neurodeploy.frontends.nir import read
from neurodeploy.graph.forms.nir_neurons import STEP_S, has_form
from neurodeploy.graph.interpret import interpret, run
from neurodeploy.graph.ir import (
    Add,
    Affine,
    Concat,
    Graph,
    Input,
    Linear,
    Node,
    Reduce,
    identical,
)
from neurodeploy.passes.pipeline import fold


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: hundreds of children would take minutes."""
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "g.nir"


def single(name, width=3, **options):
    """One population behind the input."""
    rng = np.random.default_rng(3)
    op = neurons(rng, name, width, **options)
    return Graph((Node("x", Input(width)), Node("n", op, ("x",))), "n")


def written(graph, path, **more):
    write(graph, path, **more)
    assert identical(read(path), exported_form(graph))
    return nir.read(path)


def types(graph):
    return {name: type(node).__name__ for name, node in graph.nodes.items()}


def test_prf_is_a_rotation_of_two_leaky_integrators(path):
    graph = single("prf")
    inner = written(graph, path).nodes["n"]
    op = graph["n"].op
    coefs = op.model.fold(op.model.params(**op.params), op.options, np)
    assert types(inner) == {
        "input": "Input",
        "re": "LI",
        "im": "LI",
        "re_to_im": "Scale",
        "im_to_re": "Scale",
        "spikes": "Threshold",
        "output": "Output",
    }
    np.testing.assert_allclose(1 - STEP_S / inner.nodes["re"].tau, coefs.c, rtol=1e-9)
    np.testing.assert_allclose(inner.nodes["re"].r, inner.nodes["re"].tau / STEP_S, rtol=1e-12)
    np.testing.assert_array_equal(inner.nodes["re_to_im"].scale, coefs.d)
    np.testing.assert_array_equal(inner.nodes["im_to_re"].scale, -coefs.d)
    metadata = inner.metadata["neurodeploy"]
    assert metadata["model"] == "prf"
    assert metadata["options"] == '{"compare": ">="}'
    for name, value in op.params.items():
        np.testing.assert_array_equal(metadata[f"params.{name}"], value)


def test_hard_reset_is_the_stock_neuron_at_gain_one(path):
    graph = single("lif", reset="hard", compare=">")
    node = written(graph, path).nodes["n"]
    assert isinstance(node, nir.LIF)
    params = graph["n"].op.params
    np.testing.assert_allclose(1 - STEP_S / node.tau, params["beta"], rtol=1e-9)
    np.testing.assert_allclose(node.r * STEP_S / node.tau, 1)
    np.testing.assert_array_equal(node.v_threshold, params["v_th"] / params["gain"])
    np.testing.assert_array_equal(node.v_reset, params["v_reset"] / params["gain"])


def test_soft_reset_is_never_a_plain_lif(path):
    inner = written(single("lif", reset="soft"), path).nodes["n"]
    assert sorted(types(inner).values()) == ["Input", "LI", "Output", "Scale", "Threshold"]
    assert ("spikes", "reset") in inner.edges
    assert ("reset", "v") in inner.edges


def test_the_other_models_are_the_primitives_they_are(path):
    assert types(written(single("spatial"), path))["n"] == "Threshold"
    assert types(written(single("li"), path))["n"] == "LI"
    assert types(written(single("li", leak=False), path))["n"] == "I"
    inner = written(single("lif", reset="none"), path).nodes["n"]
    assert sorted(types(inner).values()) == ["Input", "LI", "Output", "Threshold"]


@pytest.mark.parametrize("reset", ["soft", "none", "hard"])
@pytest.mark.parametrize("beta", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.5, 1.0]])
def test_channels_that_do_not_decay(reset, beta, path):
    graph = single("lif", reset=reset)
    op = graph["n"].op
    graph = graph.replace("n", replace(op, params={**op.params, "beta": np.array(beta)}))
    if reset == "hard" and len(set(beta)) > 1:
        with pytest.raises(InputError, match="1 of 3 channels have beta = 1") as caught:
            write(graph, path)
        assert caught.value.code == "E108"
        assert caught.value.where == 'node "n"'
        return
    stock = written(graph, path)
    x = inputs_for(np.random.default_rng(0), graph, size=1.0)
    found = simulate(stock, x)["output"]
    np.testing.assert_array_equal(found, interpret(graph, x))


@pytest.mark.parametrize("compare", [">", ">="])
@pytest.mark.parametrize("name", ["spatial", "lif", "prf"])
def test_exact_ties_are_decided_as_the_model_says(compare, name, path):
    """NIR fires at > only; >= stands as the next smaller threshold."""
    graph = single(name, compare=compare, **({"reset": "hard"} if name == "lif" else {}))
    op = graph["n"].op
    tie = {"dt": 1.0, "v_th": 1.0, "beta": 0.5, "gain": 1.0, "v_reset": 0.0}
    params = {k: np.full(3, tie[k]) if k in tie else v for k, v in op.params.items()}
    graph = graph.replace("n", replace(op, params=params))
    x = np.array([0.0, 1.0, 0.0])[:, None, None] * np.ones((1, 1, 3))
    expected = interpret(graph, x)
    assert bool(expected[1].all()) is (compare == ">=")
    np.testing.assert_array_equal(simulate(written(graph, path), x)["output"][1], expected[1])


def test_sums_and_concatenations_are_fan_in(path):
    rng = np.random.default_rng(0)
    nodes = (
        Node("output", Input(2)),
        Node("input", Linear(rng.normal(size=(3, 2)), np.zeros(3)), ("output",)),
        Node("cat", Concat(), ("input", "output", "input")),
        Node("cat.part0", Affine(rng.normal(size=8), rng.normal(size=8)), ("cat",)),
        Node("sum", Add(), ("cat", "cat.part0", "cat", "cat")),
    )
    graph = Graph(nodes, "sum")
    stock = written(graph, path)
    assert len(stock.edges) == len(set(stock.edges))
    x = inputs_for(rng, graph)
    np.testing.assert_allclose(simulate(stock, x)["output"], interpret(graph, x), rtol=1e-12)


@pytest.mark.parametrize("kind", ["mean", "sum", "last", "steps"])
def test_what_to_make_of_the_output_over_time_is_said(kind, path):
    rng = np.random.default_rng(0)
    graph = sdtcm(rng, readout=kind)
    if kind != "steps":
        graph = graph.replace("readout", Reduce(kind, rng.normal(size=7)))
    stock = written(graph, path)
    x = inputs_for(rng, graph)
    output = simulate(stock, x)["output"]
    said = stock.metadata["neurodeploy"]["readout"]
    found = {"mean": output.mean(axis=0), "last": output[-1], "steps": output}[said]
    np.testing.assert_allclose(found, interpret(graph, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["pre", "post", None])
@pytest.mark.parametrize("folded", [False, True])
def test_sdtcm_spikes_alike_in_a_stock_reader(norm, folded, path):
    rng = np.random.default_rng(5)
    graph = sdtcm(rng, width=16, norm=norm, outer=True)
    form = exported_form(fold(graph) if folded else graph)
    stock = written(form, path)
    x = inputs_for(rng, form, steps=80, samples=8)
    names = [node.name for node in form if hasattr(node.op, "spec")]
    _, values, _ = run(form, x, names)
    found = simulate(stock, x)
    for name in names:
        key = name if name in found else f"{name}/output"
        np.testing.assert_array_equal(found[key], values[name], err_msg=name)


def test_the_exported_form_has_no_norms_amplitudes_and_unread_nodes():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng, norm="post", bidirectional=True)
    extra = Node("unread", Affine(np.ones(2), np.ones(2)), ("scale",))
    form = exported_form(replace(graph, nodes=(*graph.nodes, extra)))
    assert "unread" not in form
    assert all(type(node.op).__name__ != "BatchNorm" for node in form)
    assert all(getattr(node.op, "amplitude", 1) == 1 for node in form)
    x = inputs_for(rng, graph)
    np.testing.assert_allclose(interpret(form, x), interpret(graph, x), rtol=1e-9)
    plain = chain(rng, [("prf", {})])
    assert identical(exported_form(plain), plain)


def test_neurons_that_run_backwards_are_an_extension(path):
    graph = sdtcm(np.random.default_rng(0), bidirectional=True)
    with pytest.raises(InputError, match="no neurons that run backwards") as caught:
        write(graph, path)
    records = caught.value.records()
    assert [item["where"] for item in records] == [
        'node "blocks.0.tn_reverse"',
        'node "blocks.1.tn_reverse"',
    ]
    assert not path.exists()
    write(graph, path, tier="extension")
    assert identical(read(path), exported_form(graph))
    with pytest.raises(AssertionError):  # the stock reader stops, rather than run them forwards
        nir.read(path)


NO_FORM = [row for row in distinct() if not has_form(*row)]


@pytest.mark.parametrize(("name", "options"), NO_FORM)
def test_models_without_a_form_are_nodes_of_our_own(name, options, path):
    graph = single(name, **options)
    for tier in ("stock", "composite"):
        with pytest.raises(InputError, match="has no form in NIR"):
            write(graph, path, tier=tier)
    write(graph, path, tier="extension")
    assert identical(read(path), exported_form(graph))
    with h5py.File(path) as file:
        assert file["node/nodes/n/type"].asstr()[()] == f"neurodeploy.{name}"
    with h5py.File(path, "a") as file:
        del file["node/metadata"]
    with pytest.raises(NeurodeployError, match=f"neurodeploy.{name}"):
        read(path)


def test_the_stock_tier_has_one_primitive_per_node(path):
    rng = np.random.default_rng(3)
    hard = {"reset": "hard", "compare": ">"}
    layers = [("lif", hard), ("cubalif", hard)]
    graph = chain(rng, layers, norm=True, readout="sum", width=2)
    write(graph, path, tier="stock")
    form = exported_form(graph, "stock")
    assert identical(read(path), form)
    x = inputs_for(rng, graph, steps=25)
    np.testing.assert_allclose(interpret(form, x), interpret(graph, x), rtol=1e-9)
    stock = nir.read(path)
    assert {"LIF", "CubaLIF"} <= set(types(stock).values())
    assert "NIRGraph" not in types(stock).values()
    for node in stock.nodes.values():
        if isinstance(node, nir.LIF | nir.CubaLIF):
            tau = node.tau if isinstance(node, nir.LIF) else node.tau_mem
            np.testing.assert_allclose(node.r, tau / STEP_S, rtol=1e-12)
    soft = graph.replace("0.neurons", single("lif", 2, reset="soft")["n"].op)
    with pytest.raises(InputError, match="no one primitive") as caught:
        write(soft, path, tier="stock")
    assert caught.value.where == 'node "0.neurons"'


def test_a_tier_is_about_nir_files(path):
    graph = single("lif")
    with pytest.raises(InputError, match="--nir is one of"):
        export(graph, path.with_suffix(".onnx"), nir="stock")
    with pytest.raises(InputError, match="--nir is one of"):
        export(graph, path, nir="whole")


def test_files_have_ends_by_name_full_shapes_and_no_slashes(path):
    stock = written(sdtcm(np.random.default_rng(0)), path)
    assert types(stock)["input"] == "Input"
    assert types(stock)["output"] == "Output"
    np.testing.assert_array_equal(stock.nodes["input"].input_type["input"], [2])
    np.testing.assert_array_equal(stock.nodes["output"].output_type["output"], [3])
    for name, node in stock.nodes.items():
        assert "/" not in name
        inner = node.nodes.values() if isinstance(node, nir.NIRGraph) else [node]
        for part in inner:
            for field in ("tau", "r", "v_leak", "threshold", "scale", "v_threshold"):
                assert np.ndim(getattr(part, field, np.zeros(1))) == 1, name
    stock.check_types()


def test_a_folded_soft_reset_that_fires_at_rest_is_refused(path):
    graph = fold(single("lif", reset="soft"))
    op = graph["n"].op
    zero = {**op.coefs, "threshold": np.zeros(3)}
    with pytest.raises(InputError, match="fire at rest") as caught:
        write(graph.replace("n", replace(op, coefs=zero)), path)
    assert caught.value.code == "E108"


def test_bytes_are_the_same_every_time(path, tmp_path):
    graph = sdtcm(np.random.default_rng(0))
    write(graph, path)
    write(graph, tmp_path / "again.nir")
    assert (tmp_path / "again.nir").read_bytes() == path.read_bytes()


def test_bad_graphs_and_places_are_refused(path, tmp_path, monkeypatch):
    graph = single("prf")
    op = graph["n"].op
    with pytest.raises(NeurodeployError) as caught:
        write(graph.replace("n", replace(op, bias=op.bias * np.nan)), path)
    assert caught.value.code == "E105"
    (tmp_path / "file").write_text("")
    with pytest.raises(NeurodeployError) as caught:
        write(graph, tmp_path / "file" / "g.nir")
    assert caught.value.code == "E110"
    assert not path.exists()
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ToolError) as caught:
        write(graph, path)
    assert caught.value.code == "E601"


def test_neurons_with_modes_are_refused_by_name(tmp_path):
    rng = np.random.default_rng(4)
    graph = chain(rng, [("s4d", {})])
    with pytest.raises(InputError, match="s4d has no form in NIR") as caught:
        write(graph, tmp_path / "g.nir")
    assert caught.value.where == 'node "0.neurons"'
