"""How NIR files hang together: graphs in graphs, sums, loops, maps, shapes; and `inspect`."""

from __future__ import annotations

import json

import h5py
import nir
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.nirs import F4

import neurodeploy as nd
from neurodeploy.cli import main
from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import nir_child, nir_walk
from neurodeploy.graph.ir import identical
from neurodeploy.graph.maps import Conv, Pool

DT = 1e-4
SNN = {"source": "snntorch", "reset": "zero", "reset_delay": False}


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: a child for every file would take minutes."""
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "g.nir"


def lif(width, beta=0.5):
    tau = np.full(width, DT / (1 - beta))
    zero, one = np.zeros(width), np.ones(width)
    return nir.LIF(tau=tau, r=tau / DT, v_leak=zero, v_threshold=one, v_reset=zero)


def write(path, nodes, edges, shape=(3,)):
    nodes = {"input": nir.Input(np.array(shape)), **nodes, "output": nir.Output(np.array([3]))}
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))


def affine(seed, out=3, inside=3):
    rng = np.random.default_rng(seed)
    return nir.Affine(rng.normal(size=(out, inside)).astype(F4), rng.normal(size=out).astype(F4))


def signal(width=3, steps=30):
    return np.random.default_rng(1).normal(size=(steps, 2, width)) + 0.3


def hearing(made, back, x, *, always, beta=0.5):
    """RLeaky, reset to zero at once; the bias of what comes back always, or late."""
    v = s = np.zeros(x.shape[1:])
    out = []
    for t, row in enumerate(x):
        heard = s @ back.weight.T + back.bias * (always or t > 0)
        v = beta * v + row @ made.weight.T + made.bias + heard
        s = (v > 1).astype(float)
        v = v * (1 - s)
        out.append(s)
    return np.array(out)


LOOP = [("input", "a"), ("a", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")]


def test_neurons_hear_themselves_a_step_later(path):
    a, w = affine(1), affine(2)
    write(path, {"a": a, "lif": lif(3), "w": w}, LOOP)
    graph = nd.load(path, **SNN)
    assert [node.name for node in graph] == ["input", "a", "lif"]
    np.testing.assert_array_equal(graph["lif"].op.recurrent, w.weight)
    x = signal()
    found = nd.interpret(graph, x)
    np.testing.assert_array_equal(found, hearing(a, w, x, always=True))
    late = nd.load(path, **SNN, feedback_bias="late")
    np.testing.assert_array_equal(nd.interpret(late, x), hearing(a, w, x, always=False))
    assert not np.array_equal(nd.interpret(late, x), found)


def test_a_late_bias_compiles_to_integers_that_agree(path):
    a, w = affine(1), affine(2)
    write(path, {"a": a, "lif": lif(3), "w": w}, LOOP)
    graph = nd.load(path, **SNN, feedback_bias="late")
    x = signal()
    program = nd.compile(graph, nd.target("loihi2"), calibration=x, bits=8)
    found = nd.simulate(program, x).outputs
    assert np.mean(found == nd.interpret(graph, x)) > 0.9


def test_the_paper_has_to_be_told_about_a_bias_that_comes_back(path):
    write(path, {"a": affine(1), "lif": lif(3), "w": affine(2)}, LOOP)
    paper = {**SNN, "source": "nir-paper", "dt": DT}
    with pytest.raises(NeurodeployError, match="feedback_bias"):
        nd.load(path, **paper)
    x = signal()
    found = nd.interpret(nd.load(path, **paper, feedback_bias="always"), x)
    np.testing.assert_array_equal(found, nd.interpret(nd.load(path, **SNN), x))


def test_loops_may_pass_scales_and_several_ways(path):
    a, w, u, g = affine(1), affine(2), affine(3), np.array([0.5, -1, 2])
    nodes = {"a": a, "lif": lif(3), "w": w, "u": u, "g": nir.Scale(g)}
    edges = [*LOOP, ("w", "g"), ("g", "lif"), ("lif", "u"), ("u", "lif"), ("lif", "lif")]
    write(path, nodes, edges)
    back = nir.Affine((1 + g[:, None]) * w.weight + u.weight + np.eye(3), (1 + g) * w.bias + u.bias)
    x = signal()
    found = nd.interpret(nd.load(path, **SNN), x)
    np.testing.assert_array_equal(found, hearing(a, back, x, always=True))


def test_what_comes_back_may_be_read_elsewhere(path):
    a, w = affine(1), affine(2)
    edges = [("w", "output") if edge == ("lif", "output") else edge for edge in LOOP]
    write(path, {"a": a, "lif": lif(3), "w": w}, edges)
    x = signal()
    expected = hearing(a, w, x, always=True) @ w.weight.T + w.bias
    np.testing.assert_allclose(nd.interpret(nd.load(path, **SNN), x), expected, rtol=1e-12)


def nested(inner, edges):
    ends = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    return nir.NIRGraph({**ends, **inner}, edges, type_check=False)


def test_graphs_in_graphs_are_the_same_as_flat_ones(path, tmp_path):
    a, w = affine(1), affine(2)
    inside = [("input", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")]
    rnn = nested({"lif": lif(3), "w": w}, inside)
    deep = nested({"rnn": rnn}, [("input", "rnn"), ("rnn", "output")])
    edges = [("input", "a"), ("a", "r"), ("r", "output")]
    write(path, {"a": a, "r": deep}, edges)
    graph = nd.load(path, **SNN)
    assert [node.name for node in graph] == ["input", "a", "r.rnn.lif"]
    write(tmp_path / "flat.nir", {"a": a, "lif": lif(3), "w": w}, LOOP)
    flat, x = nd.load(tmp_path / "flat.nir", **SNN), signal()
    np.testing.assert_array_equal(nd.interpret(graph, x), nd.interpret(flat, x))


def test_fan_in_does_not_depend_on_the_order_of_a_file(path, tmp_path):
    nodes = {"b": affine(1), "a": affine(2), "c": affine(3)}
    edges = [
        ("input", "b"),
        ("input", "a"),
        ("b", "c"),
        ("a", "c"),
        ("input", "c"),
        ("c", "output"),
    ]
    write(path, nodes, edges)
    write(tmp_path / "other.nir", dict(reversed(nodes.items())), edges[::-1])
    graph = nd.load(path)
    assert graph["c.sum"].inputs == ("a", "b", "input")
    assert identical(graph, nd.load(tmp_path / "other.nir"))


def test_names_become_names_of_a_graph(path):
    nodes = {"a b": affine(1), "a-b": affine(2), "é": affine(3), "c.sum": affine(4)}
    edges = [("input", "a b"), ("input", "a-b"), ("a b", "é"), ("a-b", "é"), ("é", "c.sum")]
    write(path, nodes, [*edges, ("c.sum", "output")])
    names = [node.name for node in nd.load(path)]
    assert len(set(names)) == len(names) == 6


REFUSED = {
    "loops through two": (
        {"a": lif(3), "b": lif(3)},
        [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")],
        "several nodes of neurons, a, b",
    ),
    "a loop without neurons": (
        {"a": affine(1), "b": affine(2)},
        [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")],
        "without neurons",
    ),
    "a loop with more from outside": (
        {"a": lif(3), "w": affine(1)},
        [("input", "a"), ("a", "w"), ("w", "a"), ("input", "w"), ("a", "output")],
        "adds what comes from outside",
    ),
    "a threshold in a loop": (
        {"a": lif(3), "w": nir.Threshold(np.ones(3))},
        [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")],
        "a threshold in a loop",
    ),
    "two inputs": (
        {"a": affine(1), "more": nir.Input(np.array([3]))},
        [("input", "a"), ("more", "a"), ("a", "output")],
        "2 inputs, not one",
    ),
    "sums of other shapes": (
        {"a": affine(1), "b": affine(2, out=4), "c": affine(3)},
        [("input", "a"), ("input", "b"), ("a", "c"), ("b", "c"), ("c", "output")],
        "adds values of shapes",
    ),
    "a graph without an input": (
        {"r": nir.NIRGraph({"output": nir.Output(np.array([3]))}, [], type_check=False)},
        [("input", "r"), ("r", "output")],
        "has 0 Input nodes",
    ),
    "numbers of another width": (
        {"a": lif(4)},
        [("input", "a"), ("a", "output")],
        "and it reads (3,)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wiring_that_is_refused(name, path):
    nodes, edges, text = REFUSED[name]
    write(path, nodes, edges)
    stated = SNN if any(isinstance(node, nir.LIF) for node in nodes.values()) else {}
    with pytest.raises(NeurodeployError) as caught:
        nd.load(path, **stated)
    assert caught.value.exit_code == 3
    assert any(text in record["what"] for record in caught.value.records()), caught.value


# Maps -------------------------------------------------------------------------------------------

CONVS = [
    {"kernel": (3, 5), "padding": (1, 0)},
    {"kernel": (3, 3), "stride": (2, 1), "groups": 2},
    {"kernel": (2, 3), "dilation": (2, 1), "padding": "same"},
    {"kernel": (3, 3), "padding": "valid", "stride": 2},
    {"kernel": (5,), "padding": 2, "stride": 2, "groups": 4},
    {"kernel": (3,), "dilation": 2},
]


@pytest.mark.parametrize("how", CONVS)
def test_convolutions_are_those_of_torch(how, path):
    how = dict(how)
    axes = len(how["kernel"])
    size = (8, 9)[:axes]
    make, node = {1: (torch.nn.Conv1d, nir.Conv1d), 2: (torch.nn.Conv2d, nir.Conv2d)}[axes]
    torch.manual_seed(1)
    module = make(4, 8, how.pop("kernel"), **how).double()
    settings = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **how}
    wrong = 5 if axes == 1 else (5, 5)  # what a file says of its shape is not trusted
    part = node(
        input_shape=wrong,
        weight=module.weight.detach().numpy(),
        bias=module.bias.detach().numpy(),
        **settings,
    )
    write(path, {"c": part}, [("input", "c"), ("c", "output")], shape=(4, *size))
    graph = nd.load(path)
    assert isinstance(graph["c"].op, Conv)
    x = signal(4 * int(np.prod(size)), steps=2)
    with torch.no_grad():
        expected = module(torch.from_numpy(x.reshape(4, 4, *size))).numpy()
    np.testing.assert_allclose(nd.interpret(graph, x).ravel(), expected.ravel(), rtol=1e-9)


@pytest.mark.parametrize("kind", ["SumPool2d", "AvgPool2d"])
def test_pooling_is_that_of_torch_and_flatten_changes_nothing(kind, path):
    two, one = np.array([2, 3]), np.array([1, 1])
    nodes = {"p": getattr(nir, kind)(two, two, one), "f": nir.Flatten(np.array([1]), 0, -1)}
    nodes["a"] = affine(3, inside=2 * 5 * 3)
    edges = [("input", "p"), ("p", "f"), ("f", "a"), ("a", "output")]
    write(path, nodes, edges, shape=(1, 2, 8, 8))  # with an axis of samples
    graph = nd.load(path)
    assert isinstance(graph["p"].op, Pool)
    x = signal(128, steps=2)
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(x).view(4, 2, 8, 8), (2, 3), (2, 3), 1)
    pooled = pooled.numpy().reshape(2, 2, -1) * (6 if kind == "SumPool2d" else 1)
    expected = pooled @ nodes["a"].weight.T + nodes["a"].bias
    np.testing.assert_allclose(nd.interpret(graph, x), expected, rtol=1e-9)


def test_numbers_may_stand_for_all_channels(path):
    cell = lif(1)
    write(path, {"a": affine(1, 4), "n": cell}, [("input", "a"), ("a", "n"), ("n", "output")])
    x = signal()
    found = nd.interpret(nd.load(path, **SNN), x)
    with h5py.File(path, "a") as file:
        for key in ("tau", "r", "v_threshold", "v_leak"):
            value = file[f"node/nodes/n/{key}"][0]
            del file[f"node/nodes/n/{key}"]
            file[f"node/nodes/n/{key}"] = value  # no axis at all
    np.testing.assert_array_equal(nd.interpret(nd.load(path, **SNN), x), found)
    assert found.shape == (30, 2, 4)
    assert found.any()


def test_a_missing_shape_is_that_of_what_reads_it(path):
    write(path, {"a": affine(1, 3, 5)}, [("input", "a"), ("a", "output")], shape=(5,))
    with h5py.File(path, "a") as file:
        del file["node/nodes/input/shape"]
    assert nd.load(path).widths["input"] == 5


def test_a_delay_of_nothing_is_nothing(path):
    nodes = {"a": affine(1), "d": nir.Delay(np.zeros(3))}
    write(path, nodes, [("input", "d"), ("d", "a"), ("a", "output")])
    assert [node.name for node in nd.load(path)] == ["input", "a"]


# inspect ----------------------------------------------------------------------------------------


def shown(*args):
    return CliRunner().invoke(main, ["inspect", *map(str, args)])


def test_inspect_shows_a_file_and_what_it_leaves_open(path):
    write(path, {"a": affine(1), "lif": lif(3), "w": affine(2)}, LOOP)
    told = shown(path, "--source", "snntorch")
    assert told.exit_code == 0
    for text in ("lif: LIF <- a, w", "tau = 0.0002 [time]", "--reset subtract|zero|none"):
        assert text in told.output
    record = json.loads(shown(path, "--json", "--source", "snntorch").output)
    assert record["open"][0]["code"] == "E108"
    whole = shown(path, "--source", "snntorch", "--reset", "zero", "--reset-delay", "no")
    assert "recurrent = " in whole.output
    stated = ("--source", "snntorch", "--reset", "*=zero", "--reset-delay", "lif=no")
    record = json.loads(shown(path, "--json", *stated).output)
    assert [node["name"] for node in record["nodes"]] == ["input", "a", "lif"]
    assert record["file"]["nodes"][2]["fields"]["tau"]["unit"] == "time"


def test_inspect_names_unknown_nodes_and_compile_refuses_them(path):
    write(path, {"a": affine(1), "b": affine(2)}, [("input", "a"), ("a", "b"), ("b", "output")])
    with h5py.File(path, "a") as file:
        for name in "ab":
            del file[f"node/nodes/{name}/type"]
            file[f"node/nodes/{name}/type"] = f"Gate{name}"
    told = shown(path)
    assert told.exit_code == 0
    assert "a: Gatea (not known: opaque) <- input" in told.output
    assert "2 nodes are not supported: 'a' (Gatea), 'b' (Gateb)" in told.output
    args = ["compile", str(path), "--target", "loihi2", "-o", str(path.parent / "build")]
    refused = CliRunner().invoke(main, args)
    assert refused.exit_code == 3
    assert "'a' (Gatea), 'b' (Gateb)" in refused.stderr


def test_inspect_of_a_damaged_file_fails(path):
    path.write_bytes(b"nothing")
    assert shown(path).exit_code == 3
