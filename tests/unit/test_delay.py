"""Delays, against loops of their own: graph, torch, NIR in and out, ONNX, chip integers, memory."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np
import onnxruntime
import pytest
import torch
from support.nirs import F4, WIDTHS
from support.nirs import network as nir_network

import neurodeploy as nd
from neurodeploy.backends.nir import graph as nir_out
from neurodeploy.errors import FitError, InputError, NeurodeployError
from neurodeploy.frontends import nir_child, nir_walk
from neurodeploy.graph.delay import LONGEST, Delay
from neurodeploy.graph.forms.nir_neurons import STEP_S
from neurodeploy.graph.interpret import Carry, interpret, run
from neurodeploy.graph.ir import Add, Graph, Input, Linear, Node, identical
from neurodeploy.program.memory import footprint
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.run import value_bits

STEPS = [3, 0, 7, 1, 3]
DT = 1e-3


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "d.nir"


def late(x, steps):
    """Return x [T, B, N] with every channel its own steps later."""
    y = np.zeros_like(x)
    for t in range(len(x)):
        for n, d in enumerate(np.broadcast_to(steps, x.shape[-1])):
            if t >= d:
                y[t, :, n] = x[t - d, :, n]
    return y


def alone(steps):
    steps = np.asarray(steps, float)
    return Graph((Node("x", Input(len(steps))), Node("d", Delay(steps), ("x",))), "d")


def signal(width, steps=30, samples=2):
    return np.random.default_rng(1).normal(size=(steps, samples, width)) + 0.3


def spiking(steps, seed=0, **after):
    """Return a network of torch with a delay of spikes, and inputs for it."""
    torch.manual_seed(seed)
    layers = [
        *(torch.nn.Linear(4, 5), nd.nn.LIF(5, **after), nd.nn.Delay(5, steps)),
        *(torch.nn.Linear(5, 6), nd.nn.LIF(6), nd.nn.Readout("sum"), torch.nn.Linear(6, 3)),
    ]
    return torch.nn.Sequential(*layers).double().eval(), 2 * signal(4)


def test_a_graph_waits():
    x = signal(5)
    np.testing.assert_array_equal(interpret(alone(STEPS), x), late(x, STEPS))
    np.testing.assert_array_equal(interpret(alone(STEPS), x[:2]), late(x[:2], STEPS))


def test_a_sequence_may_come_in_parts():
    x, carry = signal(5), Carry()
    parts = [
        run(alone(STEPS), x[a:b], carry=carry)[0] for a, b in pairwise((0, 1, 2, 9, 9 + 4, 30))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), late(x, STEPS))


@pytest.mark.parametrize("steps", [[-1], [0.5], [np.nan], [LONGEST + 1]])
def test_steps_are_whole_and_not_endless(steps):
    with pytest.raises(InputError, match="E105"):
        Delay(np.asarray(steps, float))


def test_torch_waits_and_is_traced_and_kept(tmp_path):
    module, x = spiking(STEPS)
    graph = nd.trace(module, x)
    np.testing.assert_array_equal(graph["2"].op.steps, STEPS)
    with torch.no_grad():
        y = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(interpret(graph, x), y, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(nd.nn.Delay(4, 3)(torch.from_numpy(x)).numpy(), late(x, 3))
    nd.save(module, tmp_path / "m.pt")
    assert identical(nd.load(tmp_path / "m.pt"), graph)


@pytest.mark.parametrize(
    ("width", "steps"), [(3, -1), (3, [1, 2]), (3, 1.5), (0, 1), (2, [1, 0.5])]
)
def test_torch_refuses_other_steps(width, steps):
    with pytest.raises(InputError, match="E105"):
        nd.nn.Delay(width, steps)


# chip -------------------------------------------------------------------------------------------


def test_a_delayed_spike_is_a_spike():
    """Bit by bit what was sent; one bit each, no multiply behind it, events where they arrive."""
    module, x = spiking(STEPS)
    program = nd.compile(nd.trace(module, x), nd.target("asic45"), calibration=x)
    result = nd.simulate(program, x, record=["1", "2"])
    sent, waited = result.values["1"], result.values["2"]
    assert sent.any()
    np.testing.assert_array_equal(waited, late(sent, STEPS))
    assert (program["2"].low, program["2"].high, value_bits(program, "2")) == (0, 1, 1)
    (behind,) = [edge for edge in result.edges if edge.source == "2"]
    assert behind.kind == "add"
    assert behind.events == np.count_nonzero(waited)


def test_an_amplitude_goes_through():
    module, x = spiking(STEPS, amplitude=True)
    torch.nn.init.constant_(module[1].log_amplitude, np.log(0.7))
    program = nd.compile(nd.trace(module, x), nd.target("asic45"), calibration=x)
    assert value_bits(program, "2") == 1


def test_memory_is_steps_times_bits():
    module, x = spiking(STEPS)
    graph = nd.trace(module, x)
    none = graph.replace("2", Delay(np.zeros(5)))
    bits = []
    for each in (graph, none):
        program = nd.compile(each, nd.target("asic45"), calibration=x)
        bits.append([footprint(program, "2", *part).state_bits for part in ((), (0, 2), (2, 3))])
    assert [a - b for a, b in zip(*bits, strict=True)] == [sum(STEPS), 3, 7]
    counted = next(node for node in nd.simulate(program, x).nodes if node.name == "2")
    assert counted.written_bits == 0


def test_one_value_a_step_goes_through_memory_however_long_it_waits():
    module, x = spiking(9)
    program = nd.compile(nd.trace(module, x), nd.target("asic45"), calibration=x)
    counted = next(node for node in nd.simulate(program, x).nodes if node.name == "2")
    assert counted.written_bits == 1


def test_the_sum_of_a_stream_and_what_it_was():
    """In the unit of the stream: its integers, not rounded again."""
    rng, zero = np.random.default_rng(0), np.zeros(3)
    nodes = (
        *(Node("x", Input(4)), Node("a", Linear(rng.normal(size=(3, 4)), zero), ("x",))),
        *(Node("d", Delay(np.array([1.0, 2.0, 0.0])), ("a",)), Node("s", Add(), ("a", "d"))),
    )
    graph, x = Graph(nodes, "s"), signal(4)
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    values = nd.simulate(program, x, record=["a", "d"]).values
    np.testing.assert_array_equal(values["d"], late(values["a"], [1, 2, 0]))
    np.testing.assert_array_equal(program["d"].gain, 1)


def test_in_front_of_a_layer_that_runs_backwards_it_still_waits():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 5), nd.nn.LIF(5), nd.nn.Delay(5, 2), torch.nn.Linear(5, 6)]
    layers += [nd.nn.LIF(6, reverse=True), nd.nn.Delay(6, 3), nd.nn.Readout("steps")]
    module, x = torch.nn.Sequential(*layers).double().eval(), 2 * signal(4)
    graph = nd.trace(module, x)
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    found = nd.simulate(program, x, record=["4", "5"]).values
    np.testing.assert_array_equal(found["5"], late(found["4"], 3))


def test_loihi_names_the_node_and_what_has_such_a_unit():
    module, x = spiking(STEPS)
    with pytest.raises(FitError, match=r'vector "2" \(delay\)[\s\S]*asic45'):
        nd.compile(nd.trace(module, x), nd.target("loihi2"), calibration=x)


@pytest.mark.parametrize("waits", [STEPS, (0, 0, 0, 0, 0), (2, 2, 2, 2, 2)])
@pytest.mark.parametrize("spikes", [True, False])
def test_final_registers_are_the_same_everywhere(waits, spikes, tmp_path):
    """Also where the sequence ends before the longest delay does."""
    if spikes:
        module, x = spiking(waits)
        graph, name = nd.trace(module, x), "2"
    else:
        graph, x, name = alone(waits), signal(len(waits)), "d"
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    nd.export(program, tmp_path / "p.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx")
    for steps in (1, 2, len(x)):
        part = x[:steps].astype(float)
        (line,) = session.run([f"{name}/final_ago"], {"input": part})
        done = execute(program, to_integers(program.source, part)[0])
        np.testing.assert_array_equal(line, done.states[name])
        np.testing.assert_array_equal(line, nd.simulate(program, part, states=True).states[name])
        assert line.shape == (max(1, *waits), x.shape[1], len(waits))
    assert np.any(line)


# files ------------------------------------------------------------------------------------------


def test_nir_and_back_is_the_same_graph_with_a_stock_node(path):
    graph = nd.trace(*spiking(STEPS))
    form = nir_out.exported_form(graph, "composite")
    nir_out.write(graph, path)
    stock = nir.read(path).nodes["2"]
    assert isinstance(stock, nir.Delay)
    np.testing.assert_allclose(stock.delay, np.array(STEPS) * STEP_S, rtol=1e-12)
    assert identical(nd.load(path), form)


def test_onnx_and_back_is_the_same_graph_and_runs(tmp_path):
    graph, x = alone(STEPS), signal(5)
    nd.export(graph, tmp_path / "d.onnx")
    assert identical(nd.load(tmp_path / "d.onnx"), graph)
    session = onnxruntime.InferenceSession(tmp_path / "d.onnx")
    (name,) = [item.name for item in session.get_inputs()]
    for part in (x.astype(F4), x[:1].astype(F4)):
        (y,) = session.run(None, {name: part})
        np.testing.assert_array_equal(y, late(part, STEPS))


def paper(path, delay, dt=DT):
    """Write Affine, LIF, Delay, Affine, LI as the NIR paper has them; return their equations' y."""
    rng = np.random.default_rng(3)
    tau = np.full(6, 5e-3, F4)
    cell = nir.LIF(tau, np.ones(6, F4), np.zeros(6, F4), np.full(6, 0.2, F4), np.zeros(6, F4))
    nodes = {
        "input": nir.Input(np.array([WIDTHS[0]])),
        "a": nir.Affine(*two(rng, 6, WIDTHS[0])),
        "n": cell,
        "d": nir.Delay(np.asarray(delay)),
        "b": nir.Affine(*two(rng, 4, 6)),
        "output": nir.Output(np.array([4])),
    }
    names = list(nodes)
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(names)), type_check=False))

    def expected(x):
        v, spikes = np.zeros((x.shape[1], 6)), []
        for row in x @ nodes["a"].weight.T.astype(float) + nodes["a"].bias:
            v = v + dt / 5e-3 * (row - v)
            spikes.append(v > 0.2)
            v = np.where(spikes[-1], 0, v)
        waited = late(np.array(spikes, float), np.rint(np.asarray(delay) / dt).astype(int))
        return waited @ nodes["b"].weight.T.astype(float) + nodes["b"].bias

    return expected


def two(rng, out, inside):
    return rng.normal(size=(out, inside)).astype(F4), rng.normal(size=out).astype(F4)


STATED = {"source": "nir-paper", "reset": "zero", "reset_delay": False}


@pytest.mark.parametrize("kind", [np.float64, F4])
def test_a_delay_of_another_tool_is_whole_steps(kind, path):
    expected = paper(path, np.array([0, 1e-3, 2e-3, 7e-3, 0.0123, 0.011], kind).round(3))
    graph, x = nd.load(path, dt=DT, **STATED), signal(WIDTHS[0])
    assert isinstance(graph["d"].op, Delay)
    y = interpret(graph, x)
    np.testing.assert_allclose(y, expected(x), rtol=1e-6, atol=1e-6)
    assert len(np.unique(y)) > 10


def test_a_delay_that_is_no_whole_number_of_steps_is_refused(path):
    paper(path, np.full(6, 1.5e-3))
    with pytest.raises(NeurodeployError, match=r'E108[\s\S]*1\.5 steps[\s\S]*"d"[\s\S]*--dt'):
        nd.load(path, dt=DT, **STATED)
    assert nd.load(path, dt=5e-4, **STATED)["d"].op.longest == 3


@pytest.mark.parametrize("delay", [-1e-3, np.nan, np.inf, 1e9])
def test_a_delay_that_is_none_is_refused(delay, path):
    paper(path, np.full(6, delay))
    with pytest.raises(NeurodeployError, match='"d"'):
        nd.load(path, dt=DT, **STATED)


def test_what_nobody_said_about_time_is_asked_for(path):
    paper(path, np.full(6, 2e-3))
    with pytest.raises(NeurodeployError, match=r"E108[\s\S]*dt[\s\S]*'d'[\s\S]*--dt"):
        nd.load(path, **STATED)


def test_a_file_without_neurons_needs_the_step_for_its_delays_alone(path):
    nodes = {"input": nir.Input(np.array([3])), "d": nir.Delay(np.array([0, 0.002, 0.004]))}
    nodes["output"] = nir.Output(np.array([3]))
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False))
    with pytest.raises(NeurodeployError, match=r'E108[\s\S]*"d"[\s\S]*--dt SECONDS'):
        nd.load(path)
    x = signal(3)
    np.testing.assert_array_equal(interpret(nd.load(path, dt=0.002), x), late(x, [0, 1, 2]))


def test_a_delay_in_a_loop_is_refused(path):
    one = np.ones(2)
    nodes = {
        "input": nir.Input(np.array([2])),
        "n": nir.LIF(one * 5e-3, one, one * 0, one, one * 0),
        "d": nir.Delay(one * 2e-3),
        "w": nir.Linear(np.eye(2)),
        "output": nir.Output(np.array([2])),
    }
    edges = [("input", "n"), ("n", "d"), ("d", "w"), ("w", "n"), ("n", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    with pytest.raises(NeurodeployError, match=r'E108[\s\S]*a delay in a loop[\s\S]*"d"'):
        nd.load(path, dt=DT, feedback_bias="late", **STATED)


def test_sinabs_counts_in_steps(path):
    one = np.ones(WIDTHS[1], F4)
    cell = nir.LIF(one * 10, one, one * 0, one)
    nir_network(path, [cell])
    read = nir.read(path)
    read.nodes["d"] = nir.Delay(np.full(WIDTHS[1], 2.0))
    read.edges = [e for e in read.edges if e[1] != "output"] + [("1", "d"), ("d", "output")]
    nir.write(path, nir.NIRGraph(read.nodes, read.edges, type_check=False))
    graph = nd.load(path, source="sinabs", defaults=True)
    np.testing.assert_array_equal(graph["d"].op.steps, 2)
