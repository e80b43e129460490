"""NIR between the tools themselves: their exported files here, our stock files there."""

from __future__ import annotations

import itertools

import nir
import numpy as np
import pytest
import torch
from support.nir_tools import MISSING, REASON, cells, imported, stepwise

import neurodeploy as nd
from neurodeploy.graph.ir import Graph, Input, Linear, Node

pytestmark = [
    pytest.mark.skipif(MISSING, reason=REASON),
    pytest.mark.filterwarnings("ignore"),
]
STEPS, SAMPLES, SIZES = 60, 3, (8, 16, 5)


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(1)
    return tmp_path / "g.nir"


def signal():
    return (torch.rand(STEPS, SAMPLES, SIZES[0]) < 0.4).float()


def linear(i, size):
    """A Linear whose neurons fire: weights of a scale, and more up than down."""
    layer = torch.nn.Linear(SIZES[i], SIZES[i + 1])
    layer.weight.data = layer.weight.data * size + 0.1 * size / SIZES[i]
    return layer


def compared(path, x, expected, **stated):
    """Check that the file at `path` gives the tool's spikes."""
    found = nd.interpret(nd.load(path, **stated), x.numpy().astype(float))
    assert expected.any()
    np.testing.assert_array_equal(found, expected.numpy())


SNN = [
    row
    for row in itertools.product(
        ("Leaky", "Synaptic", "RLeaky", "RSynaptic"), ("subtract", "zero", "none"), (True, False)
    )
    if row[0] != "RSynaptic" or row[2]  # without delay it fails in snnTorch 1.0.0
]


@pytest.mark.parametrize(("kind", "reset", "delay"), SNN)
def test_snntorch(kind, reset, delay, path):
    import snntorch
    from snntorch.export_nir import export_to_nir

    how = {"reset_mechanism": reset, "reset_delay": delay, "init_hidden": True}

    def cell(i):
        n = SIZES[i + 1]
        decays = {"beta": torch.rand(n) * 0.4 + 0.55, "threshold": torch.ones(n)}
        if kind.endswith("Synaptic"):
            decays["alpha"] = torch.rand(n) * 0.4 + 0.3
        if kind.startswith("R"):
            decays |= {"linear_features": n, "threshold": 1.0}
            decays |= {key: float(decays[key][0]) for key in ("alpha", "beta") if key in decays}
        return getattr(snntorch, kind)(**decays, **how)

    size = 1.0 if kind.endswith("Synaptic") else 4.0
    net = torch.nn.Sequential(linear(0, size), cell(0), linear(1, size), cell(1))
    nir.write(path, export_to_nir(net, torch.zeros(SIZES[0])))
    for layer in (net[1], net[3]):
        for state in ("mem", "syn", "spk"):
            if hasattr(layer, state):
                setattr(layer, state, torch.zeros(0))
    x = signal()
    compared(path, x, stepwise(lambda row, _: (net(row), None), x), reset=reset, reset_delay=delay)


@pytest.mark.parametrize("kind", ["LIFBox", "LIF"])
def test_norse(kind, path):
    import norse.torch as norse
    from norse.torch.functional.lif import LIFParameters
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.utils.export_nir import to_nir

    def cell(i):
        n = SIZES[i + 1]
        own = {"tau_mem_inv": 100 * (1 + torch.rand(n)), "v_th": torch.full((n,), 0.6)}
        own |= {"v_leak": torch.zeros(n), "v_reset": torch.zeros(n)}
        if kind == "LIF":
            p = LIFParameters(**own, tau_syn_inv=torch.full((n,), 200.0))
            return norse.LIFCell(p)
        return norse.LIFBoxCell(LIFBoxParameters(**own))

    size = 20.0 if kind == "LIFBox" else 8.0
    net = norse.SequentialState(linear(0, size), cell(0), linear(1, size), cell(1))
    nir.write(path, to_nir(net, torch.zeros(2, SIZES[0])))
    x = signal()
    stated = {"reset": "zero"} if kind == "LIFBox" else {}
    compared(path, x, stepwise(net, x), dt=1e-3, **stated)


@pytest.mark.parametrize("single", [False, True])
def test_sinabs(single, path):
    import sinabs.activation
    import sinabs.layers
    from sinabs.nir import to_nir

    how = {"norm_input": False, "min_v_mem": -1.0} if not single else {}
    if single:
        how["spike_fn"] = sinabs.activation.SingleSpike
        how["reset_fn"] = sinabs.activation.MembraneReset()

    def cell(i):
        n = SIZES[i + 1]
        return sinabs.layers.LIF(
            tau_mem=torch.rand(n) * 20 + 5, spike_threshold=torch.ones(n), **how
        )

    size = 20.0 if single else 3.0
    net = torch.nn.Sequential(linear(0, size), cell(0), linear(1, size), cell(1))
    x = signal()
    with torch.no_grad():
        expected = net(x.transpose(0, 1)).transpose(0, 1)
    for layer in (net[1], net[3]):
        layer.reset_states()
    nir.write(path, to_nir(net, x.transpose(0, 1)[:1]))
    stated = {"norm_input": single, "v_min": "none" if single else -1, "tau_syn": "none"}
    stated |= {"spikes": "one" if single else "many", "reset": "zero" if single else "subtract"}
    compared(path, x, expected, source="sinabs", **stated)


@pytest.mark.parametrize("kind", ["LIFNode", "IFNode", "ParametricLIFNode", "CUBALIFNode"])
def test_spikingjelly(kind, path):
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    how = [{"v_reset": -0.25}, {"v_threshold": 0.7}]
    if kind.endswith("LIFNode") and kind != "CUBALIFNode":
        how[0] |= {"decay_input": False}
    cells = [getattr(neuron, kind)(**each) for each in how]
    net = torch.nn.Sequential(linear(0, 4.0), cells[0], linear(1, 4.0), cells[1])
    x = signal()
    expected = stepwise(lambda row, _: (net(row), None), x)
    functional.reset_net(net)
    export_to_nir(net, x[0], save_path=path, dt=1e-3)
    compared(path, x, expected, source="spikingjelly")


def stock(spec, path):
    """Write a network of hard resets to 0 as a stock file; return it."""
    rng = np.random.default_rng(2)
    nodes = [Node("x", Input(SIZES[0]))]
    for i in range(2):
        n, m = SIZES[i + 1], SIZES[i]
        single = rng.normal(size=(n, m + 1)).astype(np.float32) * 0.5
        both = single.astype(float)
        nodes.append(Node(f"a{i}", Linear(both[:, 1:], both[:, 0]), (nodes[-1].name,)))
        nodes.append(Node(f"n{i}", cells(spec, n), (f"a{i}",)))
    graph = Graph(tuple(nodes), "n1")
    nd.export(graph, path, nir="stock")
    return graph


@pytest.mark.parametrize("spec", ["lif", "cubalif"])
@pytest.mark.parametrize("tool", ["snntorch", "spikingjelly", "norse"])
def test_our_stock_files_elsewhere(tool, spec, path):
    if (tool, spec) == ("norse", "lif"):
        pytest.skip("norse takes every r of a LIF for 1, and warns")
    graph, x = stock(spec, path), signal()
    expected = nd.interpret(graph, x.numpy().astype(float))
    assert expected.any()
    found = stepwise(imported(tool, nir.read(path)), x).numpy()
    np.testing.assert_array_equal(found, expected)


def test_sinabs_makes_another_network_of_our_stock_files(path):
    """It takes seconds for steps, and every reset for a subtraction; CubaLIF it does not read."""
    import sinabs.layers
    from sinabs.nir import from_nir

    graph, x = stock("lif", path), signal()
    net = from_nir(nir.read(path), num_timesteps=len(x))
    layers = [m for m in net.modules() if isinstance(m, sinabs.layers.LIFSqueeze)]
    assert len(layers) == 2
    for layer in layers:
        assert float(layer.tau_mem.max()) < 0.1  # of a step: all is forgotten
        assert layer.reset_fn.__class__.__name__ == "MembraneSubtract"
    found = net(x.transpose(0, 1).flatten(0, 1))
    found = found[0] if isinstance(found, tuple) else found
    expected = nd.interpret(graph, x.numpy().astype(float))
    assert (found.detach().numpy().reshape(3, len(x), -1).swapaxes(0, 1) != expected).any()
    stock("cubalif", path)
    with pytest.raises(KeyError):
        from_nir(nir.read(path), num_timesteps=len(x))
