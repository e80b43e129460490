"""Convolutional networks as stock NIR files: what stands for what; and odd files of others."""

from __future__ import annotations

from dataclasses import replace

import h5py
import nir
import numpy as np
import pytest
from support.euler import simulate
from support.maps import stock
from support.networks import inputs_for, linear, neurons

from neurodeploy.backends.nir.graph import exported_form, write
from neurodeploy.errors import InputError, NeurodeployError
from neurodeploy.frontends import Reading, nir_child, nir_walk
from neurodeploy.frontends.nir import read
from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.ir import (
    Affine,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    identical,
)
from neurodeploy.graph.maps import Conv, Pool

HARD = {"reset": "hard", "compare": ">"}
PAPER = Reading(source="nir-paper", dt=1e-4, reset="zero", reset_delay=False)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: a child for every file would take minutes."""
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "g.nir"


def rng():
    return np.random.default_rng(4)


def conv(shape, maps=4, kernel=(3, 3), padding=None, groups=1, **how):
    axes = len(kernel)
    weight = rng().normal(size=(maps, shape[0] // groups, *kernel))
    settings = {"stride": (1,) * axes, "dilation": (1,) * axes, **how}
    padding = padding or (0,) * 2 * axes
    return Conv(weight, rng().normal(size=maps), shape, padding=padding, groups=groups, **settings)


def pool(kind, shape, kernel=(2, 2), padding=(0, 0, 0, 0), *, inside=True):
    return Pool(kind, shape, kernel, kernel, padding, inside)


def chain(*ops, width=None):
    """One operation behind the other, named a, b, ..."""
    first = ops[0]
    width = width or int(np.prod(first.shape))
    nodes = [Node("x", Input(width))]
    for name, op in zip("abcdefgh", ops, strict=False):
        nodes.append(Node(name, op, (nodes[-1].name,)))
    return Graph(tuple(nodes), nodes[-1].name)


def written(graph, path, tier="stock"):
    """Write a graph, check that it comes back and what the file computes; return the file."""
    write(graph, path, tier=tier)
    assert identical(read(path), exported_form(graph, tier))
    file = nir.read(path)
    x = inputs_for(rng(), graph, steps=6)
    found, expected = simulate(file, x)["output"], interpret(graph, x)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=0, atol=1e-9)
    return file


def refused(graph, path, tier="stock"):
    with pytest.raises(InputError) as caught:
        write(graph, path, tier=tier)
    assert caught.value.code == "E108"
    assert not path.exists()
    return caught.value.records()


ONE, TWO = (3, 9), (4, 8, 9)
FORMS = {
    "1d": (conv(ONE, kernel=(3,), padding=(1, 1)), (3,), 1),
    "1d strided, dilated": (conv(ONE, kernel=(2,), stride=(2,), dilation=(2,)), (2,), 0),
    "1d padded in front": (conv(ONE, kernel=(3,), padding=(2, 0)), (5,), 2),
    "2d": (conv(TWO, padding=(1, 1, 1, 1)), (3, 3), [1, 1]),
    "2d strided": (conv(TWO, padding=(1, 0, 1, 0), stride=(2, 1)), (3, 3), [1, 0]),
    "another padding behind, unseen": (
        conv(TWO, padding=(1, 1, 0, 1), stride=(2, 1)),
        (3, 3),
        [1, 1],
    ),
    "groups": (conv(TWO, maps=8, groups=2), (3, 3), [0, 0]),
    "one map each": (conv(TWO, groups=4), (3, 3), [0, 0]),
    "kept": (conv(TWO, kernel=(2, 5), padding=(0, 2, 1, 2)), (2, 5), "same"),
    "not square": (conv(TWO, kernel=(3, 1)), (3, 3), [0, 1]),
    "padded in front": (conv(TWO, padding=(2, 2, 0, 0)), (5, 5), [2, 2]),
}


@pytest.mark.parametrize("name", FORMS)
def test_convolutions_are_nodes_that_readers_run_as_they_are_meant(name, path):
    op, kernel, padding = FORMS[name]
    node = written(chain(op), path).nodes["a"]
    assert type(node).__name__ == f"Conv{len(kernel)}d"
    assert node.weight.shape == (len(op.stored), op.shape[0], *kernel)
    assert node.groups == 1
    assert node.padding == padding if isinstance(padding, str) else np.all(node.padding == padding)
    np.testing.assert_array_equal(node.stride, op.stride)
    np.testing.assert_array_equal(node.dilation, op.dilation)
    np.testing.assert_array_equal(node.input_shape, op.shape[1:])
    literal = node.weight.shape == op.stored.shape
    assert ("neurodeploy" in node.metadata) is not literal
    if literal:
        np.testing.assert_array_equal(node.weight, op.weight)


POOLS = {
    "sum": (pool("sum", TWO), "SumPool2d"),
    "sum, not square": (pool("sum", TWO, (2, 3)), "SumPool2d"),
    "avg": (pool("avg", TWO), "AvgPool2d"),
    "avg, padded": (pool("avg", TWO, padding=(1, 1, 1, 1)), "AvgPool2d"),
    "avg, nothing padded": (pool("avg", TWO, inside=False), "AvgPool2d"),
    "sum, padded, which readers leave out": (pool("sum", TWO, padding=(1, 1, 1, 1)), "Conv2d"),
    "avg, padded by more than torch pools": (pool("avg", TWO, padding=(1, 1, 2, 2)), "Conv2d"),
    "1d": (pool("avg", ONE, (3,), (0, 0)), "Conv1d"),
}


@pytest.mark.parametrize("name", POOLS)
def test_pooling_is_a_node_of_its_own_or_a_convolution(name, path):
    op, kind = POOLS[name]
    node = written(chain(op), path).nodes["a"]
    assert type(node).__name__ == kind


def network(model="lif", options=HARD):
    """Convolution, neurons, pooling, convolution, neurons, Linear, neurons; gains of every kind."""
    first = conv((2, 6, 6), padding=(1, 1, 1, 1))
    second = conv((4, 3, 3), padding=(1, 1, 1, 1))
    wide = [int(np.prod(op.out_shape)) for op in (first, second)]
    cells = [neurons(rng(), model, n, **options) for n in (*wide, 3)]
    pooled = pool("avg", first.out_shape)
    last = linear(rng(), 3, wide[1])
    return chain(first, cells[0], pooled, second, cells[1], last, cells[2])


def test_neurons_on_maps_have_the_shapes_of_the_maps(path):
    file = written(network(), path)
    shapes = {"input": (2, 6, 6), "b": (4, 6, 6), "e": (4, 3, 3), "g": (3,), "output": (3,)}
    for name, shape in shapes.items():
        np.testing.assert_array_equal(file.nodes[name].output_type["output"], shape)
    for key in ("tau", "r", "v_leak", "v_threshold", "v_reset"):
        assert getattr(file.nodes["b"], key).shape == (4, 6, 6)
    flat = file.nodes["e.flat"]
    np.testing.assert_array_equal(flat.input_type["input"], (4, 3, 3))
    assert (flat.start_dim, flat.end_dim) == (-3, -1)  # with or without an axis of samples
    assert {("e", "e.flat"), ("e.flat", "f")} <= set(file.edges)


@pytest.mark.parametrize("model", ["lif", "cubalif"])
@pytest.mark.parametrize("axes", [1, 2])
def test_the_nodes_alone_say_all_that_the_metadata_does(axes, model, path):
    """Without our metadata a file is one of another tool, and gives the same spikes."""
    graph = stock(rng(), axes=axes, model=model, readout="steps")
    graph = replace(graph, nodes=tuple(_resting_at_zero(node) for node in graph))
    write(graph, path, tier="stock")
    with h5py.File(path, "a") as file:
        del file["node/metadata"]
        for node in file["node/nodes"].values():
            node.pop("metadata", None)
    x = inputs_for(rng(), graph, steps=20)
    np.testing.assert_allclose(interpret(read(path, PAPER), x), interpret(graph, x), atol=1e-9)


def _resting_at_zero(node):
    if not isinstance(node.op, Neurons):
        return node
    params = {**node.op.params, "v_reset": np.zeros_like(node.op.bias)}
    return replace(node, op=replace(node.op, params=params))


def test_models_of_several_primitives_are_graphs_of_maps(path):
    graph = network("prf", {})
    assert {record["where"] for record in refused(graph, path)} == {f'node "{n}"' for n in "beg"}
    file = written(graph, path, "composite")
    assert file.nodes["b"].nodes["re"].tau.shape == (4, 6, 6)


def test_norms_go_into_their_convolutions_where_they_are_one_per_map(path):
    first, cells = conv((2, 6, 6)), neurons(rng(), "lif", 64, **HARD)
    each = rng().uniform(0.5, 2, (4, 4))
    by_map = BatchNorm(*(np.repeat(value, 16) for value in each), 1e-5)
    file = written(chain(first, by_map, cells), path)
    assert set(file.nodes) == {"input", "a", "c", "output"}
    by_place = replace(by_map, beta=np.arange(64.0))
    path.unlink()
    records = refused(chain(first, by_place, cells), path)
    assert "differ within a map" in records[0]["what"]


def test_concatenated_maps_are_put_in_place_by_convolutions(path):
    shape = (3, 4, 4)
    nodes = (
        Node("x", Input(48)),
        Node("a", conv(shape, 2, kernel=(1, 1)), ("x",)),
        Node("b", conv(shape, 5, kernel=(1, 1)), ("x",)),
        Node("c", Concat(), ("a", "b")),
        Node("d", conv((7, 4, 4), 2), ("c",)),
    )
    file = written(Graph(nodes, "d"), path)
    assert {"c.part0", "c.part1"} <= set(file.nodes)
    assert isinstance(file.nodes["c.part0"], nir.Conv2d)


def test_axes_that_are_read_as_one_are_flattened(path):
    nodes = (
        Node("x", Input(96)),
        Node("a", conv((2, 6, 8), kernel=(1, 3)), ("x",)),
        Node("b", conv((4, 36), kernel=(3,)), ("a",)),
        Node("c", conv((2, 48), kernel=(3,)), ("x",)),
        Node("d", Concat(), ("b", "c")),
        Node("e", linear(rng(), 2, 4 * 34 + 4 * 46), ("d",)),
    )
    file = written(Graph(nodes, "e"), path)
    assert (file.nodes["a.flat"].start_dim, file.nodes["a.flat"].end_dim) == (-2, -1)
    assert "input.flat" in file.nodes


def recurrent(width):
    op = neurons(rng(), "lif", width, **HARD)
    return replace(op, recurrent=rng().normal(size=(width, width)) * 0.1)


def test_neurons_that_hear_themselves_read_maps_flat(path):
    graph = chain(conv((1, 4, 4), 2), recurrent(8), linear(rng(), 2, 8))
    file = written(graph, path, "composite")
    assert file.nodes["a.flat"].output_type["output"].tolist() == [8]


REFUSED = {
    "max pooling": (chain(pool("max", TWO)), "a", "max pooling (kind)"),
    "averages of fewer places": (
        chain(pool("avg", TWO, padding=(1, 1, 1, 1), inside=False)),
        "a",
        "(count_padding)",
    ),
    "a kernel neither square nor made so": (
        chain(conv(TWO, kernel=(2, 3))),
        "a",
        "kernel (2, 3) with padding (0, 0, 0, 0)",
    ),
    "maps of channels": (
        chain(linear(rng(), 32, 5), conv((2, 4, 4)), width=5),
        "b",
        "reads maps of shape (2, 4, 4), and gets values of shape (32,)",
    ),
    "other maps than there are": (
        chain(conv((1, 4, 4), 2, (1, 1)), conv((8, 2, 2), 2, (1, 1))),
        "b",
        "reads maps of shape (8, 2, 2), and gets values of shape (2, 4, 4)",
    ),
    "a convolution of neurons that hear themselves": (
        chain(conv((1, 4, 4), 2), recurrent(8), conv((2, 2, 2), 2, (1, 1))),
        "c",
        "gets values of shape (8,)",
    ),
    "another bias in each place": (
        chain(conv((1, 4, 4), 2), Affine(np.ones(8), np.arange(8.0)), linear(rng(), 2, 8)),
        "b",
        "differ within a map",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_stock_nodes_cannot_hold_is_refused_by_name_or_an_extension(name, path):
    graph, node, text = REFUSED[name]
    records = refused(graph, path, "composite")
    assert [(f'node "{node}"', True)] == [(r["where"], text in r["what"]) for r in records]
    assert "--nir extension" in records[0]["fix"]
    write(graph, path, tier="extension")
    assert identical(read(path), exported_form(graph, "extension"))


def test_an_extension_has_stock_nodes_up_to_the_first_that_is_none(path):
    graph = chain(conv(TWO), pool("max", (4, 6, 7)), conv((4, 3, 3)), linear(rng(), 2, 4))
    write(graph, path, tier="extension")
    assert identical(read(path), graph)
    with h5py.File(path) as file:
        kinds = {name: node["type"].asstr()[()] for name, node in file["node/nodes"].items()}
    assert kinds == {
        "input": "Input",
        "a": "Conv2d",
        "a.flat": "Flatten",
        "b": "neurodeploy.Pool",
        "c": "neurodeploy.Conv",
        "d": "Affine",
        "output": "Output",
    }


def place(name, value):
    def apply(file):
        del file[name]
        file[name] = value

    return apply


AT = "node/nodes/a"
EDITS = {
    "stride": (place(f"{AT}/stride", np.array([2, 2])), "stride"),
    "a word for padding": (place(f"{AT}/padding", "valid"), "padding"),
    "groups": (place(f"{AT}/groups", 2), "groups"),
    "a derived weight": (place(f"{AT}/weight", np.zeros((8, 4, 3, 3))), "weight"),
    "the shape": (place(f"{AT}/input_shape", np.array([9, 9])), "input_shape"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_settings_are_refused(name, path):
    change, field = EDITS[name]
    write(chain(conv(TWO, maps=8, groups=2)), path, tier="stock")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(NeurodeployError, match=f'{field} of node "a" disagrees'):
        read(path)


def test_another_word_for_padding_is_refused(path):
    write(chain(conv(TWO, kernel=(2, 5), padding=(0, 2, 1, 2))), path, tier="stock")
    with h5py.File(path, "a") as file:
        place(f"{AT}/padding", "valid")(file)
    with pytest.raises(NeurodeployError, match='padding of node "a" disagrees'):
        read(path)


def test_an_edited_weight_is_used(path):
    op = conv(TWO)
    write(chain(op), path, tier="stock")
    with h5py.File(path, "a") as file:
        file[f"{AT}/weight"][0, 0, 0, 0] = 3.0
    expected = op.weight.copy()
    expected[0, 0, 0, 0] = 3.0
    np.testing.assert_array_equal(read(path)["a"].op.weight, expected)


# Odd files of other tools -----------------------------------------------------------------------


def foreign(path, changes=(), *, shape=(2, 6, 6), **how):
    """Write a Conv2d, a Flatten and an Affine as another tool might."""
    settings = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, **how}
    maps = shape[-3] // settings["groups"]
    weight, bias = rng().normal(size=(4, maps, 3, 3)), rng().normal(size=4)
    nodes = {
        "input": nir.Input(np.array(shape)),
        "a": nir.Conv2d(input_shape=(6, 6), weight=weight, bias=bias, **settings),
        "f": nir.Flatten(np.array([4, 6, 6])),
        "o": nir.Linear(rng().normal(size=(3, 144))),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "a"), ("a", "f"), ("f", "o"), ("o", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    with h5py.File(path, "a") as file:
        for change in changes:
            change(file)
    op = Conv(weight, bias, shape[-3:], (1, 1), (1,) * 4, (1, 1), settings["groups"])
    return chain(op, Linear(nodes["o"].weight, np.zeros(3)))


def gone(name):
    return lambda file: file.__delitem__(name)


FLAT = "node/nodes/f"
ODD = {
    "plain": ((), {}),
    "padding in words": ((), {"padding": "same"}),
    "no shape": ((gone(f"{AT}/input_shape"),), {}),
    "a wrong shape": ((place(f"{AT}/input_shape", np.array([3, 50])),), {}),
    "no bias": ((gone(f"{AT}/bias"),), {}),
    "numbers without axes": ((place(f"{AT}/stride", 1), place(f"{AT}/padding", 1)), {}),
    "numbers of one": ((place(f"{AT}/stride", np.array([1])),), {}),
    "groups": ((), {"groups": 2}),
    "groups as an array": ((place(f"{AT}/groups", np.array([2])),), {"groups": 2}),
    "no settings": (tuple(gone(f"{AT}/{key}") for key in ("stride", "dilation", "groups")), {}),
    "an axis of samples": ((), {"shape": (1, 2, 6, 6)}),
    "steps and samples": ((), {"shape": (7, 5, 2, 6, 6)}),
    "flat from 0": ((place(f"{FLAT}/start_dim", 0),), {}),
    "flat from the last": ((place(f"{FLAT}/start_dim", -3),), {}),
    "flat without ends": ((gone(f"{FLAT}/start_dim"), gone(f"{FLAT}/end_dim")), {}),
    "flat of another shape": ((place(f"{FLAT}/input_type", np.array([1, 144])),), {}),
    "two axes flat": ((place(f"{FLAT}/start_dim", 0), place(f"{FLAT}/end_dim", 1)), {}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_mean_what_they_can_mean(name, path):
    changes, how = ODD[name]
    graph = foreign(path, changes, **how)
    if name == "no bias":
        graph = graph.replace("a", replace(graph["a"].op, bias=np.zeros(4)))
    x = inputs_for(rng(), graph, steps=3)
    np.testing.assert_allclose(interpret(read(path), x), interpret(graph, x), rtol=1e-12)


WRONG = {
    "words for padding": (place(f"{AT}/padding", "full"), "padding 'full'"),
    "same with a stride": (
        lambda file: [place(f"{AT}/{k}", v)(file) for k, v in (("padding", "same"), ("stride", 2))],
        "padding 'same' with stride (2, 2)",
    ),
    "three strides": (place(f"{AT}/stride", np.array([1, 1, 1])), "on 2 axes"),
    "half a stride": (place(f"{AT}/stride", 0.5), "not whole numbers"),
    "no stride at all": (place(f"{AT}/stride", 0), "stride is (0, 0)"),
    "groups that divide nothing": (place(f"{AT}/groups", 3), "3 groups cannot divide"),
    "weights of other axes": (place(f"{AT}/weight", np.ones((4, 2, 3))), "not 4 axes"),
    "weights of other maps": (place(f"{AT}/weight", np.ones((4, 3, 3, 3))), "reads 3 maps"),
    "a bias of other maps": (place(f"{AT}/bias", np.ones(3)), "bias has shape (3,)"),
    "no weight": (gone(f"{AT}/weight"), "no numbers 'weight'"),
    "axes that are not there": (place(f"{FLAT}/end_dim", 5), "it flattens axes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused_by_name(name, path):
    change, text = WRONG[name]
    foreign(path, (change,))
    with pytest.raises(NeurodeployError) as caught:
        read(path)
    assert caught.value.exit_code == 3
    assert any(text in record["what"] for record in caught.value.records()), caught.value.records()
