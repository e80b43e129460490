"""Every shipped checkpoint deploys: scores in float, in 8-bit integers, rates and energy."""

from __future__ import annotations

import json
from pathlib import Path

import deploy
import numpy as np
import pytest
from click.testing import CliRunner
from tasks import TASKS, Options

import neurodeploy as nd

HOME = Path(__file__).parents[2] / "examples"
ALL, FEW = 1000, 40  # test images that are shipped; of them, for networks of 784 steps
CHECKPOINTS = {  # task, test images, and the least accuracy in float64
    "smnist/rows.pt": ("rows", ALL, 0.97),
    "rows/tclif.pt": ("rows", ALL, 0.95),
    "rows/celif.pt": ("rows", ALL, 0.95),
    "rows/gsu.pt": ("rows", ALL, 0.97),
    "rows/spiking-ssm.pt": ("rows", ALL, 0.97),
    "rows/binary-s4d.pt": ("rows", ALL, 0.97),
    "rows/s4d.pt": ("rows", ALL, 0.97),
    "image/relu.pt": ("image", ALL, 0.97),
    "smnist/celif.pt": ("smnist", FEW, 0.95),
    "smnist/gsu.pt": ("smnist", FEW, 0.95),
    "smnist/spiking-ssm.pt": ("smnist", FEW, 0.95),
    "smnist/binary-s4d.pt": ("smnist", FEW, 0.95),
}
EVERY = sorted(str(p.relative_to(HOME)) for p in HOME.rglob("*.pt"))


def test_every_checkpoint_is_listed_or_tested_elsewhere():
    assert sorted([*CHECKPOINTS, "smnist/smnist.pt"]) == EVERY
    assert all((HOME / name).stat().st_size <= 500_000 for name in EVERY)


@pytest.fixture(scope="module", params=CHECKPOINTS)
def deployed(request):
    name, samples, least = CHECKPOINTS[request.param]
    how = deploy.How(bits=(8,), samples=samples)
    return deploy.deploy(HOME / request.param, TASKS[name](Options()), how), samples, least


def test_it_scores_in_float_and_in_integers(deployed):
    found, samples, least = deployed
    assert found.float_score >= least
    assert found.scores["8 bits"] >= found.float_score - max(0.003, 1 / samples)


def test_every_layer_fires_and_not_always(deployed):
    found, _, _ = deployed
    assert bool(found.rates) != found.name.endswith(("/s4d", "/relu", "/lstm"))
    assert all(0.001 < rate < 0.9 for rate in found.rates.values())


def test_energy_is_counted_in_both_modes_and_without_spikes(deployed):
    found, _, _ = deployed
    assert set(found.energy_pj) == {"paper", "physical", "int8 ANN"}
    assert all(value > 0 for value in found.energy_pj.values())


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_can_be_trained_on(name):
    model = nd.nn.load(HOME / name)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) > 0


@pytest.mark.parametrize("name", EVERY)
def test_what_trained_it_is_said_beside_it(name):
    path = HOME / name
    text = path.with_suffix(".log").read_text()
    assert "10,000" in text  # test images
    assert path.name in text


def test_the_table_for_people_and_for_machines(tmp_path):
    rng = np.random.default_rng(0)
    data = {f"x_{p}": rng.integers(0, 256, (96, 28, 28), np.uint8) for p in ("train", "test")}
    data |= {f"y_{p}": rng.integers(0, 10, 96, np.uint8) for p in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **data)
    args = [str(HOME / "smnist" / "rows.pt"), "--task", "rows", "--samples", "20", "--bits", "8,4"]
    args += ["--tune", "1", "--tune-samples", "64", "--mnist", str(tmp_path / "mnist.npz")]
    text = CliRunner().invoke(deploy.main, [*args, "--ratio"]).output
    assert "20 test samples, accuracy" in text
    words = ("8 bits", "4 bits, tuned", "rates, %", "paper", "physical", "training", "smnist/rows")
    for word in words:
        assert word in text
    found = json.loads(CliRunner().invoke(deploy.main, [*args, "--json"]).output)
    (model,) = found["models"]
    assert (found["version"], found["samples"], found["task"]) == (1, 20, "rows")
    assert set(model["scores"]) == {"8 bits", "4 bits", "4 bits, tuned"}
    shown = text.splitlines()[-1].split()
    assert f"{model['float_score']:.4f}" in shown
    assert all(f"{score:.4f}" in shown for score in model["scores"].values())


def test_mistakes_are_told_with_a_fix():
    path = str(HOME / "smnist" / "rows.pt")
    for args, words in (
        ((path, "--task", "smnist"), "give x [T, B, 28]"),
        ((path, "--task", "rows", "--bits", "40"), "between 2 and 16"),
        ((path, "--task", "rows", "--bits", "x"), "'x' is not numbers above 0"),
        ((path, "--task", "rows", "--tune", "1"), "give the full mnist.npz with --mnist"),
        (("none.pt", "--task", "rows"), "none.pt does not exist"),
    ):
        done = CliRunner().invoke(deploy.main, [*args, "--samples", "2"])
        assert done.exit_code == 2
        assert words in done.output


def test_energy_and_rates_do_not_depend_on_how_samples_are_cut(monkeypatch):
    path, task = HOME / "smnist" / "rows.pt", TASKS["rows"](Options())
    one, cut = [], deploy.How(bits=(8,), samples=50)
    for at_once in (500, 16):
        monkeypatch.setattr(deploy, "AT_ONCE", at_once)
        one.append(deploy.deploy(path, task, cut))
    assert one[0].scores == one[1].scores
    assert one[0].rates == pytest.approx(one[1].rates)
    assert one[0].energy_pj == pytest.approx(one[1].energy_pj)
