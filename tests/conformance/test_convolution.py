"""Convolutions from the trained network to integers: shared weights, exact sums, honest counts."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod

import numpy as np
import onnxruntime
import pytest
import torch
from support.maps import conv, network, unrolled
from support.networks import inputs_for, neuron_names, neurons
from torch.nn import functional

import neurodeploy as nd
from neurodeploy.backends.simulator import simulate
from neurodeploy.errors import FitError, InputError
from neurodeploy.graph.interpret import interpret, run
from neurodeploy.graph.ir import Graph, Input, Linear, Node, Reduce
from neurodeploy.graph.maps import POOLINGS, Conv, Pool
from neurodeploy.graph.rules import check
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.convolutions import convolutions as convolutions_of
from neurodeploy.passes.pipeline import compile_graph, fold
from neurodeploy.program import ir, synapses
from neurodeploy.program.io import read as read_program
from neurodeploy.program.io import write as write_program
from neurodeploy.program.limits import core_loads, current_bounds
from neurodeploy.program.memory import footprint
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.text import program_text
from neurodeploy.reports.html import html as report_html
from neurodeploy.reports.records import program_record
from neurodeploy.reports.text import program_text as summary
from neurodeploy.targets import target
from neurodeploy.tuning.convolution import convolved, rounded
from neurodeploy.tuning.network import Tuned

CASES = [(seed, 1 + seed % 2, seed % 3 == 0) for seed in range(10)]
every_case = pytest.mark.parametrize(("seed", "axes", "spiking"), CASES)


def made(seed, axes, spiking, *, chip="asic45", **how):
    """A random network, its program, and inputs."""
    rng = np.random.default_rng(seed)
    graph = network(rng, axes=axes, spiking=spiking, **how)
    x = inputs_for(rng, graph, steps=12, samples=3)
    return graph, nd.compile(graph, nd.target(chip), calibration=x), x


def convolutions(program):
    return [(n, e) for n in program for e in ir.edges(n) if isinstance(e, synapses.Conv)]


@every_case
def test_folding_keeps_every_spike(seed, axes, spiking):
    rng = np.random.default_rng(seed)
    graph = network(rng, axes=axes, spiking=spiking)
    x = inputs_for(rng, graph, steps=12, samples=3)
    folded = fold(graph)
    assert not [node.name for node in folded if isinstance(node.op, Pool)]
    shared = [n for n in ("conv2", "left", "right", "conv3") if isinstance(folded[n].op, Conv)]
    assert len(shared) == 4
    names = neuron_names(graph)
    want, spikes, _ = run(graph, x, names)
    found, kept, _ = run(folded, x, names)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-9 * max(1, np.abs(want).max()))
    for name in names:
        np.testing.assert_array_equal(kept[name] != 0, spikes[name] != 0)
    assert sum(0.02 < np.mean(value != 0) < 0.98 for value in spikes.values()) >= 3


@every_case
def test_the_simulator_is_the_reference_and_the_equal_matrices(seed, axes, spiking):
    _, program, x = made(seed, axes, spiking)
    done = execute(program, to_integers(program.source, x)[0])
    dense = execute(unrolled(program), to_integers(program.source, x)[0])
    found = simulate(program, x, record=[node.name for node in program], states=True)
    for name, value in done.values.items():
        np.testing.assert_array_equal(found.values[name], value)
        np.testing.assert_array_equal(dense.values[name], value)
    for name, state in done.states.items():
        np.testing.assert_array_equal(found.states[name], state)
    for ends in zip(
        *(current_bounds(p).values() for p in (program, unrolled(program))), strict=True
    ):
        np.testing.assert_array_equal(*ends)
    assert len(convolutions(program)) >= 6


def in_onnxruntime(program, x, path):
    """What every node sends, and the result in integers, in stock onnxruntime."""
    nd.export(program, path)
    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_outputs()]
    sent = [name for name in names if name.endswith(("/spikes", "/membrane"))]
    assert len(sent) == len(program.populations)
    whole, *values = session.run(["output_integers", *sent], {"input": x})
    return whole, {name.rsplit("/", 1)[0]: v for name, v in zip(sent, values, strict=True)}


@pytest.mark.parametrize(("seed", "axes", "spiking"), CASES[::3])
def test_stock_onnxruntime_computes_the_very_integers(seed, axes, spiking, tmp_path):
    _, program, x = made(seed, axes, spiking)
    found = simulate(program, x, record=[node.name for node in program])
    whole, values = in_onnxruntime(program, x, tmp_path / "p.onnx")
    np.testing.assert_array_equal(whole, found.integers)
    for name, value in values.items():
        np.testing.assert_array_equal(value, found.values[name])


@pytest.mark.parametrize("spiking", [True, False])
def test_stock_onnxruntime_takes_any_number_of_steps_and_samples(spiking, tmp_path):
    """Of convolutions and pooling too, as a float network and as integers."""
    graph, program, x = made(0, 2, spiking)
    nd.export(graph, tmp_path / "g.onnx")
    nd.export(program, tmp_path / "p.onnx")
    floats, whole = (onnxruntime.InferenceSession(tmp_path / f"{n}.onnx") for n in "gp")
    for part in (x, x[:1], x[:3, :1]):
        (y,) = floats.run(["output"], {"input": part})
        np.testing.assert_allclose(y, interpret(graph, part), rtol=0, atol=1e-9)
        (integers,) = whole.run(["output_integers"], {"input": part})
        np.testing.assert_array_equal(integers, simulate(program, part).integers)


@pytest.mark.parametrize("seed", range(16))
def test_every_setting_of_one_convolution(seed, tmp_path):
    """Any stride, padding, dilation and groups; windows outside, one step, silence, saturation."""
    rng = np.random.default_rng(seed)
    op, spiking = conv(rng, axes=1 + seed % 2), seed % 3 == 0
    cells = neurons(rng, "lif", prod(op.out_shape), reset="none")
    graph = chain_of(op, cells, width=prod(op.shape), spiking=spiking)
    x = inputs_for(rng, graph, steps=1 if seed % 4 == 1 else 7, samples=4)
    program = compile_graph(graph, target("loihi2"), calibration=x).program
    x[:, 0] = 0
    x[:, 1] = x[:, 1] if spiking else 1000 * np.sign(x[:, 1])
    (edge,) = program["n1"].edges
    assert (type(edge), edge.weight.shape) == (synapses.Conv, op.weight.shape)
    want = execute(unrolled(program), to_integers(program.source, x)[0]).values["n1"]
    done = execute(program, to_integers(program.source, x)[0]).values["n1"]
    found = simulate(program, x, record=["n1"])
    _, values = in_onnxruntime(program, x, tmp_path / "p.onnx")
    for value in (done, found.values["n1"], values["n1"]):
        np.testing.assert_array_equal(value, want)
    assert bool(found.clipped_inputs) != spiking or not x[:, 1].any()
    ones = edge.windows.matrix(np.ones_like(edge.weight), edge.groups)
    arrived = to_integers(program.source, x)[0] != 0
    assert found.edges[0].operations == (arrived @ ones.T.astype(np.int64)).sum()


@pytest.mark.parametrize(("seed", "axes", "spiking"), CASES[::4])
def test_the_float_network_goes_to_onnx_and_back(seed, axes, spiking, tmp_path):
    rng = np.random.default_rng(seed)
    graph = network(rng, axes=axes, spiking=spiking)
    x = inputs_for(rng, graph, steps=6, samples=2)
    path = tmp_path / "g.onnx"
    nd.export(graph, path)
    back = nd.load(path)
    assert [type(node.op) for node in back] == [type(node.op) for node in graph]
    np.testing.assert_array_equal(interpret(back, x), interpret(graph, x))
    (y,) = onnxruntime.InferenceSession(path).run(["output"], {"input": x})
    np.testing.assert_allclose(y, interpret(graph, x), rtol=0, atol=1e-9)


@every_case
def test_operations_are_those_that_were_done(seed, axes, spiking):
    """Each value that is not zero costs one operation per window that sees it, and map."""
    _, program, x = made(seed, axes, spiking)
    found = simulate(program, x, record=[node.name for node in program])
    counts = {(c.target, c.source, c.operations): c for c in found.edges}
    for node, edge in convolutions(program):
        ones = edge.windows.matrix(np.ones_like(edge.weight), edge.groups)
        arrived = found.values[edge.source] != 0
        operations = int((arrived @ ones.T.astype(np.int64)).sum())
        count = counts[node.name, edge.source, operations]
        assert count.events == arrived.sum()
        assert count.dense == arrived.shape[0] * arrived.shape[1] * ones.sum()
        assert edge.synapses(0, node.width) == ones.sum()
        graded = program.graded(edge.source) and np.abs(edge.weight).max() > 1
        assert count.kind == ("mac" if graded else "add")
        for first, last in ((0, node.width), (1, node.width), (node.width // 2, node.width)):
            np.testing.assert_array_equal(edge.reached(first, last), ones[first:last].sum(axis=0))
            assert edge.synapses(first, last) == ones[first:last].sum()


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_rows_of_weights_are_those_that_each_core_reads(seed):
    rng = np.random.default_rng(seed)
    graph = network(rng, axes=1 + seed % 2)
    x = inputs_for(rng, graph, steps=6, samples=2)
    chip = target("asic45")
    core, many = replace(chip.core, neurons=9), replace(chip.chip, cores=200)
    chip = replace(chip, core=core, chip=many, cycles=None)
    program = compile_graph(graph, chip, calibration=x).program
    found = simulate(program, x, record=[node.name for node in program])
    pairs = [(node, edge) for node in program for edge in ir.edges(node)]
    for (node, edge), count in zip(pairs, found.edges, strict=True):
        if not isinstance(edge, synapses.Conv):
            continue
        ones = edge.windows.matrix(np.ones_like(edge.weight), edge.groups)
        sent = (found.values[edge.source] != 0).sum(axis=(0, 1))
        words = 0
        cores = {part.core for part in program.placement if part.node == node.name}
        for core in cores:
            own = [p for p in program.placement if (p.node, p.core) == (node.name, core)]
            reached = sum(ones[p.first : p.last].sum(axis=0) for p in own)
            words += int((sent * -(-reached // 3)).sum())
        assert sum(rows * -(-size // 3) for size, rows in count.rows) == words
        assert sum(rows * size for size, rows in count.rows) == count.operations


@every_case
def test_integers_do_what_the_floats_do(seed, axes, spiking):
    graph, program, x = made(seed, axes, spiking)
    folded = fold(graph)
    names = [n.name for n in program.populations if n.name in folded and n.model.spiking]
    _, want = interpret(folded, x, names)
    found = simulate(program, x, record=names).values
    agree = [np.mean((want[name] != 0) == (found[name] != 0)) for name in names]
    assert np.mean(agree) > 0.97


def test_a_program_of_convolutions_is_stored_whole(tmp_path):
    _, program, x = made(4, 2, False)
    write_program(program, tmp_path)
    back = read_program(tmp_path)
    for (_, one), (_, other) in zip(convolutions(back), convolutions(program), strict=True):
        assert (one.shape, one.padding, one.groups) == (other.shape, other.padding, other.groups)
        np.testing.assert_array_equal(one.weight, other.weight)
    assert "conv of 8 bits, shape (" in program_text(back)
    np.testing.assert_array_equal(simulate(back, x).integers, simulate(program, x).integers)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    kinds = [edge["type"] for node in manifest["nodes"] for edge in node.get("edges", ())]
    assert kinds.count("Conv") == len(convolutions(program))


def image(rng, size=8, maps=6, kernel=3, **settings):
    """An image, one convolution, neurons, and the sum of their spikes."""
    shape = (2, size, size)
    how = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1, **settings}
    weight = rng.normal(size=(maps, 2 // how["groups"], kernel, kernel))
    op = Conv(weight, rng.normal(size=maps) * 0.1, shape, **how)
    width = prod(op.out_shape)
    nodes = (
        Node("x", Input(prod(shape))),
        Node("conv", op, ("x",)),
        Node("cells", neurons(rng, "lif", width, reset="hard"), ("conv",)),
        Node("out", Linear(rng.normal(size=(2, width)), np.zeros(2)), ("cells",)),
        Node("readout", Reduce("sum", np.zeros(2)), ("out",)),
    )
    return check(Graph(nodes, "readout"))


def compiled(graph, rng, chip="asic45", **core):
    """The program of a graph on a chip whose cores are as said, and inputs."""
    made_for = target(chip)
    x = inputs_for(rng, graph, steps=10, samples=3)
    made_for = replace(made_for, core=replace(made_for.core, **core))
    return compile_graph(graph, made_for, calibration=x).program, x


def test_a_core_keeps_a_kernel_once_or_each_synapse():
    rng = np.random.default_rng(0)
    graph = image(rng)
    shared, _ = compiled(graph, rng, memory_kib=None, weight_kib=1024, state_kib=1024)
    (_, edge), weights = convolutions(shared)[0], 6 * 2 * 9
    inner, border, corner = 36 * 9, 4 * 6 * 6, 4 * 4
    synapses = 2 * 6 * (inner + border + corner)
    whole = footprint(shared, "cells")
    assert (whole.weights, whole.synapses) == (weights, synapses)
    assert whole.weight_bits == weights * edge.weight_bits
    alone = replace(shared.target, core=replace(shared.target.core, shared_weights=False))
    whole = footprint(replace(shared, target=alone), "cells")
    assert (whole.weights, whole.weight_bits) == (synapses, synapses * edge.weight_bits)
    part = footprint(shared, "cells", 60, 70)  # four of one map, six of the next
    assert (part.neurons, part.weights) == (10, 2 * 2 * 9)
    record = program_record(shared)
    assert record["synapses"] == synapses + 2 * 384  # the classifier's
    assert record["weight_kib"] == (weights + 2 * 384) * 8 / 8192
    (layer,) = [layer for layer in record["layers"] if layer["name"] == "cells"]
    assert (layer["maps"], layer["synapses"], layer["weights"]) == ([6, 8, 8], synapses, weights)
    for shown in (summary(shared), report_html(shared, [])):
        assert "384 = 6 x 8 x 8" in shown
        assert f"{synapses + 768:,} synapses in {weights + 768} weights" in shown


def test_cores_are_filled_by_what_they_hold():
    """Half of the maps on each of two cores take half of the kernel each, a border map twice."""
    rng = np.random.default_rng(1)
    graph = image(rng)
    program, _ = compiled(graph, rng, chip="loihi2", neurons=160)
    cells = [part for part in program.placement if part.node == "cells"]
    assert [(part.first, part.last) for part in cells] == [(0, 160), (160, 320), (320, 384)]
    loads = core_loads(program)
    each = [footprint(program, "cells", part.first, part.last) for part in cells]
    assert [load.weights for load in each] == [3 * 18, 3 * 18, 18]
    assert loads[0] == each[0]
    total = sum(load.weights for load in loads.values())
    few = replace(program.target, chip=replace(program.target.chip, synapses=total - 1))
    with pytest.raises(FitError, match="those of a convolution that share a weight are one"):
        compile_graph(graph, few)


@pytest.mark.parametrize("place", ["balanced", "traffic", "cycles"])
def test_every_placement_computes_and_counts_the_same(place):
    rng = np.random.default_rng(2)
    graph = network(rng, axes=2)
    x = inputs_for(rng, graph, steps=8, samples=2)
    chip = replace(target("asic45"), core=replace(target("asic45").core, neurons=40))
    naive = compile_graph(graph, chip, calibration=x).program
    other = compile_graph(graph, chip, calibration=x, place=place).program
    assert other.placement != naive.placement
    runs = [simulate(program, x, timing=True) for program in (naive, other)]
    np.testing.assert_array_equal(runs[0].integers, runs[1].integers)
    ops = [[(c.events, c.operations, c.dense) for c in each.edges] for each in runs]
    assert ops[0] == ops[1]


def test_weights_that_cores_cannot_share_may_not_fit():
    rng = np.random.default_rng(3)
    graph = image(rng)
    program, _ = compiled(graph, rng, weight_kib=2, state_kib=1024)
    assert len(core_loads(program)) == 1
    with pytest.raises(FitError, match="A core's memory holds so many KiB"):
        compiled(graph, rng, weight_kib=0, state_kib=1024)
    more, _ = compiled(graph, rng, weight_kib=2, state_kib=1024, shared_weights=False)
    assert len(core_loads(more)) > 2


@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_spikes_adds_ones(kind):
    """A pooling's weights are all 1 and cost no multiply; what it sends is exact."""
    rng = np.random.default_rng(4)
    op = Pool(kind, (3, 4, 4), (2, 2), (2, 2), (0, 0, 0, 0), True)
    nodes = (
        Node("x", Input(48, spiking=True)),
        Node("pool", op, ("x",)),
        Node("conv", conv_for(rng, (3, 2, 2)), ("pool",)),
        Node("cells", neurons(rng, "lif", 16), ("conv",)),
    )
    graph = check(Graph(nodes, "cells"))
    x = inputs_for(rng, graph, steps=10, samples=3)
    program = compile_graph(graph, target("loihi2"), calibration=x).program
    edge = program["pool"].edges[0]
    assert (edge.weight_bits, np.unique(edge.weight).tolist(), edge.groups) == (2, [1], 3)
    found = simulate(program, x, record=["pool"])
    unit = getattr(program["pool"], "unit", 1.0) if kind != "max" else 1.0
    np.testing.assert_array_equal(found.values["pool"] * unit, op.apply(x))
    count = next(c for c in found.edges if c.target == "pool")
    assert (count.kind, count.operations) == ("add", int(x.sum()))


def conv_for(rng, shape, maps=4):
    ones, zeros = (1,) * (len(shape) - 1), (0,) * 2 * (len(shape) - 1)
    weight = rng.normal(size=(maps, shape[0], *ones))
    return Conv(weight, rng.normal(size=maps), shape, ones, zeros, ones, 1)


def chain_of(*ops, width, spiking=False):
    nodes = [Node("x", Input(width, spiking=spiking))]
    for i, op in enumerate(ops):
        nodes.append(Node(f"n{i}", op, (nodes[-1].name,)))
    return check(Graph(tuple(nodes), nodes[-1].name))


def test_a_maximum_of_what_is_not_spikes_is_refused_by_name():
    rng = np.random.default_rng(5)
    pool = Pool("max", (3, 4), (2,), (2,), (0, 0), True)
    negative, many = neurons(rng, "lif", 12, amplitude=-1.0), neurons(rng, "multispike", 12)
    for first in (conv_for(rng, (3, 4), 3), negative, many):
        graph = chain_of(first, pool, neurons(rng, "lif", 6), width=12)
        with pytest.raises(InputError, match="a maximum of what is not spikes") as caught:
            compile_graph(graph, target("loihi2"))
        assert (caught.value.code, caught.value.where) == ("E107", 'node "n1"')
    twice = chain_of(pool, Pool("max", (3, 2), (2,), (2,), (0, 0), True), width=12, spiking=True)
    x = inputs_for(rng, twice, steps=6)
    program = compile_graph(twice, target("loihi2"), calibration=x).program
    np.testing.assert_array_equal(simulate(program, x).outputs, interpret(twice, x))


def test_an_average_that_divides_by_less_at_the_border():
    rng = np.random.default_rng(6)
    pool = Pool("avg", (2, 4), (3,), (1,), (1, 1), False)
    graph = chain_of(pool, conv_for(rng, (2, 4), 3), neurons(rng, "lif", 12), width=8, spiking=True)
    x = inputs_for(rng, graph, steps=30)
    program = compile_graph(graph, target("asic45"), calibration=x, verify=True).program
    agree = np.mean((interpret(graph, x) != 0) == (simulate(program, x).outputs != 0))
    assert agree > 0.99


def test_a_convolution_of_membranes_has_weights_of_its_own_at_every_position():
    rng = np.random.default_rng(7)
    op = conv_for(rng, (2, 4), 3)
    graph = chain_of(neurons(rng, "li", 8), op, neurons(rng, "lif", 12), width=8)
    x = inputs_for(rng, graph, steps=20)
    program = compile_graph(graph, target("asic45"), calibration=x, verify=True).program
    assert isinstance(program["n2"].edges[0], synapses.Dense)
    agree = np.mean((interpret(graph, x) != 0) == (simulate(program, x).outputs != 0))
    assert agree > 0.98


@pytest.mark.parametrize("kind", ["mean", "sum", "last"])
def test_pooling_and_convolutions_behind_the_readout_run_on_the_host(kind):
    rng = np.random.default_rng(8)
    pool = Pool("avg", (3, 4), (4,), (4,), (0, 0), True)
    first = neurons(rng, "spatial", 12), Reduce(kind, np.zeros(12))
    graph = chain_of(*first, conv_for(rng, (3, 4), 3), pool, width=12, spiking=True)
    x = inputs_for(rng, graph, steps=20)
    program = compile_graph(graph, target("asic45"), calibration=x, verify=True).program
    assert program.readout.weight.shape == (3, 12)
    np.testing.assert_allclose(simulate(program, x).outputs, interpret(graph, x), atol=2e-3)


def test_a_convolution_may_be_the_output_of_every_step():
    rng = np.random.default_rng(9)
    first = neurons(rng, "spatial", 12)
    graph = chain_of(first, conv_for(rng, (3, 4), 2), width=12, spiking=True)
    x = inputs_for(rng, graph, steps=20)
    program = compile_graph(graph, target("asic45"), calibration=x, bits=16).program
    np.testing.assert_allclose(simulate(program, x).outputs, interpret(graph, x), atol=1e-3)
    assert [type(edge) for edge in program["n1"].edges] == [synapses.Conv]


def test_one_unit_per_map_also_where_neurons_hear_themselves():
    rng = np.random.default_rng(10)
    op = conv_for(rng, (2, 3), 4)
    graph = chain_of(op, neurons(rng, "lif", 12, recurrent=True), width=6)
    x = inputs_for(rng, graph, steps=20)
    program = compile_graph(graph, target("loihi2"), calibration=x, verify=True).program
    assert [type(edge) for edge in program["n1"].edges] == [synapses.Conv, synapses.Dense]
    done = execute(program, to_integers(program.source, x)[0])
    found = simulate(program, x, record=["n1"])
    np.testing.assert_array_equal(found.values["n1"], done.values["n1"])
    assert np.mean((interpret(graph, x) != 0) == (found.outputs != 0)) > 0.95


@pytest.mark.parametrize(("seed", "axes", "spiking"), CASES[:6])
def test_tuning_trains_the_very_integers(seed, axes, spiking):
    rng = np.random.default_rng(seed)
    graph = network(rng, axes=axes, spiking=spiking)
    x = inputs_for(rng, graph, steps=8, samples=3)
    folded = Calibrate(x, "data")(fold(graph))
    model = Tuned(folded, target("asic45"), bits=4)
    program = model.program()
    y, values = model.run(x, [node.name for node in program])
    found = simulate(program, x, record=list(values))
    for name, value in values.items():
        np.testing.assert_array_equal(value, found.values[name])
    np.testing.assert_allclose(y.detach(), found.outputs, rtol=0, atol=1e-12)
    y.square().sum().backward()
    moved = {
        c.key: p.grad for c, p in zip(model.constants.all, model.constants.changes, strict=True)
    }
    assert ("pool", "weight") not in moved
    assert ("pool.sum", "weight") not in moved
    names = [
        name for name in ("conv1", "conv2", "left", "right", "conv3") if (name, "weight") in moved
    ]
    assert sum(bool(torch.any(moved[name, "weight"] != 0)) for name in names) >= 3


def test_the_gradient_of_shared_weights_is_that_of_the_real_convolution():
    """Also where an edge brings a part of the input maps of a grouped convolution."""
    rng = np.random.default_rng(12)
    op = Conv(rng.normal(size=(4, 2, 3)), np.zeros(4), (4, 6), (2,), (1, 2), (1,), 2)
    x, g = rng.normal(size=(3, 2, 24)), torch.tensor(rng.normal(size=(3, 2, 16)))
    into, out = np.repeat([0.5, 2.0, 1.0, 0.25], 6), np.repeat([0.1, 0.3, 0.2, 0.7], 4)
    whole = np.zeros((4, 2, 3), int)
    for parts in ([("x", 24)], [("x", 12), ("y", 12)]):
        weight = torch.tensor(op.weight, requires_grad=True)
        total, first = 0, 0
        for edge in convolutions_of(op, whole, parts, {"weight_bits": 8}):
            last = first + edge.shape[0]
            cut = slice(first * 6, last * 6)
            kernel = rounded(edge, weight, op.groups, first, (out, into[cut]))
            total = total + convolved(torch.tensor(x / into)[..., cut], kernel, edge)
            first = last
        (total * torch.tensor(out) * g).sum().backward()
        real = torch.tensor(op.weight, requires_grad=True)
        maps = functional.pad(torch.tensor(x).reshape(6, 4, 6), (1, 2))
        y = functional.conv1d(maps, real, None, 2, 0, 1, 2).reshape(3, 2, 16)
        (y * g).sum().backward()
        torch.testing.assert_close(weight.grad, real.grad, rtol=0, atol=1e-12)
