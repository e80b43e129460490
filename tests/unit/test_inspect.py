"""`neurodeploy inspect`: what is in a file, and what each target makes of it."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace

import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, save

import neurodeploy as nd
from neurodeploy.cli import main

COMMAND = importlib.import_module("neurodeploy.cli.inspect")


def run(*args):
    return CliRunner().invoke(main, ["inspect", *map(str, args)])


def ok(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result


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
    assert "target loihi2: 1 limits are broken" in shown
    assert "asic45" not in shown


def test_inspect_of_a_large_file_tries_no_target_unasked(tiny, monkeypatch):
    monkeypatch.setattr(COMMAND, "MOST_WEIGHTS", 3)
    assert "targets: not tried" in ok(tiny / "model.pt").stdout


def test_nir_and_onnx_files_are_shown_like_checkpoints(tiny, tmp_path):
    shown = ok(tiny / "model.pt").stdout.partition("\n")[2]
    nd.export(nd.load(tiny / "model.pt"), tmp_path / "m.onnx")
    again = ok(tmp_path / "m.onnx").stdout
    assert again.startswith("m: ")
    nodes = [line for line in shown.splitlines() if not line.startswith("target ")]
    assert [line for line in again.splitlines()[1:] if not line.startswith("target ")] == nodes
    nd.export(nd.load(tiny / "model.pt"), tmp_path / "m.nir")
    assert "target asic45: ok" in ok(tmp_path / "m.nir").stdout


def test_what_a_file_leaves_open_is_said_with_what_to_state(tmp_path):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("a", 3, 4)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "m.onnx")
    result = run(tmp_path / "m.onnx")
    assert result.exit_code == 3
    assert "may be TBC or BTC or BCL" in result.output
    assert "--layout TBC" in result.output
    assert "input [T, B, 4]" in ok(tmp_path / "m.onnx", "--layout", "TBC").stdout


def test_weights_on_a_grid_are_named(tiny, tmp_path):
    graph = nd.load(tiny / "model.pt")
    (name, *_) = (node.name for node in graph if hasattr(node.op, "stored"))
    grids = {name: (7,) * graph.widths[name]}
    nd.export(replace(graph, bits={name: 4}, grids=grids), tmp_path / "m.onnx")
    assert f"{name} has 4 bits, on a grid" in ok(tmp_path / "m.onnx").stdout
    assert json.loads(ok(tmp_path / "m.onnx", "--json").stdout)["bits"] == {name: 4}
