"""Convolutional NIR files between the tools: their exported ones here, our stock ones there."""

from __future__ import annotations

from dataclasses import replace

import nir
import numpy as np
import pytest
import torch
from support.nir_tools import MISSING, REASON, cells, imported, stepwise

import neurodeploy as nd
from neurodeploy.frontends import nir_child, nir_walk
from neurodeploy.graph.ir import Add, Concat, Graph, Input, Linear, Node, Reduce
from neurodeploy.graph.maps import Conv, Pool

pytestmark = [
    pytest.mark.skipif(MISSING, reason=REASON),
    pytest.mark.filterwarnings("ignore"),
]
SAMPLES = 3


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: a child for every file would take a minute."""
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(1)
    return tmp_path / "g.nir"


MAPS = (2, 8, 8)
CONVS = {
    "plain": {"kernel": (3, 3), "padding": (1, 1, 1, 1)},
    "strided": {"kernel": (3, 3), "padding": (1, 1, 1, 1), "stride": (2, 2)},
    "dilated": {"kernel": (3, 3), "padding": (2, 2, 2, 2), "dilation": (2, 2)},
    "grouped": {"kernel": (3, 3), "padding": (1, 1, 1, 1), "groups": 4},
    "not square": {"kernel": (3, 5), "padding": (1, 1, 1, 1)},
    "padded to keep": {"kernel": (2, 3), "padding": (0, 1, 1, 1)},
    "padded in front": {"kernel": (3, 3), "padding": (2, 2, 0, 0)},
}


def conv(rng, shape, maps, *, kernel, padding, stride=(1, 1), dilation=(1, 1), groups=1):
    numbers = rng.normal(size=(maps, shape[0] // groups, *kernel)) * 0.4
    weight, bias = (v.astype(np.float32).astype(float) for v in (numbers, rng.normal(size=maps)))
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Conv(weight, bias * 0.5, shape, **how)


def stock_maps(spec, path, *, how="plain", kind="sum"):
    """Write a convolutional network as a stock file; return it. spec None: without neurons."""
    rng, nodes = np.random.default_rng(2), [Node("x", Input(128))]

    def add(name, op, shape):
        nodes.append(Node(name, op, (nodes[-1].name,)))
        if spec is not None:
            width = int(np.prod(shape))
            nodes.append(Node(f"{name}.cells", cells(spec, width), (name,)))
        return shape

    first = conv(rng, MAPS, 4, **CONVS["plain"])
    shape = add("conv1", first, first.out_shape)
    if kind is not None:
        pool = Pool(kind, shape, (2, 2), (2, 2), (0,) * 4, True)
        nodes.append(Node("pool", pool, (nodes[-1].name,)))
        shape = pool.out_shape
    second = conv(rng, shape, 4, **CONVS[how])
    shape = add("conv2", second, second.out_shape)
    weight = rng.normal(size=(5, int(np.prod(shape)))).astype(np.float32).astype(float)
    add("out", Linear(weight * 0.5, np.full(5, 0.25)), (5,))
    graph = Graph(tuple(nodes), nodes[-1].name)
    nd.export(graph, path, nir="stock")
    return graph


def maps_signal(steps=25, shape=MAPS):
    return (torch.rand(steps, SAMPLES, *shape) < 0.3).float()


def agrees(tool, graph, path, shape=MAPS):
    """Check that a tool gives the spikes of the graph, and that neither all nor none are."""
    x = maps_signal(shape=shape)
    expected = nd.interpret(graph, x.flatten(2).numpy().astype(float))
    assert 0 < expected.mean() < 1
    found = stepwise(imported(tool, nir.read(path)), x).numpy()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("spec", ["lif", "cubalif"])
@pytest.mark.parametrize("kind", ["sum", "avg", None])
@pytest.mark.parametrize("tool", ["snntorch", "spikingjelly", "norse"])
def test_our_convolutional_stock_files_elsewhere(tool, kind, spec, path):
    if (tool, spec) == ("norse", "lif"):
        pytest.skip("norse takes every r of a LIF for 1, and warns")
    if (tool, kind) == ("norse", "avg"):
        pytest.skip("norse 1.1.0 reads no AvgPool2d: what stands behind it reads the input")
    agrees(tool, stock_maps(spec, path, kind=kind), path)


@pytest.mark.parametrize("how", CONVS)
@pytest.mark.parametrize("tool", ["snntorch", "spikingjelly", "norse"])
def test_convolutions_of_every_setting_elsewhere(tool, how, path):
    agrees(tool, stock_maps("cubalif", path, how=how), path)


@pytest.mark.parametrize("how", CONVS)
def test_sinabs_reads_convolutions_pooling_and_flatten(how, path):
    """Of maps without neurons it makes what they are; its LIF refuses parameters of more axes."""
    from sinabs.nir import from_nir

    graph, x = stock_maps(None, path, how=how), maps_signal(4)
    found = from_nir(nir.read(path), num_timesteps=4)(x.flatten(0, 1))
    found = found[0] if isinstance(found, tuple) else found
    expected = nd.interpret(graph, x.flatten(2).numpy().astype(float))
    values = found.detach().numpy().reshape(expected.shape)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)
    stock_maps("lif", path, how=how)
    with pytest.raises(ValueError, match="truth value of an array"):
        from_nir(nir.read(path), num_timesteps=4)


FRAMES = {
    "plain": {"kernel": (3,), "padding": (1, 1)},
    "padded in front": {"kernel": (3,), "padding": (2, 0)},
    "strided, grouped": {"kernel": (3,), "padding": (1, 1), "stride": (2,), "groups": 2},
}


@pytest.mark.parametrize("how", FRAMES)
@pytest.mark.parametrize("tool", ["snntorch", "spikingjelly"])
def test_convolutions_of_one_axis_elsewhere(tool, how, path):
    """Of norse 1.1.0 and sinabs 3.1.3 the one skips a Conv1d, and the other fails."""
    rng = np.random.default_rng(5)
    first = conv(rng, (2, 12), 4, **{"stride": (1,), "dilation": (1,), **FRAMES[how]})
    pool = Pool("avg", first.out_shape, (2,), (2,), (0, 0), True)
    width = pool.width_of([0])
    weight = rng.normal(size=(5, width)).astype(np.float32).astype(float)
    ops = (
        first,
        cells("cubalif", first.width_of([0])),
        pool,
        Linear(weight, np.full(5, 0.125)),
        cells("cubalif", 5),
    )
    nodes = [Node("x", Input(24))]
    for name, op in zip("abcde", ops, strict=True):
        nodes.append(Node(name, op, (nodes[-1].name,)))
    graph = Graph(tuple(nodes), "e")
    nd.export(graph, path, nir="stock")
    agrees(tool, graph, path, shape=(2, 12))


def residual(path):
    """Write a network with a sum, maps side by side and a mean over time as a stock file."""
    rng, shape, one = np.random.default_rng(3), (4, 8, 8), {"kernel": (1, 1), "padding": (0,) * 4}
    last = rng.normal(size=(5, 256)).astype(np.float32).astype(float)
    nodes = (
        Node("x", Input(128)),
        Node("a", conv(rng, MAPS, 4, **CONVS["plain"]), ("x",)),
        Node("a.cells", cells("cubalif", 256), ("a",)),
        Node("b", conv(rng, shape, 4, **CONVS["plain"]), ("a.cells",)),
        Node("sum", Add(), ("a.cells", "b")),
        Node("sum.cells", cells("cubalif", 256), ("sum",)),
        Node("both", Concat(), ("sum.cells", "a.cells")),
        Node("c", conv(rng, (8, 8, 8), 4, **one), ("both",)),
        Node("c.cells", cells("cubalif", 256), ("c",)),
        Node("out", Linear(last, np.zeros(5)), ("c.cells",)),
        Node("readout", Reduce("mean", np.zeros(5)), ("out",)),
    )
    graph = Graph(nodes, "readout")
    nd.export(graph, path, nir="stock")
    return graph


@pytest.mark.parametrize("tool", ["snntorch", "spikingjelly", "norse"])
def test_sums_concatenations_and_readouts_elsewhere(tool, path):
    graph, x = residual(path), maps_signal()
    expected = nd.interpret(graph, x.flatten(2).numpy().astype(float))
    assert expected.any()
    steps = stepwise(imported(tool, nir.read(path)), x).numpy()
    if tool == "norse":  # nirtorch.load, which it uses, ends elsewhere where nodes read several
        assert steps.shape[2:] == (8, 8, 8)
        return
    np.testing.assert_allclose(steps.mean(axis=0), expected, rtol=1e-4, atol=1e-4)


def test_integrators_without_leak_elsewhere(path):
    """SpikingJelly reads an IF of r = 1 / dt; snnTorch refuses an r that is not 1."""
    graph = stock_maps("lif", path)
    for node in graph:
        if node.name.endswith(".cells"):
            params = {**node.op.params, "beta": np.ones_like(node.op.bias)}
            graph = graph.replace(node.name, replace(node.op, params=params))
    nd.export(graph, path, nir="stock")
    agrees("spikingjelly", graph, path)
    with pytest.raises(AssertionError, match="r != 1 not supported"):
        imported("snntorch", nir.read(path))


# Their networks ---------------------------------------------------------------------------------

LAYERS = {
    "plain": {"kernel_size": 3, "padding": 1},
    "without bias": {"kernel_size": 3, "bias": False, "dilation": 2},
    "grouped": {"kernel_size": 3, "groups": 2},
    "strided": {"kernel_size": 3, "stride": 2, "padding": "valid"},
    "padded to keep": {"kernel_size": (2, 3), "padding": "same"},
}


def network(how, cell, *, pool=torch.nn.AvgPool2d, flatten=torch.nn.Flatten, size=3.0):
    """A convolutional network of a tool's neurons, given their shape."""
    first = torch.nn.Conv2d(2, 4, **LAYERS[how])
    shape = first(torch.zeros(1, *MAPS)).shape[1:]
    width = 4 * (shape[1] // 2) * (shape[2] // 2)
    last = torch.nn.Linear(width, 5)
    for layer in (first, last):
        layer.weight.data = layer.weight.data * size + 0.05
    return torch.nn.Sequential(first, cell(*shape), pool(2), flatten(), last, cell(5))


def snntorch_cell(*shape):
    import snntorch

    how = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    return snntorch.Leaky(beta=torch.full(shape, 0.8), threshold=torch.ones(shape), **how)


def quiet(net):
    """Return a network of snnTorch at its start."""
    for layer in net:
        if hasattr(layer, "mem"):
            layer.mem = torch.zeros(0)
    return net


def same_spikes(path, x, expected, **stated):
    found = nd.interpret(nd.load(path, **stated), x.flatten(2).numpy().astype(float))
    assert len(expected.unique()) > 1
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("how", LAYERS)
def test_snntorch(how, path):
    from snntorch.export_nir import export_to_nir

    net, x = network(how, snntorch_cell), maps_signal()
    nir.write(path, export_to_nir(net, x[0], ignore_dims=[0]))
    quiet(net)
    expected = stepwise(lambda row, _: (net(row), None), x)
    same_spikes(path, x, expected, source="snntorch", reset="zero", reset_delay=False)


@pytest.mark.parametrize("how", LAYERS)
def test_spikingjelly(how, path):
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    if how == "grouped":
        pytest.skip("SpikingJelly 2.0.0 writes no convolution of several groups")
    parts = {"pool": layer.AvgPool2d, "flatten": layer.Flatten}
    net, x = network(how, lambda *_: neuron.LIFNode(decay_input=False), **parts), maps_signal()
    expected = stepwise(lambda row, _: (net(row), None), x)
    functional.reset_net(net)
    export_to_nir(net, x[0], save_path=path, dt=1e-3)
    same_spikes(path, x, expected, source="spikingjelly")


@pytest.mark.parametrize("how", LAYERS)
def test_sinabs(how, path):
    import sinabs.layers
    from sinabs.nir import to_nir

    def cell(*_):
        return sinabs.layers.IAFSqueeze(batch_size=SAMPLES)

    net, x = network(how, cell, pool=sinabs.layers.SumPool2d, size=1.5), maps_signal()
    flat = x.transpose(0, 1).flatten(0, 1)
    with torch.no_grad():
        expected = net(flat).reshape(SAMPLES, len(x), -1).transpose(0, 1)
    file = to_nir(net, flat[:SAMPLES])
    file.infer_types()  # h5py cannot write shapes that are not there
    nir.write(path, file)
    stated = {"reset": "subtract", "spikes": "many", "v_min": "none"}
    same_spikes(path, x, expected, source="sinabs", **stated)


@pytest.mark.parametrize("how", LAYERS)
@pytest.mark.parametrize("tool", ["snntorch", "spikingjelly"])
def test_a_network_of_snntorch_goes_elsewhere_as_our_stock_file(tool, how, path):
    """From its live modules, without a file of theirs, norms included."""
    net, x = network(how, snntorch_cell), maps_signal()
    norm = torch.nn.BatchNorm2d(4)
    norm.running_mean.data, norm.running_var.data = torch.rand(4) * 0.2, torch.rand(4) + 0.5
    net = torch.nn.Sequential(net[0], norm, *net[1:]).eval()
    graph = nd.trace(net, torch.zeros(4, 1, *MAPS))
    nd.export(graph, path, nir="stock")
    quiet(net)
    expected = stepwise(lambda row, _: (net(row), None), x).numpy()
    assert 0 < expected.mean() < 1
    found = stepwise(imported(tool, nir.read(path)), x).numpy()
    np.testing.assert_array_equal(found, expected)
