"""The laws of neurons that hear themselves, for every model: drive + R y of the step before."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.euler import simulate as simulate_nir
from support.networks import chain, chip_for, distinct, inputs_for, linear, neuron_names, neurons
from support.ort import doubles
from support.recurrences import PUBLISHED

from neurodeploy.backends.nir import graph as nir_out
from neurodeploy.backends.onnx import graph as onnx_out
from neurodeploy.backends.onnx import program as onnx_program
from neurodeploy.backends.simulator import simulate
from neurodeploy.errors import FitError, InputError
from neurodeploy.frontends import nir as nir_in
from neurodeploy.frontends import onnx as onnx_in
from neurodeploy.graph.forms.nir_neurons import has_form
from neurodeploy.graph.interpret import interpret, run
from neurodeploy.graph.ir import Concat, Graph, Input, Linear, Node, identical
from neurodeploy.graph.rules import check
from neurodeploy.graph.text import text as graph_text
from neurodeploy.neurons import SPECS
from neurodeploy.passes.align_delays import AlignDelays
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.pipeline import compile_graph, fold, folds
from neurodeploy.passes.verify import compare_graphs
from neurodeploy.program.limits import current_bounds
from neurodeploy.program.memory import footprint
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.synapses import Dense
from neurodeploy.program.text import program_text
from neurodeploy.targets import target

VARIANTS = distinct()
SPIKING = [row for row in VARIANTS if SPECS[row[0]].spiking]


def label(row):
    return "-".join([row[0], *(f"{key}={value}" for key, value in row[1].items())])


def layer(row, *, reverse=False, width=5, seed=0):
    """One recurrent layer: gains of both signs, a bias, an amplitude."""
    rng = np.random.default_rng(seed)
    gain = rng.uniform(0.5, 2, width) * rng.choice([-1, 1], width)
    how = {"amplitude": -1.3, "reverse": reverse, "gain": gain, "recurrent": True}
    op = neurons(rng, row[0], width, bias=rng.normal(size=width) * 0.2, **how, **row[1])
    nodes = (Node("input", Input(width)), Node("n", op, ("input",)))
    return check(Graph(nodes, "n")), rng.normal(size=(30, 3, width)) * 1.5


class Heard:
    """Drives, as they become known: each gains what `sent` says when it is asked for."""

    def __init__(self, op, drive):
        self.op, self.drive, self.shape = op, drive, drive.shape
        self.sent = np.zeros(drive.shape[1:])

    def __iter__(self):
        for row in self.drive:
            yield row + np.einsum("ij,bj->bi", self.op.recurrent, self.sent)


def published(op, x):
    """Run the published recurrence of the model, its output fed back by an independent loop."""
    drive = x * op.gain + op.bias
    heard = Heard(op, drive[::-1] if op.reverse else drive)
    rows = []
    for out, _ in PUBLISHED[op.spec](op.model.params(**op.params), op.options, heard):
        heard.sent = out * op.amplitude
        rows.append(heard.sent)
    return np.array(rows[::-1] if op.reverse else rows)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("row", VARIANTS, ids=label)
def test_interpretation_is_the_published_recurrence_fed_back(row, reverse):
    graph, x = layer(row, reverse=reverse)
    op = graph["n"].op
    got = interpret(graph, x)
    np.testing.assert_allclose(got, published(op, x), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(got, interpret(graph, x, compiled=False))
    assert not np.array_equal(got, interpret(graph.replace("n", replace(op, recurrent=None)), x))
    if SPECS[row[0]].spiking:
        assert 0.05 < np.mean(got != 0) < 0.95


@doubles
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("row", VARIANTS, ids=label)
def test_onnx_hears_itself_in_onnxruntime(row, reverse, tmp_path):
    graph, x = layer(row, reverse=reverse)
    for made in (graph, fold(graph)):
        onnx_out.write(made, tmp_path / "g.onnx", "float64")
        assert identical(onnx_in.read(tmp_path / "g.onnx"), made)
        session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
        (got,) = session.run(["output"], {"input": x})
        np.testing.assert_allclose(got, interpret(made, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("row", SPIKING, ids=label)
def test_the_integer_program_in_onnxruntime_is_the_reference(row, tmp_path):
    rng = np.random.default_rng(2)
    reverse = bool(rng.random() < 0.5)
    graph = rings(rng, [(row[0], {**row[1], "reverse": reverse}), ("lif", {})], width=4)
    x = inputs_for(rng, graph, steps=20)
    program = compile_graph(graph, target("asic45"), calibration=x).program
    onnx_program.write(program, tmp_path / "p.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx")
    names = [output.name for output in session.get_outputs()]
    got = dict(zip(names, session.run(names, {"input": x}), strict=True))
    done = execute(program, to_integers(program.source, x)[0])
    for node in program.populations:
        kind = "spikes" if node.model.spiking else "membrane"
        np.testing.assert_array_equal(got[f"{node.name}/{kind}"], done.values[node.name])
        for i, state in enumerate(node.model.state._fields):
            final = got[f"{node.name}/final_{state}"]
            np.testing.assert_array_equal(final, done.states[node.name][i])


@pytest.mark.parametrize("row", VARIANTS, ids=label)
def test_nir_is_lossless_or_refused(row, tmp_path):
    graph, x = layer(row)
    form = nir_out.exported_form(graph)
    if not has_form(*row):
        with pytest.raises(InputError, match="has no form in NIR"):
            nir_out.write(form, tmp_path / "g.nir")
        return
    if not SPECS[row[0]].state._fields:
        with pytest.raises(InputError, match="has no state: its loop would have no step before"):
            nir_out.write(form, tmp_path / "g.nir")
        return
    if row[0] == "cubalif" and row[1]["reset"] != "hard":
        with pytest.raises(InputError, match="would read a current of the past"):
            nir_out.write(form, tmp_path / "g.nir")
        return
    nir_out.write(form, tmp_path / "g.nir")
    assert identical(nir_in.read(tmp_path / "g.nir"), form)
    found = simulate_nir(nir.read(tmp_path / "g.nir"), x)["output"]
    np.testing.assert_allclose(found, interpret(form, x), rtol=1e-9, atol=1e-9)


def test_nir_has_no_spike_before_the_first_step():
    graph, _ = layer(("lif", SPECS["lif"].options()))
    folded = fold(graph)
    op = folded["n"].op
    coefs = {**op.coefs, "threshold": -op.coefs["threshold"]}
    with pytest.raises(InputError, match="channels with a loop fire at rest"):
        nir_out.write(folded.replace("n", replace(op, coefs=coefs)), Path("never.nir"))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("row", VARIANTS, ids=label)
def test_every_fold_keeps_every_membrane_and_spike(row, reverse):
    graph, x = layer(row, reverse=reverse)
    for step in folds():
        after = check(step(graph))
        verdict = compare_graphs(graph, after, x, step)
        assert verdict.membrane_error < 1e-9
        assert verdict.flips == verdict.ties == 0
        graph = after
    assert graph["n"].op.amplitude == 1


def rings(rng, rows, **how):
    """A chain whose layers are all recurrent, but for those that do not spike."""
    layers = [(name, {**o, "recurrent": SPECS[name].spiking, "amplitude": 0.8}) for name, o in rows]
    return chain(rng, layers, norm=True, **how)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.lists(st.sampled_from(VARIANTS), min_size=1, max_size=3),
    width=st.sampled_from([1, 5, 9]),
    readout=st.sampled_from(["mean", "sum", "last", "steps"]),
    spiking=st.booleans(),
    steps=st.sampled_from([1, 2, 17]),
    samples=st.sampled_from([0, 1, 3]),
    name=st.sampled_from(["asic45", "loihi2"]),
    bits=st.sampled_from([2, 5, 8]),
)
def test_any_recurrent_chain_simulates_as_the_reference_says(
    seed, rows, width, readout, spiking, steps, samples, name, bits
):
    rng = np.random.default_rng(seed)
    graph = rings(rng, rows, width=width, readout=readout, spiking=spiking)
    x = inputs_for(rng, graph, steps=max(steps, 2))
    program = compile_graph(graph, chip_for(rows, name), calibration=x, bits=bits).program
    assert_simulates(program, inputs_for(rng, graph, steps=steps, samples=samples))


def assert_simulates(program, x):
    done = execute(program, to_integers(program.source, x)[0])
    names = [node.name for node in program]
    got = simulate(program, x, record=names, states=True)
    for name in names:
        np.testing.assert_array_equal(got.values[name], done.values[name], err_msg=name)
    for name, state in done.states.items():
        np.testing.assert_array_equal(got.states[name], state, err_msg=name)
    assert {n.name: n.overflows for n in got.nodes if n.spec != "stream"} == done.overflows
    for edge in got.edges:
        if edge.source == edge.target:
            node, spikes = program[edge.source], done.values[edge.source]
            arrived = spikes[1:] if node.reverse else spikes[:-1]
            assert edge.events == np.count_nonzero(arrived)
            assert edge.dense == arrived.size * node.width
    return done


@pytest.mark.parametrize("row", SPIKING, ids=label)
def test_backwards_in_time_too(row):
    rng = np.random.default_rng(3)
    graph = rings(rng, [(row[0], {**row[1], "reverse": True})], width=6)
    x = inputs_for(rng, graph)
    program = compile_graph(graph, target("asic45"), calibration=x).program
    assert_simulates(program, x)


def test_the_reference_is_the_integer_recurrence_written_out():
    """A soft-reset LIF layer with exact numbers: an independent loop over Python integers."""
    _, x, program = ring("asic45")
    node = program["n"]
    feed, again = node.edges
    assert (again.source, again.delay, node.recurrent) == ("n", 1, again)
    whole = to_integers(program.source, x)[0].astype(int)
    done = execute(program, whole.astype(np.int32))
    k, bits = node.coefs, node.coef_frac
    for b in range(whole.shape[1]):
        v, s = [0] * node.width, [0] * node.width
        for t in range(len(whole)):
            heard = list(s)
            for n in range(node.width):
                current = sum(
                    int(w) * int(i) for w, i in zip(feed.weight[n], whole[t, b], strict=True)
                )
                current <<= feed.exponent
                own = sum(int(w) * i for w, i in zip(again.weight[n], heard, strict=True))
                current += own << again.exponent
                shift = int(node.shift[n])
                drive = current << shift if shift >= 0 else round_half_up(current, -shift)
                u = round_half_up(int(k["beta"][n]) * v[n], bits) + drive + int(node.bias[n])
                s[n] = int(u >= k["threshold"][n])
                v[n] = u - s[n] * int(k["reset"][n])
            assert s == done.values["n"][t, b].tolist()
    assert 0.1 < done.values["n"].mean() < 0.9
    assert sum(done.overflows.values()) == 0


def round_half_up(value, bits):
    return (value + ((1 << bits) >> 1)) >> bits


def ring(name, *, inputs=3, width=6, size=1.0, seed=4):
    rng = np.random.default_rng(seed)
    op = neurons(rng, "lif", width, recurrent=True, reset="soft")
    nodes = (
        Node("input", Input(inputs)),
        Node("w", linear(rng, width, inputs), ("input",)),
        Node("n", op, ("w",)),
    )
    graph = check(Graph(nodes, "n"))
    x = rng.normal(size=(40, 3, inputs)) * size
    return graph, x, compile_graph(graph, target(name), calibration=x).program


def test_both_kinds_of_weights_share_the_row_units():
    graph, _, program = ring("asic45")
    op, node = fold(graph)["n"].op, program["n"]
    feed, again = node.edges
    unit = node.unit * 2.0**node.shift / op.unit  # what one unit of current is worth
    for edge, exact in (
        (feed, fold(graph)["w"].op.weight * program.source.unit),
        (again, op.recurrent),
    ):
        error = edge.weight * 2.0**edge.exponent * unit[:, None] - exact
        assert np.all(np.abs(error) <= 0.51 * unit[:, None] * 2.0**edge.exponent)
    assert max(np.abs(feed.weight).max(), np.abs(again.weight).max()) == 127


def test_weights_of_pixels_keep_their_precision_beside_recurrent_ones():
    """Integer inputs are worth little each, so their weights are small: an exponent makes up."""
    graph, _, _ = ring("asic45", width=40)
    graph = graph.replace("input", Input(3))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 3)) / 255
    program = compile_graph(graph, target("asic45"), calibration=pixels).program
    layers = program.notes["layers"]
    assert program["n"].recurrent.exponent == 7
    assert layers["w"]["weight_error_rms"] < 0.02
    assert layers["n"]["recurrent_weight_error_rms"] < 0.02
    assert layers["n"]["recurrent_weights_clipped"] == 0


def test_neurons_on_a_stream_put_their_weights_into_its_unit():
    rng = np.random.default_rng(5)
    op = neurons(rng, "lif", 4, recurrent=True)
    nodes = (
        Node("input", Input(3)),
        Node("w", linear(rng, 4, 3), ("input",)),
        Node("a", op, ("w",)),
        Node("b", replace(op, gain=-op.gain, recurrent=op.recurrent * 3), ("w",)),
        Node("both", linear(rng, 2, 4), ("b",)),
        Node("c", neurons(rng, "lif", 2), ("both",)),
    )
    last = Node("cat", Concat(), ("a", "c")), Node("out", linear(rng, 2, 6), ("cat",))
    graph = Graph((*nodes, *last), "out")
    x = inputs_for(rng, graph)
    program = compile_graph(check(graph), target("asic45"), calibration=x).program
    assert_simulates(program, x)
    names = ["a", "b", "c"]
    _, values, _ = run(graph, x, names)
    got = simulate(program, x, record=names).values
    assert min(np.mean((values[n] != 0) == got[n]) for n in names) > 0.97
    assert program["b"].recurrent.exponent >= program["a"].recurrent.exponent
    huge = graph.replace("a", replace(op, recurrent=op.recurrent * 1e4))
    notes = compile_graph(huge, target("asic45"), calibration=x).program.notes["layers"]["a"]
    assert notes["recurrent_weights_clipped"] > 0


def test_integers_follow_the_float_model():
    rng = np.random.default_rng(6)
    graph = rings(rng, [("lif", {}), ("prf", {}), ("lif", {"reset": "hard"})], width=16)
    x = inputs_for(rng, graph, steps=60, samples=8)
    names = neuron_names(graph)
    _, values, _ = run(graph, x, names)

    def agreement(bits):
        program = compile_graph(graph, target("asic45"), calibration=x, bits=bits).program
        got = simulate(program, x, record=names).values
        return np.mean([np.mean((values[n] != 0) == got[n]) for n in names])

    assert agreement(8) > 0.97
    assert agreement(14) > agreement(8) > agreement(3) + 0.02


def test_results_do_not_depend_on_threads_or_chunks(monkeypatch):
    rng = np.random.default_rng(7)
    graph = rings(rng, [("lif", {}), ("prf", {})], width=12)
    x = inputs_for(rng, graph, samples=7)
    program = compile_graph(graph, target("asic45"), calibration=x).program
    whole, real = simulate(program, x), interpret(graph, x)
    monkeypatch.setattr("neurodeploy.backends.simulator.run._PIECE", 1)
    monkeypatch.setattr("neurodeploy.kernels.threads._SMALL", 1)
    monkeypatch.setenv("NEURODEPLOY_THREADS", "3")
    parts = simulate(program, x)
    np.testing.assert_array_equal(parts.integers, whole.integers)
    assert parts.edges == whole.edges
    np.testing.assert_array_equal(interpret(graph, x), real)


@pytest.mark.parametrize("with_data", [True, False])
def test_calibration_covers_what_is_reached(with_data):
    rng = np.random.default_rng(8)
    graph = fold(rings(rng, [("lif", {"reset": "none"}), ("prf", {})], readout="sum"))
    x = np.clip(inputs_for(rng, graph, samples=20), -1, 1)
    ranges = Calibrate(x if with_data else None)(graph).ranges
    _, _, membranes = run(graph, x, [node.name for node in graph])
    for name, membrane in membranes.items():
        assert np.all(np.abs(membrane).max(axis=(0, 1)) <= ranges[name].peak + 1e-9)


def test_recurrent_synapses_take_memory_and_count_in_the_bounds():
    _, _, program = ring("loihi2")
    node = program["n"]
    alone = replace(node, edges=node.edges[:1])
    quiet = replace(program, nodes=tuple(alone if n is node else n for n in program))
    more = footprint(program, "n", 0, 1), footprint(quiet, "n", 0, 1)
    assert more[0].synapses - more[1].synapses == node.width
    assert more[0].weight_bits - more[1].weight_bits == node.width * program.numbers.weight_bits
    low, high = current_bounds(program)["n"]
    weights = [e.weight.astype(np.int64) << e.exponent for e in (node.edges[0], node.recurrent)]
    top, weight = np.abs(weights[0]).sum(axis=1) * program.source.high, weights[1]
    np.testing.assert_array_equal(high, top + np.maximum(weight, 0).sum(axis=1))
    np.testing.assert_array_equal(low, -top + np.minimum(weight, 0).sum(axis=1))


@pytest.mark.parametrize(("name", "delays"), [("loihi2", [1, 1]), ("asic45", [0, 1])])
def test_a_recurrent_edge_takes_one_step_everywhere(name, delays):
    _, _, program = ring(name)
    assert [edge.delay for edge in program["n"].edges] == delays


def test_a_target_whose_synapses_are_slower_is_refused():
    _, _, program = ring("loihi2")
    slow = target("loihi2")
    slow = replace(slow, timing=replace(slow.timing, synapse_delay=2))
    with pytest.raises(FitError, match="takes one step; synapses here take 2"):
        AlignDelays(slow)(program)


def test_a_membrane_is_not_fed_back_in_integers():
    rng = np.random.default_rng(9)
    graph = chain(rng, [("li", {"recurrent": True})])
    x = inputs_for(rng, graph)
    with pytest.raises(InputError, match="li feeds its membrane back"):
        compile_graph(graph, target("asic45"), calibration=x)


def test_what_a_population_cannot_be():
    node = ring("asic45")[2]["n"]
    with pytest.raises(ValueError, match="other than one Dense"):
        replace(node, edges=(*node.edges, node.edges[1]))
    graded = {"spec": "li", "options": {"leak": True}, "coefs": {"beta": node.coefs["beta"]}}
    with pytest.raises(ValueError, match="feeds a membrane back"):
        replace(node, **graded)


@pytest.mark.parametrize(
    ("weight", "code", "says"),
    [
        (np.ones((5, 4)), "E107", "recurrent has shape (5, 4), not (5, 5)"),
        (np.ones(5), "E107", "recurrent has shape (5,), not (5, 5)"),
        (np.full((5, 5), np.nan), "E105", "recurrent has 25 NaN"),
    ],
)
def test_a_wrong_recurrent_weight_is_named(weight, code, says):
    graph, _ = layer(("lif", SPECS["lif"].options()))
    with pytest.raises(InputError) as caught:
        check(graph.replace("n", replace(graph["n"].op, recurrent=weight)))
    assert caught.value.code == code
    assert says in str(caught.value)


def test_silence_and_ties():
    """One neuron that excites itself: a spike exactly at the threshold keeps it going for ever."""
    op = neurons(np.random.default_rng(0), "lif", 1, recurrent=True)
    params = {k: np.full(1, v) for k, v in (("beta", 0.0), ("v_th", 0.5), ("gain", 1.0))}
    op = replace(op, params={**params, "v_reset": np.zeros(1)}, recurrent=np.array([[0.5]]))
    nodes = (
        Node("input", Input(1)),
        Node("w", Linear(np.full((1, 1), 0.5), np.zeros(1)), ("input",)),
        Node("n", op, ("w",)),
    )
    x = np.zeros((6, 2, 1))
    x[1, 1] = 1
    for name in ("asic45", "loihi2"):
        graph = check(Graph(nodes, "n"))
        program = compile_graph(graph, target(name), calibration=x).program
        for got in (interpret(graph, x), simulate(program, x).outputs):
            assert got[:, 0].sum() == 0
            assert got[:, 1, 0].tolist() == [0, 1, 1, 1, 1, 1]
    assert isinstance(program["n"].recurrent, Dense)


def test_texts_show_recurrent_weights_where_there_are_some():
    graph, _, program = ring("asic45")
    assert "recurrent = " in graph_text(graph)
    plain = graph.replace("n", replace(graph["n"].op, recurrent=None))
    assert "recurrent" not in graph_text(plain)
    assert re.search(r"<- n: dense of 8 bits << \d, delay 1", program_text(program))
