"""Graphs as plain data: nothing is lost, nothing unknown is accepted."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from support.networks import chain, inputs_for, sdtcm

from neurodeploy.errors import NeurodeployError
from neurodeploy.graph.ir import identical
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.pipeline import fold


@pytest.fixture
def graph():
    return chain(
        np.random.default_rng(1),
        [("prf", {}), ("lif", {"reset": "hard"})],
        norm=True,
        readout="sum",
    )


def test_a_dump_of_a_calibrated_graph_keeps_its_ranges():
    rng = np.random.default_rng(0)
    graph = fold(sdtcm(rng, bidirectional=True))
    graph = Calibrate(inputs_for(rng, graph), "data")(graph)
    record, arrays = to_record(graph)
    back = from_record(json.loads(json.dumps(record)), arrays)
    assert identical(back, graph)
    assert back.calibration == "data"
    assert set(back.ranges) == set(graph.ranges)
    for name, seen in graph.ranges.items():
        assert back.ranges[name].whole == seen.whole
        for field in ("low", "high", "peak"):
            np.testing.assert_array_equal(
                getattr(back.ranges[name], field), getattr(seen, field), strict=True
            )


def test_single_precision_arrays_are_read_as_what_they_are(graph):
    record, arrays = to_record(graph)
    single = {key: value.astype(np.float32) for key, value in arrays.items()}
    again = to_record(from_record(record, single))[1]
    for key, value in single.items():
        np.testing.assert_array_equal(again[key], value.astype(np.float64), strict=True)


def node(record, op):
    return next(item for item in record["nodes"] if item["op"] == op)


def edit(*path, value=None):
    """Return a change of record["nodes"] at `path`, found by operation first."""

    def apply(record, arrays):
        item = node(record, path[0])
        for key in path[1:-1]:
            item = item[key]
        item[path[-1]] = value

    return apply


def drop(*path):
    def apply(record, arrays):
        item = node(record, path[0])
        for key in path[1:-1]:
            item = item[key]
        del item[path[-1]]

    return apply


def put(key, value):
    return lambda record, arrays: arrays.__setitem__(key, value)


ERRORS = {
    "another format": ("E101", "format", lambda r, a: r.update(format="x")),
    "another version": ("E101", "version 2", lambda r, a: r.update(version=2)),
    "missing head": ("E101", "'output'", lambda r, a: r.pop("output")),
    "unknown head": ("E101", "unknown key 'extra'", lambda r, a: r.update(extra=1)),
    "nodes not a list": ("E101", "'nodes' is not a list", lambda r, a: r.update(nodes={})),
    "unknown operation": (
        "E107",
        "unknown operation 'Fire'",
        edit("Linear", "op", value="Fire"),
    ),
    "node without name": ("E101", "no name", edit("Linear", "name", value=None)),
    "a name that is none": (
        "E107",
        "'a/b' is not a node name",
        edit("Linear", "name", value="a/b"),
    ),
    "inputs not names": ("E101", "inputs are not", edit("Linear", "inputs", value=[1])),
    "unknown node key": ("E101", "unknown key 'more'", edit("Linear", "more", value=1)),
    "missing field": ("E101", "missing key 'bias'", drop("Linear", "fields", "bias")),
    "unknown field": ("E101", "unknown key 'gain'", edit("Linear", "fields", "gain", value=1.0)),
    "wrong type": ("E101", "spiking has the wrong", edit("Input", "fields", "spiking", value=1)),
    "width not whole": ("E101", "width has the wrong", edit("Input", "fields", "width", value=2.5)),
    "no array": ("E101", "not an array", edit("Linear", "fields", "bias", value=[1.0])),
    "array of integers": ("E101", "not an array of floats", put("out:bias", np.zeros(2, int))),
    "missing array": ("E101", "out:bias", lambda r, a: a.pop("out:bias")),
    "unused array": ("E101", "'more' belongs to no node", put("more", np.zeros(2))),
    "unknown model": (
        "E107",
        "neuron model 'izhikevich'",
        edit("Neurons", "fields", "spec", value="izhikevich"),
    ),
    "unknown option": (
        "E107",
        "prf has no options",
        edit("Neurons", "fields", "options", value={"compare": "=="}),
    ),
    "missing option": (
        "E107",
        "prf has no options",
        edit("Neurons", "fields", "options", value={}),
    ),
    "missing parameter": (
        "E101",
        "params.tau' belongs to no node",
        drop("Neurons", "fields", "params", "tau"),
    ),
    "amplitude NaN": (
        "E105",
        "amplitude is not a finite",
        edit("Neurons", "fields", "amplitude", value=float("nan")),
    ),
    "weights NaN": ("E105", "NaN or infinite", put("out:bias", np.array([np.nan, 0]))),
    "out of range": ("E105", "tau must be > 0", put("0.neurons:params.tau", np.zeros(5))),
    "wrong shape": ("E107", "shape (3,)", put("0.neurons:gain", np.zeros(3))),
    "wrong weight": ("E107", "a Linear has weight", put("out:weight", np.zeros(3))),
    "unknown reduction": (
        "E107",
        "unknown reduction",
        edit("Reduce", "fields", "kind", value="max"),
    ),
    "unknown wiring": ("E107", "does not exist", edit("Linear", "inputs", value=["nobody"])),
    "range not a range": ("E101", "a range is not", lambda r, a: r.update(ranges={"out": 1})),
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_of_a_record(name, graph):
    code, text, change = ERRORS[name]
    record, arrays = to_record(graph)
    record, arrays = copy.deepcopy(record), dict(arrays)
    change(record, arrays)
    with pytest.raises(NeurodeployError) as caught:
        from_record(record, arrays, "g.dump")
    records = caught.value.records()
    assert any(item["code"] == code and text in item["what"] for item in records), records
    assert all(item["where"] for item in records)


def test_all_problems_are_reported_at_once(graph):
    record, arrays = to_record(graph)
    record = copy.deepcopy(record)
    record["nodes"][1]["op"] = "Fire"
    record["nodes"][3]["fields"]["spec"] = "izhikevich"
    with pytest.raises(NeurodeployError) as caught:
        from_record(record, arrays)
    assert {"unknown operation 'Fire'", "unknown neuron model 'izhikevich'"} <= {
        item["what"] for item in caught.value.records()
    }


def test_folded_coefficients_are_checked_by_name(graph):
    folded = fold(graph)
    name = next(item.name for item in folded if type(item.op).__name__ == "Population")
    op = folded[name].op
    bad = folded.replace(name, replace(op, coefs={"c": op.bias}))
    with pytest.raises(NeurodeployError, match="prf has coefficients"):
        from_record(*to_record(bad))
