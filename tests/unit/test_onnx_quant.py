"""Quantized ONNX files in the layouts that Brevitas exports: their integers are the program's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import inline

import neurodeploy as nd
from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import child
from neurodeploy.graph.ir import identical
from neurodeploy.graph.nonlinear import Quantize
from neurodeploy.program.synapses import Dense
from neurodeploy.reports.text import program_text

BREVITAS = Path(__file__).parents[1] / "golden" / "brevitas"
RNG = np.random.default_rng(0)
STEPS, SAMPLES = 6, 40


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(child, "call", inline.call)


class File:
    """Nodes and constants of a file that is being written; every method returns a value's name."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, value, kind=None):
        name = f"c{len(self.constants)}"
        if kind is None:
            self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        else:
            shape = np.shape(value)
            flat = np.ravel(value).tolist()
            self.constants[name] = helper.make_tensor(name, kind, shape, flat)
        return name

    def put(self, kind, *inputs, domain="", **attributes):
        out = f"v{len(self.nodes)}"
        made = helper.make_node(kind, inputs, [out], name=f"{kind}_{out}", domain=domain)
        made.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        self.nodes.append(made)
        return out

    def save(self, path, last, axes):
        graph = helper.make_graph(
            self.nodes,
            "quantized",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
            list(self.constants.values()),
        )
        imports = [helper.make_opsetid("", 21), helper.make_opsetid("onnx.brevitas", 1)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
        return path


def integers(rng, shape, bits, *, narrow=True):
    """Return weights [rows, ...] of so many bits; some rows do not use all of them."""
    top = 2 ** (bits - 1) - 1
    found = rng.integers(-top - (not narrow), top + 1, shape)
    found[0] //= 2
    found[-1] = 0
    found.reshape(len(found), -1)[1, 0] = top if narrow else -top - 1
    return found


def scales(rng, count):
    return rng.uniform(0.005, 0.03, count).astype(np.float32)


def qcdq(file, whole, scale, bits, kind=TensorProto.INT8, zero=0):
    """Append Clip and DequantizeLinear behind stored integers, as Brevitas' QCDQ export does."""
    top = 2 ** (bits - 1) - 1
    value = file.constant(np.asarray(whole) + zero, kind)
    if bits < 8 and kind == TensorProto.INT8:
        value = file.put("Clip", value, *(file.constant(np.int8(n)) for n in (-top, top)))
    point = file.constant(np.full(np.shape(scale), zero), kind)
    return file.put("DequantizeLinear", value, file.constant(scale), point, axis=0)


def activations(file, value, scale, low, high, dtype, zero=0):
    """Append QuantizeLinear, Clip and DequantizeLinear of values."""
    pair = file.constant(np.float32(scale)), file.constant(dtype(zero))
    levels = file.put("QuantizeLinear", value, *pair)
    ends = (file.constant(dtype(n)) for n in (low, high))
    return file.put("DequantizeLinear", file.put("Clip", levels, *ends), *pair)


def qcdq_mlp(path, bits=4):
    """Two QuantLinears of int4 weights per channel, int8 inputs, a 4-bit QuantReLU, int32 bias."""
    rng, file = np.random.default_rng(1), File()
    first, second = integers(rng, (9, 5), bits), integers(rng, (3, 9), bits)
    rows, other = scales(rng, 9), scales(rng, 3)
    x = activations(file, "x", 0.02, -127, 127, np.int8)
    bias = qcdq(file, rng.integers(-300, 300, 9), rows * np.float32(0.02), 32, TensorProto.INT32)
    hidden = file.put("Gemm", x, qcdq(file, first, rows, bits), bias, transB=1)
    sent = activations(file, file.put("Relu", hidden), 0.03, 0, 15, np.uint8)
    last = file.put("Gemm", sent, qcdq(file, second, other, bits), transB=1)
    return file.save(path, last, ("B", 5)), [first, second]


def test_qcdq_weights_and_activations_are_the_programs(tmp_path):
    path, (first, second) = qcdq_mlp(tmp_path / "q.onnx")
    x = RNG.normal(size=(200, 5)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    graph = nd.load(path)
    assert dict(graph.bits) == {"Gemm_v6": 4, "Gemm_v13": 4}
    np.testing.assert_allclose(nd.interpret(graph, x[None])[0], expected, atol=1e-5)
    program = nd.compile(graph, nd.target("asic45"), calibration=x[None])
    (quantizer,) = (
        node for node in program if getattr(node, "kind", "") == "rescale" and node.high == 15
    )
    np.testing.assert_array_equal(quantizer.edges[0].weight, first)
    assert quantizer.edges[0].weight_bits == 4
    np.testing.assert_array_equal(program.readout.weight, second)
    run = nd.simulate(program, x[None])
    # a value at a half, to the last of 15 bits of a factor, may go to the next level
    assert np.mean(np.abs(run.outputs[0] - expected) < 1e-5) > 0.995
    np.testing.assert_array_equal(run.outputs[0].argmax(1), expected.argmax(1))


def quant(file, value, scale, bits, *, zero=0.0, signed=1, narrow=1, mode="ROUND"):
    """Append a QONNX Quant, as Brevitas writes it: bit width and zero point are floats."""
    rest = (np.float32(scale), np.float32(zero), np.float32(bits))
    how = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    names = (file.constant(part) for part in rest)
    return file.put("Quant", value, *names, domain="onnx.brevitas", **how)


def test_qonnx_weights_are_quantized_as_numpy_reads_them(tmp_path):
    """Float weights behind a Quant, turned for a MatMul; a Quant of values; a bias of 32 bits."""
    rng, file = np.random.default_rng(2), File()
    weight, scale = rng.normal(size=(7, 5)).astype(np.float32), scales(rng, 7)[:, None]
    bias = rng.normal(size=7).astype(np.float32)
    x = quant(file, "x", 0.05, 8, narrow=0)
    rows = file.put("Transpose", quant(file, file.constant(weight), scale, 4), perm=[1, 0])
    sums = file.put("MatMul", x, rows)
    step = np.float32(0.05) * scale[:, 0]
    hidden = file.put("Add", sums, quant(file, file.constant(bias), step, 32, narrow=0))
    sent = quant(file, file.put("Relu", hidden), 0.04, 3, signed=0, narrow=0)
    path = file.save(tmp_path / "q.onnx", sent, ("T", "B", 5))
    whole = np.clip(np.rint(weight / scale), -7, 7)
    seen = np.clip(np.rint((data := RNG.normal(size=(STEPS, SAMPLES, 5))) / 0.05), -128, 127)
    exact = seen * np.float32(0.05) @ (whole * scale).T + np.rint(bias / step) * step
    expected = np.clip(np.rint(np.maximum(exact, 0) / np.float32(0.04)), 0, 7) * np.float32(0.04)
    graph = nd.load(path, layout="TBC")
    np.testing.assert_allclose(nd.interpret(graph, data), expected, atol=1e-6)
    program = nd.compile(graph, nd.target("asic45"), calibration=data)
    assert (program.source.low, program.source.high) == (-128, 127)
    (node,) = (n for n in program if getattr(n, "kind", "") == "rescale" and n.high == 7)
    np.testing.assert_array_equal(node.edges[0].weight, whole)
    assert not nd.simulate(program, data).integers.max() > 7
    found = nd.simulate(program, data).outputs
    assert np.mean(np.abs(found - expected) < 1e-6) > 0.995


LAYOUTS = {  # bits, type, zero point, per channel, whether the least integer is used
    "int8 per channel": (8, TensorProto.INT8, 0, True, True),
    "int8 per tensor": (8, TensorProto.INT8, 0, False, True),
    "int8, -128 too": (8, TensorProto.INT8, 0, True, False),
    "uint8 around 128": (8, TensorProto.UINT8, 128, True, False),
    "int4": (4, TensorProto.INT4, 0, True, False),
    "uint4 around 8": (4, TensorProto.UINT4, 8, True, False),
    "int4 in int8": (4, TensorProto.INT8, 0, True, True),
    "int16": (16, TensorProto.INT16, 0, True, True),
    "ternary": (2, TensorProto.INT8, 0, True, True),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_weights_keeps_its_integers(name, tmp_path):
    bits, kind, zero, per_channel, narrow = LAYOUTS[name]
    rng, file = np.random.default_rng(3), File()
    whole = integers(rng, (6, 4), bits, narrow=narrow)
    scale = scales(rng, 6) if per_channel else np.float32(0.013)
    hidden = file.put("Gemm", "x", qcdq(file, whole, scale, bits, kind, zero), transB=1)
    path = file.save(tmp_path / "q.onnx", file.put("Relu", hidden), ("B", 4))
    graph = nd.load(path)
    x = RNG.normal(size=(1, SAMPLES, 4))
    steps = np.broadcast_to(scale, (6,))[:, None]
    expected = np.maximum(x @ (whole * steps).astype(np.float32).T, 0)
    np.testing.assert_allclose(nd.interpret(graph, x), expected, rtol=1e-12)
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    node = program[graph.output]
    np.testing.assert_array_equal(node.edges[0].weight, whole)
    (layer,) = graph.bits
    assert graph.bits[layer] == bits
    assert program.notes["layers"][layer] == {
        "on_grid": True,
        "weight_error_rms": pytest.approx(0, abs=1e-6),
    }
    wider = nd.compile(graph, nd.target("asic45"), calibration=x, bits=16)
    np.testing.assert_array_equal(wider[graph.output].edges[0].weight, whole)
    near = 0.02 * expected.max()  # inputs of 8 bits
    np.testing.assert_allclose(nd.simulate(program, x).outputs, expected, atol=near)


def test_bipolar_weights_are_signs(tmp_path):
    rng, file = np.random.default_rng(4), File()
    weight, scale = rng.normal(size=(6, 4)).astype(np.float32), scales(rng, 6)[:, None]
    names = file.constant(weight), file.constant(scale)
    rows = file.put("BipolarQuant", *names, domain="qonnx.custom_op.general")
    hidden = file.put("Gemm", "x", rows, transB=1)
    path = file.save(tmp_path / "q.onnx", file.put("Relu", hidden), ("B", 4))
    graph, x = nd.load(path), RNG.normal(size=(1, SAMPLES, 4))
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    (edge,) = program[graph.output].edges
    np.testing.assert_array_equal(edge.weight, np.where(weight >= 0, 1, -1))
    assert edge.weight_bits == 2


def test_a_truncation_of_weights_is_computed(tmp_path):
    """Eight bits cut to five: both versions of Trunc, in the words of QONNX's own definition."""
    rng, file = np.random.default_rng(5), File()
    fine, scale = rng.integers(-128, 128, (6, 4)), np.float32(0.25)
    inputs = [file.constant(np.float32(v)) for v in (fine * scale, scale, 0, 8, 5)]
    rows = file.put("Trunc", *inputs, domain="onnx.brevitas", rounding_mode="FLOOR")
    path = file.save(tmp_path / "q.onnx", file.put("Gemm", "x", rows, transB=1), ("B", 4))
    (node,) = (n for n in nd.load(path) if hasattr(n.op, "weight"))
    np.testing.assert_array_equal(node.op.weight, (fine >> 3) * scale)
    file = File()
    inputs = [file.constant(np.float32(v)) for v in (fine * scale, scale, 0, 8, 2, 0, 5)]
    rows = file.put("Trunc", *inputs, domain="onnx.brevitas", rounding_mode="FLOOR")
    path = file.save(tmp_path / "q.onnx", file.put("Gemm", "x", rows, transB=1), ("B", 4))
    (node,) = (n for n in nd.load(path) if hasattr(n.op, "weight"))
    np.testing.assert_array_equal(node.op.weight, (fine >> 3) * 2.0)


def test_a_quantized_cnn_keeps_its_kernels(tmp_path):
    """QuantConv, BatchNorm with a negative factor, QuantReLU, average pooling, QuantLinear."""
    rng, file = np.random.default_rng(6), File()
    kernels, second = integers(rng, (4, 2, 3, 3), 4), integers(rng, (3, 16), 4)
    x = activations(file, "x", 0.02, -128, 127, np.int8)
    rows = qcdq(file, kernels, scales(rng, 4), 4)
    maps = file.put("Conv", x, rows, pads=[1, 1, 1, 1])
    norm = (np.array([1.5, -0.5, 2, 0.7]), np.ones(4), np.zeros(4), np.ones(4))
    constants = (file.constant(part.astype(np.float32)) for part in norm)
    maps = file.put("BatchNormalization", maps, *constants)
    sent = activations(file, file.put("Relu", maps), 0.05, 0, 15, np.uint8)
    pooled = file.put("AveragePool", sent, kernel_shape=[2, 2], strides=[2, 2])
    flat = file.put("Flatten", pooled)
    last = file.put("Gemm", flat, qcdq(file, second, scales(rng, 3), 4), transB=1)
    path = file.save(tmp_path / "q.onnx", last, ("B", 2, 4, 4))
    data = RNG.normal(size=(SAMPLES, 2, 4, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": data})
    graph, flat = nd.load(path), data.reshape(1, SAMPLES, -1)
    np.testing.assert_allclose(nd.interpret(graph, flat)[0], expected, atol=1e-4)
    program = nd.compile(graph, nd.target("asic45"), calibration=flat)
    (node,) = (n for n in program if getattr(n, "kind", "") == "rescale" and n.high == 15)
    signs = np.array([1, -1, 1, 1])[:, None, None, None]  # the norm's go into the integers
    np.testing.assert_array_equal(node.edges[0].weight, kernels * signs)
    np.testing.assert_array_equal(program.readout.weight, second)
    found = nd.simulate(program, flat).outputs[0]
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("form", ["qcdq", "qonnx"])
def test_what_brevitas_exports_is_deployed_as_it_is(form):
    """Its integers are the program's, and the program's outputs those that Brevitas computed."""
    graph = nd.load(BREVITAS / f"{form}.onnx")
    with np.load(BREVITAS / "arrays.npz") as file:
        arrays = dict(file)
    x = arrays["x"][None]
    np.testing.assert_allclose(nd.interpret(graph, x)[0], arrays["y"], atol=1e-6)
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    assert sorted(graph.bits.values()) == [3, 4]
    (dense,) = (
        edge for node in program for edge in getattr(node, "edges", ()) if isinstance(edge, Dense)
    )
    np.testing.assert_array_equal(dense.weight, arrays["weight1"])
    np.testing.assert_array_equal(program.readout.weight, arrays["weight3"])
    np.testing.assert_allclose(nd.simulate(program, x).outputs[0], arrays["y"], atol=1e-6)


def test_what_the_file_says_survives_our_own_files(tmp_path):
    path, _ = qcdq_mlp(tmp_path / "q.onnx")
    graph = nd.load(path)
    for name in ("m.onnx", "m.pt"):
        (nd.export if name.endswith("onnx") else nd.save)(graph, tmp_path / name)
        again = nd.load(tmp_path / name)
        assert identical(again, graph)
        assert (again.grids, again.bits) == (graph.grids, graph.bits)
    quantizers = [node.op for node in graph if isinstance(node.op, Quantize)]
    assert [(q.low, q.high) for q in quantizers] == [(-127, 127), (0, 15)]


def test_fewer_bits_than_the_file_has_are_said_to_leave_its_grid(tmp_path):
    path, _ = qcdq_mlp(tmp_path / "q.onnx", bits=6)
    graph, x = nd.load(path), RNG.normal(size=(1, SAMPLES, 5))
    program = nd.compile(graph, nd.target("asic45"), calibration=x, bits=3)
    assert program.notes["layers"]["Gemm_v6"]["on_grid"] is False
    assert "Gemm_v6: its weights leave the grid that the model file gave them" in program_text(
        program
    )


def _blocks(file):
    value, scale = np.ones((4, 4), np.int8), np.full((4, 2), 0.5, np.float32)
    names = file.constant(value), file.constant(scale)
    return file.put("Gemm", "x", file.put("DequantizeLinear", *names, axis=1, block_size=2))


def _per_input(file):
    scale = np.array([1, 2, 3, 4], np.float32)
    names = file.constant(np.full((3, 4), 5, np.int8)), file.constant(scale)
    return file.put("Gemm", "x", file.put("DequantizeLinear", *names, axis=1), transB=1)


def _lstm(file):
    names = (qcdq(file, np.ones(shape, int), np.float32(1), 8) for shape in ((1, 8, 4), (1, 8, 2)))
    return file.put("LSTM", "x", *names, hidden_size=2)


def _other_scale(file):
    point = file.constant(np.int8(0))
    levels = file.put("QuantizeLinear", "x", file.constant(np.float32(0.1)), point)
    return file.put("DequantizeLinear", levels, file.constant(np.float32(0.2)), point)


REFUSED = {
    "no scale": (lambda f: activations(f, "x", 0, -8, 7, np.int8), "a quantizer of scale 0.0"),
    "no zero": (lambda f: activations(f, "x", 1, 2, 7, np.int8), "from 2 to 7"),
    "weights of an LSTM": (_lstm, "leave their grid"),
    "blocks": (_blocks, "a scale for each block of weights"),
    "a scale for each input": (_per_input, "several scales in one output channel"),
    "another scale": (_other_scale, "is not that of the quantizer"),
    "levels alone": (
        lambda f: f.put("QuantizeLinear", "x", f.constant(np.float32(1)), f.constant(np.int8(0))),
        "not computed from the input",
    ),
    "a scale for each channel of values": (
        lambda f: quant(f, "x", np.ones((1, 4)), 4),
        "a scale for each channel of values",
    ),
    "values rounded down": (lambda f: quant(f, "x", 1, 4, mode="FLOOR"), "rounding mode FLOOR"),
    "an unknown rounding": (lambda f: quant(f, "x", 1, 4, mode="DICE"), "rounding mode DICE"),
    "half a zero point": (lambda f: quant(f, "x", 1, 4, zero=0.5), "no whole number"),
    "signs of values": (
        lambda f: f.put("BipolarQuant", "x", f.constant(np.float32(1)), domain="onnx.brevitas"),
        "to two signs",
    ),
    "a truncation of values": (
        lambda f: f.put("Trunc", "x", *[f.constant(np.float32(1))] * 4, domain="onnx.brevitas"),
        "a truncation of values",
    ),
    "an upper end": (
        lambda f: f.put("Clip", "x", f.constant(np.float32(0)), f.constant(np.float32(6))),
        "without an upper end",
    ),
    "minifloats": (
        lambda f: f.put("FloatQuant", "x", f.constant(np.float32(1)), domain="onnx.brevitas"),
        "FloatQuant",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_honoured_is_refused_by_name(name, tmp_path):
    build, text = REFUSED[name]
    file = File()
    last = build(file)
    axes = ("T", "B", 4) if name.endswith("LSTM") else ("B", 4)
    path = file.save(tmp_path / "q.onnx", last, axes)
    with pytest.raises(NeurodeployError) as caught:
        nd.load(path)
    assert text in str(caught.value) + caught.value.fix
    assert all(record["fix"] for record in caught.value.records())
