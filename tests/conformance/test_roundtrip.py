"""Laws of interchange: what is written is read back whole, and computes the same elsewhere."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import nir
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import inline, maps
from support.euler import simulate
from support.graphs import VARIANTS, first_flip_is_a_tie, graphs
from support.networks import inputs_for, neuron_names, sdtcm
from support.ort import doubles
from support.words import held

from neurodeploy.backends.nir import graph as nir_out
from neurodeploy.backends.onnx import graph as onnx_out
from neurodeploy.backends.onnx import program as onnx_program
from neurodeploy.errors import FitError, InputError
from neurodeploy.frontends import child
from neurodeploy.frontends import nir as nir_in
from neurodeploy.frontends import onnx as onnx_in
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.forms.nir import keys
from neurodeploy.graph.forms.nir_neurons import has_form
from neurodeploy.graph.interpret import interpret, run
from neurodeploy.graph.ir import Graph, Population, identical
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.reference import execute, read, to_integers
from neurodeploy.targets import target

LAW = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
IN_NIR = [(name, options) for name, options in VARIANTS if has_form(name, options)]
FEWER = settings(LAW, max_examples=60)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: hundreds of children would take minutes."""
    monkeypatch.setattr(child, "call", inline.call)


def spiking(graph):
    return [name for name in neuron_names(graph) if graph[name].op.model.spiking]


def onnx_values(path, graph, x):
    """Run a file in stock onnxruntime; return its output and those of all neurons."""
    model = onnx.load(path)
    made = {node.name: node.output[0] for node in model.graph.node}
    kind = model.graph.input[0].type.tensor_type.elem_type
    names = neuron_names(graph)
    wanted = [made[name] for name in names]
    for value in dict.fromkeys(wanted):
        if value != "output":
            info = onnx.helper.make_tensor_value_info(value, kind, None)
            model.graph.output.append(info)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    data = x.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    output, *values = session.run(["output", *wanted], {"input": data})
    return output, dict(zip(names, values, strict=True))


@given(graph=graphs())
@LAW
def test_a_record_gives_the_identical_graph(graph):
    record, arrays = to_record(graph)
    assert identical(from_record(json.loads(json.dumps(record)), arrays), graph)


@given(graph=graphs())
@LAW
def test_onnx_gives_the_identical_graph(graph, tmp_path):
    path = tmp_path / "g.onnx"
    onnx_out.write(graph, path)
    assert identical(onnx_in.read(path), graph)


@given(graph=graphs())
@FEWER
def test_nir_gives_the_identical_exported_form(graph, tmp_path):
    path = tmp_path / "g.nir"
    form = nir_out.exported_form(graph)
    nir_out.write(graph, path, tier="extension")
    assert identical(nir_in.read(path), form)
    assert identical(nir_out.exported_form(form), form)


@doubles
@given(graph=graphs(), seed=st.integers(0, 99))
@LAW
def test_float64_onnx_computes_the_same_in_onnxruntime(graph, seed, tmp_path):
    path = tmp_path / "g.onnx"
    onnx_out.write(graph, path, "float64")
    x = inputs_for(np.random.default_rng(seed), graph, steps=25)
    output, values = onnx_values(path, graph, x)
    names = neuron_names(graph)
    expected, mine, membranes = run(graph, x, names)
    others = {name: values[name] for name in spiking(graph)}
    assert first_flip_is_a_tie(graph, mine, membranes, others)
    if all(np.array_equal(mine[name] != 0, values[name] != 0) for name in others):
        size = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-9 * size)


def read_out(file, output):
    kind = file.metadata["neurodeploy"]["readout"]
    return {"mean": output.mean(axis=0), "last": output[-1], "steps": output}[kind]


def behind_a_synapse(op):
    """Whether neurons hear themselves through a synapse that is not part of a primitive."""
    return op.recurrent is not None and op.spec == "cubalif" and op.options["reset"] != "hard"


@given(graph=graphs(variants=IN_NIR, vectors=False, maps=False), seed=st.integers(0, 99))
@FEWER
def test_stock_nir_computes_the_same_by_synchronous_euler(graph, seed, tmp_path):
    form = nir_out.exported_form(graph)
    assume(not any(form[name].op.reverse for name in neuron_names(form)))
    assume(not any(behind_a_synapse(form[name].op) for name in neuron_names(form)))
    path = tmp_path / "g.nir"
    nir_out.write(graph, path)
    x = inputs_for(np.random.default_rng(seed), form, steps=25)
    stock = nir.read(path)
    found = simulate(stock, x)
    expected, mine, membranes = run(form, x, neuron_names(form))
    names = keys([(node.name, type(node.op).__name__) for node in form])
    others = {}
    for name in neuron_names(form):
        key = names[name]
        values = found[key if key in found else f"{key}/output"]
        if form[name].op.model.spiking:
            others[name] = values
    assert first_flip_is_a_tie(form, mine, membranes, others)
    if all(np.array_equal(mine[name] != 0, others[name] != 0) for name in others):
        output = read_out(stock, found["output"])
        size = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-9 * size)


MAPS = {
    "axes": st.sampled_from((1, 2)),
    "model": st.sampled_from(("lif", "cubalif")),
    "readout": st.sampled_from(("mean", "sum", "last", "steps")),
    "seed": st.integers(0, 2**32 - 1),
}


@given(**MAPS)
@settings(LAW, max_examples=25)
def test_convolutional_networks_are_stock_nir(axes, model, readout, seed, tmp_path):
    """The file gives the identical graph, and the same numbers to who knows nothing of us."""
    rng = np.random.default_rng(seed)
    graph = maps.stock(rng, axes=axes, model=model, readout=readout)
    path, form = tmp_path / "g.nir", nir_out.exported_form(graph, "stock")
    nir_out.write(graph, path, tier="stock")
    assert identical(nir_in.read(path), form)
    x = inputs_for(rng, form, steps=12)
    expected, mine, membranes = run(form, x, neuron_names(form))
    file = nir.read(path)
    assert not any(isinstance(node, nir.NIRGraph) for node in file.nodes.values())
    found = simulate(file, x)
    assert first_flip_is_a_tie(form, mine, membranes, {name: found[name] for name in mine})
    if all(np.array_equal(mine[name], found[name]) for name in mine):
        output = read_out(file, found["output"])
        np.testing.assert_allclose(
            output, expected, rtol=0, atol=1e-9 * max(1, abs(expected).max())
        )


def constants(graph):
    """Yield (where, graph with that one constant changed)."""
    for node in graph:
        for item in fields(node.op):
            value = getattr(node.op, item.name)
            if isinstance(value, np.ndarray):
                new = value + 1 if isinstance(node.op, Delay) else bumped(value)  # whole steps
                yield f"{node.name}.{item.name}", changed(graph, node, {item.name: new})
            elif isinstance(value, float):
                yield f"{node.name}.{item.name}", changed(graph, node, {item.name: value * 1.5})
            elif isinstance(value, dict):
                for key, inner in value.items():
                    if isinstance(inner, np.ndarray):
                        new = {**value, key: bumped(inner)}
                        yield f"{node.name}.{key}", changed(graph, node, {item.name: new})


def bumped(value):
    """The last number halfway to 3/4: stays in every range of a parameter."""
    new = value.copy()
    if new.size:  # a table without rows has nothing to change
        new.flat[-1] = (new.flat[-1] + 0.75) / 2
    return new


def changed(graph, node, values):
    return graph.replace(node.name, replace(node.op, **values))


@given(graph=graphs(layers=3))
@settings(LAW, max_examples=20)
def test_no_constant_is_ignored_by_onnx(graph, tmp_path):
    for where, other in constants(graph):
        if not identical(other, graph):
            try:
                onnx_out.write(other, tmp_path / "g.onnx")
            except InputError:
                continue  # outside its range: refused, not ignored
            back = onnx_in.read(tmp_path / "g.onnx")
            assert identical(back, other), where
            assert not identical(back, graph), where


@given(graph=graphs(layers=2))
@settings(LAW, max_examples=6)
def test_no_constant_is_ignored_by_nir(graph, tmp_path):
    form = nir_out.exported_form(graph)
    for where, other in constants(form):
        if not identical(nir_out.exported_form(other), form):
            try:
                nir_out.write(other, tmp_path / "g.nir", tier="extension")
            except InputError:
                continue
            back = nir_in.read(tmp_path / "g.nir")
            assert identical(back, nir_out.exported_form(other)), where
            assert not identical(back, form), where


NUMBERS = st.fixed_dictionaries(
    {
        "rounding": st.sampled_from(("floor", "toward_zero", "nearest")),
        "overflow": st.sampled_from(("saturate", "wrap")),
        "coef_bits": st.integers(7, 16),
        "coef_frac": st.sampled_from((15, 16, 23, 30)),
    }
)


@given(
    graph=graphs(lowerable=True), numbers=NUMBERS, lost=st.integers(0, 14), seed=st.integers(0, 99)
)
@LAW
def test_integer_onnx_is_the_program_bit_for_bit(graph, numbers, lost, seed, tmp_path):
    chip = target("asic45")
    rng = np.random.default_rng(seed)
    x = inputs_for(rng, graph, steps=20)
    try:
        chip = replace(chip, numbers=replace(chip.numbers, **numbers))
        program = compile_graph(graph, chip, calibration=x).program
    except (FitError, InputError):
        assume(False)
    assert_words_hold(program)
    assert_equal(narrowed(program, lost), x, tmp_path / "p.onnx")


def assert_words_hold(program):
    for node in program.populations:
        for name, word in node.words.items():
            assert all(held(int(k), word, node.coef_frac) for k in np.ravel(node.coefs[name]))


def narrowed(program, lost):
    """Take bits from every register, so that values overflow."""
    nodes = (
        replace(node, state_bits=max(node.state_bits - lost, 2)) if hasattr(node, "spec") else node
        for node in program
    )
    return replace(program, nodes=tuple(nodes))


def assert_equal(program, x, path):
    """Compare outputs, spikes and final states of a file in onnxruntime with the reference."""
    onnx_program.write(program, path)
    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"input": x}), strict=True))
    done = execute(program, to_integers(program.source, x)[0])
    whole, real = read(program.readout, done.values[program.readout.source])
    np.testing.assert_array_equal(found["output_integers"], whole)
    np.testing.assert_array_equal(found["output"], real)
    for node in program.populations:
        sent = "spikes" if node.model.spiking else "membrane"
        np.testing.assert_array_equal(found[f"{node.name}/{sent}"], done.values[node.name])
        states = node.model.parts(node.model.state, done.states[node.name], node.modes)
        for name, state in zip(node.model.state._fields, states, strict=True):
            np.testing.assert_array_equal(found[f"{node.name}/final_{name}"], state)
    return done


@doubles
@pytest.mark.parametrize("norm", ["pre", "post", None])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_sdtcm_in_float64_is_equal_and_in_float32_nearly(norm, bidirectional, tmp_path):
    rng = np.random.default_rng(3)
    graph = sdtcm(rng, width=24, norm=norm, outer=True, bidirectional=bidirectional)
    single = from_record(*single_precision(graph))
    x = inputs_for(rng, single, steps=100, samples=8)
    flips = {}
    for dtype in ("float32", "float64"):
        onnx_out.write(single, tmp_path / "g.onnx", dtype)
        _, values = onnx_values(tmp_path / "g.onnx", single, x.astype(np.float32))
        _, mine = interpret(single, x.astype(np.float32), spiking(single))
        flips[dtype] = np.mean([np.mean((mine[n] != 0) != (values[n] != 0)) for n in mine])
    assert flips["float64"] == 0
    assert flips["float32"] < 5e-3


def single_precision(graph):
    record, arrays = to_record(graph)
    for node in record["nodes"]:
        if "amplitude" in node["fields"]:
            node["fields"]["amplitude"] = float(np.float32(node["fields"]["amplitude"]))
    rounded = {k: v.astype(np.float32).astype(np.float64) for k, v in arrays.items()}
    return record, rounded


def test_populations_are_among_the_random_graphs():
    """The laws above are worth little if the strategy does not reach what they are about."""
    seen = set()

    @given(graph=graphs())
    @settings(LAW, max_examples=400)
    def look(graph: Graph):
        for node in graph:
            seen.add(type(node.op).__name__)
            if isinstance(node.op, Population):
                seen.add(f"folded {node.op.spec}")

    look()
    kinds = {"Input", "Linear", "Affine", "BatchNorm", "Neurons", "Population", "Add", "Concat"}
    assert kinds | {"Reduce"} <= seen
    operations = {"LayerNorm", "Gelu", "Relu", "Glu", "Lstm", "Product", "Ternary", "Conv", "Pool"}
    assert operations | {"Quantize"} <= seen
    assert {f"folded {name}" for name in SPECS} <= seen
