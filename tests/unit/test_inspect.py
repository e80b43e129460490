"""`neurodeploy inspect`: what is in a file, and what each target makes of it."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from onnx import StringStringEntryProto, TensorProto, helper, load, numpy_helper, save
from safetensors.torch import save_file
from support import inline

import neurodeploy as nd
from neurodeploy.cli import main
from neurodeploy.frontends import child
from neurodeploy.program import io as program_io

TARGETS = Path(__file__).parents[2] / "targets"
COMMAND = importlib.import_module("neurodeploy.cli.inspect")


def run(*args):
    return CliRunner().invoke(main, ["inspect", *map(str, args)])


def ok(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(child, "call", inline.call)


@pytest.fixture(scope="module")
def compiled(tiny, tmp_path_factory):
    place = tmp_path_factory.mktemp("compiled")
    chip = nd.target("asic45")
    program_io.write(nd.compile(nd.load(tiny / "model.pt"), chip), place)
    return place


def test_inspect_says_what_each_target_makes_of_a_model(tiny, tmp_path):
    text = ok(tiny / "model.pt").stdout
    assert "input [T, B, 2]" in text
    assert re.search(r"target loihi2: ok, \d+ of \d+ cores", text)
    torch.manual_seed(0)
    relu = torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.ReLU(), torch.nn.Linear(9, 3))
    nd.save(relu, tmp_path / "relu.pt", torch.rand(5, 2, 2))
    record = json.loads(ok(tmp_path / "relu.pt", "--json").stdout)
    held = {row["name"]: row for row in record["targets"]}
    assert held["asic45"]["ok"]
    assert held["asic45"]["problems"] == []
    assert {p["code"] for p in held["loihi2"]["problems"]} == {"E303"}
    shown = ok(tmp_path / "relu.pt", "--target", "loihi2").stdout
    assert "target loihi2: no, 1 problem\n" in shown
    assert "asic45" not in shown


def test_inspect_of_a_large_file_tries_no_target_unasked(tiny, monkeypatch):
    monkeypatch.setattr(COMMAND, "MOST_WEIGHTS", 3)
    assert "targets: not tried" in ok(tiny / "model.pt").stdout


@pytest.mark.usefixtures("in_process")
def test_nir_and_onnx_files_are_shown_like_checkpoints(tiny, tmp_path):
    shown = ok(tiny / "model.pt").stdout.partition("\n")[2]
    nd.export(nd.load(tiny / "model.pt"), tmp_path / "m.onnx")
    again = ok(tmp_path / "m.onnx").stdout
    assert again.startswith("m: ")
    nodes = [line for line in shown.splitlines() if not line.startswith("target ")]
    assert [line for line in again.splitlines()[1:] if not line.startswith("target ")] == nodes
    nd.export(nd.load(tiny / "model.pt"), tmp_path / "m.nir")
    assert "target asic45: ok" in ok(tmp_path / "m.nir").stdout


def onnx_file(path, nodes, constants=None, *, axes=("B", 4), functions=(), annotations=None):
    """Write a network of the tool `mytool` from x to y, both float32 of these axes."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in "xy"]
    tensors = [numpy_helper.from_array(v, name) for name, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    for value, scale in (annotations or {}).items():
        pair = StringStringEntryProto(key="SCALE_TENSOR", value=scale)
        graph.quantization_annotation.add(tensor_name=value, quant_parameter_tensor_names=[pair])
    imports = [helper.make_opsetid(domain, 21) for domain in ("", "d")]
    about = {"producer_name": "mytool", "producer_version": "1.2", "functions": functions}
    save(helper.make_model(graph, opset_imports=imports, ir_version=10, **about), path)
    return path


def test_what_a_file_leaves_open_is_said_with_what_to_state(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = onnx_file(tmp_path / "m.onnx", nodes, axes=("a", 3, 4))
    shown = ok(path).stdout
    for text in (
        "m.onnx, written by: mytool 1.2",
        "inputs x [a, 3, 4]",
        "y: Relu <- x -> y [a, 3, 4]",
        "not a graph as it stands:",
        "may be TBC or BTC or BCL",
        "--layout TBC",
    ):
        assert text in shown
    record = json.loads(ok(path, "--json").stdout)
    assert [error["code"] for error in record["open"]] == ["E107"]
    stated = ok(path, "--layout", "TBC").stdout
    assert stated.index("y: Relu <- x") < stated.index("as a graph:")
    assert "input [T, B, 4]" in stated


def unsupported(path):
    """A quantized layer whose last operators have no place in a graph."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "layer", transB=1),
        helper.make_node("QuantizeLinear", ["h", "s", "z"], ["q"], "quant"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "back"),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32(2))),
        helper.make_node("Sqrt", ["k"], ["r"], "root"),
        helper.make_node("Pow", ["d", "r"], ["p"], "power"),
        helper.make_node("Softmax", ["p"], ["y"], axis=-1),
    ]
    weight = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)
    bias = np.array([0, 1, np.nan, 2], np.float32)
    constants = {"w": weight, "b": bias, "s": np.float32(0.5), "z": np.int8(3)}
    return onnx_file(path, nodes, constants, annotations={"h": "s"})


@pytest.mark.usefixtures("in_process")
def test_an_onnx_file_that_is_no_graph_is_shown_node_by_node(tmp_path):
    path = unsupported(tmp_path / "m.onnx")
    record = json.loads(ok(path, "--json").stdout)
    nodes = {node["name"]: node for node in record["file"]["nodes"]}
    known = {name: node["known"] for name, node in nodes.items()}
    assert known == {
        **{"layer": True, "quant": True, "back": True, "root": True},
        **{"power": False, "y": False},
    }
    float32 = {"dtype": "float32"}
    assert nodes["layer"]["fields"] == {
        "B": {"shape": [4, 4], **float32, "low": -8, "high": 7, "constant": "w"},
        "C": {"shape": [4], **float32, "low": 0, "high": 2, "not_finite": 1, "constant": "b"},
        "transB": {"value": 1},
        "annotation of h: SCALE_TENSOR": {
            **{"shape": [], **float32, "low": 0.5, "high": 0.5, "constant": "s"},
        },
    }
    assert nodes["layer"]["sends"] == {"h": {"shape": ["B", 4], **float32}}
    assert nodes["quant"]["sends"]["q"]["dtype"] == "int8"
    assert nodes["power"]["reads"] == ["d", "r"]
    assert nodes["root"]["fields"]["X"]["low"] == 2
    assert {error["code"] for error in record["open"]} == {"E104"}
    refused = [error["where"] for error in record["open"]]
    found = [name for name in nodes if any(f'"{name}"' in where for where in refused)]
    assert found == ["power", "y"]
    shown = ok(path).stdout
    assert "layer: Gemm <- x -> h [B, 4]" in shown
    assert "C = 0 .. 2, [4] float32 (b), 1 NaN or infinite" in shown
    assert "y: Softmax (not known: opaque) <- p -> y [B, 4]" in shown
    compiled = CliRunner().invoke(
        main, ["compile", str(path), "--target", "asic45", "-o", str(tmp_path / "out")]
    )
    assert compiled.exit_code == 3


@pytest.mark.usefixtures("in_process")
def test_bodies_of_graphs_and_functions_are_shown(tmp_path):
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, ("B", 4))
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["b"], "sum")], "t", [], [value]
    )
    function = helper.make_function(
        *("d", "twice", ["a"], ["c"]),
        [helper.make_node("Add", ["a", "a"], ["c"], "double")],
        [helper.make_opsetid("", 21)],
    )
    nodes = [
        helper.make_node("If", ["yes"], ["h"], "choice", then_branch=body, else_branch=body),
        helper.make_node("twice", ["h"], ["y"], "call", domain="d"),
    ]
    constants = {"yes": np.array(True), "one": np.float32(1)}
    path = onnx_file(tmp_path / "m.onnx", nodes, constants, functions=[function])
    shown = ok(path).stdout
    assert "choice/sum: Add <- x -> b [B, 4]\n    B = 1, [] float32 (one)" in shown
    assert "call: d::twice (not known: opaque) <- h -> y [B, 4]" in shown
    assert "twice/double: Add <- a, a -> c" in shown


@pytest.mark.usefixtures("in_process")
def test_a_program_as_an_onnx_file_is_shown(compiled, tmp_path):
    nd.export(program_io.read(compiled), tmp_path / "p.onnx")
    shown = ok(tmp_path / "p.onnx").stdout
    assert re.search(r"neurodeploy\.program::\w+ <- .* -> .*/spikes \[T, B, \d+\]", shown)
    assert re.search(r"threshold = .* int64", shown)
    assert "is an exported integer program" in shown


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("damage", ["truncated", "nothing", "a tensor"])
def test_a_damaged_onnx_file_keeps_its_error(tmp_path, damage):
    path = unsupported(tmp_path / "m.onnx")
    if damage == "a tensor":
        model = load(path)
        model.graph.initializer[0].dims[0] = 5
        save(model, path)
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "truncated" else b"")
    result = run(path)
    assert result.exit_code == 3
    assert "error[E101]" in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("in_process")
def test_weights_on_a_grid_are_named(tiny, tmp_path):
    graph = nd.load(tiny / "model.pt")
    (name, *_) = (node.name for node in graph if hasattr(node.op, "stored"))
    grids = {name: (7,) * graph.widths[name]}
    nd.export(replace(graph, bits={name: 4}, grids=grids), tmp_path / "m.onnx")
    assert f"{name} has 4 bits, on a grid" in ok(tmp_path / "m.onnx").stdout
    assert json.loads(ok(tmp_path / "m.onnx", "--json").stdout)["bits"] == {name: 4}


@pytest.mark.usefixtures("in_process")
def test_a_torch_program_that_is_no_graph_is_shown_call_by_call(tmp_path):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain, self.layer = torch.nn.Parameter(torch.ones(3)), torch.nn.Linear(2, 3)

        def forward(self, x):
            return torch.cumsum(self.layer(x) * self.gain, 0)

    path, x = tmp_path / "m.pt2", torch.rand(5, 2, 2)
    torch.export.save(torch.export.export(torch.nn.Sequential(Odd()), (x,)), path)
    shown = ok(path).stdout
    assert re.search(r"mul: mul\.Tensor <- linear\n.*\n    0\.gain = 1, \[3\] float32", shown)
    assert "cumsum: cumsum.default (not known: opaque) <- mul" in shown
    record = json.loads(ok(path, "--json").stdout)
    whats = [error["what"] for error in record["open"]]
    assert [next(w for w in whats if w.startswith(n)) for n in ("0.gain", "cumsum")]
    linear = record["file"]["nodes"][0]["fields"]
    assert linear["0.layer.weight"]["shape"] == [3, 2]
    path.write_bytes(path.read_bytes()[:200])
    assert run(path).exit_code == 3


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_without_a_network_are_shown(tmp_path, suffix):
    state = {"0.weight": torch.eye(3), "0.bias": torch.full((3,), 0.5), "gain": torch.ones(())}
    path = tmp_path / f"m{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(
        {**state, "half": torch.ones(2, dtype=torch.bfloat16)}, path
    )
    shown = ok(path).stdout
    assert "0: weights" in shown
    assert "bias = 0.5, [3] float32" in shown
    assert "weight = 0 .. 1, [3, 3] float32" in shown
    assert "error[E103]" in shown
    record = json.loads(ok(path, "--json").stdout)
    nodes = {node["name"]: node["fields"] for node in record["file"]["nodes"]}
    assert set(nodes) == {"0", "(root)"}
    assert nodes["(root)"]["half"]["high"] == 1


def test_a_program_on_other_targets(compiled, tmp_path):
    shown = ok(compiled).stdout
    assert "these integers on other targets:" in shown
    assert re.search(r"target loihi2: no, \d+ problems\n    \[E305\] products round by", shown)
    assert "target asic45" not in shown
    assert "its model may, compiled for that target" in shown
    chip = (TARGETS / "asic45.toml").read_text()
    small = tmp_path / "small.toml"
    small.write_text(chip.replace('"asic45"', '"small"').replace("neurons = 1024", "neurons = 5"))
    record = json.loads(ok(compiled, "--json", "--target", "loihi2", "--target", small).stdout)
    assert record["program"]["target"] == "asic45"
    loihi, other = record["targets"]
    assert {"E301", "E305"} <= {problem["code"] for problem in loihi["problems"]}
    assert all(problem["fix"] for problem in loihi["problems"])
    assert (other["name"], other["ok"], other["problems"]) == ("small", True, [])
    assert other["synapses"] == record["program"]["synapses"]
    assert f"target small: ok, {other['cores']} of" in ok(compiled, "--target", small).stdout


def test_a_large_program_is_tried_on_no_target_unasked(compiled, monkeypatch):
    monkeypatch.setattr(COMMAND, "MOST_WEIGHTS", 3)
    shown = ok(compiled).stdout
    assert "targets: not tried" in shown
    assert "other targets" not in shown
