"""NIR files of other tools: read where they mean one thing, else refused with what is missing."""

from __future__ import annotations

import h5py
import nir
import numpy as np
import pytest

from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import Reading, nir_child, nir_walk
from neurodeploy.frontends.nir import read
from neurodeploy.graph.interpret import interpret


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: hundreds of children would take minutes."""
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


def refused(path, reading=Reading()):  # noqa: B008
    with pytest.raises(NeurodeployError) as caught:
        read(path, reading)
    assert caught.value.exit_code == 3
    return caught.value.records()


def edges(change):
    def apply(file):
        old = [(a.decode(), b.decode()) for a, b in file["node/edges"][()]]
        del file["node/edges"]
        file.create_dataset("node/edges", data=change(old), dtype=h5py.string_dtype())

    return apply


def place(name, value):
    """Return a change that puts `value` where `name` is, in place of what stands there."""

    def apply(file):
        if name in file:
            del file[name]
        file[name] = value

    return apply


def remove(name):
    return lambda file: file.__delitem__(name)


def copied(name, other):
    return lambda file: file.copy(f"node/nodes/{name}", f"node/nodes/{other}")


def stock(tmp_path, *nodes, extra_edges=()):
    """Write a chain of stock nodes; return its path."""
    made = nir.NIRGraph.from_list(*nodes)
    made.edges += list(extra_edges)
    nir.write(tmp_path / "s.nir", made)
    return tmp_path / "s.nir"


def test_stock_chains_that_mean_one_thing_are_read(tmp_path):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(4, 3)), rng.normal(size=4)
    chain = (
        nir.Affine(weight, bias),
        nir.Scale(np.arange(1.0, 5)),
        nir.Threshold(np.full(4, 0.25)),
        nir.Linear(rng.normal(size=(2, 4))),
    )
    path = stock(tmp_path, *chain, extra_edges=[("scale", "linear")])
    graph = read(path)
    assert next(node.name for node in graph) == "input"
    x = rng.normal(size=(5, 2, 3))
    scaled = (x @ weight.T + bias) * np.arange(1.0, 5)
    expected = (scaled + (scaled > 0.25)) @ chain[3].weight.T
    np.testing.assert_allclose(interpret(graph, x), expected, rtol=1e-12)
    assert graph["threshold"].op.options == {"compare": ">"}


def test_all_that_is_wrong_is_listed_at_once(tmp_path):
    one = np.ones(3)
    lif = nir.LIF(tau=one, r=one, v_leak=one, v_threshold=one)
    kernel = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    conv = nir.Conv1d(input_shape=3, weight=np.ones((1, 1, 1)), bias=np.ones(1), **kernel)
    path = tmp_path / "s.nir"
    shape = np.array([3])
    delay = nir.Delay(delay=one)
    nodes = {
        "input": nir.Input(shape),
        "a": lif,
        "b": conv,
        "c": delay,
        "output": nir.Output(shape),
    }
    edges = [("input", "a"), ("a", "c"), ("a", "b"), ("c", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    (only,) = refused(path)
    assert only["code"] == "E108"
    for word in ("LIF", "which tool wrote it", "step length", "discretised", "compare", "reset"):
        assert word in only["what"]
    assert "--source snntorch | norse" in only["fix"]
    records = refused(path, Reading(source="nir-paper", reset="zero"))
    assert [record["code"] for record in records] == ["E107", "E108"]
    assert "it reads (3,), not (maps, length)" in records[0]["what"]
    assert "reset_delay (" in records[1]["what"]
    assert "dt (length of a step) of 'a', 'c'" in records[1]["what"]


def test_an_axis_of_samples_in_front_is_left_out(tmp_path):
    path = stock(tmp_path, nir.Affine(np.arange(6.0).reshape(2, 3), np.ones(2)))
    for shape in ([1, 3], [4, 3], [7, 1, 3]):
        with h5py.File(path, "a") as file:
            place(SHAPE, np.array(shape))(file)
        assert read(path).widths["input"] == 3


AFFINE = "node/nodes/affine"
SHAPE = "node/nodes/input/shape"
AXES = np.array([3, 2])

STOCK = {
    "axes that nothing reads": ("E107", "3 columns, and it reads (3, 2)", place(SHAPE, AXES)),
    "a loop": ("E107", "a loop among", edges(lambda e: [*e, ("affine", "affine")])),
    "an edge twice": ("E107", "stands there twice", edges(lambda e: [*e, e[0]])),
    "no way to the output": ("E107", "nothing leads to it", edges(lambda e: e[:1])),
    "no weight": ("E101", "no numbers 'weight'", remove(f"{AFFINE}/weight")),
    "an unknown field": ("E108", "unknown fields ['more']", place(f"{AFFINE}/more", 1.0)),
    "weights of other axes": ("E107", "not 2 axes", place(f"{AFFINE}/weight", np.ones(3))),
    "NaN": ("E105", "NaN", place(f"{AFFINE}/bias", np.array([1, np.nan]))),
    "another output": ("E107", "2 outputs", copied("output", "more")),
    "wrong widths": ("E107", "columns", place(SHAPE, np.array([2]))),
}


@pytest.mark.parametrize("name", STOCK)
def test_every_stock_file_that_is_refused(name, tmp_path):
    code, text, change = STOCK[name]
    path = stock(tmp_path, nir.Affine(np.ones((2, 3)), np.ones(2)))
    with h5py.File(path, "a") as file:
        change(file)
    records = refused(path)
    assert any(item["code"] == code and text in item["what"] for item in records), records
