"""Float graphs as ONNX files: what stands in them, and what is refused on the way back."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import inline
from support.networks import chain, inputs_for
from support.ort import doubles

from neurodeploy.backends.onnx.graph import to_model, write
from neurodeploy.errors import NeurodeployError, ToolError
from neurodeploy.frontends import child
from neurodeploy.frontends.onnx import read
from neurodeploy.graph.forms.onnx import forms
from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.ir import Add, Concat, Graph, Input, Linear, Node, Reduce, identical
from neurodeploy.graph.nonlinear import Gelu
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import fold


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: hundreds of children would take minutes."""
    monkeypatch.setattr(child, "call", inline.call)


@pytest.fixture
def graph():
    layers = [("prf", {}), ("lif", {"reset": "hard", "compare": ">"}), ("li", {})]
    return chain(np.random.default_rng(1), layers, norm=True, readout="mean")


@pytest.fixture
def path(graph, tmp_path):
    write(graph, tmp_path / "g.onnx")
    return tmp_path / "g.onnx"


def rounded(graph):
    record, arrays = to_record(graph)
    return from_record(
        record, {k: v.astype(np.float32).astype(np.float64) for k, v in arrays.items()}
    )


def test_files_are_valid_and_named_after_the_graph(graph, path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert model.ir_version == 10
    assert {item.domain: item.version for item in model.opset_import} == {"": 21, "neurodeploy": 1}
    assert [node.name for node in model.graph.node] == [node.name for node in graph]
    assert [item.name for item in model.graph.input] == ["input"]
    assert [item.name for item in model.graph.output] == ["output"]
    axes = [
        axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim
    ]
    assert axes == ["T", "B", 3]
    assert {"prf_compare_ge", "lif_reset_hard_compare_gt", "li_leak_true"} <= {
        function.name for function in model.functions
    }
    weights = [item for item in model.graph.initializer if item.name == "0.neurons/tau"]
    np.testing.assert_array_equal(
        numpy_helper.to_array(weights[0]), graph["0.neurons"].op.params["tau"]
    )


@doubles
@pytest.mark.parametrize("steps", [1, 7, 50])
@pytest.mark.parametrize("samples", [1, 3])
def test_length_and_batch_are_free(graph, path, steps, samples):
    session = onnxruntime.InferenceSession(path)
    x = inputs_for(np.random.default_rng(0), graph, steps=steps, samples=samples)
    (found,) = session.run(None, {"input": x})
    np.testing.assert_allclose(found, interpret(graph, x), rtol=1e-9)


@doubles
def test_one_channel_factors_are_not_rounded_by_onnxruntime(tmp_path):
    """onnxruntime moves single factors beside a MatMul into float32 attributes: not here."""
    rng = np.random.default_rng(5)
    for readout in ("steps", "mean"):
        for layers in ([("prf", {"amplitude": 1.3})], [("li", {"amplitude": 0.7})]):
            graph = chain(rng, layers, inputs=1, width=1, outputs=1, readout=readout, norm=True)
            for node in graph:
                if isinstance(node.op, Linear | Reduce):
                    graph = graph.replace(node.name, replace(node.op, bias=np.zeros(1)))
            write(graph, tmp_path / "g.onnx")
            x = inputs_for(rng, graph)
            found = onnxruntime.InferenceSession(tmp_path / "g.onnx").run(None, {"input": x})[0]
            np.testing.assert_allclose(found, interpret(graph, x), rtol=1e-12)


def test_a_function_is_single_assignment_and_uses_standard_operators_only():
    for form in forms().values():
        function = form.function
        made = [*function.inputs]
        for call in function.calls:
            assert "::" not in call.type
            body = call.attributes.get("body")
            inner = [] if body is None else [*body.inputs, *(c.outputs[0] for c in body.calls)]
            made += [*call.outputs, *inner]
        assert len(made) == len(set(made)), function.name
        assert set(function.outputs) <= set(made)


def elements(path):
    kind = onnx.load(path).graph.input[0].type.tensor_type.elem_type
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind)).name


def test_the_type_is_the_narrowest_that_loses_nothing(graph, tmp_path):
    path = tmp_path / "g.onnx"
    write(graph, path)
    assert elements(path) == "float64"
    single = rounded(graph)
    write(single, path)
    assert elements(path) == "float32"
    assert identical(read(path), single)
    write(single, path, "float64")
    assert elements(path) == "float64"
    assert identical(read(path), single)


def test_a_type_that_loses_something_is_refused_naming_each_constant(graph, tmp_path):
    with pytest.raises(NeurodeployError) as caught:
        write(graph, tmp_path / "g.onnx", "float32")
    records = caught.value.records()
    assert {item["code"] for item in records} == {"E108"}
    assert {'node "0.linear"', 'node "1.neurons"', 'node "2.norm"'} <= {i["where"] for i in records}
    assert not (tmp_path / "g.onnx").exists()


def test_names_of_the_interface_may_be_names_of_nodes(tmp_path):
    nodes = (
        Node("output", Input(2)),
        Node("input", Linear(np.ones((3, 2)), np.arange(3.0)), ("output",)),
        Node("a", Concat(), ("input", "input", "output")),
        Node("b", Add(), ("a", "a", "a")),
    )
    graph = Graph(nodes, "b")
    write(graph, tmp_path / "g.onnx")
    assert identical(read(tmp_path / "g.onnx"), graph)
    x = inputs_for(np.random.default_rng(0), graph).astype(np.float32)
    found = onnxruntime.InferenceSession(tmp_path / "g.onnx").run(None, {"input": x})[0]
    np.testing.assert_allclose(found, interpret(graph, x), rtol=1e-6)


def test_an_input_alone_is_a_graph(tmp_path):
    for spiking in (False, True):
        graph = Graph((Node("x", Input(3, spiking)),), "x")
        write(graph, tmp_path / "g.onnx")
        assert identical(read(tmp_path / "g.onnx"), graph)


def test_other_tools_may_pass_the_file_on(graph, path):
    """Inferred shapes, other value names and order of constants, no documentation: all the same."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    for node in model.graph.node:
        node.output[0] = {"output": "output"}.get(node.output[0], f"value_{node.output[0]}")
        if node.op_type != "Input":
            node.input[0] = f"value_{node.input[0]}"
    constants = sorted(model.graph.initializer, key=lambda item: item.name, reverse=True)
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    model.graph.doc_string = ""
    for function in model.functions:
        function.doc_string = ""
    onnx.save(model, path)
    assert identical(read(path), graph)


def test_bytes_are_the_same_every_time(graph, path, tmp_path):
    write(graph, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


WRITING = {
    "unknown type": ("E105", lambda g: g, "float16"),
    "NaN weights": ("E105", lambda g: g.replace("out", nan(g["out"].op)), None),
    "unknown option": ("E107", lambda g: g.replace("0.neurons", options(g)), None),
    "broken wiring": ("E107", lambda g: replace(g, output="nobody"), None),
}


def nan(op):
    return replace(op, bias=op.bias * np.nan)


def options(graph):
    return replace(graph["0.neurons"].op, options={"compare": "=="})


@pytest.mark.parametrize("name", WRITING)
def test_every_error_of_writing(name, graph, tmp_path):
    code, change, dtype = WRITING[name]
    with pytest.raises(NeurodeployError) as caught:
        write(change(graph), tmp_path / "g.onnx", dtype)
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_leaves_nothing(graph, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NeurodeployError) as caught:
        write(graph, tmp_path / "file" / "g.onnx")
    assert caught.value.code == "E110"


def test_without_the_onnx_package_the_fix_is_named(graph, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for act in (lambda: read(path), lambda: write(graph, path)):
        with pytest.raises(ToolError, match="neurodeploy\\[onnx\\]") as caught:
            act()
        assert caught.value.code == "E601"


def test_tensor_types_are_those_of_the_package():
    assert (TensorProto.UINT8, TensorProto.INT64, TensorProto.DOUBLE) == (2, 7, 11)


@pytest.mark.parametrize("spec", SPECS)
def test_every_function_of_a_neuron_passes_strict_inference_and_is_read_back(spec, tmp_path):
    """Each variant, both directions, with and without recurrence, trained and folded."""
    rng = np.random.default_rng(0)
    for options in SPECS[spec].variants():
        for reverse, recurrent in itertools.product((False, True), repeat=2):
            if recurrent and not SPECS[spec].state._fields:
                continue
            layers = [(spec, {**options, "reverse": reverse, "recurrent": recurrent})]
            graph = chain(rng, layers, width=2)
            for each in (graph, fold(graph)):
                onnx.checker.check_model(to_model(each), full_check=True)
            write(graph, tmp_path / "g.onnx")
            assert identical(read(tmp_path / "g.onnx"), graph)


@pytest.mark.parametrize("form", ["erf", "tanh"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_gelu_runs_in_stock_onnxruntime_to_its_own_precision(form, kind, tmp_path):
    graph = Graph((Node("x", Input(1)), Node("y", Gelu(form), ("x",))), "y")
    write(graph, tmp_path / "g.onnx", kind)
    edges = [0.0, -0.0, 1e-300, -1e-8, 9.1, -9.2, 40.0, -40.0, 1e30, -1e30]
    x = np.concatenate([np.linspace(-10, 10, 20001), edges]).reshape(-1, 1, 1)
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    (found,) = session.run(None, {"input": x.astype(kind)})
    error = np.abs(found - interpret(graph, x.astype(kind))) / np.maximum(np.abs(x), 1e-30)
    assert error.max() < {"float32": 3e-7, "float64": 1e-15}[kind]


def test_everything_in_a_file_has_a_name_and_shape_to_read(graph, path):
    model = onnx.load(path)
    shapes = {item.name: item.type.tensor_type.shape for item in model.graph.value_info}
    for node in model.graph.node:
        assert node.doc_string
        assert node.output[0] == "output" or len(shapes[node.output[0]].dim) == 3
    assert "prf" in named(model, "0.neurons").doc_string
    (tau,) = (item for item in model.graph.initializer if item.name == "0.neurons/tau")
    assert tau.doc_string == SPECS["prf"].units["tau"]
    for function in model.functions:
        assert function.doc_string
        for node in function.node:
            assert node.name == node.output[0]
            assert not re.fullmatch(r"[a-z]?\d+", node.name)


def named(model, name):
    return next(node for node in model.graph.node if node.name == name)
