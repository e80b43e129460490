"""Contextual embedding LIF: its variants, its shared table, the published networks, its limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.networks import TABLE_STEPS, chain, inputs_for, linear, neurons

import neurodeploy as nd
from neurodeploy import nn
from neurodeploy.errors import FitError, InputError
from neurodeploy.graph.interpret import interpret, run
from neurodeploy.graph.ir import Graph, Input, Node, Reduce
from neurodeploy.graph.rules import check
from neurodeploy.neurons.celif import CONTEXTS, TABLED
from neurodeploy.passes.pipeline import compile_graph, fold
from neurodeploy.program import io
from neurodeploy.program.memory import footprint
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.words import SHIFT_BITS
from neurodeploy.targets import target


def network(context="v_te", seed=0, **how):
    torch.manual_seed(seed)
    return nn.CELIFNet(2, [5, 7, 6], 3, 30, context=context, theta0=0.2, **how).eval()


def table(model, size=0.3):
    with torch.no_grad():
        model.neurons[0].encoding.weight.normal_(0.05, size)
    return model


def data(steps=30, samples=6, width=2, seed=1):
    return torch.randn(steps, samples, width, generator=torch.Generator().manual_seed(seed)) * 2


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("hidden", "recurrent", "parameters"),
    [
        ((64, 88, 88), False, 83_562),
        ((64, 152, 152), False, 153_962),
        ((64, 136, 136), True, 158_386),
        ((64, 152, 152), True, 181_378),
    ],
)
def test_the_published_networks_have_the_published_number_of_parameters(
    hidden, recurrent, parameters
):
    assert count(nn.CELIFNet(1, hidden, 10, 784, recurrent=recurrent)) == parameters


def test_the_defaults_are_the_published_ones():
    torch.manual_seed(0)
    model = nn.CELIFNet(1, [64, 88, 88], 10, 784)
    neuron, weight = model.neurons[1], model.neurons[0].encoding.weight
    values = neuron.params()
    assert [float(v) for v in values[:4]] == [0.5, 0.99, 0.3, 0.0]
    assert neuron.options == {"context": "v_te", "compare": ">"}
    assert (neuron.surrogate, 1 / neuron.steepness) == ("window", 0.2)
    assert weight.shape == (88, 784)
    assert abs(weight.mean().item() - 0.01) < 2e-4
    assert abs(weight.std().item() - 0.01) < 2e-4
    assert all(n.encoding.weight is weight for n in model.neurons)
    assert torch.equal(model.neurons[0].params().te, weight[:64].T.double())


def published(model, x):
    """The network in the paper's own words, in float64, with the threshold itself."""
    weight = model.neurons[0].encoding.weight.detach().double()
    for layer, cell in zip(model.linears, model.neurons, strict=True):
        drive = x @ layer.weight.detach().double().T + layer.bias.detach().double()
        n = drive.shape[-1]
        v = s = torch.zeros(x.shape[1], n, dtype=torch.float64)
        theta, rows = torch.full_like(v, cell.theta0), []
        for t, fed in enumerate(drive):
            current = fed
            if cell.recurrent is not None:
                loop = cell.recurrent
                current = fed + s @ loop.weight.detach().T + loop.bias.detach()
            theta = theta + weight[:n, t] * v - (1 - cell.beta) * (theta - cell.theta0)
            v = cell.alpha_v * v * (1 - s) + current
            s = (v > theta).double()
            rows.append(s)
        x = torch.stack(rows)
    return x


@pytest.mark.parametrize("recurrent", [False, True])
def test_spikes_are_those_of_the_published_loop(recurrent):
    model, x = table(network(recurrent=recurrent)).double(), data().double()
    with torch.no_grad():
        y = x
        for layer, cell in zip(model.linears, model.neurons, strict=True):
            y = cell(layer(y))
    want = published(model, x)
    assert 0.05 < want.mean() < 0.9
    assert torch.equal(y, want)


def test_every_context_computes_something_else():
    outputs = []
    for context in CONTEXTS:
        model = network(context)
        if context in TABLED:
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                model.neurons[0].encoding.weight.normal_(0.05, 0.3, generator=generator)
        outputs.append(model(data()).detach())
    for i, a in enumerate(outputs):
        assert all(not torch.equal(a, b) for b in outputs[:i])


@pytest.mark.parametrize("context", TABLED)
def test_a_single_entry_of_the_table_changes_the_output(context):
    model, x = table(network(context)), data(samples=60)
    entry = model.neurons[0].encoding.weight
    before, early = model(x).detach(), model(x[:17]).detach()
    with torch.no_grad():
        entry[3, 17] -= 2.0
    assert not torch.equal(model(x), before)
    assert torch.equal(model(x[:17]), early)  # a row is for its own step


@pytest.mark.parametrize("recurrent", [False, True])
def test_all_layers_train_the_shared_table(recurrent):
    model = table(network(recurrent=recurrent))
    model(data()).square().sum().backward()
    grad = model.neurons[0].encoding.weight.grad
    assert (grad.abs().sum(1) > 0).all()
    assert grad[:, 1:-1].abs().sum() > 0


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("context", ["v_te", "s"])
def test_a_checkpoint_keeps_the_table_once_and_shared(context, recurrent, tmp_path):
    model, x = network(context, recurrent=recurrent), data()
    nd.save(model, tmp_path / "m.pt", example=x)
    back = nn.load(tmp_path / "m.pt")
    assert torch.equal(back(x), model(x))
    assert count(back) == count(model)
    again = nd.interpret(nd.load(tmp_path / "m.pt"), x.numpy())
    np.testing.assert_allclose(again, model(x).detach().numpy(), atol=1e-5)


def test_a_table_shared_in_a_network_of_ones_own_is_saved_shared(tmp_path):
    encoding = nn.TemporalEncoding(6, 30)
    parts = (torch.nn.Linear(2, 6), nn.CELIF(6, encoding=encoding), torch.nn.Linear(6, 4))
    model = torch.nn.Sequential(*parts, nn.CELIF(4, encoding=encoding), nn.Readout("sum")).eval()
    nd.save(model, tmp_path / "m.pt")
    state = torch.load(tmp_path / "m.pt", weights_only=True)["state"]
    assert sum(v.numel() for v in state.values()) == count(model)
    back = nn.load(tmp_path / "m.pt")
    assert back[1].encoding is back[3].encoding
    assert torch.equal(back(data()), model(data()))


def single(rng, **options):
    """One layer and a readout of its sum, as a graph."""
    nodes = (
        Node("input", Input(3)),
        Node("linear", linear(rng, 4, 3), ("input",)),
        Node("cells", neurons(rng, "celif", 4, **options), ("linear",)),
        Node("out", linear(rng, 2, 4), ("cells",)),
        Node("sum", Reduce("sum", np.zeros(2)), ("out",)),
    )
    return check(Graph(nodes, "sum"))


def test_a_sequence_longer_than_the_table_is_refused_everywhere_with_both_lengths(tmp_path):
    graph = single(np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(TABLE_STEPS + 1, 2, 3))
    program = compile_graph(graph, target("loihi2"), calibration=x[1:]).program
    model = network()
    runs = (
        lambda: interpret(graph, x),
        lambda: interpret(fold(graph), x),
        lambda: compile_graph(graph, target("asic45"), calibration=x),
        lambda: nd.simulate(program, x),
        lambda: execute(program, to_integers(program.source, x)[0]),
    )
    for refused in runs:
        with pytest.raises(
            InputError, match=f"{TABLE_STEPS + 1} steps .* {TABLE_STEPS} steps"
        ) as e:
            refused()
        assert e.value.code == "E106"
    with pytest.raises(InputError, match="31 steps is longer than the table of 30"):
        model(data(steps=31))
    assert model(data(steps=1)).shape == (6, 3)


@pytest.mark.parametrize("what", ["graph", "program"])
def test_onnxruntime_refuses_a_longer_sequence_with_both_lengths(what, tmp_path):
    import onnxruntime

    graph = single(np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(TABLE_STEPS + 1, 2, 3))
    chip = target("asic45")
    made = compile_graph(graph, chip, calibration=x[1:]).program if what == "program" else graph
    nd.export(made, tmp_path / "g.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    kind = np.float64 if "double" in session.get_inputs()[0].type else np.float32
    assert session.run(None, {"input": x[1:].astype(kind)})
    with pytest.raises(Exception, match=f"(?s){TABLE_STEPS + 1}.*{TABLE_STEPS}"):
        session.run(None, {"input": x.astype(kind)})


def test_tuning_keeps_the_table_within_what_compiles():
    """A factor beyond 1 has no word: however large the step, it stays below."""
    rng = np.random.default_rng(0)
    graph, y = single(rng), np.arange(12) % 2
    x = np.random.default_rng(1).normal(size=(20, 12, 3))
    tuned = nd.tune(graph, target("asic45"), x, y, bits=4, epochs=3, rate=0.5, batch=4)
    name = next(node.name for node in tuned if getattr(node.op, "spec", "") == "celif")
    before, after = fold(graph)[name].op.coefs["factor"], tuned[name].op.coefs["factor"]
    assert 0.9 < np.abs(after).max() <= 1
    assert np.all((after != before).any(axis=1)[1 : len(x)])  # at first there is no membrane
    assert np.array_equal(after[len(x) :], before[len(x) :])  # rows that no step has read
    nd.compile(tuned, target("asic45"), calibration=x)


def test_nir_has_no_form_for_it_and_says_so(tmp_path):
    with pytest.raises(InputError, match="celif has no form in NIR") as error:
        nd.export(single(np.random.default_rng(0)), tmp_path / "g.nir")
    assert error.value.code == "E108"


@pytest.mark.parametrize("name", ["asic45", "loihi2"])
@pytest.mark.parametrize("context", CONTEXTS)
def test_integers_follow_the_floats(context, name, tmp_path):
    rng = np.random.default_rng(2)
    options = {"context": context}
    graph = chain(rng, [("celif", options), ("celif", options)], width=6, readout="sum")
    x = inputs_for(rng, graph, steps=60, samples=16)
    program = compile_graph(graph, target(name), calibration=x).program
    (tmp_path / "p").mkdir()
    io.write(program, tmp_path / "p")
    got = nd.simulate(io.read(tmp_path / "p"), x, record=("0.neurons", "1.neurons"))
    _, values, _ = run(graph, x, ("0.neurons", "1.neurons"))
    assert all(count.overflows == 0 for count in got.nodes)
    for layer, most in (("0.neurons", 0.03), ("1.neurons", 0.06)):
        assert 0.01 < values[layer].mean() < 0.95
        assert np.mean(values[layer] != got.values[layer]) < most


def test_the_memory_of_the_table_is_counted_and_limits_the_core():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20, 4, 3))
    chip = target("asic45")
    sizes = {
        context: footprint(
            compile_graph(single(rng, context=context), chip, calibration=x).program, "cells", 0, 1
        ).state_bits
        for context in ("v", "te", "v_te")
    }
    assert sizes["v_te"] - sizes["v"] == TABLE_STEPS * chip.numbers.coef_bits + SHIFT_BITS
    assert sizes["te"] - sizes["v"] == TABLE_STEPS * chip.numbers.state_bits
    graph = single(rng)
    cells = graph["cells"].op
    long = {**cells.params, "te": np.tile(cells.params["te"], (40_000, 1))}
    with pytest.raises(FitError, match="memory") as error:
        compile_graph(graph.replace("cells", replace(cells, params=long)), chip, calibration=x)
    assert error.value.code == "E301"


def test_a_table_beyond_its_format_is_refused_by_name():
    rng = np.random.default_rng(4)
    graph = single(rng)
    cells = graph["cells"].op
    wide = cells.params["te"].copy()
    wide[5, 2] = -1.5
    graph = graph.replace("cells", replace(cells, params={**cells.params, "te": wide}))
    x = rng.normal(size=(20, 4, 3))
    with pytest.raises(FitError, match="factor is beyond 1 in 1 of 4 channels"):
        compile_graph(graph, target("asic45"), calibration=x)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "context 'v_te' with encoding None"),
        ({"context": "v", "encoding": {"width": 4, "steps": 9}}, "context 'v' with encoding"),
        ({"encoding": {"width": 3, "steps": 9}}, "4 neurons, an encoding of 3"),
        ({"encoding": {"width": 4, "steps": 0}}, "steps is 0"),
        ({"encoding": {"width": 4, "steps": 9}, "gamma": 1.0}, "gamma has no meaning"),
        ({"encoding": {"width": 4, "steps": 9}, "theta0": 0.0}, "theta0 must be > 0"),
        ({"encoding": {"width": 4, "steps": 9}, "alpha": 1.5}, "alpha must be in"),
        ({"context": "x"}, "choose from"),
    ],
)
def test_what_the_model_does_not_have_is_refused(arguments, says):
    with pytest.raises(InputError, match=says) as error:
        nn.CELIF(4, **arguments)
    assert error.value.code == "E105"


def test_a_network_needs_hidden_layers():
    with pytest.raises(InputError, match=r"hidden is \[\]"):
        nn.CELIFNet(1, [], 10, 5)


def test_tables_of_a_wrong_shape_break_a_rule():
    graph = single(np.random.default_rng(0))
    cells = graph["cells"].op
    for te in (np.zeros(4), np.zeros((9, 3))):
        wrong = replace(cells, params={**cells.params, "te": te})
        with pytest.raises(InputError, match="te has shape"):
            check(graph.replace("cells", wrong))
    none = replace(cells, params={**cells.params, "te": np.zeros((0, 4))})
    with pytest.raises(InputError, match="te needs a row for each step"):
        check(graph.replace("cells", none))
