"""Finding and making the Lava environment, with pythons that only pretend."""

from __future__ import annotations

import json
import stat
import sys
import threading
from pathlib import Path

import pytest

from neurodeploy.backends.hardware import Board, board
from neurodeploy.backends.lava import environment, interpreters
from neurodeploy.backends.lava.interpreters import Interpreter
from neurodeploy.errors import ToolError

FACTS = {
    "versions": {"python": "3.10.1", "lava-nc": "0.10.0", "numpy": "1.26.4", "scipy": "1.15.3"},
    "patched": False,
    "board": {
        "extension": False,
        "slurm": False,
        "host": "10.0.0.1",
        "generation": None,
        "partition": None,
        "board": None,
    },
}


def script(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def pretender(path, *, version="3 10", pip="exit 0", facts=FACTS):
    """Make a python that probes, makes venvs of itself, installs, and tells facts about Lava."""
    body = f"""
case "$1 $2" in
  "-c "*) echo {version} ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip") echo "$@" >> "{path.parent}/installed"; {pip} ;;
  "-B -m") cat <<'END'
{json.dumps(facts)}
END
  ;;
esac"""
    return script(path, body)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An environment folder that does not exist, on a machine without any Python for Lava."""
    monkeypatch.setattr(interpreters, "HERE", here((3, 99)))
    monkeypatch.setenv(environment.VARIABLE, str(tmp_path / "lava"))
    monkeypatch.delenv(interpreters.VARIABLE, raising=False)
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name in ("uv", "python3.10"):
        script(tmp_path / "bin" / name, "echo not here >&2; exit 127")
    return tmp_path / "lava"


def here(version):
    return Interpreter(path=sys.executable, version=version, origin="this Python")


def found(tried=None):
    tried = [] if tried is None else tried
    return [(i.origin, i.version) for i in interpreters.candidates(lambda text: None, tried)]


def test_a_named_interpreter_is_the_only_candidate(home, tmp_path, monkeypatch):
    python = pretender(tmp_path / "my" / "python", version="3 12")
    monkeypatch.setenv(interpreters.VARIABLE, str(python))
    assert found() == [("$NEURODEPLOY_LAVA_PYTHON", (3, 12))]


@pytest.mark.parametrize("body", ["echo 3 9", "exit 3", "echo what"])
def test_a_named_interpreter_that_will_not_do_is_an_error(body, home, tmp_path, monkeypatch):
    monkeypatch.setenv(interpreters.VARIABLE, str(script(tmp_path / "my" / "python", body)))
    with pytest.raises(ToolError) as caught:
        found()
    assert caught.value.code == "E602"
    assert str(tmp_path / "my" / "python") in caught.value.where


def test_path_then_pyenv_then_uv(home, tmp_path):
    pretender(tmp_path / "bin" / "python3.10")
    pretender(tmp_path / "nobody" / ".pyenv" / "versions" / "3.10.9" / "bin" / "python")
    of_uv = pretender(tmp_path / "uv" / "python3.10")
    script(tmp_path / "bin" / "uv", f'[ "$2" = find ] && echo {of_uv}')
    assert [origin for origin, _ in found()] == ["python3.10 on PATH", "pyenv", "uv"]


def test_a_shim_that_does_not_run_is_passed_over_and_said(home, tmp_path):
    tried = []
    assert found(tried) == []
    assert tried == [f"python3.10 on PATH ({tmp_path / 'bin' / 'python3.10'}): not here"]


def test_uv_is_asked_to_install_one(home, tmp_path):
    of_uv = pretender(tmp_path / "uv" / "python3.10")
    flag = tmp_path / "asked"
    body = f'[ "$2" = install ] && touch {flag}; [ -e {flag} ] && echo {of_uv}'
    script(tmp_path / "bin" / "uv", body)
    assert found() == [("uv", (3, 10))]
    assert flag.exists()


def test_the_last_resort_is_this_python_with_the_patch(home, monkeypatch):
    monkeypatch.setattr(interpreters, "HERE", here((3, 12)))
    said = []
    last = list(interpreters.candidates(said.append, []))
    assert [(i.path, i.patched) for i in last] == [(sys.executable, True)]
    assert "patch" in said[-1]


def test_this_python_comes_first_if_it_is_the_right_one(home, tmp_path, monkeypatch):
    pretender(tmp_path / "bin" / "python3.10")
    python = pretender(tmp_path / "mine" / "python")
    chosen = Interpreter(path=str(python), version=(3, 10), origin="this Python")
    monkeypatch.setattr(interpreters, "HERE", chosen)
    assert [origin for origin, _ in found()] == ["this Python", "python3.10 on PATH"]


def test_it_is_made_once_with_pinned_versions(home, tmp_path):
    python = pretender(tmp_path / "bin" / "python3.10")
    assert environment.find() is None
    said = []
    made = environment.ensure(said.append)
    assert made.python == home / "bin" / "python"
    assert made.versions == FACTS["versions"]
    assert str(python) in said[0]
    (install,) = (tmp_path / "bin" / "installed").read_text().splitlines()
    assert "--no-deps" in install
    assert "requirements-lava.txt" in install
    assert environment.find() == made == environment.ensure(said.append)
    assert len(said) == 2
    assert len((tmp_path / "bin" / "installed").read_text().splitlines()) == 1


def test_every_requirement_is_pinned():
    lines = (environment.TEMPLATE / "requirements-lava.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) >= 8
    assert all("==" in line.split(";")[0] for line in pins)
    assert f"lava-nc=={environment.VERSION}" in pins


def test_an_unfinished_one_is_made_again(home, tmp_path):
    pretender(tmp_path / "bin" / "python3.10")
    environment.create(lambda text: None)
    marker = home / "neurodeploy-lava.json"
    (home / "leftover").touch()
    for text in ('{"ready": "building"}', "{", "[]", '{"ready": "other pins"}'):
        marker.write_text(text)
        assert environment.find() is None
        environment.ensure(lambda text: None)
        assert environment.find() is not None
        assert not (home / "leftover").exists()


def test_a_failed_install_is_reported_and_leaves_nothing(home, tmp_path):
    pretender(tmp_path / "bin" / "python3.10", pip="echo no such network >&2; exit 1")
    with pytest.raises(ToolError) as caught:
        environment.create(lambda text: None)
    assert caught.value.code == "E602"
    assert caught.value.exit_code == 6
    assert "no such network" in caught.value.where
    assert "Python 3.10" in caught.value.fix
    assert not home.exists()


def test_a_folder_of_somebody_else_is_left_alone(home, tmp_path):
    pretender(tmp_path / "bin" / "python3.10")
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(ToolError) as caught:
        environment.ensure(lambda text: None)
    assert caught.value.where == str(home)
    assert (home / "thesis.tex").read_text() == "years of work"


def test_an_environment_that_the_user_made_is_used(home):
    pretender(home / "bin" / "python")
    assert environment.find().versions["lava-nc"] == "0.10.0"
    other = {**FACTS, "versions": {**FACTS["versions"], "lava-nc": "0.9.0"}}
    pretender(home / "bin" / "python", facts=other)
    assert environment.find() is None


def test_a_place_that_cannot_be_written(home, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv(environment.VARIABLE, str(tmp_path / "file" / "lava"))
    with pytest.raises(ToolError) as caught:
        environment.create(lambda text: None)
    assert caught.value.code == "E602"
    assert environment.VARIABLE in caught.value.fix


def test_two_at_once_make_one(home, tmp_path):
    log = tmp_path / "made"
    pretender(tmp_path / "bin" / "python3.10", pip=f"echo once >> {log}; sleep 0.3")
    results = []

    def work():
        results.append(environment.ensure(lambda text: None))

    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert results[0] == results[1]
    assert log.read_text() == "once\n"


def test_without_the_variable_it_lives_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path))
    assert environment.location() == tmp_path / "lava-0.10.0"


def test_the_board_is_asked_for_in_the_child(home):
    pretender(home / "bin" / "python")
    told = board(environment.find())
    assert told.host == "10.0.0.1"
    assert told.missing == ("Intel's extension of Lava for Loihi (lava-loihi, with NxSDK)",)


@pytest.mark.parametrize(
    ("extension", "slurm", "host", "missing"),
    [
        (True, True, None, 0),
        (True, False, "h", 0),
        (True, False, None, 1),
        (False, True, None, 1),
        (False, False, None, 2),
    ],
)
def test_what_is_missing(extension, slurm, host, missing):
    told = Board(extension=extension, slurm=slurm, host=host)
    assert len(told.missing) == missing
    if missing:
        assert (told.error().code, told.error().exit_code) == ("E603", 6)


def test_nothing_of_lava_is_imported_here():
    assert not [name for name in sys.modules if name.split(".")[0] == "lava"]
    assert Path(environment.__file__).parent.name == "lava"
