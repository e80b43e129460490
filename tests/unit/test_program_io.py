from __future__ import annotations

import json

import numpy as np
import pytest
from support.networks import inputs_for, sdtcm

from neurodeploy.backends import folder
from neurodeploy.errors import InputError
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program import io
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.targets import target


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph)
    return compile_graph(graph, target("loihi2"), calibration=x).program, x


def files(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_what_is_read_is_what_was_written(tmp_path, network):
    program, x = network
    folder.write(program, tmp_path / "a")
    again = io.read(tmp_path / "a")
    whole, _ = to_integers(program.source, x)
    before, after = execute(program, whole), execute(again, whole)
    assert list(before.values) == list(after.values)
    for name, value in before.values.items():
        np.testing.assert_array_equal(after.values[name], value)
    assert again.target == program.target
    assert again.numbers == program.numbers
    assert again.placement == program.placement


def test_the_same_program_gives_the_same_bytes(tmp_path, network):
    program, _ = network
    folder.write(program, tmp_path / "a")
    folder.write(io.read(tmp_path / "a"), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not any(data[:2] == b"\x80\x04" for data in files(tmp_path / "a").values())  # no pickle


def test_writing_again_replaces_and_leaves_nothing_beside(tmp_path, network):
    program, _ = network
    folder.write(program, tmp_path / "a")
    (tmp_path / "a" / "stale.txt").write_text("old")
    folder.write(program, tmp_path / "a")
    assert not (tmp_path / "a" / "stale.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_of_the_user_is_left_alone(tmp_path, network):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not an earlier output") as caught:
        folder.write(network[0], tmp_path / "mine")
    assert caught.value.code == "E110"
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def _edit(path, change):
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


DAMAGE = [
    (lambda p: (p / "manifest.json").unlink(), "E101", "no program in"),
    (lambda p: (p / "manifest.json").write_text("{"), "E101", "no program in"),
    (lambda p: _edit(p, lambda m: m.update(version=99)), "E101", "not a program of format"),
    (lambda p: _edit(p, lambda m: m.pop("nodes")), "E109", "damaged"),
    (lambda p: _edit(p, lambda m: m["nodes"][1].pop("edges")), "E109", "damaged"),
    (lambda p: _edit(p, lambda m: m["nodes"][1].update(type="Magic")), "E109", "damaged"),
    (lambda p: next((p / "arrays").glob("*weight.npy")).unlink(), "E109", "damaged"),
    (
        lambda p: next((p / "arrays").glob("*weight.npy")).write_bytes(b"\x93NUMPY"),
        "E109",
        "has changed since it was written",
    ),
]


@pytest.mark.parametrize(("damage", "code", "says"), DAMAGE)
def test_a_damaged_folder_is_named(tmp_path, network, damage, code, says):
    folder.write(network[0], tmp_path / "a")
    damage(tmp_path / "a")
    with pytest.raises(InputError, match=says) as caught:
        io.read(tmp_path / "a")
    assert caught.value.code == code
    assert caught.value.fix
