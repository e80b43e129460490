"""Data outside an ONNX file: refused unless allowed, and then only below the model's folder."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from support import inline
from support.networks import chain

import neurodeploy as nd
from neurodeploy.backends.onnx.graph import write
from neurodeploy.cli import main
from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import Reading, child, onnx_external, read_model
from neurodeploy.frontends.onnx import read
from neurodeploy.graph.ir import identical

ALLOWED = Reading(allow_external_data=True)
WEIGHT = "0.linear/weight"


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(child, "call", inline.call)


@pytest.fixture
def graph():
    return chain(np.random.default_rng(1), [("prf", {}), ("lif", {})], width=9)


@pytest.fixture
def path(graph, tmp_path):
    """A file whose weights lie beside it, in `data/weights.bin`."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    write(graph, home / "g.onnx")
    model = onnx.load(home / "g.onnx")
    how = {"save_as_external_data": True, "size_threshold": 64, "location": "weights.bin"}
    onnx.save(model, home / "data" / "g.onnx", **how)
    text = (home / "data" / "g.onnx").read_bytes()
    model = onnx.ModelProto.FromString(text)
    for tensor in model.graph.initializer:
        for item in tensor.external_data:
            if item.key == "location":
                item.value = "data/weights.bin"
    (home / "g.onnx").write_bytes(model.SerializeToString())
    return home / "g.onnx"


def test_it_is_refused_unless_allowed(path, graph):
    with pytest.raises(NeurodeployError, match=r"keeps \d+ tensors in other files") as caught:
        read(path)
    assert "--allow-external-data" in caught.value.fix
    assert identical(read(path, ALLOWED), graph)
    assert identical(nd.load(path, allow_external_data=True), graph)


def test_the_command_line_asks_for_it(path):
    refused = CliRunner().invoke(main, ["inspect", str(path)])
    assert (refused.exit_code, "--allow-external-data" in refused.stderr) == (3, True)
    shown = CliRunner().invoke(main, ["inspect", str(path), "--allow-external-data"])
    assert shown.exit_code == 0
    assert "0.linear: Linear [9]" in shown.stdout


def test_an_option_of_another_format_is_refused(path):
    other = path.with_suffix(".nir")
    other.write_bytes(b"")
    with pytest.raises(NeurodeployError, match=r"--allow-external-data is about \.onnx files"):
        read_model(other, ALLOWED)


def link_out(home, model):
    (home.parent / "secret.bin").write_bytes((home / "data" / "weights.bin").read_bytes())
    (home / "data" / "weights.bin").unlink()
    (home / "data" / "weights.bin").symlink_to(home.parent / "secret.bin")


def folder_link_out(home, model):
    (home.parent / "far").mkdir()
    os.rename(home / "data" / "weights.bin", home.parent / "far" / "weights.bin")
    (home / "data" / "g.onnx").unlink()
    (home / "data").rmdir()
    (home / "data").symlink_to(home.parent / "far")


def second_name(home, model):
    os.link(home / "data" / "weights.bin", home.parent / "other.bin")


def fifo(home, model):
    (home / "data" / "weights.bin").unlink()
    os.mkfifo(home / "data" / "weights.bin")


def short(home, model):
    (home / "data" / "weights.bin").write_bytes(b"12345678")


def missing(home, model):
    (home / "data" / "weights.bin").unlink()


def entry(key, value):
    def change(home, model):
        (tensor,) = (item for item in model.graph.initializer if item.name == WEIGHT)
        found = [item for item in tensor.external_data if item.key == key]
        item = found[0] if found else tensor.external_data.add()
        item.key, item.value = key, value

    return change


PLACES = {
    "an absolute place": ("not below the model's folder", entry("location", "/etc/passwd")),
    "a place above": ("not below the model's folder", entry("location", "../secret.bin")),
    "a place above, further down": ("not below", entry("location", "data/../../secret.bin")),
    "a link out of the folder": ("not below the model's folder", link_out),
    "a folder that is a link": ("not below the model's folder", folder_link_out),
    "a file with a second name": ("no ordinary file with one name", second_name),
    "a pipe": ("no ordinary file", fifo),
    "a folder": ("Is a directory", entry("location", "data")),
    "a file that is not there": ("No such file", missing),
    "a file that is too short": ("ends before byte", short),
    "more bytes than the shape": ("bytes for a tensor of", entry("length", "9999")),
    "a negative offset": ("no place in a file", entry("offset", "-8")),
    "an unknown key": ("it has the keys", entry("basepath", "/")),
}


@pytest.mark.parametrize("name", PLACES)
def test_every_place_that_is_refused(name, path):
    text, change = PLACES[name]
    model = onnx.ModelProto.FromString(path.read_bytes())
    change(path.parent, model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NeurodeployError, match=text) as caught:
        read(path, ALLOWED)
    assert caught.value.code == "E101"


def test_a_link_inside_the_folder_is_followed(path, graph):
    home = path.parent
    os.rename(home / "data" / "weights.bin", home / "real.bin")
    (home / "data" / "weights.bin").symlink_to(home / "real.bin")
    assert identical(read(path, ALLOWED), graph)


def test_more_data_than_the_budget_is_refused_before_it_is_read(path):
    model = onnx.ModelProto.FromString(path.read_bytes())
    tensors = list(model.graph.initializer)
    with pytest.raises(NeurodeployError, match="more than the budget of 100"):
        onnx_external.inline(tensors, path, allow=True, budget=100)
    tensors[0].dims[:] = [2**40]
    with pytest.raises(NeurodeployError, match="more than the budget"):
        onnx_external.inline(tensors, path, allow=True, budget=2**30)
