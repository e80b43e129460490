"""Torch modules to graphs: what is followed, what is refused, and that nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.graph.ir import identical


class Residual(torch.nn.Module):
    """A class of a user's own: a shared layer, a residual, a product, two readouts over time."""

    def __init__(self):
        super().__init__()
        self.encode, self.cell = torch.nn.Linear(3, 5), nd.nn.LIF(5, beta=0.6, v_th=0.4)
        self.norm, self.mix = nd.nn.BatchNorm(5), torch.nn.Linear(10, 5)
        self.drop, self.out = torch.nn.Dropout(0.5), nd.nn.LI(5, beta=0.7)

    def forward(self, x):
        h = self.cell(self.encode(2 * x))
        h = self.mix(torch.cat([h, self.cell(self.norm(self.encode(x)))], dim=-1)) + h
        return self.out(self.drop(h)).mean(0)


def trained(module):
    torch.manual_seed(0)
    for norm in (m for m in module.modules() if isinstance(m, nd.nn.BatchNorm)):
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.5, 2)
    return module.double().eval()


def assert_same(module, x):
    graph = nd.trace(module, x)
    with torch.no_grad():
        want = module(x).numpy()
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=1e-9, atol=1e-12)
    return graph


def test_a_module_of_ones_own_is_followed():
    x = torch.randn(25, 4, 3, dtype=torch.float64)
    graph = assert_same(trained(Residual()), x)
    names = [node.name for node in graph]
    assert {"cell", "cell_1", "encode", "encode_1", "mix", "out"} <= set(names)


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "steps"])
@pytest.mark.parametrize("norm", ["pre", "post", None])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_sdtcm_is_followed(readout, norm, bidirectional):
    model = nd.nn.SDTCM(
        2, 6, 2, 3, readout=readout, norm=norm, bidirectional=bidirectional, dt=(0.2, 0.9)
    )
    assert_same(trained(model), torch.randn(20, 3, 2, dtype=torch.float64) * 3)


@pytest.mark.parametrize(
    "reduce",
    [
        lambda y: y.mean(0),
        lambda y: y.mean(dim=0),
        lambda y: torch.mean(y, 0),
        lambda y: y.sum(0),
        lambda y: torch.sum(y, dim=0),
        lambda y: y[-1],
    ],
)
def test_reductions_over_time_are_followed_however_they_are_written(reduce):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(2, 3, bias=False)

        def forward(self, x):
            return reduce(self.fc(x))

    assert_same(Net().double(), torch.randn(7, 2, 2, dtype=torch.float64))


def test_a_lone_neuron_and_a_sequential_are_networks():
    x = torch.randn(9, 2, 4, dtype=torch.float64)
    assert_same(nd.nn.LIF(4, v_th=0.3).double(), x)
    layers = (torch.nn.Linear(4, 4), nd.nn.PRF(4, dt=(0.3, 0.9)), nd.nn.Readout("sum"))
    assert_same(torch.nn.Sequential(*layers).double(), x)


def test_the_constants_are_those_of_the_models_own_precision():
    model = nd.nn.PRF(5)
    graph = nd.trace(model)
    dt = graph["0"].op.params["dt"]
    np.testing.assert_array_equal(dt, model.log_dt.detach().double().exp().float().double())


def test_without_an_example_the_width_comes_from_the_first_layer():
    assert nd.trace(torch.nn.Sequential(torch.nn.Linear(7, 2))).input.op.width == 7

    class Bare(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    with pytest.raises(InputError, match="width of the input is not known"):
        nd.trace(Bare())


def forward(function):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(2, 2)

        def forward(self, x):
            return function(self, x)

    return Net()


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda net, x: net.fc(x) if x.sum() > 0 else x, "cannot be followed"),
        (lambda net, x: torch.sigmoid(net.fc(x)), "sigmoid: an operation"),
        (lambda net, x: net.fc(x).mean(1), "mean: an operation"),
        (lambda net, x: torch.cat([net.fc(x), x], dim=0), "cat: an operation"),
        (lambda net, x: net.fc(x) * net.fc.bias, "fc.bias: an operation"),
        (lambda net, x: net.fc(x) + 1.0, "add: an operation"),
        (lambda net, x: net.fc(x)[0], "getitem: an operation"),
        (lambda net, x: (net.fc(x), x), "does not return one tensor"),
    ],
)
def test_what_cannot_be_a_graph_is_named(function, says):
    with pytest.raises(InputError) as caught:
        nd.trace(forward(function))
    assert caught.value.code == "E104"
    assert says in caught.value.what
    assert caught.value.fix


def test_torchs_own_batchnorm_is_refused_with_the_one_to_use():
    with pytest.raises(InputError) as caught:
        nd.trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)))
    assert caught.value.fix.startswith("use neurodeploy.nn.BatchNorm")


def test_a_class_of_ones_own_is_saved_as_its_graph(tmp_path):
    module = trained(Residual())
    x = torch.randn(25, 4, 3)
    nd.save(module, tmp_path / "m.pt", example=x)
    assert identical(nd.load(tmp_path / "m.pt"), nd.trace(module, x))
    from neurodeploy.frontends import read_model

    np.testing.assert_array_equal(read_model(tmp_path / "m.pt").example, x.numpy())
    with pytest.raises(InputError, match="not a module that can be trained") as caught:
        nd.nn.load(tmp_path / "m.pt")
    assert caught.value.code == "E104"


def test_a_module_of_ours_is_saved_whole(tmp_path):
    model = nd.nn.SDTCM(2, 4, 1, 3)
    nd.save(model, tmp_path / "m.pt", example=np.zeros((3, 2, 2), np.uint8))
    again = nd.nn.load(tmp_path / "m.pt")
    assert identical(nd.trace(again), nd.load(tmp_path / "m.pt"))
    assert isinstance(again, nd.nn.SDTCM)


def test_saving_what_is_not_known_names_every_layer(tmp_path):
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sigmoid(), torch.nn.Tanh())
    with pytest.raises(InputError) as caught:
        nd.save(layers, tmp_path / "m.pt")
    assert [r["what"].split(":")[0] for r in caught.value.records()] == ["1 (Sigmoid)", "2 (Tanh)"]
    assert list(tmp_path.iterdir()) == []
