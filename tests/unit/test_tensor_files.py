"""Models as NAME.safetensors and NAME.json: the same models as .pt files, and what is refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import InputError, ToolError
from neurodeploy.frontends import Reading, read_model

pytest.importorskip("safetensors", reason="pip install 'neurodeploy[torch]'")


class Own(torch.nn.Module):
    """A class of one's own, of which the graph is saved."""

    def __init__(self):
        super().__init__()
        self.fc, self.lif = torch.nn.Linear(2, 4), nd.nn.LIF(4)

    def forward(self, x):
        return self.lif(self.fc(x)).mean(0)


def maps():
    conv = nd.nn.Conv((1, 4, 4), 2, 3, padding=1)
    return torch.nn.Sequential(conv, nd.nn.LIF(32), nd.nn.Readout("mean"))


MODELS = {
    "sdtcm": (lambda: nd.nn.SDTCM(2, 6, 1, 3), 2),
    "celif": (lambda: nd.nn.CELIFNet(2, [4, 5], 3, 9), 2),
    "maps": (maps, 16),
    "own": (Own, 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_two_files_are_the_same_model(tmp_path, name):
    torch.manual_seed(0)
    build, width = MODELS[name]
    model, x = build().eval(), torch.randn(9, 3, width)
    for suffix in ("pt", "safetensors"):
        nd.save(model, tmp_path / f"m.{suffix}", example=x)
    one, two = (read_model(tmp_path / f"m.{suffix}") for suffix in ("pt", "safetensors"))
    np.testing.assert_array_equal(two.example, x.numpy())
    assert [node.name for node in one.graph] == [node.name for node in two.graph]
    want = nd.interpret(one.graph, x.numpy())
    np.testing.assert_array_equal(nd.interpret(two.graph, x.numpy()), want)
    if name != "own":
        again = nd.nn.load(tmp_path / "m.safetensors")
        for key, value in model.state_dict().items():
            torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)


@pytest.fixture
def saved(tmp_path):
    nd.save(Own().eval(), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def refused(path, code):
    with pytest.raises((InputError, ToolError)) as caught:
        nd.load(path)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value.what


def test_weights_without_a_configuration(saved):
    saved.with_suffix(".json").unlink()
    assert "there is no m.json" in refused(saved, "E103")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "other"}'])
def test_a_configuration_that_is_none(saved, text):
    saved.with_suffix(".json").write_text(text)
    refused(saved, "E101")


def test_a_later_version(saved):
    beside = saved.with_suffix(".json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "version": 99}))
    assert "version 99" in refused(saved, "E101")


def test_a_truncated_file(saved):
    saved.write_bytes(saved.read_bytes()[:-8])
    assert "m.safetensors is damaged" in refused(saved, "E101")


def test_the_package_is_missing(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert "safetensors" in refused(saved, "E601")


def test_a_state_dict_with_a_function(tmp_path, monkeypatch):
    import safetensors.torch

    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "their_networks.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Linear(2, 3)\n"
    )
    net = torch.nn.Linear(2, 3)
    safetensors.torch.save_file(net.state_dict(), tmp_path / "w.safetensors")
    model = read_model(tmp_path / "w.safetensors", Reading(factory="their_networks:build"))
    np.testing.assert_array_equal(model.graph["0"].op.weight, net.weight.detach().numpy())
