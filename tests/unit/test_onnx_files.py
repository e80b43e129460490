"""ONNX files on the way in: everything in them is used or refused, one row per error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support import inline
from support.networks import chain, inputs_for, sdtcm

from neurodeploy.backends.onnx import program as onnx_program
from neurodeploy.backends.onnx.graph import write
from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import child
from neurodeploy.frontends.onnx import read
from neurodeploy.graph.ir import identical
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.targets import target


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


def test_every_edit_of_a_function_is_refused(path):
    original = onnx.load(path)
    edits = 0
    for f, function in enumerate(original.functions):
        for n, node in enumerate(function.node):
            for change in (retyped, rewired, attributed):
                model = onnx.ModelProto()
                model.CopyFrom(original)
                change(model.functions[f].node[n])
                onnx.save(model, path)
                with pytest.raises(NeurodeployError, match="was edited") as caught:
                    read(path)
                assert caught.value.code == "E108"
                assert function.name in caught.value.what
                edits += 1
            for attribute in node.attribute:
                for i in range(len(attribute.g.node)):
                    model = onnx.ModelProto()
                    model.CopyFrom(original)
                    inner = next(
                        a for a in model.functions[f].node[n].attribute if a.name == "body"
                    )
                    retyped(inner.g.node[i])
                    onnx.save(model, path)
                    with pytest.raises(NeurodeployError, match="was edited"):
                        read(path)
                    edits += 1
    assert edits > 100


def retyped(node):
    node.op_type = "Neg" if node.op_type != "Neg" else "Abs"


def rewired(node):
    node.input.append("x")


def attributed(node):
    node.attribute.append(helper.make_attribute("more", 1))


def test_every_changed_number_is_read(graph, path):
    original = onnx.load(path)
    for i, item in enumerate(original.graph.initializer):
        model = onnx.ModelProto()
        model.CopyFrom(original)
        value = np.array(numpy_helper.to_array(item))
        value.flat[0] = value.flat[0] * 0.75 + 0.125
        model.graph.initializer[i].CopyFrom(numpy_helper.from_array(value, item.name))
        onnx.save(model, path)
        assert not unchanged(path, graph), item.name


def unchanged(path, graph):
    """Whether the file is still read as `graph`; refusing it is a change."""
    try:
        return identical(read(path), graph)
    except NeurodeployError as error:
        if error.exit_code != 3:
            raise
        return False


def initializer(model, name):
    return next(item for item in model.graph.initializer if item.name == name)


def named(model, name):
    return next(node for node in model.graph.node if node.name == name)


def conv(model):
    named(model, "0.linear").op_type = "Conv"
    named(model, "0.linear").domain = ""
    named(model, "1.linear").op_type = "Gemm"
    named(model, "1.linear").domain = "ai.onnx"
    named(model, "2.neurons").op_type = "izhikevich_compare_ge"


def external(model):
    tensor = initializer(model, "0.linear/weight")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")


def external_inside(model):
    tensor = numpy_helper.from_array(np.zeros(1), "hidden")
    onnx.external_data_helper.set_external_data(tensor, "secret")
    node = model.functions[0].node[0]
    node.attribute.append(helper.make_attribute("value", tensor))


def weights_nan(model):
    tensor = initializer(model, "0.linear/weight")
    value = np.full(tuple(tensor.dims), np.nan)
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def constant(name, value):
    def apply(model):
        initializer(model, name).CopyFrom(numpy_helper.from_array(np.asarray(value), name))

    return apply


def short_data(model):
    initializer(model, "0.linear/weight").raw_data = b"12345678"


def sparse(model):
    values = numpy_helper.from_array(np.zeros(1), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1]))


def foreign_function(model):
    function = onnx.FunctionProto()
    function.CopyFrom(model.functions[0])
    function.domain = "else"
    model.functions.append(function)


def axis(model):
    width = model.graph.input[0].type.tensor_type.shape.dim[2]
    width.dim_param = "C"


def from_value(model):
    named(model, "0.linear").input[1] = named(model, "input").output[0]


EDITS = {
    "unknown nodes": (
        "E104",
        "3 nodes are not supported: '0.linear' (Conv), '1.linear' (Gemm)",
        conv,
    ),
    "external data": ("E101", "0.linear/weight", external),
    "external data in a function": ("E101", "hidden", external_inside),
    "NaN weights": ("E105", "weight has 15 NaN", weights_nan),
    "NaN amplitude": ("E105", "amplitude", constant("0.neurons/amplitude", np.nan)),
    "amplitude of another shape": ("E107", "(1,)", constant("0.neurons/amplitude", np.ones(1))),
    "parameter out of range": ("E105", "tau must be > 0", constant("0.neurons/tau", np.zeros(5))),
    "wrong width": ("E107", "columns", constant("0.linear/weight", np.ones((5, 4)))),
    "wrong axes": ("E107", "a Linear has", constant("0.linear/weight", np.ones(5))),
    "another type": ("E101", "float32", constant("0.linear/weight", np.ones((5, 3), np.float32))),
    "whole numbers": ("E101", "int64", constant("0.linear/weight", np.ones((5, 3), np.int64))),
    "data shorter than its shape": ("E101", "damaged", short_data),
    "sparse constants": ("E104", "sparse_initializer", sparse),
    "unused constant": (
        "E108",
        "no node reads the constant 'spare'",
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.ones(1), "spare")),
    ),
    "missing constant": (
        "E104",
        "its tau is '0.neurons/tau'",
        lambda m: m.graph.initializer.remove(initializer(m, "0.neurons/tau")),
    ),
    "a constant that is computed": ("E104", "not a constant", from_value),
    "missing function": (
        "E108",
        "'BatchNorm' is missing",
        lambda m: m.functions.remove(next(f for f in m.functions if f.name == "BatchNorm")),
    ),
    "foreign function": ("E104", "of domain 'else'", foreign_function),
    "another operator set": (
        "E108",
        "operator sets",
        lambda m: setattr(m.functions[0].opset_import[0], "version", 20),
    ),
    "another version": (
        "E101",
        "version 2 of the format",
        lambda m: setattr(m.opset_import[1], "version", 2),
    ),
    "two outputs": (
        "E104",
        "2 outputs",
        lambda m: m.graph.output.append(helper.make_tensor_value_info("input", 11, None)),
    ),
    "an output that nothing computes": (
        "E101",
        "no node computes the output",
        lambda m: setattr(m.graph.output[0], "name", "nothing"),
    ),
    "an input that nothing computes": (
        "E104",
        "'nothing', which no node computes",
        lambda m: named(m, "out").input.__setitem__(0, "nothing"),
    ),
    "two nodes for one value": (
        "E101",
        "two nodes compute",
        lambda m: named(m, "out").output.__setitem__(0, named(m, "0.linear").output[0]),
    ),
    "a loop": (
        "E107",
        "read before it is computed",
        lambda m: named(m, "0.linear").input.__setitem__(0, named(m, "out").output[0]),
    ),
    "too few inputs": ("E101", "Linear has 2 inputs", lambda m: named(m, "out").input.pop()),
    "an attribute": (
        "E108",
        "attributes",
        lambda m: named(m, "out").attribute.append(helper.make_attribute("alpha", 2.0)),
    ),
    "no name": ("E107", "'' is not a node name", lambda m: setattr(named(m, "out"), "name", "")),
    "an unknown width": ("E101", "known last axis", axis),
    "the input elsewhere": (
        "E107",
        "an Input reads another node",
        lambda m: named(m, "input").input.__setitem__(0, "output"),
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_that_is_refused(name, path):
    code, text, change = EDITS[name]
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NeurodeployError) as caught:
        read(path)
    records = caught.value.records()
    assert any(item["code"] == code and text in item["what"] for item in records), records
    assert caught.value.exit_code == 3


def test_concatenation_along_another_axis_is_refused(tmp_path):
    graph = sdtcm(np.random.default_rng(0), bidirectional=True)
    write(graph, tmp_path / "g.onnx")
    model = onnx.load(tmp_path / "g.onnx")
    named(model, "blocks.0.concat").attribute[0].i = 0
    onnx.save(model, tmp_path / "g.onnx")
    with pytest.raises(NeurodeployError, match="Concat with attributes"):
        read(tmp_path / "g.onnx")


FILES = {
    "missing": (None, "No such file"),
    "empty": (b"", "truncated or not an ONNX model"),
    "text": (b"hello, this is not a model\n" * 10, "truncated or not an ONNX"),
    "an npz": (b"PK\x03\x04" + bytes(200), "truncated or not an ONNX"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_no_model(name, tmp_path):
    data, text = FILES[name]
    path = tmp_path / "m.onnx"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(NeurodeployError, match=text) as caught:
        read(path)
    assert caught.value.code == "E101"


def test_every_truncation_is_refused(graph, path):
    data = path.read_bytes()
    for size in range(0, len(data), max(1, len(data) // 97)):
        path.write_bytes(data[:size])
        with pytest.raises(NeurodeployError):
            read(path)


def test_random_damage_never_passes_for_another_error(graph, path):
    """A changed byte gives a graph or an error of ours, never a traceback."""
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        unchanged(path, graph)


def test_an_integer_program_is_not_read_as_a_model(graph, tmp_path):
    x = inputs_for(np.random.default_rng(0), graph)
    program = compile_graph(graph, target("asic45"), calibration=x).program
    onnx_program.write(program, tmp_path / "p.onnx")
    with pytest.raises(NeurodeployError, match="an exported integer program") as caught:
        read(tmp_path / "p.onnx")
    assert caught.value.code == "E104"


def test_constants_may_have_become_nodes_and_sums_additions(graph, path):
    """What constant folding and normalising tools make of a file, where functions stay."""
    model = onnx.load(path)
    nodes = [
        helper.make_node("Constant", [], [item.name], value=item)
        for item in model.graph.initializer
    ]
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    assert identical(read(path), graph)
    wide = sdtcm(np.random.default_rng(0), bidirectional=True)
    write(wide, path)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Sum":
            node.op_type = "Add"
        if node.op_type == "Concat":
            node.attribute[0].i = 2
    onnx.save(model, path)
    assert identical(read(path), wide)


def test_functions_may_be_in_another_order_and_spell_constants_as_tensors(path):
    """What onnxslim makes of a file: it sorts calls anew, and shares equal constants."""
    graph = sdtcm(np.random.default_rng(0), bidirectional=True)
    write(graph, path)
    model = onnx.load(path)
    for function in model.functions:
        nodes = [tensor_constant(node) for node in reversed(function.node)]
        del function.node[:]
        function.node.extend(nodes)
    onnx.save(model, path)
    assert identical(read(path), graph)


def tensor_constant(node):
    """Spell a constant as a tensor, and turn the nodes of a Scan around."""
    for item in node.attribute:
        if item.type == onnx.AttributeProto.GRAPH:
            inner = [tensor_constant(other) for other in reversed(item.g.node)]
            del item.g.node[:]
            item.g.node.extend(inner)
    if node.op_type != "Constant" or node.attribute[0].name == "value":
        return node
    value = np.asarray(helper.get_attribute_value(node.attribute[0]))
    return helper.make_node("Constant", [], list(node.output), value=numpy_helper.from_array(value))


def test_recorded_bits_travel_along(graph, path):
    grids = {"0.linear": (7,) * graph.widths["0.linear"]}
    write(replace(graph, bits={"0.linear": 4, "0.neurons": 9}, grids=grids), path)
    back = read(path)
    assert identical(back, graph)
    assert back.bits == {"0.linear": 4, "0.neurons": 9}
    assert back.grids == grids
    model = onnx.load(path)
    for wrong in ("[4]", '{"0.linear": "4"}', "{"):
        model.metadata_props[0].value = wrong
        onnx.save(model, path)
        with pytest.raises(NeurodeployError, match="whole numbers by name"):
            read(path)


class TestChild:
    """The real way: in a process of its own."""

    call = staticmethod(child.call)

    @pytest.fixture(autouse=True)
    def isolated(self, monkeypatch, in_process):
        monkeypatch.setattr(child, "call", self.call)

    def test_files_are_read_and_refused_alike(self, path, graph):
        assert identical(read(path), graph)
        model = onnx.load(path)
        conv(model)
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1), "spare"))
        onnx.save(model, path)
        with pytest.raises(NeurodeployError, match="3 nodes are not supported") as caught:
            read(path)
        assert caught.value.where == str(path)

    def test_all_errors_come_back(self, path):
        model = onnx.load(path)
        constant("0.neurons/amplitude", np.nan)(model)
        constant("1.linear/weight", np.full((5, 5), np.inf))(model)
        onnx.save(model, path)
        with pytest.raises(NeurodeployError) as caught:
            read(path)
        assert len(caught.value.records()) == 2

    @pytest.mark.parametrize("death", ["os.abort()", "sys.exit(3)", "[0] * 2**40"])
    def test_one_that_dies_is_an_error(self, death, path, monkeypatch):
        monkeypatch.setattr(child, "_START", f"import os, sys; {death}")
        with pytest.raises(NeurodeployError, match="ended with code") as caught:
            read(path)
        assert caught.value.code == "E101"
