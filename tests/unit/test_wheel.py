"""An installed wheel is complete: it compiles and simulates in an empty environment, anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import neurodeploy as nd

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    place = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "-o",
        str(place),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = place.glob("*.whl")
    return path


def test_the_wheel_carries_targets_templates_and_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "neurodeploy/targets/data/loihi2.toml",
        "neurodeploy/targets/data/prices/paper45.toml",
        "neurodeploy/backends/lava/template/run.py",
        "neurodeploy/backends/lava/template/requirements-lava.txt",
        "neurodeploy/reports/report.html.jinja",
        "neurodeploy/reports/analytic/networks/tclif-smnist.toml",
    ):
        assert part in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "examples", "docs")) for name in names)


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Return the Python of an empty environment into which the wheel alone was installed."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=True)
    path = home / "bin" / "python"
    command = [str(path), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["-c", str(ROOT / "constraints.txt"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean())
    assert done.returncode == 0, done.stderr
    return path


def clean():
    """Return the environment without what leads back to this checkout."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def test_an_installed_wheel_works_from_any_folder(python, tiny, tmp_path):
    """With the core dependencies alone: a NIR file is compiled, simulated and bundled."""
    nd.export(nd.load(tiny / "model.pt"), tmp_path / "model.nir")
    work = tmp_path / "elsewhere"
    work.mkdir()

    def run(*args):
        command = [str(python), "-m", "neurodeploy", *map(str, args)]
        return subprocess.run(
            command, cwd=work, capture_output=True, text=True, check=False, env=clean()
        )

    data = ("--calibrate", tiny / "data.npz")
    done = run("compile", tmp_path / "model.nir", "--target", "loihi2", *data)
    assert done.returncode == 0, done.stderr
    done = run("simulate", "model.loihi2", "--input", tiny / "data.npz", "--json")
    assert json.loads(done.stdout)["run"]["samples"] == 8
    assert (work / "model.loihi2" / "lava" / "run.py").is_file()
    done = run("compile", tiny / "model.pt", "--target", "loihi2")
    assert done.returncode == 6
    assert "pip install 'neurodeploy[torch]'" in done.stderr
    assert "torch        missing" in run("doctor").stdout
