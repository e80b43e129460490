"""Operations and accesses counted by hand on small networks, and what they cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import chain, inputs_for, sdtcm

import neurodeploy as nd
from neurodeploy.backends.simulator import simulate
from neurodeploy.errors import InputError
from neurodeploy.graph.ir import Graph, Input, Linear, Neurons, Node, Reduce, vector
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.ir import Slice
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.synapses import Dense
from neurodeploy.reports.analytic import expected, relu_mlp
from neurodeploy.reports.analytic import sdtcm as sdtcm_sketch
from neurodeploy.reports.energy import CAUSES, energy, of_run, operations, spread
from neurodeploy.reports.neurobench import neurobench
from neurodeploy.targets import price_names, prices, target

X = np.zeros((10, 1, 2))
X[2, 0] = (1, 0)  # neuron 0 fires
X[5, 0] = (1, 1)  # all three fire
X[8, 0] = (0, 1)  # neuron 1 fires


def tiny_graph():
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
    return Graph(
        (
            Node("input", Input(2, spiking=True)),
            Node("fc", Linear(np.array([[1.0, 0], [0, 1.0], [0.6, 0.6]]), np.zeros(3)), ("input",)),
            Node("lif", lif, ("fc",)),
            Node("out", Linear(np.ones((1, 3)), np.zeros(1)), ("lif",)),
            Node("sum", Reduce("sum", np.zeros(1)), ("out",)),
        ),
        "sum",
    )


@pytest.fixture(scope="module")
def tiny():
    program = compile_graph(tiny_graph(), target("asic45"), calibration=X).program
    return simulate(program, X, record=["lif"], traffic=True)


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


@pytest.mark.parametrize("labels", [[0, 1], 0, [[0]], []])
def test_labels_of_another_number_of_samples_are_refused(tiny, labels):
    assert tiny.accuracy([0]) == 1
    with pytest.raises(InputError, match="labels of shape") as caught:
        tiny.accuracy(labels)
    assert (caught.value.code, bool(caught.value.fix)) == ("E106", True)


@pytest.mark.parametrize("label", [-1, 1])
def test_labels_of_classes_that_are_not_there_are_refused(tiny, label):
    with pytest.raises(InputError, match="for 1 outputs") as caught:
        tiny.accuracy([label])
    assert (caught.value.code, bool(caught.value.fix)) == ("E106", True)


# the physical mode ------------------------------------------------------------------------------

ARITHMETIC = 17 * 0.1 + 30 * 3.1 + 70 * 0.1 + 30 * 0.1
ROWS = 4 * 1 + 5 * 1  # words: an input spike reads three weights of 8 bits, a spike one
# LIF: one 32-bit state read and written, beta of 16 bits, threshold and reset of 32;
# the integrator: one 32-bit state read and written, no constant
REGISTERS = (30 * (32 + 32 + 16 + 32 + 32) + 10 * (32 + 32)) / 64
# each addition reads and writes a 32-bit current, each of 40 updates reads and clears one
SUMS = (17 + 40) * 2 * 32 / 64


def test_physical_counts_arithmetic_at_its_width_and_every_access(tiny):
    priced = energy(tiny)
    assert (priced.mode, priced.table) == ("physical", "horowitz45")
    causes = priced.by_cause()
    assert causes["synapse"] == pytest.approx(17 * 0.1)
    assert causes["neuron"] == pytest.approx(ARITHMETIC - 17 * 0.1)
    assert causes["weight_memory"] == pytest.approx(ROWS * 20)
    assert causes["state_memory"] == pytest.approx((REGISTERS + SUMS) * 20)
    assert (causes["routing"], causes["static"]) == (0, 0)
    assert priced.total_pj == pytest.approx(ARITHMETIC + (ROWS + REGISTERS + SUMS) * 20)
    assert priced.not_priced == ("routing", "static power")
    (lif,) = [layer for layer in priced.layers if layer.name == "lif"]
    assert lif.by_cause["weight_memory"] == 4 * 20


def test_each_assumption_is_varied_alone_and_all_together(tiny):
    priced = energy(tiny)
    varied = {v.name: (v.low_pj, v.high_pj) for v in priced.varied}
    total = priced.total_pj
    assert varied["sums of currents"] == pytest.approx((total - SUMS * 20, total))
    bits = 17 * 8 / 64  # the weights alone
    # a word for each weight, two for the bits of a LIF neuron's update (112 read) and one written,
    # one each way for the integrator, and one for each current
    words = 17 + 30 * (2 + 1) + 10 * 2 + (17 + 40) * 2
    assert varied["weight fetch"] == pytest.approx(
        (total + (bits - ROWS) * 20, ARITHMETIC + words * 20)
    )
    memory = ROWS + REGISTERS + SUMS
    assert varied["memory"] == pytest.approx((ARITHMETIC + memory * 10, ARITHMETIC + memory * 100))
    assert set(varied) == {"sums of currents", "weight fetch", "memory"}
    assert priced.low_pj == pytest.approx(ARITHMETIC + (bits + REGISTERS) * 10)
    assert priced.high_pj == pytest.approx(ARITHMETIC + words * 100)


def test_the_same_network_without_spikes_by_hand(tiny):
    int8, fp32 = energy(tiny).beside
    macs, read, written = 90, 10 * (2 + 3), 10 * (3 + 1)
    memory = (macs + read + written) * 8 / 64 + 10 * (32 + 32) / 64  # the integrator stays
    neurons = 30 * (0.1 + 3.1) + 10 * 0.1  # ReLU and rescaling; integration
    assert int8.total_pj == pytest.approx(macs * (0.2 + 0.1) + neurons + memory * 20)
    memory = (macs + read + written) * 32 / 64 + 10 * (32 + 32) / 64
    neurons = 30 * (0.9 + 3.7) + 10 * 0.9
    assert fp32.total_pj == pytest.approx(macs * (3.7 + 0.9) + neurons + memory * 20)
    assert (int8.name, fp32.name) == ("int8 ANN", "fp32 ANN")


def test_a_table_of_events_prices_events_and_hops():
    """One neuron on each of four cores in a row; inputs come in at the first."""
    program = compile_graph(tiny_graph(), target("asic45"), calibration=X).program
    places = tuple(Slice(node="lif", first=i, last=i + 1, core=i) for i in range(3))
    apart = replace(program, placement=(*places, Slice(node="sum", first=0, last=1, core=3)))
    priced = energy(simulate(apart, X, traffic=True), prices("loihi1"))
    hops = 4 * (0 + 1 + 2) + 2 * 3 + 2 * 2 + 1 * 1  # of inputs; of neurons 0, 1 and 2 to core 3
    causes = priced.by_cause()
    assert causes["routing"] == pytest.approx(4 * 1.7 + hops * 3.0)
    assert causes["synapse"] == pytest.approx(17 * 23.6)
    assert causes["neuron"] == pytest.approx(40 * 81)
    assert (causes["weight_memory"], causes["state_memory"]) == (0, 0)  # part of the events
    assert priced.low_pj == pytest.approx(priced.total_pj - 40 * (81 - 52))
    assert priced.high_pj == priced.total_pj
    assert priced.not_priced == ("static power",)
    # core 0: four additions and ten updates; core 3 five and ten
    assert priced.least_s == pytest.approx((5 * 3.5 + 10 * 8.4) * 1e-9)
    assert [found.total_pj for found in priced.beside] == [None, None]


def test_links_north_and_between_chips_have_their_own_price(tiny):
    packets = of_run(tiny).packets
    moved = tuple(replace(p, local=1.0, hops_x=2.0, hops_y=3.0, hops_chip=5.0) for p in packets)
    counts = replace(of_run(tiny), packets=moved)
    table = prices("loihi1")
    assert energy(counts, table).by_cause()["routing"] == pytest.approx(3 * (1.7 + 6.0 + 12.0))
    assert "routing" in energy(counts, table).not_priced  # the way between chips
    far = replace(table, energy_pj={**table.energy_pj, "hop_chip": 100})
    assert energy(counts, far).by_cause()["routing"] == pytest.approx(3 * (19.7 + 500))


def test_packets_that_were_not_counted_are_named(tiny):
    uncounted = energy(replace(of_run(tiny), packets=None), prices("loihi1"))
    assert "routing (packets were not counted)" in uncounted.not_priced
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph)
    run = simulate(nd.compile(graph, target("loihi2"), calibration=x), x, traffic=True)
    missing = energy(run, prices("loihi1")).not_priced
    assert "routing (loihi2 does not say where its cores are)" in missing


def test_static_power_is_paid_for_the_time_of_an_inference():
    program = compile_graph(tiny_graph(), target("asic45"), calibration=X).program
    table = replace(prices("horowitz45"), power_w={"chip": 0.01, "core": 0.002})
    run = simulate(program, X, timing=True)
    found = energy(run, table)
    joules = (0.01 + 0.002 * 1) * run.cycles.latency_s
    assert found.by_cause()["static"] == pytest.approx(joules * 1e12)
    assert "static power" not in found.not_priced
    untimed = energy(simulate(program, X), table)
    assert untimed.by_cause()["static"] == 0
    assert any("the time of a run is not known" in item for item in untimed.not_priced)
    events = replace(prices("loihi1"), power_w={"chip": 0.01})  # whose times say how long, at least
    least = energy(simulate(program, X), events)
    assert least.by_cause()["static"] == pytest.approx(0.01 * least.least_s * 1e12)


def test_what_has_no_price_is_named_and_adds_nothing(tiny):
    table = prices("horowitz45")
    priced = energy(tiny, replace(table, energy_pj={"add_int32": 0.1}))
    assert priced.total_pj == pytest.approx((17 + 70 + 30) * 0.1)
    missing = {"mul_int32", "routing", "sram_32kib_64b", "static power"}
    assert set(priced.not_priced) == missing
    assert [found.total_pj for found in priced.beside] == [None, None]


def test_a_price_whatever_the_width_comes_first(tiny):
    priced = energy(tiny, prices("paper45"))
    assert priced.total_pj == pytest.approx(17 * 0.9 + 30 * 3.7 + 70 * 0.9 + 30 * 0.9)
    assert priced.not_priced == ("routing", "sram_32kib_64b", "static power")
    neurons = 30 * (0.9 + 3.7) + 10 * 0.9
    assert priced.beside[0].total_pj == pytest.approx(90 * 4.6 + neurons)


@pytest.mark.parametrize(("bits", "price"), [(8, 0.2), (9, 3.1), (16, 3.1)])
def test_a_real_valued_input_costs_multiplies_at_the_wider_operands_width(bits, price):
    rng = np.random.default_rng(0)
    graph = sdtcm(rng, width=4, blocks=1)
    x = inputs_for(rng, graph, steps=20, samples=3)
    x[4] = 0  # nothing arrives, nothing is paid
    program = nd.compile(graph, target("asic45"), calibration=x, bits=bits)
    run = simulate(program, x)
    (encoder,) = [edge for edge in run.edges if edge.target == "encoder"]
    whole, _ = to_integers(program.source, x)
    assert (encoder.kind, encoder.rows[0][0], encoder.value_bits) == ("mac", 4, 8)
    assert encoder.events == np.count_nonzero(whole) < x.size
    assert encoder.dense == x.size * 4
    (layer,) = [layer for layer in energy(run).layers if layer.name == "encoder"]
    assert layer.by_cause["synapse"] == pytest.approx(encoder.events * 4 * (price + 0.1) / 3)


def test_rows_of_weights_are_read_in_whole_words_on_every_core():
    """Nine weights of 8 bits: two words on one core; on two, as five and four, one each."""
    graph = chain(np.random.default_rng(0), [("lif", {})], inputs=2, width=9, spiking=True)
    program = nd.compile(graph, target("asic45"))
    name = program.nodes[1].name
    rest = tuple(part for part in program.placement if part.node != name)
    split = tuple(
        Slice(node=name, first=a, last=b, core=c) for a, b, c in ((0, 5, 0), (5, 7, 1), (7, 9, 1))
    )
    spread_out = replace(program, placement=(*split, *rest))
    x = np.ones((4, 1, 2))
    for placed, rows, words in ((program, ((9, 8),), 2), (spread_out, ((5, 8), (4, 8)), 2)):
        run = simulate(placed, x)
        assert run.edges[0].rows == rows
        (layer,) = [layer for layer in energy(run).layers if layer.name == name]
        assert layer.by_cause["weight_memory"] == pytest.approx(8 * words * 20)


def test_weights_that_do_not_fit_the_chip_come_from_outside():
    small = expected(relu_mlp(target("asic45"), sizes=[8, 8, 8]), {}, steps=1)
    (layer,) = [layer for layer in energy(small).layers if layer.name == "layers.0"]
    assert layer.by_cause["weight_memory"] == pytest.approx(8 * 1 * 20)
    large = expected(relu_mlp(target("asic45"), sizes=[8, 300_000, 8]), {}, steps=1)
    priced = energy(large)
    (layer,) = [layer for layer in priced.layers if layer.name == "readout"]
    # each output has a core of its own, which reads a word for each of the values
    assert layer.by_cause["weight_memory"] == pytest.approx(300_000 * 8 * 1950)
    varied = {v.name: v for v in priced.varied}["published ranges"]
    difference = (varied.high_pj - varied.low_pj) / (2600 - 1300)
    words = layer.by_cause["weight_memory"] / 1950
    assert difference > words
    assert "dram_64b" in energy(large, prices("paper45")).not_priced


def test_what_is_priced_is_not_named_as_not_modelled():
    """Buffers of whole sequences are; the host, its link and loading never are."""
    how = {"inputs": 3, "width": 4, "blocks": 1, "classes": 2}
    counts = expected(sdtcm_sketch(target("asic45"), **how, bidirectional=True), {"*": 1}, steps=9)
    found = energy(counts)
    assert found.by_cause()["sequence_memory"] > 0
    named = "; ".join(found.not_modelled)
    assert "buffers" not in named
    for part in ("clock tree", "control", "instruction fetch", "host", "link", "start-up"):
        assert part in named, part


# the paper mode ---------------------------------------------------------------------------------


def test_paper_counts_acs_and_macs_by_the_published_formulas(tiny):
    priced = energy(tiny, mode="paper")
    assert (priced.mode, priced.table) == ("paper", "paper45")
    causes = priced.by_cause()
    assert causes["synapse"] == pytest.approx(17 * 0.9)
    # LIF: a MAC an update and an AC a spike; the output, updated like the neurons before it
    assert causes["neuron"] == pytest.approx(30 * 4.6 + 5 * 0.9 + 10 * 4.6)
    assert priced.total_pj == pytest.approx(causes["synapse"] + causes["neuron"])
    assert (priced.low_pj, priced.high_pj) == (priced.total_pj, priced.total_pj)
    assert priced.beside[0].total_pj == pytest.approx(90 * 4.6)
    assert "synapses of real-valued inputs and of token embeddings" in priced.not_modelled


def test_what_the_papers_leave_out_is_what_physical_counts():
    """Real-valued inputs, and a direction that runs backwards."""
    how = {"inputs": 3, "width": 4, "blocks": 1, "classes": 2}
    one, two = (
        expected(sdtcm_sketch(target("asic45"), **how, bidirectional=both), {"*": 0.5}, steps=10)
        for both in (False, True)
    )
    assert energy(one, mode="paper").total_pj == pytest.approx(energy(two, mode="paper").total_pj)
    layers = {layer.name: layer for layer in energy(two, mode="paper").layers}
    assert layers["encoder"].total_pj == 0
    # PRF: 5 MACs and 3 ACs an update; a residual sum an AC a channel; a spike, a row
    assert layers["blocks.0.tn"].total_pj == pytest.approx(10 * 4 * (5 * 4.6 + 3 * 0.9))
    assert layers["blocks.0.add"].total_pj == pytest.approx(10 * (4 + 0.5 * 4 * 4) * 0.9)
    assert "blocks.0.tn_reverse" not in layers
    a, b = ({x.name: x for x in energy(c).layers} for c in (one, two))
    kept = 10 * 2 * 4 / 64 * 100  # its spikes, written and read
    assert b["blocks.0.tn_reverse"].total_pj == pytest.approx(a["blocks.0.tn"].total_pj + kept)
    assert a["encoder"].by_cause["synapse"] == pytest.approx(10 * 3 * 4 * 0.3)
    twice = b["blocks.0.add"].by_cause["weight_memory"]
    assert twice == pytest.approx(2 * a["blocks.0.add"].by_cause["weight_memory"])


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"mode": "both"}, "no mode 'both'"),
        ({"mode": "paper", "prices": "horowitz45"}, "the paper mode is priced by paper45"),
    ],
)
def test_modes_are_not_mixed(tiny, ask, says):
    table = prices(ask["prices"]) if "prices" in ask else None
    with pytest.raises(InputError, match=says) as caught:
        energy(tiny, table, mode=ask["mode"])
    assert (caught.value.code, bool(caught.value.fix)) == ("E105", True)


def test_energy_of_loihi_is_counts_until_a_table_is_named():
    assert target("loihi2").prices is None
    assert any("energy" in item for item in target("loihi2").not_modelled)
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph)
    run = simulate(nd.compile(graph, target("loihi2"), calibration=x), x)
    with pytest.raises(InputError, match="no price table applies to loihi2"):
        energy(run)
    priced = energy(run, prices("horowitz45"))  # 192 KiB cost what the next published size does
    assert priced.by_cause()["weight_memory"] > 0


# laws -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", price_names())
def test_layers_and_causes_add_up_and_lie_in_their_range(table):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        graph = sdtcm(rng, bidirectional=seed == 1)
        x = inputs_for(rng, graph)
        run = simulate(nd.compile(graph, target("asic45"), calibration=x), x, traffic=True)
        priced = energy(run, prices(table))
        assert sum(priced.by_cause().values()) == pytest.approx(priced.total_pj)
        assert sum(layer.total_pj for layer in priced.layers) == pytest.approx(priced.total_pj)
        assert set(priced.by_cause()) == set(CAUSES)
        assert priced.low_pj <= priced.total_pj <= priced.high_pj * (1 + 1e-12)
        for varied in priced.varied:
            assert varied.low_pj <= priced.total_pj * (1 + 1e-12)
            assert varied.high_pj >= priced.total_pj * (1 - 1e-12)
    assert [found.table for found in spread(run)] == price_names()


@pytest.mark.parametrize("seed", range(4))
def test_causes_are_those_of_a_loop_over_values_and_cores(seed):
    """Everything anew, from values, weights and places alone, one value at a time."""
    rng = np.random.default_rng(seed)
    graph = sdtcm(rng, bidirectional=seed % 2 == 1, width=9, blocks=1)
    x = inputs_for(rng, graph, steps=8, samples=2)
    chip = target("asic45")
    chip = replace(chip, core=replace(chip.core, neurons=4))
    program = nd.compile(graph, chip, calibration=x, place="balanced")
    values = execute(program, to_integers(program.source, x)[0]).values
    adds = macs = words = sums = packets = far = 0
    at = {n.name: [0] * n.width for n in program}
    for part in program.placement:
        at[part.node][part.first : part.last] = [part.core] * (part.last - part.first)
    going = {n.name: [set() for _ in range(n.width)] for n in program}
    for node in program.nodes[1:]:
        for edge in node.edges:
            dense = isinstance(edge, Dense)
            for i in range(program[edge.source].width):
                targets = range(node.width) if dense else [i] if edge.sign[i] else []
                sent = np.count_nonzero(values[edge.source][..., i])
                reached = [at[node.name][j] for j in targets]
                going[edge.source][i].update(reached)
                sums += sent * len(reached)
                graded = dense and program.graded(edge.source)
                macs += sent * len(reached) * graded
                adds += sent * len(reached) * (not graded)
                for core in set(reached) if dense else ():
                    words += sent * -(-reached.count(core) * 8 // 64)
    for name, cores in going.items():
        for i, reached in enumerate(cores):
            sent = np.count_nonzero(values[name][..., i])
            here = 0 if name == "input" else at[name][i]
            packets += sent * len(reached)
            for core in reached:
                (a, b), (c, d) = chip.grid.router(here), chip.grid.router(core)
                far += sent * (3.0 * abs(a - c) + 4.0 * abs(b - d) + 1.7 * (here == core))
    run = simulate(program, x, traffic=True)
    each, updates = 2, sum(node.updates for node in run.nodes)
    host = 0 if program.readout.weight is None else program.readout.weight.size
    priced = energy(run).by_cause()
    assert priced["synapse"] * each == pytest.approx(0.1 * adds + 0.3 * macs + 3.2 * host * each)
    assert priced["weight_memory"] * each == pytest.approx(20 * words)
    registers = sum(n.updates * (n.state_bits + n.written_bits) for n in run.nodes) / 64
    assert priced["state_memory"] * each == pytest.approx(20 * (registers + sums + updates))
    assert sum(count.packets for count in of_run(run).packets) == packets
    events = energy(run, prices("loihi1")).by_cause()
    assert events["routing"] * each == pytest.approx(far)
    assert events["synapse"] * each == pytest.approx(23.6 * sums)


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
    encoder = next(e for e in run.edges if e.target == "encoder")
    assert (encoder.kind, encoder.value_bits) == (kind, 1 if kind == "add" else 8)
    assert run.clipped_inputs == 0


# NeuroBench's metrics ---------------------------------------------------------------------------


def test_neurobench_metrics_by_hand(tiny):
    found = neurobench(tiny)
    # weights that are not zero: 2 of 3 behind each input, 1 behind each neuron
    operations_ = {"Effective_MACs": 0, "Effective_ACs": 4 * 2 + 5, "Dense": 90}
    assert found["SynapticOperations"] == operations_
    assert found["ConnectionSparsity"] == pytest.approx(2 / 9)
    assert found["ActivationSparsity"] == pytest.approx(1 - 5 / 30)
    assert found["MembraneUpdates"] == 40
    # LIF: 2 weights, a state and a bias of 32 bits, beta of 16, threshold, reset, a shift of 5;
    # the integrator: 3 weights, state, bias, shift
    bits = 3 * (16 + 32 + 32 + 16 + 64 + 5) + (24 + 32 + 32 + 5)
    assert found["Footprint"] == -(-bits // 8)


def test_neurobench_counts_graded_and_recurrent_edges_and_the_host():
    rng = np.random.default_rng(4)
    graph = chain(rng, [("lif", {"recurrent": True})], inputs=3, width=5)
    x = inputs_for(rng, graph, steps=12, samples=2)
    program = nd.compile(graph, target("asic45"), calibration=x)
    run = simulate(program, x, traffic=True)
    every = [node.name for node in program]
    values = simulate(program, x, record=every).values
    macs = acs = dense = 0
    for node in program.nodes[1:]:
        for edge in node.edges:
            sent = values[edge.source]
            if edge.source == node.name:  # what the last step sends is never heard
                sent = np.concatenate([np.zeros_like(sent[:1]), sent[:-1]])
            reached = np.count_nonzero((sent[..., None, :] != 0) & (edge.weight != 0))
            macs += reached * program.graded(edge.source)
            acs += reached * (not program.graded(edge.source))
            dense += edge.weight.size * 12 * 2
    head = program.readout.weight
    host = 0 if head is None else np.count_nonzero(head)
    assert acs > 0
    found = neurobench(run)["SynapticOperations"]
    assert found["Effective_MACs"] == pytest.approx(macs / 2 + host)
    assert found["Effective_ACs"] == pytest.approx(acs / 2)
    assert found["Dense"] == pytest.approx(dense / 2 + (0 if head is None else head.size))


def test_neurobench_needs_what_neurons_sent(tiny):
    with pytest.raises(InputError, match="did not count what its neurons sent") as caught:
        neurobench(replace(tiny, sent={}))
    assert caught.value.fix == "simulate with traffic=True"
