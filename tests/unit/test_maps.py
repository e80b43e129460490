"""Convolutions and pooling in the float graph: torch's, and the equal Linear's."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from support.maps import conv, pool
from torch.nn import functional

import neurodeploy as nd
from neurodeploy.errors import InputError, NeurodeployError
from neurodeploy.graph.ir import Affine, Graph, Input, Linear, Node, digest, identical
from neurodeploy.graph.maps import POOLINGS, Conv, Pool
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.graph.rules import check
from neurodeploy.graph.text import text

SEEDS = range(12)


def graph_of(op):
    return check(Graph((Node("x", Input(prod(op.shape))), Node("y", op, ("x",))), "y"))


def padded(op, x, value=0.0):
    """The maps of x as torch wants them, padding done: so it may be asymmetric."""
    axes = len(op.shape) - 1
    maps = torch.tensor(x).reshape(-1, *op.shape)
    ends = [op.padding[i + side] for i in reversed(range(axes)) for side in (0, axes)]
    return functional.pad(maps, ends, value=value)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_convolution_is_torchs_and_that_of_its_matrix(seed, axes):
    rng = np.random.default_rng(seed)
    op = conv(rng, axes=axes)
    x = rng.normal(size=(4, 3, prod(op.shape)))
    run = (functional.conv1d, functional.conv2d)[axes - 1]
    weight, bias = torch.tensor(op.weight), torch.tensor(op.bias)
    args = op.stride, 0, op.dilation, op.groups
    want = run(padded(op, x), weight, bias, *args).reshape(4, 3, -1)
    found = nd.interpret(graph_of(op), x)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-12)
    matrix = op.windows.matrix(op.weight, op.groups)
    linear = Linear(matrix, np.repeat(op.bias, op.windows.positions))
    shape = replace(graph_of(op), nodes=(graph_of(op)["x"], Node("y", linear, ("x",))))
    np.testing.assert_allclose(found, nd.interpret(shape, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_pooling_is_torchs(seed, axes, kind):
    rng = np.random.default_rng(seed)
    op = pool(rng, kind=kind, axes=axes)
    x = rng.normal(size=(4, 3, prod(op.shape)))
    largest = kind == "max"
    name = f"{'max' if largest else 'avg'}_pool{axes}d"
    run = getattr(functional, name)
    want = run(padded(op, x, -np.inf if largest else 0.0), op.kernel, op.stride)
    if kind == "avg" and not op.count_padding:
        inside = padded(op, np.ones_like(x))
        want = want / run(inside, op.kernel, op.stride)
    if kind == "sum":
        want = want * prod(op.kernel)
    found = nd.interpret(graph_of(op), x)
    np.testing.assert_allclose(found, want.reshape(4, 3, -1), rtol=0, atol=1e-12)


def test_torchs_own_padding_counts_as_it_says():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 1, 2 * 5 * 4))
    for count in (True, False):
        op = Pool("avg", (2, 5, 4), (3, 2), (2, 1), (1, 1, 1, 1), count)
        maps = torch.tensor(x).reshape(2, 2, 5, 4)
        want = functional.avg_pool2d(maps, (3, 2), (2, 1), (1, 1), count_include_pad=count)
        np.testing.assert_allclose(op.apply(x).reshape(want.shape), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_keeps_every_setting_and_a_digest_sees_it(seed):
    rng = np.random.default_rng(seed)
    op = conv(rng, axes=1 + seed % 2) if seed % 4 else pool(rng, kind=POOLINGS[seed // 4])
    graph = graph_of(op)
    record, arrays = to_record(graph)
    assert identical(from_record(json.loads(json.dumps(record)), arrays), graph)
    assert f"shape = {op.shape}" in text(graph)
    others = {
        "padding": tuple(p + 1 for p in op.padding),
        "stride": tuple(s + 1 for s in op.stride),
    }
    for key, value in others.items():
        try:
            other = graph.replace("y", replace(op, **{key: value}))
        except InputError:
            continue  # a larger padding leaves windows empty
        assert digest(other) != digest(graph), key


GOOD = {
    "weight": np.ones((6, 2, 3, 3)),
    "bias": np.zeros(6),
    "shape": (4, 7, 5),
    "stride": (1, 1),
    "padding": (0, 0, 0, 0),
    "dilation": (1, 1),
    "groups": 2,
}
WRONG = {
    "shape is (4,)": {"shape": (4,)},
    "shape is ()": {"shape": ()},
    "bias (5,)": {"bias": np.zeros(5)},
    "not [out, in / groups, *kernel]": {"weight": np.ones((6, 2))},
    "5 groups cannot divide 4 maps and 6": {"groups": 5},
    "0 groups": {"groups": 0},
    "the weight reads 4 maps, its input has 6": {"shape": (6, 7, 5)},
    "kernel is (3, 3) on 1 axes": {"shape": (4, 7)},
    "stride is (0, 1)": {"stride": (0, 1)},
    "dilation is (1,) on 2 axes": {"dilation": (1,)},
    "padding is (0, 0) on 2 axes": {"padding": (0, 0)},
    "padding is (0, -1, 0, 0)": {"padding": (0, -1, 0, 0)},
    "a kernel that spans (3, 7) on maps of (7, 5), padding included": {"dilation": (1, 3)},
    "a kernel that spans (3, 3) on maps of (2, 5)": {"shape": (4, 2, 5)},
}


@pytest.mark.parametrize("what", WRONG)
def test_every_convolution_that_cannot_be(what):
    with pytest.raises(NeurodeployError) as caught:
        Conv(**{**GOOD, **WRONG[what]})
    assert any(what in item["what"] for item in caught.value.records())
    assert all(item["code"] == "E107" and item["fix"] for item in caught.value.records())


def test_all_problems_of_a_convolution_come_at_once():
    with pytest.raises(NeurodeployError) as caught:
        Conv(**{**GOOD, "groups": 3, "stride": (0, 1), "padding": (0,)})
    found = " ".join(item["what"] for item in caught.value.records())
    assert "groups" in found
    assert "stride" in found
    assert "padding" in found


def test_poolings_that_cannot_be():
    with pytest.raises(InputError, match="unknown pooling 'median'"):
        Pool("median", (1, 4), (2,), (2,), (0, 0), True)
    with pytest.raises(InputError, match="leaves windows of"):
        Pool("max", (1, 4), (2,), (2,), (2, 0), True)
    with pytest.raises(InputError, match="leaves windows of"):
        Pool("avg", (1, 4), (2,), (2,), (2, 0), False)
    empty = Pool("sum", (1, 4), (2,), (2,), (2, 0), True)
    np.testing.assert_array_equal(empty.apply(np.ones((1, 1, 4))), [[[0, 2, 2]]])


def test_maps_that_do_not_fit_what_comes_in():
    nodes = (Node("x", Input(139)), Node("y", Conv(**GOOD), ("x",)))
    with pytest.raises(
        InputError, match=r"it reads maps \(4, 7, 5\), 140 values; its input has 139"
    ):
        check(Graph(nodes, "y"))


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_modules_are_traced_saved_and_torchs(seed, axes, tmp_path):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    op = conv(rng, axes=axes)
    settings = {"stride": op.stride, "padding": op.padding, "dilation": op.dilation}
    out, kernel = len(op.weight), op.weight.shape[2:]
    first = nd.nn.Conv(op.shape, out, kernel, **settings, groups=op.groups, bias=seed % 3 > 0)
    second = nd.nn.Pool(first.out_shape, 1 + seed % 2, POOLINGS[seed % 3], padding=seed % 2)
    net = torch.nn.Sequential(first, second).double().eval()
    x = torch.randn(5, 2, prod(op.shape), dtype=torch.float64)
    nd.save(net, tmp_path / "m.pt", example=x)
    back = nd.nn.load(tmp_path / "m.pt")
    assert back[0].config() == first.config()
    graph = nd.load(tmp_path / "m.pt")
    assert identical(graph, nd.trace(net))
    assert (graph["0"].op.out_shape, graph["1"].op.out_shape) == (
        first.out_shape,
        second.out_shape,
    )
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), back(x).detach(), atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's, about speed
def test_same_padding_is_torchs():
    torch.manual_seed(0)
    ours = nd.nn.Conv((2, 6, 5), 3, (4, 3), padding="same", dilation=(1, 2))
    theirs = torch.nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 2, 60)
    want = theirs(x.reshape(6, 2, 6, 5))
    assert ours.out_shape == want.shape[1:]
    torch.testing.assert_close(ours(x), want.reshape(3, 2, -1))


def test_the_norm_of_maps_is_torchs():
    torch.manual_seed(0)
    ours, theirs = nd.nn.BatchNorm(3, positions=20).double(), torch.nn.BatchNorm2d(3).double()
    with torch.no_grad():
        ours.weight.uniform_(-1, 2), ours.bias.uniform_(-1, 1)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(2):
        x = torch.randn(4, 2, 60, dtype=torch.float64, requires_grad=True)
        y, want = ours(x), theirs(x.reshape(8, 3, 5, 4)).reshape(4, 2, 60)
        torch.testing.assert_close(y, want)
        g = torch.randn_like(y)
        for mine, other in zip(*(torch.autograd.grad(v, x, g) for v in (y, want)), strict=True):
            torch.testing.assert_close(mine, other)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    graph = nd.trace(ours.eval())
    assert graph["0"].op.gamma.shape == (60,)
    np.testing.assert_allclose(
        nd.interpret(graph, x.detach().numpy()), ours(x).detach(), atol=1e-12
    )
    with pytest.raises(InputError, match=r"give floats of shape \[T, B, 60\]"):
        ours(x[..., :3])


MODULES = {
    "shape is (3,)": lambda: nd.nn.Conv((3,), 2, 1),
    "kernel is (2, 2, 2) on 2 axes": lambda: nd.nn.Conv((3, 4, 4), 2, (2, 2, 2)),
    "2 groups cannot divide 3 maps and 2": lambda: nd.nn.Conv((3, 4, 4), 2, 1, groups=2),
    "padding is 'valid'": lambda: nd.nn.Conv((3, 4, 4), 2, 1, padding="valid"),
    "'same' with a stride": lambda: nd.nn.Conv((3, 4), 2, 3, padding="same", stride=2),
    "spans (5, 5) on maps of (4, 4)": lambda: nd.nn.Pool((3, 4, 4), 5),
    "no pooling 'mean'": lambda: nd.nn.Pool((3, 4, 4), 2, "mean"),
    "leaves windows empty": lambda: nd.nn.Pool((3, 4, 4), 2, "max", padding=2),
}


@pytest.mark.parametrize("what", MODULES)
def test_modules_that_cannot_be(what):
    with pytest.raises(InputError, match="E105") as caught:
        MODULES[what]()
    assert what in caught.value.what
    assert caught.value.fix


def test_modules_take_flat_maps_only():
    with pytest.raises(InputError, match=r"give floats of shape \[T, B, 48\]"):
        nd.nn.Conv((3, 4, 4), 2, 1)(torch.ones(2, 3, 4, 4))


def test_what_is_behind_maps_reads_them_flat():
    rng = np.random.default_rng(1)
    op = conv(rng)
    width = prod(op.out_shape)
    nodes = (
        *graph_of(op).nodes,
        Node("scale", Affine(rng.normal(size=width), rng.normal(size=width)), ("y",)),
        Node("out", Linear(rng.normal(size=(2, width)), np.ones(2)), ("scale",)),
    )
    graph = check(Graph(nodes, "out"))
    x = rng.normal(size=(3, 2, prod(op.shape)))
    scale, out = nodes[2].op, nodes[3].op
    want = (op.apply(x) * scale.gain + scale.bias) @ out.weight.T + 1
    np.testing.assert_allclose(nd.interpret(graph, x), want, atol=1e-12)
