"""Every shipped checkpoint deploys: scores in float, in 8-bit integers, rates and energy."""

from __future__ import annotations

import json

import deploy
import numpy as np
import pytest
import shipped
from click.testing import CliRunner
from shipped import HOME, SHIPPED
from tasks import Options

import neurodeploy as nd

ALL, FEW = 1000, 40  # test images that are shipped; of them, for networks of 784 steps
LEAST = {"rows/tclif.pt": 0.95, "rows/celif.pt": 0.95, "smnist": 0.95}  # float; others 0.97
LEAST |= {"smnist/psmnist.pt": 0.9, "digits/sdtcm.pt": 0.95}
TESTED = {"digits": "360"}  # samples after training; others 10,000
EVERY = sorted(str(p.relative_to(HOME)) for p in HOME.rglob("*.pt"))


def test_every_checkpoint_is_listed_and_small():
    assert sorted(SHIPPED) == EVERY
    assert all((HOME / name).stat().st_size <= 500_000 for name in EVERY)


@pytest.fixture(scope="module", params=[name for name in SHIPPED if name != "smnist/smnist.pt"])
def deployed(request):  # the one that is left out is in tests/hil/test_shipped.py
    task = SHIPPED[request.param][0]
    samples = FEW if task in ("smnist", "psmnist") else ALL
    least = LEAST.get(request.param, LEAST.get(task, 0.97))
    how = deploy.How(bits=(8,), samples=samples)
    return deploy.deploy(HOME / request.param, task, Options(), how), samples, least


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


@pytest.mark.parametrize("name", SHIPPED)
def test_it_can_be_trained_on(name):
    model = nd.nn.load(HOME / name)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) > 0


@pytest.mark.parametrize("name", EVERY)
def test_what_trained_it_is_said_beside_it(name):
    path = HOME / name
    text = path.with_suffix(".log").read_text()
    assert TESTED.get(path.parent.name, "10,000") in text
    assert path.name in text


def test_the_table_for_people_and_for_machines(tmp_path):
    rng = np.random.default_rng(0)
    data = {f"x_{p}": rng.integers(0, 256, (96, 28, 28), np.uint8) for p in ("train", "test")}
    data |= {f"y_{p}": rng.integers(0, 10, 96, np.uint8) for p in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **data)
    args = [str(HOME / "smnist" / "rows.pt"), "--samples", "20", "--bits", "8,4", "--ratio"]
    args += ["--tune", "1", "--tune-samples", "64", "--mnist", str(tmp_path / "mnist.npz")]
    args += ["--keep", str(tmp_path / "results")]
    text = CliRunner().invoke(deploy.main, args).output
    words = ("8 bits", "4 bits, tuned", "rates, %", "paper", "physical", "training", "smnist/rows")
    for word in words:
        assert word in text
    found = json.loads(CliRunner().invoke(deploy.main, [*args, "--json"]).output)
    (model,) = found["models"]
    assert (found["version"], model["samples"], model["task"]) == (2, 20, "rows")
    assert set(model["scores"]) == {"8 bits", "4 bits", "4 bits, tuned"}
    (shown, beside) = (line.split() for line in text.splitlines() if line.startswith("smnist/rows"))
    assert f"{model['float_score']:.4f}" in shown
    assert all(f"{score:.4f}" in shown for score in model["scores"].values())
    assert {"28", "11,772", "20", "99.18"} <= set(beside)


def test_what_was_kept_is_not_measured_again_and_only_that(tmp_path, monkeypatch):
    done = []

    def deployed_once(path, name, options, how):
        done.append(how)
        scores = {f"{bits} bits": 0.25 for bits in how.bits}
        return deploy.Deployed("a", name, "accuracy", 5, 28, 7, "1", 0.5, scores, {"l": 0.1}, {})

    def tuned_once(path, name, options, how):
        done.append(how)
        return 0.375

    monkeypatch.setattr(deploy, "deploy", deployed_once)
    monkeypatch.setattr(deploy, "tuned", tuned_once)

    def measured(keep, name="rows/tclif.pt", seed=0, **how):
        options = Options(seed=seed)
        return deploy.measured(HOME / name, "rows", options, deploy.How(**how), keep).scores

    keep, (eight, four, after) = tmp_path / "kept", ("8 bits", "4 bits", "4 bits, tuned")
    assert measured(keep) == measured(keep) == {eight: 0.25, four: 0.25}
    assert len(done) == 1
    for _ in range(2):
        assert measured(keep, tune=1) == {eight: 0.25, four: 0.25, after: 0.375}
    assert [how.tune for how in done] == [0, 1]
    for how in (
        {"bits": (8,)},
        {"seed": 1},
        {"name": "rows/gsu.pt"},
        {"samples": 7},
        {"ratio": True},
    ):
        measured(keep, **how)
    assert len(done) == 7
    assert measured(None) == measured(None)
    assert len(done) == 9
    measured(keep, tune=2)
    assert len(done) == 10


def test_without_checkpoints_it_is_all_that_are_shipped_beside_what_papers_report(monkeypatch):
    def made(path, name, options, how):
        return deploy.Deployed(
            shipped.name_of(path)[:-3], name, "accuracy", 5, 28, 7, "1", 0.5, {}, {}, {}
        )

    monkeypatch.setattr(deploy, "deploy", made)
    text = CliRunner().invoke(deploy.main, []).output
    first, second = text.split("\n\n")
    assert [line.split()[0] + ".pt" for line in first.splitlines()[2:]] == list(SHIPPED)
    assert [line.split()[0] + ".pt" for line in second.splitlines()[1:]] == list(SHIPPED)
    assert second.count("%") == sum(paper is not None for _, paper in SHIPPED.values())


def test_mistakes_are_told_with_a_fix():
    path = str(HOME / "smnist" / "rows.pt")
    for args, words in (
        ((path, "--task", "smnist"), "give x [T, B, 28]"),
        ((path, "--task", "rows", "--bits", "40"), "between 2 and 16"),
        ((path, "--task", "rows", "--bits", "x"), "'x' is not numbers above 0"),
        ((path, "--tune", "1"), "give the full mnist.npz with --mnist"),
        (("none.pt",), "none.pt' does not exist"),
        ((__file__,), "not one of the checkpoints that are shipped: name its --task"),
    ):
        done = CliRunner().invoke(deploy.main, [*args, "--samples", "2"])
        assert done.exit_code == 2
        assert words in done.output


def test_energy_and_rates_do_not_depend_on_how_samples_are_cut(monkeypatch):
    path, one, cut = HOME / "smnist" / "rows.pt", [], deploy.How(bits=(8,), samples=50)
    for at_once in (500, 16):
        monkeypatch.setattr(deploy, "AT_ONCE", at_once)
        one.append(deploy.deploy(path, "rows", Options(), cut))
    assert one[0].scores == one[1].scores
    assert one[0].rates == pytest.approx(one[1].rates)
    assert one[0].energy_pj == pytest.approx(one[1].energy_pj)
