"""Operations counted by hand on small networks, and what they cost under the tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import inputs_for, sdtcm

from neurodeploy.backends.simulator import simulate
from neurodeploy.graph.ir import Graph, Input, Linear, Neurons, Node, Reduce, vector
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.reports.energy import energy, operations
from neurodeploy.targets import prices, target


@pytest.fixture(scope="module")
def tiny():
    """Two spiking inputs, three LIF neurons, one output, ten steps; every input spike counts."""
    lif = Neurons(
        spec="lif",
        options={"reset": "soft", "compare": ">="},
        params={
            "beta": vector(0.5, 3),
            "v_th": vector(1.0, 3),
            "gain": vector(1.0, 3),
            "v_reset": vector(0.0, 3),
        },
        gain=np.ones(3),
        bias=np.zeros(3),
    )
    graph = Graph(
        (
            Node("input", Input(2, spiking=True)),
            Node("fc", Linear(np.array([[1.0, 0], [0, 1.0], [0.6, 0.6]]), np.zeros(3)), ("input",)),
            Node("lif", lif, ("fc",)),
            Node("out", Linear(np.ones((1, 3)), np.zeros(1)), ("lif",)),
            Node("sum", Reduce("sum", np.zeros(1)), ("out",)),
        ),
        "sum",
    )
    x = np.zeros((10, 1, 2))
    x[2, 0] = (1, 0)  # neuron 0 fires
    x[5, 0] = (1, 1)  # all three fire
    x[8, 0] = (0, 1)  # neuron 1 fires
    program = compile_graph(graph, target("asic45"), calibration=x).program
    return simulate(program, x, record=["lif"])


def test_hand_counted_operations(tiny):
    np.testing.assert_array_equal(
        np.argwhere(tiny.values["lif"][:, 0]), [[2, 0], [5, 0], [5, 1], [5, 2], [8, 1]]
    )
    ops = operations(tiny)
    assert ops["spikes"] == 5
    assert ops["synaptic_adds"] == 4 * 3 + 5 * 1  # 4 input spikes to 3 neurons, 5 spikes to 1
    assert ops["synaptic_macs"] == 0
    assert ops["dense_macs"] == 10 * (2 * 3 + 3 * 1)
    assert ops["neuron_updates"] == 10 * (3 + 1)
    assert ops["neuron_operations"]["mul"] == 10 * 3  # LIF decays, the integrator does not
    assert ops["neuron_operations"]["add"] == 10 * (3 * 2 + 1)  # integrate and reset; integrate
    assert ops["neuron_operations"]["cmp"] == 10 * 3
    assert tiny.outputs[0, 0] == pytest.approx(5)


def test_the_literatures_price_of_hand_counted_operations(tiny):
    priced = energy(tiny, prices("paper45"))
    synapses = 17 * 0.9
    neurons = 30 * 3.7 + 70 * 0.9 + 30 * 0.9
    assert priced.total_pj == pytest.approx(synapses + neurons)
    assert priced.dense_pj == pytest.approx(90 * 4.6 + neurons)
    assert priced.not_priced == ("sram_32kib_64b",)
    assert "memory" in priced.scope


def test_integer_prices_include_the_memories_the_target_states(tiny):
    priced = energy(tiny, prices("horowitz45"))
    arithmetic = 17 * 0.1 + 30 * 3.1 + 70 * 0.1 + 30 * 0.1
    weights = 17 * 8 / 64 * 20  # 8-bit weights in 64-bit words of a 32 KiB SRAM
    # LIF: one 32-bit state read and written, beta of 16 bits, threshold and reset of 32;
    # the integrator: one 32-bit state read and written, no constant
    state = (30 * (32 + 32 + 16 + 32 + 32) + 10 * (32 + 32)) / 64 * 20
    assert priced.total_pj == pytest.approx(arithmetic + weights + state)
    assert priced.not_priced == ()
    assert sum(priced.by_cause().values()) == pytest.approx(priced.total_pj)


def test_what_has_no_price_is_named_and_adds_nothing(tiny):
    table = prices("horowitz45")
    partial = replace(table, energy_pj={"synapse_add": 0.1})
    priced = energy(tiny, partial)
    assert priced.total_pj == pytest.approx(1.7)
    assert set(priced.not_priced) == {"neuron_mul", "neuron_add", "neuron_cmp", "sram_32kib_64b"}


def test_a_real_valued_input_costs_multiplies():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng, width=4, blocks=1)
    x = inputs_for(rng, graph, steps=20, samples=3)
    x[4] = 0  # nothing arrives, nothing is paid
    program = compile_graph(graph, target("asic45"), calibration=x).program
    run = simulate(program, x)
    (encoder,) = [edge for edge in run.edges if edge.target == "encoder"]
    whole, _ = to_integers(program.source, x)
    assert (encoder.kind, encoder.fan_out) == ("mac", 4)
    assert encoder.events == np.count_nonzero(whole) < x.size
    assert encoder.dense == x.size * 4


def test_events_are_the_nonzero_values_of_every_edge():
    rng = np.random.default_rng(1)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph)
    program = compile_graph(graph, target("loihi2"), calibration=x).program
    run = simulate(program, x)
    values = execute(program, to_integers(program.source, x)[0]).values
    for edge in run.edges:
        assert edge.events == np.count_nonzero(values[edge.source]), edge
    spikes = {node.name: node.spikes for node in run.nodes if node.spikes}
    assert spikes == {n.name: values[n.name].sum() for n in program.populations if n.model.spiking}


def test_energy_of_loihi_is_counts_until_a_table_is_named():
    assert target("loihi2").prices is None
    assert any("energy" in item for item in target("loihi2").not_modelled)


@pytest.mark.parametrize(
    ("x", "low", "high", "unit", "kind"),
    [
        (np.array([0, 1, 1, 0]), 0, 1, 1.0, "add"),
        (np.array([0, 255, 7, 3]), 0, 255, 1.0, "mac"),
        (np.array([0, -3, 7, 3]), -127, 127, 1.0, "mac"),
        (np.array([0, 0.5, 1.0, 0.25]), 0, 255, 1 / 255, "mac"),
        (np.array([0, -0.5, 2.0, 0.25]), -127, 127, 2 / 127, "mac"),
        (np.array([0, 1000, 3, 2]), 0, 255, 1000 / 255, "mac"),
    ],
)
def test_inputs_become_the_integers_they_already_are_where_they_can(x, low, high, unit, kind):
    """Zeros and ones are spikes, which cost additions; whole numbers keep their unit."""
    rng = np.random.default_rng(2)
    graph = sdtcm(rng, inputs=1, width=3, blocks=1)
    data = x.astype(float)[:, None, None]
    run = simulate(compile_graph(graph, target("asic45"), calibration=data).program, data)
    source = run.program.source
    assert (source.low, source.high) == (low, high)
    assert source.unit == pytest.approx(unit)
    assert next(e for e in run.edges if e.target == "encoder").kind == kind
    assert run.clipped_inputs == 0
