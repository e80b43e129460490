"""The training script of the examples: every network trains on every kind of target, and saves."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import train
from click.testing import CliRunner
from networks import NETWORKS
from tasks import TASKS, Options

import neurodeploy as nd

TINY = {"digits": (), "adding": ("--length", "12"), "copy": ("--length", "3")}


def run(*args):
    return CliRunner().invoke(train.main, ["--widths", "6,5", "--samples", "256", *args])


@pytest.mark.parametrize("neuron", NETWORKS)
@pytest.mark.parametrize("task", TINY)
def test_every_network_learns_from_every_kind_of_target(task, neuron):
    torch.manual_seed(0)
    made = TASKS[task](Options(length=int((*TINY[task], 0, 0)[1]), size=(256, 50)))
    model = NETWORKS[neuron](made, (6, 5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    x, y = train.tensors(made, made.test)
    first = float(train.loss_of(made, model.train()(x), y).detach())
    train.train(made, model, epochs=2, batch=32, rates=(1e-2, 1e-2), seed=0)
    after = float(train.loss_of(made, model.train()(x), y).detach())
    assert after < first or task == "digits"
    assert any((p != before[name]).any() for name, p in model.named_parameters())


def test_a_run_says_what_it_did_and_saves_what_it_trained(tmp_path):
    out = tmp_path / "out.pt"
    args = ("--task", "adding", "--neuron", "lif", "--length", "10", "--epochs", "2")
    first, second = (run(*args, "--save", str(out)) for _ in range(2))
    assert first.exit_code == 0, first.output
    strip = re.compile(r"\d+ s$", re.MULTILINE)
    assert strip.sub("", first.output) == strip.sub("", second.output)
    assert len(re.findall("^epoch", first.output, re.MULTILINE)) == 2
    task = TASKS["adding"](Options(length=10, size=(256, 1000)))
    score = train.evaluate(task, nd.nn.load(out), task.test)
    assert f"test squared error {score:.4f} of 1,000 samples" in first.output
    assert nd.interpret(nd.load(out), task.test.x).shape == (1000, 1)


def test_mistakes_are_told():
    for args, word in (
        (("--task", "rows", "--neuron", "lif"), "--mnist"),
        (
            ("--task", "digits", "--neuron", "lif", "--widths", "6,x"),
            "'6,x' is not numbers",
        ),
        (("--task", "digits", "--neuron", "lif", "--epochs", "0"), "--epochs"),
    ):
        done = run(*args)
        assert done.exit_code == 2
        assert word in done.output


def test_scores():
    adding, copy = (TASKS[n](Options(length=5, size=(4, 4))) for n in ("adding", "copy"))
    output, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5], [2.0]])
    assert train.score_of(adding, output, y) == pytest.approx(0.125)
    y = torch.from_numpy(copy.test.y)
    right = torch.nn.functional.one_hot(y, 10).float()
    assert train.score_of(copy, right, y) == 1
    right[-3:] = 0  # class 0, which is never asked for at the end
    assert train.score_of(copy, right, y) == pytest.approx(0.7)
    right[:15] = 0  # what is said before does not count
    right[:15, :, 3] = 1
    assert train.score_of(copy, right, y) == pytest.approx(0.7)


def test_batches_hold_every_sample_once():
    data = TASKS["adding"](Options(length=5, size=(20, 4))).train(0)
    found = list(train.batches(data, 6, np.random.default_rng(0)))
    assert [len(part) for part in found] == [6, 6, 6]
    seen = {part.x[:, i].tobytes() for part in found for i in range(6)}
    assert len(seen) == 18
