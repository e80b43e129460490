"""Networks of layers: what is published about them, and the way from weights to the chip."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy import nn
from neurodeploy.errors import InputError
from neurodeploy.nn.networks import neuron_classes

PUBLISHED = (1, 64, 256, 256, 10)


def parameters(modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("sizes", "recurrent", "count"),
    [
        (PUBLISHED, True, 155_082),
        (PUBLISHED, False, 85_130),
        ((1, 40, 200, 64, 10), True, 63_634),
        ((1, 40, 256, 128, 10), False, 44_762),
        ((3, 5, 2), [True], 3 * 5 + 5 + 25 + 5 + 10 + 2),
    ],
)
def test_published_parameter_counts(sizes, recurrent, count):
    net = nn.SpikingMLP(sizes, recurrent=recurrent)
    assert parameters(net.linears()) == parameters([net]) == count


def test_only_the_first_hidden_layers_are_recurrent():
    net = nn.SpikingMLP(PUBLISHED, recurrent=True)
    assert [layer.recurrent is not None for layer in net.layers] == [True, True, False]
    assert net.layers[1].recurrent is net.layers[1].neuron.recurrent
    assert set(net.state_dict()) == {
        f"{name}.{kind}"
        for name in (
            *(f"layers.{i}.linear" for i in range(3)),
            *(f"layers.{i}.neuron.recurrent" for i in range(2)),
            "classifier",
        )
        for kind in ("weight", "bias")
    }


def loop(net, x):
    """A soft-reset LIF network from its state dict, written out in float64."""
    w = {name: value.numpy().astype(float) for name, value in net.state_dict().items()}
    beta, total = net.layers[0].neuron.beta, 0.0
    u = [np.zeros((x.shape[1], layer.neuron.width)) for layer in net.layers]
    s = [np.zeros_like(part) for part in u]
    counts = np.zeros(len(u))
    for row in x:
        signal = row
        for i in range(len(u)):
            at = f"layers.{i}"
            current = signal @ w[f"{at}.linear.weight"].T + w[f"{at}.linear.bias"]
            if f"{at}.neuron.recurrent.weight" in w:
                current += s[i] @ w[f"{at}.neuron.recurrent.weight"].T
                current += w[f"{at}.neuron.recurrent.bias"]
            u[i] = beta * (u[i] - s[i]) + current
            s[i] = (u[i] >= 1).astype(float)
            counts[i] += s[i].sum()
            signal = s[i]
        total = total + signal @ w["classifier.weight"].T + w["classifier.bias"]
    return total, counts


def drawn(sizes=(2, 9, 8, 7, 3), **how):
    torch.manual_seed(1)
    net = nn.SpikingMLP(sizes, recurrent=True, beta=0.8, **how).double()
    with torch.no_grad():
        for linear in net.linears():
            linear.weight.mul_(3)
    return net, torch.randn(50, 4, sizes[0], dtype=torch.float64) * 2


def test_the_network_is_its_equation_and_reaches_the_chip():
    net, x = drawn()
    want, counts = loop(net, x.numpy())
    assert (counts > 50).all()
    np.testing.assert_allclose(net(x).detach().numpy(), want, rtol=1e-9, atol=1e-9)
    graph = nd.trace(net)
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=1e-9, atol=1e-9)
    run = nd.simulate(nd.compile(graph, nd.target("loihi2"), calibration=x.numpy()), x.numpy())
    assert np.abs(run.outputs - want).max() < 0.2 * np.abs(want).max()
    assert {n.name for n in graph if getattr(n.op, "recurrent", None) is not None} == {
        "layers.0.neuron",
        "layers.1.neuron",
    }


def released_checkpoint():
    """Random weights of the published network under the names of the released TC-LIF code."""
    torch.manual_seed(0)
    state = {}
    for i, (n, m) in enumerate(pairwise(PUBLISHED)):
        layers = {f"features.{2 * i}": (torch.nn.Linear(n, m), 3)}
        if i < 2:
            layers[f"features.{2 * i + 1}.hid_weight"] = (torch.nn.Linear(m, m), 1)
        for name, (linear, gain) in layers.items():
            state[f"{name}.weight"], state[f"{name}.bias"] = (
                gain * linear.weight.data,
                linear.bias.data,
            )
        if i < 3:
            inner = "sub_module." * (i < 2)
            state[f"features.{2 * i + 1}.{inner}decay_factor"] = torch.randn(1, 2)
    return state


def released_network(state, x):
    """What the released code computes: both membranes reset at once, the current summed up."""
    w = {name: value.numpy().astype(float) for name, value in state.items()}
    v1, v2, s = ([np.zeros((x.shape[1], n)) for n in PUBLISHED[1:4]] for _ in range(3))
    total = 0.0
    for row in x:
        signal = row
        for i in range(3):
            own, inner = f"features.{2 * i + 1}.", "sub_module." * (i < 2)
            current = signal @ w[f"features.{2 * i}.weight"].T + w[f"features.{2 * i}.bias"]
            if i < 2:
                current += s[i] @ w[f"{own}hid_weight.weight"].T + w[f"{own}hid_weight.bias"]
            first, second = 1 / (1 + np.exp(-w[f"{own}{inner}decay_factor"][0]))
            v1[i] = v1[i] - first * v2[i] + current
            v2[i] = v2[i] + second * v1[i]
            signal = s[i] = (v2[i] >= 1).astype(float)
            v1[i], v2[i] = v1[i] - 0.5 * signal, v2[i] - signal
        total = total + signal @ w["features.6.weight"].T + w["features.6.bias"]
    return total


def test_a_checkpoint_of_the_released_code_loads_as_documented(tmp_path, monkeypatch):
    """The function in docs/models.md, run as it stands there."""
    monkeypatch.chdir(tmp_path)
    state, x = released_checkpoint(), np.random.default_rng(0).random((40, 5, 1))
    torch.save(state, "tclif.pth")
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (code,) = (block for block in blocks if "decay_factor" in block)
    documented: dict = {}
    exec(code, documented)
    net = documented["released"]().double().eval()
    want = released_network(state, x)
    np.testing.assert_array_equal(net(torch.from_numpy(x)).detach().numpy(), want)
    graph = nd.trace(net)
    run = nd.simulate(nd.compile(graph, nd.target("asic45"), calibration=x, bits=8), x)
    assert np.abs(run.outputs - want).max() < 0.1 * np.abs(want).max()
    assert run.accuracy(want.argmax(1)) == 1


def test_it_trains_through_every_weight():
    net, x = drawn()
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("name", ["LIF", "PRF", "SpatialNeuron", "LI"])
def test_a_checkpoint_keeps_the_network(name, tmp_path):
    assert name in neuron_classes()
    options = {} if name == "LI" else {"surrogate": "triangle"}
    net = nn.SpikingMLP((2, 4, 3, 2), neuron=name, recurrent=[False, True], **options)
    nn.save(net, tmp_path / "m.pt")
    again = nn.load(tmp_path / "m.pt")
    assert again.config() == net.config()
    x = torch.randn(7, 2, 2)
    assert torch.equal(again(x), net(x))


def test_a_checkpoint_may_end_in_pth(tmp_path):
    """As most that hold weights alone do; it is the same format."""
    net, x = nn.SpikingMLP((2, 4, 3)).double(), np.random.default_rng(0).normal(size=(7, 2, 2))
    nn.save(net, tmp_path / "m.pth")
    want = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(nd.interpret(nd.load(tmp_path / "m.pth"), x), want, atol=1e-12)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="E103"):
        nd.load(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"sizes": (2, 3)}, "sizes are"),
        ({"sizes": (2, 0, 3)}, "sizes are"),
        ({"neuron": "lif"}, "no neuron 'lif'"),
        ({"recurrent": [True]}, "recurrent is"),
        ({"readout": "most"}, "no readout 'most'"),
    ],
)
def test_what_does_not_fit_is_named(how, says):
    with pytest.raises(InputError, match=says) as caught:
        nn.SpikingMLP(**{"sizes": PUBLISHED, **how})
    assert caught.value.code == "E105"
