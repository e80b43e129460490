"""Memory does not grow with sequences that are streamed, nor with data sets but for results."""

from __future__ import annotations

import importlib.util
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.networks import inputs_for, sdtcm

import neurodeploy as nd
from neurodeploy.backends.simulator.head import Head
from neurodeploy.program.ir import Readout
from neurodeploy.program.reference import integers

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "scale.py"


@pytest.fixture(scope="module")
def program():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    return nd.compile(graph, nd.target("asic45"), calibration=inputs_for(rng, graph))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr("neurodeploy.backends.simulator.run._PIECE", 1 << 18)
    monkeypatch.setenv("NEURODEPLOY_THREADS", "1")


def peak(call):
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_stream_takes_no_memory_for_steps_that_are_past(program):
    x = np.random.default_rng(1).normal(size=(50, 1, 2))
    session = nd.Session(program)

    def run(parts):
        return peak(lambda: [session.run(x).outputs.sum() for _ in range(parts)])

    assert run(30) < run(3) + 10_000  # bytes; the inputs of a part are 800, what nodes send 100,000


@pytest.mark.parametrize(
    ("record", "least", "most"), [((), 0, 40_000), (["blocks.0.tn"], 5e4, 1e5)]
)
def test_samples_take_memory_for_what_is_asked_for_alone(program, record, least, most):
    x = np.random.default_rng(2).normal(size=(200, 50, 2))

    def run(samples):
        part = np.ascontiguousarray(x[:, :samples])
        return peak(lambda: nd.simulate(program, part, record=record))

    assert least <= max(run(50) - run(10), 0) < most  # what all nodes send is megabytes


@pytest.mark.parametrize("kind", ["last", "steps"])
@pytest.mark.parametrize("top", [1, (1 << 23) - 1, 1 << 45])
def test_the_head_is_exact_in_floats_or_in_integers(kind, top):
    rng = np.random.default_rng(3)
    weight = rng.integers(-(1 << 15) + 1, 1 << 15, (40, 30))
    weight[0], none = (1 << 15) - 1, np.zeros(40)
    readout = Readout(source="n", kind=kind, unit=none, offset=none, weight=weight)
    value = rng.integers(-top, top + 1, (5, 3, 30))
    value[-1, 0] = top
    np.testing.assert_array_equal(Head(readout, top).integers(value), integers(readout, value))


def test_the_benchmark_runs_its_rows():
    spec = importlib.util.spec_from_file_location("scale", BENCHMARK)
    scale = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scale)
    for name, size in (
        ("steps", {"steps": 2000, "width": 64}),
        ("path-x", {"steps": 20, "blocks": 1, "width": 8}),
        ("wikitext", {"steps": 10, "blocks": 1, "width": 8, "tokens": 20}),
    ):
        row = scale.JOBS[name](**size)
        assert row["parameters"] > 0
        assert row["time_s"] > 0
        scale.show(name, size, row)
    assert {name for name, _ in (*scale.SHORT, *scale.FULL)} == set(scale.JOBS)
