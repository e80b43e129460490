"""How weights are kept, and read a few rows at a time: the numbers are the same ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.networks import batchnorm, chain, inputs_for, sdtcm, spiking_ssm

import neurodeploy as nd
from neurodeploy import matrices
from neurodeploy.errors import InputError
from neurodeploy.graph import kept
from neurodeploy.graph.ir import Graph, Input, Linear, Node, digest, identical
from neurodeploy.graph.kept import narrow
from neurodeploy.graph.rules import check
from neurodeploy.graph.weights import in_front
from neurodeploy.passes.pipeline import fold
from neurodeploy.program import io
from neurodeploy.program.ir import Readout, edges
from neurodeploy.program.synapses import Dense, fitted

rng = np.random.default_rng(3)
EXACT = rng.normal(size=(5, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (EXACT, np.float32),
        (EXACT.astype(np.float64), np.float32),
        (EXACT.astype(np.float64) * 0.1, np.float64),
        (np.array([[1e300, -0.0]]), np.float64),
        (np.array([[-0.0, 2.0**-149]]), np.float32),
        (np.array([[2.0**-150]]), np.float64),
        (np.array([[np.nan, 1.0]]), np.float64),
        (np.arange(4).reshape(2, 2), np.float32),
        (np.zeros((0, 3)), np.float32),
    ],
)
def test_narrow_keeps_every_bit(value, kind):
    found = narrow(value)
    assert found.dtype == kind
    assert found.astype(np.float64).tobytes() == np.asarray(value, np.float64).tobytes()
    assert not found.flags.writeable


def test_what_others_may_write_to_is_copied_and_the_rest_is_shared():
    mine = EXACT.copy()
    linear = Linear(mine, np.zeros(5))
    mine[:] = 0
    np.testing.assert_array_equal(linear.weight, EXACT)
    assert linear.weight.dtype == np.float64
    assert np.shares_memory(Linear(linear.stored, np.zeros(5)).stored, linear.stored)
    wide = Linear(EXACT * 0.1, np.zeros(5))
    assert np.shares_memory(Linear(wide.stored, np.ones(5)).stored, wide.stored)
    with pytest.raises(ValueError, match="read-only"):
        linear.stored[0] = 1


def test_training_on_does_not_change_a_traced_graph():
    module = torch.nn.Sequential(nd.nn.Embedding(4, 3), torch.nn.Linear(3, 2))
    graph = nd.trace(module)
    before = digest(graph)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert digest(graph) == before != digest(nd.trace(module))


def test_a_file_is_read_into_as_much_memory_as_its_weights(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(300, 70), nd.nn.LIF(70), torch.nn.Linear(70, 5))
    nd.save(module.eval(), tmp_path / "m.pt")
    graph = nd.load(tmp_path / "m.pt")
    assert identical(graph, nd.trace(module))
    folded = fold(graph)
    for node in graph:
        if isinstance(node.op, Linear):
            assert node.op.stored.dtype == np.float32
            assert np.shares_memory(folded[node.name].op.stored, node.op.stored)


def test_folding_keeps_the_memory_of_the_weights_that_were_trained():
    graph = single(sdtcm(rng, outer=True))
    for before, after in (
        (n.op, fold(graph)[n.name].op) for n in graph if isinstance(n.op, Linear)
    ):
        kept_there = getattr(after.stored, "matrix", after.stored)
        assert np.shares_memory(kept_there, before.stored)


def test_factors_stand_beside_a_float32_matrix_and_are_multiplied_in_their_order(monkeypatch):
    rows, columns = rng.normal(size=5), rng.normal(size=3)
    made = matrices.scaled(matrices.scaled(EXACT, 1, columns), 0, rows)
    want = EXACT.astype(np.float64) * columns * rows[:, None]
    assert made.matrix is EXACT
    assert (made.shape, made.ndim, len(made)) == ((5, 3), 2, 5)
    np.testing.assert_array_equal(np.asarray(made), want)
    np.testing.assert_array_equal(np.asarray(made[1:3]), want[1:3])
    np.testing.assert_array_equal(np.asarray(made[:, np.array([2, 0, 2])]), want[:, [2, 0, 2]])
    assert matrices.scaled(made, 0, np.ones(5)) is made
    linear = Linear(made, np.zeros(5))
    assert linear.stored is made
    np.testing.assert_array_equal(linear.weight, want)
    graphs = [
        Graph((Node("input", Input(3)), Node("a", op, ("input",))), "a")
        for op in (linear, Linear(want, np.zeros(5)))
    ]
    assert identical(*graphs)
    np.testing.assert_array_equal(matrices.scaled(want, 0, rows), want * rows[:, None])
    monkeypatch.setattr(matrices, "_BLOCK", 6)
    parts = [part for _, part in matrices.blocks(made)]
    np.testing.assert_array_equal(np.concatenate(parts), want)


def test_a_factor_that_is_no_number_is_found():
    linear = in_front(Linear(EXACT, np.zeros(5)), np.array([1, np.nan, 1, 1, 1]))
    graph = Graph((Node("input", Input(3)), Node("a", linear, ("input",))), "a")
    with pytest.raises(InputError, match="weight has 1 NaN"):
        check(graph)


def single(graph: Graph) -> Graph:
    """Return the graph with weights that are float32 numbers."""
    for node in graph:
        if isinstance(node.op, Linear):
            graph = graph.replace(node.name, Linear(np.float32(node.op.weight), node.op.bias))
    return graph


def written(program, folder):
    folder.mkdir()
    io.write(program, folder)
    return json.loads((folder / "manifest.json").read_text())


NETWORKS = {
    "sdtcm": lambda: sdtcm(rng, bidirectional=True, outer=True),
    "steps": lambda: sdtcm(rng, norm="post", readout="steps"),
    "ssm": lambda: spiking_ssm(rng, bidirectional=True),
    "lif": lambda: chain(rng, [("lif", {"recurrent": True})], norm=True),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("calibrated", [True, False])
def test_a_program_does_not_depend_on_how_weights_are_kept(name, calibrated, tmp_path, monkeypatch):
    """Kept in float64, kept narrow: the same bytes. A few rows at a time: the same weights."""
    graph = single(NETWORKS[name]())
    x = inputs_for(rng, graph) if calibrated else None
    chip = nd.target("asic45")
    kept_narrow = written(nd.compile(graph, chip, calibration=x), tmp_path / "narrow")
    monkeypatch.setattr(matrices, "_BLOCK", 8)
    in_rows = written(nd.compile(graph, chip, calibration=x), tmp_path / "rows")
    monkeypatch.undo()
    monkeypatch.setattr(kept, "narrow", lambda value: np.asarray(value, np.float64))
    wide = Graph(tuple(Node(n.name, n.op, n.inputs) for n in single(graph)), graph.output)
    assert all(n.op.stored.dtype == np.float64 for n in wide if isinstance(n.op, Linear))
    assert kept_narrow == written(nd.compile(wide, chip, calibration=x), tmp_path / "wide")
    for key, value in kept_narrow["arrays"].items():
        if key.endswith((".weight", ".sign")):
            assert in_rows["arrays"][key] == value, key
    errors = {node: layer.get("weight_error_rms", 0.0) for node, layer in layers(kept_narrow)}
    again = {node: layer.get("weight_error_rms", 0.0) for node, layer in layers(in_rows)}
    assert again == pytest.approx(errors, rel=1e-12)
    assert max(errors.values()) > 0


def layers(manifest):
    return manifest["notes"]["layers"].items()


def test_blocks_are_all_rows_once(monkeypatch):
    monkeypatch.setattr(matrices, "_BLOCK", 8)
    matrix, x = rng.integers(-9, 9, (7, 3)).astype(np.int8), rng.normal(size=(2, 3))
    seen = [(rows, part) for rows, part in matrices.blocks(matrix)]
    assert len(seen) == 4
    np.testing.assert_array_equal(np.concatenate([part for _, part in seen]), matrix)
    np.testing.assert_allclose(matrices.times(matrix, x[0]), matrix @ x[0], rtol=1e-12)
    low, high = np.minimum(*x), np.maximum(*x)
    least, most = matrices.bounds(matrix, low, high)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1)
    np.testing.assert_allclose(least, (matrix @ corners).min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(most, (matrix @ corners).max(axis=1), rtol=1e-12)
    assert list(matrices.blocks(np.zeros((0, 3)))) == []
    assert matrices.times(np.zeros((0, 3)), x[0]).shape == (0,)


@pytest.mark.parametrize(
    ("top", "kind"),
    [(127, np.int8), (-127, np.int8), (-128, np.int16), (32768, np.int32), (2**40, np.int64)],
)
def test_weights_of_programs_take_the_narrowest_type(top, kind):
    weight = np.array([[0, top]])
    assert fitted(weight).dtype == kind
    assert Dense(source="a", weight=weight, weight_bits=8).weight.dtype == kind
    unit = np.ones(1)
    assert (
        Readout(source="a", kind="last", unit=unit, offset=unit, weight=weight).weight[0, 1] == top
    )


def test_a_compiled_program_is_kept_like_one_that_was_read(tmp_path):
    graph = sdtcm(rng)
    program = nd.compile(graph, nd.target("asic45"), calibration=inputs_for(rng, graph))
    again = io.read(nd.emit(program, tmp_path / "out"))
    for node, read in zip(program, again, strict=True):
        for edge, other in zip(edges(node), edges(read), strict=True):
            if isinstance(edge, Dense):
                assert edge.weight.dtype == other.weight.dtype == np.int8


def test_a_fingerprint_is_of_numbers_names_and_wiring():
    graph = sdtcm(np.random.default_rng(1))
    assert digest(graph) == digest(sdtcm(np.random.default_rng(1)))
    norm = next(node for node in graph if node.name.endswith("norm"))
    other = graph.replace(norm.name, batchnorm(rng, 7))
    turned = Graph(graph.nodes[::-1], graph.output)
    sooner = Graph(graph.nodes, "readout")
    assert len({digest(g) for g in (graph, other, turned, sooner)}) == 4
