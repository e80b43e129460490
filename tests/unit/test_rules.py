"""Every rule of a graph is broken once, and named with its node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import batchnorm, chain, linear, neurons, sdtcm

from neurodeploy.errors import InputError
from neurodeploy.graph.ir import Add, Graph, Input, Linear, Node, Reduce, identical
from neurodeploy.graph.nonlinear import Glu, LayerNorm, Product, Quantize, Relu, Ternary
from neurodeploy.graph.rules import check
from neurodeploy.passes.pipeline import fold

RNG = np.random.default_rng(0)
GOOD = chain(RNG, [("lif", {})], inputs=3, width=5)


def with_op(name, **changes):
    return GOOD.replace(name, replace(GOOD[name].op, **changes))


def with_nodes(*nodes, output=None):
    return Graph((*GOOD.nodes, *nodes), output or GOOD.output)


def poison(array, value):
    array = array.copy()
    array.flat[0] = value
    return array


def folded(name, coefficient, value, **options):
    """Return a graph of folded neurons with one coefficient changed."""
    graph = fold(chain(RNG, [(name, options)], inputs=3, width=5))
    op = graph["0.neurons"].op
    changed = {**op.coefs, coefficient: value + np.zeros(5)}
    return graph.replace("0.neurons", replace(op, coefs=changed))


LIF = GOOD["0.neurons"].op

ROWS = [
    (lambda: with_nodes(Node("out", linear(RNG, 2, 2), ("out",))), "E107", "the same name"),
    (lambda: with_nodes(Node("x", Add(), ("out", "nowhere"))), "E107", "'nowhere' is read before"),
    (lambda: with_nodes(Node("x", Add(), ("out",))), "E107", "Add reads 1 nodes"),
    (lambda: with_nodes(output="nowhere"), "E107", "the output 'nowhere' does not exist"),
    (lambda: with_nodes(Node("x", Input(2))), "E107", "exactly one input"),
    (lambda: with_nodes(Node("x", Add(), ("out", "0.linear"))), "E107", "cannot add widths"),
    (lambda: with_nodes(Node("x", Product(), ("out", "input"))), "E107", "cannot multiply widths"),
    (lambda: with_nodes(Node("x", Product(), ("out",))), "E107", "Product reads 1 nodes"),
    (
        lambda: with_nodes(Node("x", Glu(), ("0.linear",))),
        "E107",
        "Glu reads 2 groups of channels; there are 5",
    ),
    (lambda: with_nodes(Node("x", Ternary(True, -0.1), ("out",))), "E105", "level is -0.1"),
    (lambda: with_nodes(Node("x", Ternary(False, np.nan), ("out",))), "E105", "level is nan"),
    (
        lambda: with_nodes(Node("x", LayerNorm(np.ones(2), np.ones(2), 0.0), ("out",))),
        "E105",
        "eps is 0.0",
    ),
    (
        lambda: with_nodes(Node("x", LayerNorm(np.ones(3), np.ones(2), 1e-5), ("out",))),
        "E107",
        "gamma has shape (3,)",
    ),
    (lambda: with_nodes(Node("x", Relu(), ("readout",)), output="x"), "E107", "follows a readout"),
    (
        lambda: with_nodes(Node("x", Quantize(0.0, -1, 1), ("out",))),
        "E105",
        "a quantizer of scale 0.0 from -1 to 1",
    ),
    (
        lambda: with_nodes(Node("x", Quantize(1.0, 1, 3), ("out",))),
        "E105",
        "a quantizer of scale 1.0 from 1 to 3",
    ),
    (
        lambda: folded("lif", "reset", 0.5, reset="none"),
        "E107",
        "lif with {'reset': 'none', 'compare': '>='} does not read its reset",
    ),
    (
        lambda: folded("celif", "factor", np.ones((3, 5)), context="te"),
        "E107",
        "the table factor of celif has 3 rows, and is not read",
    ),
    (
        lambda: folded("celif", "factor", np.ones((0, 5)), context="v_te"),
        "E107",
        "the table factor of celif has 0 rows, and is read",
    ),
    (lambda: with_op("out", weight=np.ones((2, 4))), "E107", "weight has 4 columns"),
    (
        lambda: with_op("out", weight=poison(GOOD["out"].op.weight, np.nan)),
        "E105",
        "weight has 1 NaN",
    ),
    (lambda: with_op("out", bias=np.full(2, np.inf)), "E105", "bias has 2 NaN or infinite"),
    (lambda: with_op("0.neurons", bias=np.zeros(4)), "E107", "bias has shape (4,)"),
    (lambda: with_op("0.neurons", spec="magic"), "E107", "unknown neuron model 'magic'"),
    (lambda: with_op("0.neurons", options={"reset": "soft"}), "E107", "lif has no options"),
    (lambda: with_op("0.neurons", amplitude=float("nan")), "E105", "amplitude is nan"),
    (lambda: with_op("0.neurons", params={}), "E107", "lif has parameters"),
    (
        lambda: with_op("0.neurons", params={**LIF.params, "beta": np.full(5, 1.5)}),
        "E105",
        "beta must be in [0, 1]",
    ),
    (
        lambda: with_nodes(Node("x", neurons(RNG, "lif", 2), ("readout",)), output="x"),
        "E107",
        "Neurons follows a readout",
    ),
    (
        lambda: Graph(
            (Node("input", Input(2)), Node("n", replace(batchnorm(RNG, 2), eps=-1.0), ("input",))),
            "n",
        ),
        "E105",
        "variance + eps must be > 0",
    ),
    (lambda: Graph((Node("input", Input(0)),), "input"), "E107", "the input has width 0"),
]


@pytest.mark.parametrize(("make", "code", "says"), ROWS)
def test_a_broken_rule_is_named_with_its_node(make, code, says):
    with pytest.raises(InputError) as caught:
        check(make())
    records = caught.value.records()
    assert any(says in r["what"] and r["code"] == code for r in records), records


def test_all_broken_rules_are_reported_at_once():
    graph = with_op("out", bias=np.full(2, np.nan)).replace(
        "0.neurons", replace(LIF, amplitude=float("inf"))
    )
    with pytest.raises(InputError) as caught:
        check(graph)
    assert len(caught.value.records()) == 2


@pytest.mark.parametrize("name", ["", "a b", "a/b", ".a", "a..b"])
def test_names_that_no_format_can_carry_are_refused(name):
    with pytest.raises(InputError, match="is not a node name"):
        Node(name, Input(1))


def test_shapes_that_cannot_be_a_layer_are_refused():
    with pytest.raises(InputError, match="a Linear has weight"):
        Linear(np.ones((2, 3)), np.ones(3))
    with pytest.raises(InputError, match="unknown reduction 'median'"):
        Reduce("median", np.zeros(1))


def test_identical_sees_one_changed_bit():
    graph = sdtcm(np.random.default_rng(1))
    again = sdtcm(np.random.default_rng(1))
    assert identical(graph, again)
    op = again["encoder"].op
    changed = again.replace("encoder", replace(op, bias=np.nextafter(op.bias, np.inf)))
    assert not identical(graph, changed)
