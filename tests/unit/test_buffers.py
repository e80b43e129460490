"""What is kept of whole sequences where layers run backwards, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import sdtcm

from neurodeploy.backends.simulator import simulate
from neurodeploy.graph.ir import Concat, Graph, Input, Linear, Neurons, Node, Reduce, vector
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.buffers import Buffer, buffers, peak_bits
from neurodeploy.reports.energy import energy
from neurodeploy.reports.records import run_record
from neurodeploy.reports.text import run_text
from neurodeploy.targets import target

X = np.ones((10, 3, 2))


def lif(*, reverse: bool) -> Neurons:
    params = {"beta": 0.5, "v_th": 1.0, "gain": 1.0, "v_reset": 0.0}
    return Neurons(
        spec="lif",
        options={"reset": "soft", "compare": ">="},
        params={name: vector(value, 3) for name, value in params.items()},
        gain=np.ones(3),
        bias=np.zeros(3),
        reverse=reverse,
    )


def both_ways() -> Graph:
    """Two spiking inputs, three neurons in each direction, one output."""
    fc = Linear(np.array([[1.0, 0], [0, 1.0], [0.6, 0.6]]), np.zeros(3))
    return Graph(
        (
            Node("input", Input(2, spiking=True)),
            Node("fc", fc, ("input",)),
            Node("there", lif(reverse=False), ("fc",)),
            Node("fc_back", fc, ("input",)),
            Node("back", lif(reverse=True), ("fc_back",)),
            Node("both", Concat(), ("there", "back")),
            Node("out", Linear(np.ones((1, 6)), np.zeros(1)), ("both",)),
            Node("sum", Reduce("sum", np.zeros(1)), ("out",)),
        ),
        "sum",
    )


@pytest.fixture(scope="module")
def run():
    program = compile_graph(both_ways(), target("asic45"), calibration=X).program
    return simulate(program, X, traffic=True)


def test_what_a_later_stage_reads_is_kept(run):
    kept = buffers(run.program)
    assert {(b.node, b.bits, b.sent, b.read) for b in kept} == {
        ("input", 2, 0, (1,)),
        ("there", 3, 0, (2,)),
        ("back", 3, 1, (2,)),
    }
    assert peak_bits(kept, 10) == 10 * (2 + 3 + 3)  # while the layer runs backwards


def test_buffers_cost_an_access_for_each_writing_and_reading(run):
    words = 10 * 2 * (2 + 3 + 3) / 64
    assert energy(run).by_cause()["sequence_memory"] == pytest.approx(words * 100)
    chip = replace(run.program.target.chip, buffer_kib=8)
    small = replace(
        run, program=replace(run.program, target=replace(run.program.target, chip=chip))
    )
    assert energy(small).by_cause()["sequence_memory"] == pytest.approx(words * 10)


def test_what_does_not_fit_goes_to_dram(run):
    long = replace(run, steps=8192 * 1024 // 8 + 1)
    words = long.steps * 2 * 8 / 64
    assert energy(long).by_cause()["sequence_memory"] == pytest.approx(words * 1950)
    fits = replace(run, steps=8192 * 1024 // 8)
    assert energy(fits).by_cause()["sequence_memory"] == pytest.approx(
        fits.steps * 2 * 8 / 64 * 100
    )


def test_a_run_says_what_it_keeps(run):
    assert run_record(run, None, None)["sequence_kib"] == 80 / 8192
    assert "need whole sequences kept: 0.009766 KiB" in run_text(run, None, None)


def test_nothing_is_kept_where_time_runs_forwards():
    assert peak_bits((), 10) == 0
    graph, x = sdtcm(np.random.default_rng(0)), np.ones((5, 2, 2))
    program = compile_graph(graph, target("asic45"), calibration=x).program
    assert buffers(program) == ()
    assert "whole sequences" not in run_text(simulate(program, x), None, None)


def test_values_are_free_after_their_last_reader():
    a = Buffer(node="a", width=1, bits=8, sent=0, read=(1,))
    b = Buffer(node="b", width=1, bits=4, sent=1, read=(2, 3))
    c = Buffer(node="c", width=1, bits=5, sent=2, read=(3,))
    assert peak_bits((a, b, c), 2) == 2 * 12  # a and b; then b and c
