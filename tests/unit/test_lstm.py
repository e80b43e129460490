"""LSTM: torch's own numbers, integers within their bounds, saturation, counts, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from support.networks import linear
from support.vectors import lstm

import neurodeploy as nd
from neurodeploy.errors import NeurodeployError
from neurodeploy.graph.ir import Add, Graph, Input, Linear, Node, Reduce, identical
from neurodeploy.graph.rules import check
from neurodeploy.graph.vectors import sigmoid
from neurodeploy.passes.vectors import Operand, Register, build
from neurodeploy.program.memory import footprint
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.vector import KINDS
from neurodeploy.program.vector.lstm import FRACTION, GATE

ASIC = nd.target("asic45")
E_SIGMOID = (1 / 32) ** 2 / 8 * 0.0963 + float(1 - sigmoid(np.float64(12))) + 2.0**-FRACTION
E_TANH = (1 / 64) ** 2 / 8 * 0.770 + float(1 - np.tanh(8)) + 2.0**-FRACTION


class Torch(torch.nn.Module):
    """An LSTM of torch, read in one of the ways that people read it."""

    def __init__(self, read, **how):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 5, **how)
        self.read = read
        self.classifier = torch.nn.Linear(10 if how.get("bidirectional") else 5, 2)

    def forward(self, x):
        return self.classifier(self.read(self.lstm, x))


def last_hidden(module, x):
    _, (hidden, _) = module(x)
    return hidden[-1]


READ = {
    "all steps": (lambda module, x: module(x)[0], {}),
    "all steps, two layers": (lambda module, x: module(x)[0], {"num_layers": 2, "dropout": 0.5}),
    "both ways": (lambda module, x: module(x)[0], {"num_layers": 2, "bidirectional": True}),
    "no bias": (lambda module, x: module(x)[0], {"bias": False}),
    "last step": (lambda module, x: module(x)[0][-1], {}),
    "last hidden": (last_hidden, {"num_layers": 2}),
    "first layer's last": (lambda module, x: module(x)[1][0][0], {"num_layers": 2}),
}


@pytest.mark.parametrize("name", READ)
def test_a_traced_lstm_computes_what_torch_computes(name):
    read, how = READ[name]
    torch.manual_seed(0)
    module = Torch(read, **how).double().eval()
    x = torch.randn(17, 4, 3, dtype=torch.float64)
    graph = nd.trace(module)
    want = module(x).detach().numpy()
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=0, atol=1e-14)


REFUSED = {
    "batch first": (lambda m, x: m(x)[0], {"batch_first": True}, "batch_first=False"),
    "projections": (lambda m, x: m(x)[0], {"proj_size": 4}, "proj_size=0"),
    "a state": (lambda m, x: m(x, (x, x))[0], {}, "start at rest"),
    "cells": (lambda m, x: m(x)[1][1][0], {}, "the cells of an LSTM"),
    "backwards": (lambda m, x: m(x)[1][0][-1], {"bidirectional": True}, "runs backwards"),
    "no such layer": (lambda m, x: m(x)[1][0][3], {}, "3 of an LSTM"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_with_a_fix(name):
    read, how, text = REFUSED[name]
    with pytest.raises(NeurodeployError) as caught:
        nd.trace(Torch(read, **how))
    assert caught.value.code == "E104"
    assert text in str(caught.value)


def test_our_module_is_trained_saved_and_deployed(tmp_path):
    torch.manual_seed(0)
    both = nd.nn.LSTM(3, 6, 2, bidirectional=True)
    layers = [both, torch.nn.Linear(12, 8), nd.nn.LSTM(8, 6)]
    model = torch.nn.Sequential(*layers, nd.nn.Readout("mean"), torch.nn.Linear(6, 2))
    x = torch.randn(20, 8, 3)
    model(x).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    nd.save(model, tmp_path / "m.pt", example=x)
    again = nd.nn.load(tmp_path / "m.pt")
    torch.testing.assert_close(again(x), model.eval()(x), rtol=0, atol=0)
    graph = nd.load(tmp_path / "m.pt")
    nd.export(graph, tmp_path / "m.onnx")
    assert identical(nd.load(tmp_path / "m.onnx"), graph)
    program = nd.compile(graph, ASIC, calibration=x.numpy(), verify=True)
    got = nd.simulate(program, x.numpy()).outputs
    np.testing.assert_allclose(got, model(x).detach().numpy(), atol=0.02)


def constants(width=1, bits=32, reach=1.0):
    unit = np.full(width, 2.0**-GATE)
    drives = tuple(Operand(unit, np.zeros(width), 16.0) for _ in range(4))
    return build(
        lstm(np.random.default_rng(0), width), drives, np.ones(width), Register(bits, reach)
    )


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("reach", [0.5, 3.0, 100.0])
def test_one_step_is_within_its_bound_for_all_gates_and_cells(bits, reach):
    made = constants(bits=bits, reach=reach)
    unit = 2.0 ** -int(made.params["cell_fraction"])
    rng = np.random.default_rng(0)
    x = rng.integers(-20 << GATE, 20 << GATE, (4, 200_000))
    x[:, :4097] = np.arange(-2048, 2049) << 3
    cell = rng.integers(-int(reach / unit), int(reach / unit) + 1, x.shape[1])
    y, kept, lost = KINDS["lstm"].run(made.params, cell, *x)
    i, f, g, o = x * 2.0**-GATE
    exact = sigmoid(f) * cell * unit + sigmoid(i) * np.tanh(g)
    bound = E_SIGMOID * (np.abs(cell) * unit + 1) + E_TANH + unit / 2
    most = (2 ** (bits - 1) - 1) * unit
    inside = np.abs(exact) <= most
    assert np.count_nonzero(np.abs(exact) > most + bound) <= lost
    assert lost <= np.count_nonzero(np.abs(exact) > most - bound)
    off = np.abs(kept * unit - exact)[inside]
    assert np.all(off <= bound[inside])
    sent = sigmoid(o) * np.tanh(exact)
    far = np.abs(y * 2.0 ** (-2 * FRACTION) - sent)[inside]
    assert np.all(far <= off + E_TANH + E_SIGMOID * (1 + E_TANH))


def network(rng, *, width=6, inputs=3, reverse=False, tail=True):
    nodes = [
        Node("x", Input(inputs)),
        Node("gates", linear(rng, 4 * width, inputs), ("x",)),
        Node("cell", lstm(rng, width, reverse=reverse), ("gates",)),
    ]
    if tail:
        nodes += [
            Node("readout", Reduce("last", np.zeros(width)), ("cell",)),
            Node("out", linear(rng, 2, width), ("readout",)),
        ]
    return check(Graph(tuple(nodes), nodes[-1].name))


def everywhere(program, x, path):
    """Run reference, simulator and onnxruntime; assert that they agree; return the reference."""
    done = execute(program, to_integers(program.source, x)[0])
    run = nd.simulate(program, x, record=["cell"], states=True)
    np.testing.assert_array_equal(run.values["cell"], done.values["cell"])
    np.testing.assert_array_equal(run.states["cell"], done.states["cell"])
    (count,) = (node for node in run.nodes if node.name == "cell")
    assert count.overflows == done.overflows["cell"]
    nd.export(program, path)
    session = onnxruntime.InferenceSession(path)
    wanted = ["output_integers", "cell/values", "cell/final_cell"]
    whole, values, cells = session.run(wanted, {"input": x})
    np.testing.assert_array_equal(whole, run.integers)
    np.testing.assert_array_equal(values, done.values["cell"])
    np.testing.assert_array_equal(cells, done.states["cell"][0])
    return done, run


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("width", "steps"), [(1, 1), (1, 9), (7, 30)])
def test_reference_simulator_and_onnx_agree(width, steps, reverse, tmp_path):
    rng = np.random.default_rng(width + steps)
    graph = network(rng, width=width, reverse=reverse)
    x = rng.normal(size=(steps, 3, 3))
    program = nd.compile(graph, ASIC, calibration=x)
    everywhere(program, x * 4, tmp_path / "p.onnx")
    everywhere(program, x * 0, tmp_path / "p.onnx")


def test_a_full_cell_saturates_and_is_counted(tmp_path):
    rng = np.random.default_rng(0)
    graph = network(rng, width=5)
    held = np.repeat([1e3, 1e3, 1e3, 0.0], 5)  # forgets nothing, takes in all
    graph = graph.replace("gates", Linear(graph["gates"].op.weight, held))
    x = rng.normal(size=(40, 2, 3))
    program = nd.compile(graph, ASIC, calibration=x)
    params = {**program["cell"].params, "state_bits": np.int64(22)}
    nodes = [replace(n, params=params) if n.name == "cell" else n for n in program]
    done, _ = everywhere(replace(program, nodes=tuple(nodes)), x, tmp_path / "p.onnx")
    assert done.overflows["cell"] > 0
    assert np.abs(done.states["cell"]).max() == 2**21 - 1


def test_without_data_bounds_hold(tmp_path):
    rng = np.random.default_rng(3)
    graph = network(rng)
    program = nd.compile(graph, ASIC)
    x = rng.uniform(-1, 1, (60, 4, 3))
    done, run = everywhere(program, x, tmp_path / "p.onnx")
    assert done.overflows["cell"] == 0
    np.testing.assert_allclose(run.outputs, nd.interpret(graph, x), atol=0.05)


def test_operations_are_those_of_the_published_count():
    """Synapses are 4 (m n + n^2) a step, the recurrent ones from the second step on."""
    rng = np.random.default_rng(0)
    graph = network(rng, width=6, inputs=3)
    x = rng.normal(size=(11, 2, 3))
    run = nd.simulate(nd.compile(graph, ASIC, calibration=x), x)
    own = [edge for edge in run.edges if edge.source == "cell"]
    others = [edge for edge in run.edges if edge.source == "x"]
    assert {edge.kind for edge in run.edges} == {"mac"}
    assert sum(edge.dense for edge in others) == 11 * 2 * 4 * 3 * 6
    assert sum(edge.dense for edge in own) == 10 * 2 * 4 * 6 * 6
    (count,) = run.nodes
    assert count.per_update["read"] == 10
    assert count.written_bits == 32


def test_the_cell_takes_memory():
    graph = network(np.random.default_rng(0))
    program = nd.compile(graph, ASIC)
    one = footprint(program, "cell", 0, 1)
    assert one.synapses == 4 * (3 + 6)
    params = {**program["cell"].params, "state_bits": np.int64(16)}
    cell = replace(program["cell"], params=params)
    nodes = tuple(cell if node.name == "cell" else node for node in program)
    less = footprint(replace(program, nodes=nodes), "cell", 0, 1)
    assert one.state_bits - less.state_bits == 16


def test_loihi_names_what_to_use_instead():
    with pytest.raises(NeurodeployError) as caught:
        nd.compile(network(np.random.default_rng(0), reverse=True), nd.target("loihi2"))
    records = caught.value.records()
    assert {record["code"] for record in records} == {"E303"}
    assert "recurrent=True) in place of LSTM" in records[0]["fix"]
    assert any("no layer runs backwards" in record["what"] for record in records)


def test_it_may_be_added_to_a_stream():
    rng = np.random.default_rng(2)
    graph = network(rng, width=3, tail=False)
    nodes = (*graph.nodes, Node("sum", Add(), ("x", "cell")))
    graph = check(Graph((*nodes, Node("out", linear(rng, 2, 3), ("sum",))), "out"))
    x = rng.normal(size=(30, 4, 3))
    program = nd.compile(graph, ASIC, calibration=x, verify=True)
    want = nd.interpret(graph, x)
    got = nd.simulate(program, x).outputs
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


def test_bits_of_recurrent_weights_are_chosen_by_name():
    graph = network(np.random.default_rng(0))
    program = nd.compile(graph, ASIC, bits={"*": 8, "cell.recurrent": 4})
    widths = {edge.source: edge.weight_bits for edge in program["cell"].edges}
    assert widths == {"x": 8, "cell": 4}
    assert "recurrent_weight_error_rms" in program.notes["layers"]["cell"]


def test_channels_must_come_in_fours():
    nodes = (Node("x", Input(6)), Node("cell", lstm(np.random.default_rng(0), 1), ("x",)))
    with pytest.raises(NeurodeployError, match="4 groups of channels; there are 6"):
        check(Graph(nodes, "cell"))
