"""Every shipped checkpoint of a small task deploys: accuracy in float and in 8-bit integers."""

from __future__ import annotations

from pathlib import Path

import deploy
import pytest
from tasks import TASKS, Options

import neurodeploy as nd

HOME = Path(__file__).parents[2] / "examples"
SAMPLES = 300
CHECKPOINTS = {  # task, its length (0: the usual), and the least score in float64
    "smnist/rows.pt": ("rows", 0, 0.97),
    "rows/tclif.pt": ("rows", 0, 0.95),
    "rows/celif.pt": ("rows", 0, 0.95),
    "rows/s4d-lif.pt": ("rows", 0, 0.96),
    "rows/s4d-binary.pt": ("rows", 0, 0.95),
}
EVERY = sorted(str(p.relative_to(HOME)) for p in HOME.rglob("*.pt"))


def test_every_checkpoint_is_listed_or_tested_elsewhere():
    assert sorted([*CHECKPOINTS, "smnist/smnist.pt"]) == EVERY
    assert all((HOME / name).stat().st_size <= 500_000 for name in EVERY)


@pytest.fixture(scope="module", params=CHECKPOINTS)
def deployed(request):
    name, length, least = CHECKPOINTS[request.param]
    task = TASKS[name](Options(length=length, size=(1, SAMPLES)))
    found = deploy.deploy(HOME / request.param, task, "asic45", (8,), SAMPLES)
    return found, task, least


def test_it_scores_in_float_and_in_integers(deployed):
    found, task, least = deployed
    if task.target == "number":
        assert found.float_score < least
        assert found.scores[8] < 1.1 * found.float_score + 1e-3
    else:
        assert found.float_score >= least
        assert found.scores[8] >= found.float_score - 0.003 - 1 / SAMPLES


def test_every_layer_spikes_and_not_always(deployed):
    found, _, _ = deployed
    assert found.rates
    assert all(0.001 < rate < 0.9 for rate in found.rates.values())


def test_energy_is_counted_under_both_tables(deployed):
    found, _, _ = deployed
    assert set(found.energy_pj) == {"paper45", "horowitz45"}
    assert all(value > 0 for value in found.energy_pj.values())


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_can_be_trained_on(name):
    model = nd.nn.load(HOME / name)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) > 0
