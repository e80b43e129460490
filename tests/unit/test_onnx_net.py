"""Plain ONNX networks: what torch's exporters write, every operator, and every refusal."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from support import inline

import neurodeploy as nd
from neurodeploy.cli import main, reading
from neurodeploy.errors import InputError, NeurodeployError
from neurodeploy.frontends import LAYOUTS, child
from neurodeploy.frontends.onnx_axes import permuted, reshaped
from neurodeploy.frontends.onnx_ops import READERS
from neurodeploy.frontends.onnx_quant import READERS as QUANTIZERS
from neurodeploy.graph.ir import BatchNorm, Linear
from neurodeploy.graph.maps import Conv
from neurodeploy.graph.nonlinear import Glu, Lstm

GOLDEN = Path(__file__).parents[1] / "golden" / "onnx"
FILES = sorted(GOLDEN.glob("*.onnx"))


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(child, "call", inline.call)


def arrays(path):
    with np.load(path) as file:
        return dict(file)


def as_graph_reads(x, layout):
    """Return an input of a file as [T, B, channels]."""
    if "T" not in layout:
        return x.reshape(1, len(x), -1)
    return (x.swapaxes(0, 1) if layout.startswith("B") else x).reshape(*_leading(x, layout), -1)


def _leading(x, layout):
    return x.shape[:2] if layout.startswith("T") else x.shape[1::-1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_torch_exports_computes_what_torch_computed(path):
    data = arrays(GOLDEN / f"{path.stem.rpartition('_')[0]}.npz")
    graph = nd.load(path)
    layout = "BC" if "lstm" not in path.stem else "BTC" if "batch_first" in path.stem else "TBC"
    found = nd.interpret(graph, as_graph_reads(data["x"], layout))
    np.testing.assert_allclose(found.reshape(data["y"].shape), data["y"], atol=1e-6)


def test_an_lstm_of_torch_is_deployed_from_its_file():
    data = arrays(GOLDEN / "lstm.npz")
    graph = nd.load(GOLDEN / "lstm_legacy.onnx")
    assert sum(isinstance(node.op, Lstm) for node in graph) == 1
    program = nd.compile(graph, nd.target("asic45"), calibration=data["x"], verify=True)
    np.testing.assert_allclose(nd.simulate(program, data["x"]).outputs, data["y"], atol=0.02)


def model(nodes, shape, constants, *, output="y", opset=21):
    """Return a model with the input x [*shape], strings for free axes."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def floats(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


RNG = np.random.default_rng(0)
LSTM_CONSTANTS = {
    "w": floats(RNG, 1, 12, 4),
    "r": floats(RNG, 1, 12, 3) * 0.4,
    "b": floats(RNG, 1, 24),
}
HALVES = {"half": np.array([2, 2]), "axis": np.array([2])}


def node(kind, inputs="x", outputs="y", **attributes):
    return helper.make_node(
        kind, inputs.split(), outputs.split(), name=f"{kind}_{outputs}", **attributes
    )


SEQUENCE = ("T", "B", 4)
COUNTED = {"count_include_pad": 1}
NETS = {  # nodes, shape of x, constants, layout that is stated
    "MatMul and Add": (
        [node("MatMul", "x w", "h"), node("Add", "h b")],
        SEQUENCE,
        {"w": floats(RNG, 4, 3), "b": floats(RNG, 3)},
    ),
    "Gemm": (
        [node("Gemm", "x w b", alpha=0.5, beta=2.0)],
        ("B", 4),
        {"w": floats(RNG, 4, 3), "b": floats(RNG, 3)},
    ),
    "Gemm, transposed, no bias": (
        [node("Gemm", "x w", transB=1)],
        ("B", 4),
        {"w": floats(RNG, 3, 4)},
    ),
    "Add, Sub, Mul, Div of constants": (
        [
            *(node("Add", "x a", "h"), node("Sub", "b h", "i"), node("Mul", "i c", "j")),
            *(node("Div", "j d", "k"), node("Neg", "k", "l"), node("Sub", "l a", "y")),
        ],
        SEQUENCE,
        {"a": floats(RNG, 4), "b": floats(RNG, 1), "c": floats(RNG, 4), "d": floats(RNG, 4)},
    ),
    "Add, Sub, Mul of values": (
        [
            *(node("Relu", "x", "h"), node("Add", "x h", "i"), node("Sub", "i h", "j")),
            *(node("Mul", "j h", "k"), node("Sum", "k h x", "y")),
        ],
        SEQUENCE,
        {},
    ),
    "BatchNormalization of rows": (
        [node("BatchNormalization", "x g b m v")],
        ("B", 4),
        {**dict(zip("gbm", floats(RNG, 3, 4), strict=True)), "v": np.abs(floats(RNG, 4)) + 1},
    ),
    "BatchNormalization of maps": (
        [node("BatchNormalization", "x g b m v")],
        ("B", 3, 2, 4),
        {**dict(zip("gbm", floats(RNG, 3, 3), strict=True)), "v": np.abs(floats(RNG, 3)) + 1},
    ),
    "LayerNormalization, Gelu": (
        [
            node("LayerNormalization", "x g b", "h", epsilon=1e-3),
            node("Gelu", "h", approximate="tanh"),
        ],
        SEQUENCE,
        {"g": floats(RNG, 4), "b": floats(RNG, 4)},
    ),
    "GLU by Split": (
        [node("Split", "x half", "a c", axis=-1), node("Sigmoid", "c", "d"), node("Mul", "a d")],
        SEQUENCE,
        HALVES,
    ),
    "SiLU": ([node("Sigmoid", "x", "d"), node("Mul", "d x")], SEQUENCE, {}),
    "Concat, Identity, Cast, Dropout": (
        [
            *(node("Relu", "x", "a"), node("Concat", "x a", "b", axis=-1)),
            *(node("Identity", "b", "c"), node("Cast", "c", "d", to=1), node("Dropout", "d")),
        ],
        SEQUENCE,
        {},
    ),
    "mean over time": ([node("ReduceMean", "x a", keepdims=0)], SEQUENCE, {"a": np.array([0])}),
    "sum over time": ([node("ReduceSum", "x a", keepdims=0)], SEQUENCE, {"a": np.array([0])}),
    "last step": ([node("Gather", "x i", axis=0)], SEQUENCE, {"i": np.array(-1)}),
    "views": (
        [
            *(node("Unsqueeze", "x a", "b"), node("Transpose", "b", "c", perm=[1, 0, 2, 3])),
            *(node("Squeeze", "c a", "d"), node("Reshape", "d s", "e")),
            *(node("Reshape", "e z", "f"), node("Transpose", "f", perm=[1, 0, 2])),
        ],
        SEQUENCE,
        {"a": np.array([2]), "s": np.array([0, 0, 2, 2]), "z": np.array([0, 0, -1])},
    ),
    "Conv, strided, dilated, grouped": (
        [node("Conv", "x w b", pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2], group=2)],
        ("B", 4, 5, 6),
        {"w": floats(RNG, 6, 2, 3, 2), "b": floats(RNG, 6)},
    ),
    "Conv of one axis, auto_pad": (
        [node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2])],
        ("B", 2, 7),
        {"w": floats(RNG, 3, 2, 4)},
    ),
    "pooling": (
        [
            node("MaxPool", "x", "h", kernel_shape=[2, 3], pads=[0, 1, 1, 1], strides=[1, 2]),
            node("AveragePool", "h", "i", kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
            node("AveragePool", "i", "j", kernel_shape=[2, 1], pads=[1, 0, 0, 0], **COUNTED),
            node("GlobalAveragePool", "j", "k"),
            node("Flatten", "k"),
        ],
        ("B", 2, 5, 6),
        {},
    ),
    "GlobalMaxPool": ([node("GlobalMaxPool", "x", "k"), node("Flatten", "k")], ("B", 2, 5, 6), {}),
    "LSTM": ([node("LSTM", "x w r b", "h", hidden_size=3), node("Squeeze", "h a")], SEQUENCE,
             {**LSTM_CONSTANTS, "a": np.array([1])}),
    "LSTM, reverse, without bias": (
        [node("LSTM", "x w r", "h", hidden_size=3, direction="reverse"), node("Squeeze", "h a")],
        SEQUENCE,
        {"w": LSTM_CONSTANTS["w"], "r": LSTM_CONSTANTS["r"], "a": np.array([1])},
    ),
    "the last output of an LSTM": (
        [helper.make_node("LSTM", ["x", "w", "r", "b"], ["", "h"], hidden_size=3, name="l"),
         node("Squeeze", "h a")],
        SEQUENCE,
        {**LSTM_CONSTANTS, "a": np.array([0])},
    ),
    "constants that are computed": (
        [
            *(node("Transpose", "w", "t"), node("Mul", "t s", "u"), node("MatMul", "x u")),
        ],
        SEQUENCE,
        {"w": floats(RNG, 3, 4), "s": np.float32(0.5)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_every_operator_means_what_onnxruntime_computes(name, tmp_path):
    nodes, shape, constants = NETS[name]
    made = model(nodes, shape, constants)
    onnx.save(made, tmp_path / "m.onnx")
    sizes = [{"T": 5, "B": 3}.get(axis, axis) for axis in shape]
    x = floats(np.random.default_rng(1), *sizes)
    (want,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})
    found = nd.interpret(nd.load(tmp_path / "m.onnx"), as_graph_reads(x, _layout(shape)))
    np.testing.assert_allclose(found.reshape(want.shape), want, rtol=2e-5, atol=2e-5)


def _layout(shape):
    return "TBC" if shape[0] == "T" else "BC"


def test_every_reader_is_tried_above():
    golden = {n.op_type for path in FILES for n in onnx.load(path).graph.node}
    tried = golden | {n.op_type for nodes, *_ in NETS.values() for n in nodes}
    assert set(READERS) - set(QUANTIZERS) <= tried  # those are in test_onnx_quant.py


def test_pieces_become_the_operations_that_they_are(tmp_path):
    kinds = {"MatMul and Add": Linear, "GLU by Split": Glu, "BatchNormalization of maps": BatchNorm}
    kinds["Conv of one axis, auto_pad"] = Conv
    for name, kind in kinds.items():
        onnx.save(model(*NETS[name]), tmp_path / "m.onnx")
        graph = nd.load(tmp_path / "m.onnx")
        assert [type(n.op).__name__ for n in graph] == ["Input", kind.__name__]


def test_the_layout_is_decided_by_the_file_or_stated(tmp_path):
    path = tmp_path / "m.onnx"
    mean = [node("ReduceMean", "x a", keepdims=0)]
    onnx.save(model(mean, ("a", "b", 4), {"a": np.array([1])}), path)
    x = RNG.normal(size=(5, 3, 4))
    np.testing.assert_allclose(nd.interpret(nd.load(path), x), x.mean(axis=0))  # BTC alone fits
    with pytest.raises(NeurodeployError, match=r"reduces over axis 1 of \[T, B, 4\]"):
        nd.load(path, layout="TBC")
    onnx.save(model([node("Relu")], ("a", 3, 4), {}), path)
    with pytest.raises(NeurodeployError, match="may be TBC or BTC or BCL") as caught:
        nd.load(path)
    assert (caught.value.code, caught.value.fix) == ("E107", "state them: --layout TBC")
    assert nd.load(path, layout="TBC").widths["input"] == 4
    assert nd.load(path, layout="BCL").widths["input"] == 12
    with pytest.raises(NeurodeployError, match="has 3 axes, not BC"):
        nd.load(path, layout="BC")


def test_the_command_line_states_it_too(tmp_path):
    assert reading.LAYOUTS == LAYOUTS
    onnx.save(model([node("Relu")], ("a", 3, 4), {}), tmp_path / "m.onnx")
    arguments = ["inspect", str(tmp_path / "m.onnx")]
    assert "state them: --layout" in CliRunner().invoke(main, arguments).stdout
    shown = CliRunner().invoke(main, [*arguments, "--layout", "BTC"])
    assert "Relu_y: Relu [4]" in shown.stdout


def test_a_layout_for_a_file_of_ours_is_refused(tmp_path):
    graph = nd.load(GOLDEN / "lstm_legacy.onnx")
    nd.export(graph, tmp_path / "m.onnx")
    with pytest.raises(NeurodeployError, match="says its own layout"):
        nd.load(tmp_path / "m.onnx", layout="TBC")


REFUSED = {
    "an unknown operator": ([node("Hardmax")], {}, "no place in a graph"),
    "a softmax": ([node("Softmax")], {}, "without the last Softmax"),
    "another domain": ([node("Relu", domain="else")], {}, "another domain"),
    "a GRU": ([node("GRU", "x w r", hidden_size=3)], LSTM_CONSTANTS, "use an LSTM"),
    "a state": (
        [node("LSTM", "x w r b l s s", hidden_size=3)],
        {**LSTM_CONSTANTS, "l": np.array([5] * 3, np.int32), "s": np.ones((1, 3, 3), np.float32)},
        "different lengths",
    ),
    "another activation": (
        [node("LSTM", "x w r b", hidden_size=3, activations=["Relu", "Tanh", "Tanh"])],
        LSTM_CONSTANTS,
        "other activations",
    ),
    "a sum over samples": (
        [node("ReduceSum", "x a", keepdims=0)],
        {"a": np.array([1])},
        "reduces over axis 1",
    ),
    "values that mix": (
        [node("Transpose", perm=[2, 1, 0]), node("Reshape", "x s", "z")],
        {"s": np.array([4, -1])},
        "keep steps, samples and values apart",
    ),
    "a weight that is computed": ([node("MatMul", "x x")], {}, "not a constant"),
    "a weight of another width": (
        [node("MatMul", "x w")],
        {"w": np.ones((3, 3), np.float32)},
        "a weight [3, 3]",
    ),
    "a constant for each step": (
        [node("Add", "x c")],
        {"c": np.ones((5, 1, 4), np.float32)},
        "a constant of shape [5, 1, 4]",
    ),
    "a sigmoid alone": ([node("Sigmoid")], {}, "not computed from the input"),
    "training": (
        [node("BatchNormalization", "x g g g g", training_mode=1)],
        {"g": np.ones(4, np.float32)},
        "training_mode is 1",
    ),
    "an infinite constant": (
        [node("MatMul", "x w")],
        {"w": np.full((4, 3), np.inf, np.float32)},
        "12 NaN or infinite",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_names_the_node_and_a_fix(name, tmp_path):
    nodes, constants, text = REFUSED[name]
    onnx.save(model(nodes, SEQUENCE, constants), tmp_path / "m.onnx")
    with pytest.raises(NeurodeployError) as caught:
        nd.load(tmp_path / "m.onnx", layout="TBC")
    assert text in str(caught.value)
    assert all(record["fix"] for record in caught.value.records())
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("behind", [("x", "x", "x"), ("x", "a", "b")], ids=["beside", "in a row"])
def test_all_nodes_are_refused_at_once(behind, tmp_path):
    kinds = zip(("Softmax", "Tanh", "Erf"), behind, "abc", strict=True)
    nodes = [*(node(*kind) for kind in kinds), node("Relu")]
    onnx.save(model(nodes, SEQUENCE, {}), tmp_path / "m.onnx")
    with pytest.raises(NeurodeployError) as caught:
        nd.load(tmp_path / "m.onnx")
    assert [r["what"].split(":")[0] for r in caught.value.records()] == [
        *("'Softmax_a' (Softmax)", "'Tanh_b' (Tanh)", "'Erf_c' (Erf)")
    ]


def test_random_damage_never_passes_for_another_error(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "m.onnx"
    data = (GOLDEN / "cnn_legacy.onnx").read_bytes()
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(InputError):
            nd.load(path)


@pytest.mark.parametrize(
    ("axes", "wanted", "fixed", "result"),
    [
        (("T", "B", 4), ["T", "B", 2, 2], {}, ("T", "B", 2, 2)),
        (("B", 3, 2), ["B", -1], {}, ("B", 6)),
        (("B", 3, 2), [-1, 6], {}, ("B", 6)),
        (("B", 3, 2), [5, 6], {"B": 5}, ("B", 6)),
        (("B", 3, 2), [5, 6], {}, None),
        (("T", "B", 4), [-1, 4], {}, ("TB", 4)),
        (("TB", 4), ["T", "B", 4], {}, ("T", "B", 4)),
        (("T", "B", 4), [7, -1, 4], {}, ("T", "B", 4)),
        (("T", "B", 4), ["B", "T", 4], {}, None),
        (("T", "B", 4), ["T", -1], {}, None),
        (("B", 4), ["B", 3], {}, None),
        (("B", 6, 4), ["B", 4, 6], {}, None),
        (("B", 12), ["B", 3, 1, 4], {}, ("B", 3, 1, 4)),
    ],
)
def test_views_keep_the_order_of_values(axes, wanted, fixed, result):
    assert reshaped(axes, wanted, fixed) == result


def test_axes_of_values_do_not_change_places():
    assert permuted(("T", "B", 4), [1, 0, 2]) == ("B", "T", 4)
    assert permuted(("T", 1, "B", 4), [0, 2, 1, 3]) == ("T", "B", 1, 4)
    assert permuted(("B", 3, 2), [0, 2, 1]) is None
