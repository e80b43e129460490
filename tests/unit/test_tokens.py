"""Token ids as inputs: from the embedding to the integer program and its files."""

from __future__ import annotations

import json
import math

import numpy as np
import onnxruntime
import pytest
import torch

import neurodeploy as nd
from neurodeploy.backends.lava import bundle
from neurodeploy.errors import InputError, NeurodeployError
from neurodeploy.graph.ir import Input, identical
from neurodeploy.program import io
from neurodeploy.tokens import one_hot

IDS = np.random.default_rng(0).integers(-1, 7, (30, 5, 1))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nd.nn.SDTCM(1, 8, 1, 3, tokens=7, dt=(0.1, 0.5)).double().eval()


@pytest.fixture(scope="module")
def program(model):
    return nd.compile(nd.trace(model, IDS), nd.target("loihi2"), calibration=IDS)


def test_ids_are_spikes():
    spikes = one_hot([[[2], [-1]]], 3)
    np.testing.assert_array_equal(spikes, [[[0, 0, 1], [0, 0, 0]]])
    np.testing.assert_array_equal(one_hot(spikes, 3), spikes)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        ([[[3]]], "3 is no token: there are 3"),
        ([[[-2]]], "-2 is no token"),
        ([[[0.5]]], "0.5 is no token"),
        ([[[np.nan]]], "nan is no token"),
        ([[0]], "tokens are given as"),
        ([[[0, 1]]], r"of shape \(1, 1, 2\)"),
        ([[[0, 2, 0]]], "tokens are given as"),
        (np.zeros((0, 1, 1)), "tokens are given as"),
    ],
)
def test_what_is_no_token_is_refused(x, says):
    with pytest.raises(InputError, match=says) as caught:
        one_hot(x, 3)
    assert caught.value.code == "E106"
    assert caught.value.fix


def test_an_embedding_is_a_table_and_nothing_is_zero():
    layer = nd.nn.Embedding(7, 4).double()
    y = layer(torch.from_numpy(IDS))
    want = torch.from_numpy(one_hot(IDS, 7)) @ layer.weight
    torch.testing.assert_close(y, want, rtol=0, atol=0)
    y.sum().backward()
    counts = torch.from_numpy(one_hot(IDS, 7)).sum((0, 1))
    torch.testing.assert_close(layer.weight.grad[:, 0], counts)
    others = [torch.full((2, 1, 1), no_id) for no_id in (7, -2, 0.5, -0.5, math.nan)]
    for wrong in (*others, torch.zeros(2, 1)):
        with pytest.raises(InputError) as caught:
            layer(wrong)
        assert caught.value.code == "E106"


def test_the_graph_computes_what_the_module_does(model):
    graph = nd.trace(model, IDS)
    assert (graph.input.op.width, graph.input.op.tokens) == (7, True)
    want = model(torch.from_numpy(IDS)).detach().numpy()
    np.testing.assert_allclose(nd.interpret(graph, IDS), want, rtol=1e-9)
    np.testing.assert_allclose(nd.interpret(graph, one_hot(IDS, 7)), want, rtol=1e-9)
    assert identical(nd.trace(model), graph)


def test_the_program_takes_ids_or_spikes(program):
    assert program.source.tokens
    ids, spikes = (nd.simulate(program, x) for x in (IDS, one_hot(IDS, 7)))
    np.testing.assert_array_equal(ids.integers, spikes.integers)
    assert ids.edges[0].kind == "add"
    assert ids.edges[0].events == np.count_nonzero(IDS >= 0)
    with pytest.raises(InputError, match="7 is no token"):
        nd.simulate(program, IDS + 1)


def test_every_token_says_something_else(program):
    outputs = {
        nd.simulate(program, np.full((40, 1, 1), i)).integers.tobytes() for i in range(-1, 7)
    }
    assert len(outputs) == 8


def test_files_keep_the_tokens(model, program, tmp_path):
    graph = nd.trace(model, IDS)
    nd.export(graph, tmp_path / "m.onnx")
    assert identical(nd.load(tmp_path / "m.onnx"), graph)
    nd.export(graph, tmp_path / "m.nir")
    back = nd.load(tmp_path / "m.nir")
    np.testing.assert_allclose(nd.interpret(back, IDS), nd.interpret(graph, IDS), rtol=1e-9)
    nd.save(model, tmp_path / "m.pt", example=torch.from_numpy(IDS))
    assert identical(nd.load(tmp_path / "m.pt"), graph)
    (tmp_path / "p").mkdir()
    io.write(program, tmp_path / "p")
    again = io.read(tmp_path / "p")
    np.testing.assert_array_equal(
        nd.simulate(again, IDS).integers, nd.simulate(program, IDS).integers
    )


def test_the_onnx_program_takes_the_spikes(program, tmp_path):
    nd.export(program, tmp_path / "p.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx")
    (found,) = session.run(["output_integers"], {"input": one_hot(IDS, 7)})
    np.testing.assert_array_equal(found, nd.simulate(program, IDS).integers)


def test_a_bundle_is_tested_on_tokens(program, tmp_path):
    folder = bundle.write(program, tmp_path)
    with np.load(folder / "golden.npz") as golden:
        assert golden["integers"].sum(-1).max() == 1
    source = json.loads((folder / "manifest.json").read_text())["nodes"][0]
    assert source["tokens"] is True


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.dense = nd.nn.Embedding(4, 3), torch.nn.Linear(1, 3)

    def forward(self, x):
        return self.table(x) + self.dense(x)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Twice, "it reads token ids"),
        (
            lambda: torch.nn.Sequential(torch.nn.Linear(1, 1), nd.nn.Embedding(4, 3)),
            "an embedding of something else",
        ),
    ],
)
def test_where_an_embedding_cannot_stand(network, says):
    with pytest.raises(NeurodeployError) as caught:
        nd.trace(network(), np.zeros((2, 1, 1)))
    assert any(says in record["what"] for record in caught.value.records())


def test_what_does_not_go_with_tokens():
    for wrong in ({"inputs": 2}, {"input_scale": 0.5}, {"tokens": 0}):
        how = {"inputs": 1, "tokens": 7, **wrong}
        with pytest.raises(InputError, match="tokens"):
            nd.nn.SDTCM(width=4, blocks=1, classes=2, **how)
    with pytest.raises(InputError, match="tokens are spikes"):
        Input(3, tokens=True)
