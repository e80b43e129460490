"""Tuning as a user meets it: in Python and on the command line, its files, and every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.networks import inputs_for, sdtcm

import neurodeploy as nd
from neurodeploy.cli import main
from neurodeploy.graph.ir import Linear, Population, identical
from neurodeploy.program.ir import edges
from neurodeploy.program.synapses import Dense

HOME = Path(__file__).parents[2]


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def rows():
    """The shipped network of 28 steps, and 1,000 images: 500 to tune on, 500 to judge by."""
    graph = nd.load(HOME / "examples" / "smnist" / "rows.pt")
    with np.load(HOME / "examples" / "smnist" / "test-1000.npz") as data:
        x = data["x"].reshape(28, 28, 1000).transpose(0, 2, 1)
        return graph, x, data["y"].astype(np.int64)


def accuracy(graph, x, y, **how):
    program = nd.compile(graph, nd.target("loihi2"), calibration=x[:, :64], **how)
    return nd.simulate(program, x[:, 500:]).accuracy(y[500:])


def test_tuning_recovers_accuracy_at_three_bits(rows):
    graph, x, y = rows
    train = x[:, :500], y[:500]
    tuned = nd.tune(graph, nd.target("loihi2"), *train, bits=3, epochs=2, rate=4e-3)
    assert accuracy(tuned, x, y) > accuracy(graph, x, y, bits=3) + 0.01


@pytest.fixture
def small():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph, samples=12)
    return graph, x, rng.integers(0, 3, 12)


def test_the_seed_decides(small):
    graph, x, y = small
    chip = nd.target("asic45")
    one, same, other = (
        nd.tune(graph, chip, x, y, bits=4, epochs=2, batch=5, seed=s) for s in (1, 1, 2)
    )
    assert identical(one, same)
    assert not identical(one, other)


def test_tuning_lowers_the_loss_and_keeps_what_is_not_there(small):
    graph, x, y = small
    chip = nd.target("asic45")

    def loss(graph):
        program = nd.compile(graph, chip, calibration=x)
        scores = torch.tensor(nd.simulate(program, x).outputs)
        return float(torch.nn.functional.cross_entropy(scores, torch.tensor(y)))

    start = nd.tune(graph, chip, x, y, bits=4, epochs=1, rate=1e-12)
    tuned = nd.tune(graph, chip, x, y, bits=4, epochs=10, rate=3e-3)
    assert loss(tuned) < loss(start) - 0.02
    for node in tuned:
        old = start[node.name].op
        if isinstance(node.op, Linear):
            assert np.any(node.op.weight != old.weight)
            assert bool(np.any(node.op.bias)) == bool(np.any(old.bias))
        if isinstance(node.op, Population):
            assert all(np.any(node.op.coefs[k] != old.coefs[k]) for k in old.coefs)
            poles = node.op.model.poles(node.op.model.coefs(**node.op.coefs))
            assert poles is None or np.all(np.abs(poles) < 1)


def test_a_large_rate_never_stops_a_decay(small):
    graph, x, y = small
    tuned = nd.tune(graph, nd.target("loihi2"), x, y, bits=4, epochs=4, rate=0.5)
    nd.compile(tuned, nd.target("loihi2"), calibration=x)  # else E302


def test_a_tuned_graph_is_saved_with_its_bits(small, tmp_path):
    graph, x, y = small
    chip = nd.target("loihi2")
    choice = {"*": 5, "blocks.0.linear1": 3}
    tuned = nd.tune(graph, chip, x, y, bits=choice, coef_bits={"blocks.0.tn": 9}, epochs=1)
    nd.save(tuned, tmp_path / "tuned.pt", example=x)
    again = nd.load(tmp_path / "tuned.pt")
    assert identical(again, tuned)
    program = nd.compile(again, chip, calibration=x)
    dense = [e for node in program for e in edges(node) if isinstance(e, Dense)]
    assert {e.linear: e.weight_bits for e in dense} == {
        **{"encoder": 5, "blocks.0.linear1": 3, "blocks.0.linear2": 5},
        **{"blocks.1.linear1": 5, "blocks.1.linear2": 5},
    }
    assert [n.word("c").bits for n in program.populations if n.spec == "prf"] == [9, 13]
    told = nd.compile(again, chip, calibration=x, bits=8)
    assert {e.weight_bits for n in told for e in edges(n) if isinstance(e, Dense)} == {8}


def test_the_command_writes_a_checkpoint_that_compiles(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ("tune", tiny / "model.pt", "--data", tiny / "data.npz", "--bits", 4, "--epochs", 1)
    done = run(*args)
    assert done.exit_code == 0, done.output
    assert "4-bit weights on loihi2, accuracy on data.npz" in done.stdout
    assert "wrote model.tuned.pt" in done.stdout
    assert done.stderr == ""
    compiled = run("compile", "model.tuned.pt", "--target", "loihi2", "--dry-run")
    assert "of 4 bits" in compiled.stdout
    assert "the example in the checkpoint (8 samples)" in compiled.stdout
    result = run(*args, "--json", "-o", "other.pt", "--test", tiny / "data.npz", "--seed", 3)
    body = json.loads(result.stdout)
    assert body["output"] == "other.pt"
    assert set(body["accuracy"]) == {"before", "after", "data"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.tuned.pt", "other.pt"]


def test_a_tuned_model_can_be_tuned_again_and_compared(tiny, tmp_path):
    for name, source in (("a.pt", tiny / "model.pt"), ("b.pt", tmp_path / "a.pt")):
        more = ("--data", tiny / "data.npz", "--bits", 6, "--epochs", 1, "-o", tmp_path / name)
        assert run("tune", source, *more).exit_code == 0
    out = tmp_path / "out"
    assert run("compile", tmp_path / "b.pt", "--target", "loihi2", "-o", out).exit_code == 0
    done = run("compare", tmp_path / "b.pt", out, "--input", tiny / "data.npz")
    assert done.exit_code == 0, done.output


def data(path, **arrays):
    np.savez(path, **arrays)
    return path


X = np.zeros((4, 3, 2))
MISTAKES = {
    "no labels": ({"x": X}, (), "E106", "has no labels"),
    "labels beyond the classes": ({"x": X, "y": np.array([0, 1, 3])}, (), "E106", "has 3 outputs"),
    "negative labels": ({"x": X, "y": np.array([0, 1, -1])}, (), "E106", "labels from -1"),
    "wrong width": ({"x": np.zeros((4, 3, 5)), "y": np.arange(3)}, (), "E106", "has shape"),
    "a rate of nothing": ({"x": X, "y": np.arange(3)}, ("--lr", 0), "E105", "rate is 0"),
    "no such Linear": ({"x": X, "y": np.arange(3)}, ("--bits", "a=4"), "E105", "names 'a'"),
    "too many bits": ({"x": X, "y": np.arange(3)}, ("--bits", 9), "E105", "9-bit weights"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_clear_error_and_leaves_nothing(mistake, tiny, tmp_path):
    arrays, more, code, says = MISTAKES[mistake]
    train = data(tmp_path / "train.npz", **arrays)
    place = tmp_path / "out.pt"
    result = run("tune", tiny / "model.pt", "--data", train, "-o", place, *more)
    assert result.exit_code == 3, result.output
    assert f"error[{code}]" in result.stderr
    assert says in result.stderr
    assert not place.exists()
