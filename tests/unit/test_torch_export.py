"""Programs of torch.export, live and in .pt2 files, which are read as data; refusals by name."""

from __future__ import annotations

import json
import re
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from torch.export import Dim, export

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.frontends import pt2_file, read_model

F = torch.nn.functional


class Net(torch.nn.Module):
    """Maps and channels; a Linear in two places, and its weight with another bias in a third."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, padding="same", groups=2, bias=False)
        self.maps, self.channels = torch.nn.BatchNorm2d(4), torch.nn.BatchNorm1d(4, affine=False)
        self.pool, self.mean = torch.nn.MaxPool2d(2), torch.nn.AvgPool2d(2, stride=1)
        self.flat, self.fc = torch.nn.Linear(16, 4), torch.nn.Linear(4, 4)
        self.norm, self.mix = torch.nn.LayerNorm(4), torch.nn.Linear(12, 3, bias=False)
        self.other = torch.nn.Parameter(torch.randn(4))

    def forward(self, x):
        y = self.conv(x.reshape(x.shape[0] * x.shape[1], 2, 6, 6))
        y = self.mean(self.pool(torch.relu(self.maps(y)))).flatten(1)
        y = self.channels(self.flat(y)).reshape(x.shape[0], x.shape[1], 4)
        a = F.gelu(self.fc(2 * y), approximate="tanh")
        b = self.norm(self.fc(a) + a) * y
        c = F.dropout(F.linear(b, self.fc.weight, self.other), 0.5, self.training)
        return self.mix(torch.cat([a, b, c], dim=-1))[-1]


class Unknown(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x):
        return torch.sigmoid(torch.cumsum(self.fc(x), 0))


def program(module, width):
    torch.manual_seed(0)
    x = torch.randn(7, 3, width, dtype=torch.float64)
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    net = module().double().eval()
    for norm in (m for m in net.modules() if hasattr(m, "running_var")):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return export(net, (x,), dynamic_shapes=shapes), net, x


@pytest.fixture(scope="module")
def exported():
    return program(Net, 72)


@pytest.fixture(scope="module")
def file(exported, tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(exported[0], path)
    return path


@pytest.mark.parametrize("saved", [False, True])
def test_an_exported_program_is_the_same_graph(exported, file, saved):
    live, net, x = exported
    graph = nd.load(file) if saved else nd.trace(live, x)
    for inputs in (x, torch.randn(11, 2, 72, dtype=torch.float64)):
        want = net(inputs).detach().numpy()
        np.testing.assert_allclose(nd.interpret(graph, inputs.numpy()), want, rtol=1e-9, atol=1e-12)
    names = {"conv", "maps", "flat", "channels", "fc", "fc_1", "norm", "mix"}
    assert names <= {node.name for node in graph}


def test_the_example_of_a_file_is_what_it_was_exported_with(exported, file):
    model = read_model(file)
    np.testing.assert_array_equal(model.example, exported[2].numpy())
    assert model.name == "net"


def test_what_is_not_known_is_named(tmp_path):
    live, _, x = program(Unknown, 4)
    torch.export.save(live, tmp_path / "u.pt2")
    for read in (lambda: nd.trace(live, x), lambda: nd.load(tmp_path / "u.pt2")):
        with pytest.raises(InputError) as caught:
            read()
        said = str(caught.value)
        assert "cumsum" in said
        assert "sigmoid" in said


def edited(file, place, change):
    """Write a copy of a file with one part changed; return its path."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(place / "edited.pt2", "w") as new:
        for name in old.namelist():
            inner, data = name.partition("/")[2], old.read(name)
            if (made := change(inner, data)) is not None:
                new.writestr(name, made)
    return place / "edited.pt2"


class Runs:
    """What a pickle that runs code holds."""

    def __reduce__(self):
        return print, ("it ran",)


def sample(name, data):
    import pickle

    return pickle.dumps(Runs()) if name.endswith("sample_inputs/model.pt") else data


def pickled(name, data):
    return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)


def injected(name, data):
    if name != "models/model.json":
        return data
    return data.replace(b'"name": "x"', b'"name": "x=print(\'it ran\')"')


def longer(name, data):
    meta = json.loads(data) if name.endswith("weights_config.json") else None
    if meta is None:
        return data
    next(iter(meta["config"].values()))["tensor_meta"]["storage_offset"]["as_int"] = 99
    return json.dumps(meta).encode()


def later(name, data):
    return re.sub(rb'"major": \d+', b'"major": 9', data)


def gone(name, data):
    return None if name == "data/weights/weight_0" else data


WRONG = {
    sample: ("E10[12]", "its example inputs"),
    pickled: ("E102", "pickled object, which may run code"),
    injected: ("E101", "is no name"),
    longer: ("E101", "a tensor of"),
    later: ("E101", "schema 9"),
    gone: ("E101", "damaged"),
}


@pytest.mark.parametrize("change", WRONG)
def test_a_file_that_is_not_plain_data_is_refused_and_nothing_runs(file, tmp_path, capfd, change):
    code, says = WRONG[change]
    # Only the examples are read by the parent; the child need not be started for the others.
    read = nd.load if change is sample else partial(pt2_file.read, budget=2**20)
    with pytest.raises(InputError, match=says) as caught:
        read(edited(file, tmp_path, change))
    assert re.fullmatch(code, caught.value.code)
    assert "it ran" not in capfd.readouterr().out


def test_no_archive(tmp_path):
    (tmp_path / "x.pt2").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"not a \.pt2 file"):
        nd.load(tmp_path / "x.pt2")
