from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import chain, inputs_for, neuron_names, sdtcm

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.graph.interpret import run
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import fold
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.reports.records import comparison_record
from neurodeploy.reports.text import comparison_text


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(4)
    graph = sdtcm(rng, width=8)
    x = inputs_for(rng, graph, steps=50, samples=40)  # more than one chunk
    return graph, x, nd.compile(graph, nd.target("asic45"), calibration=x[:, :4], bits=4)


def test_the_first_divergence_is_the_first(network):
    """Found again by brute force: by sample, then step, then layer, then neuron."""
    graph, x, program = network
    names = neuron_names(graph)
    _, values, _ = run(graph, x, names)
    done = execute(program, to_integers(program.source, x)[0])
    want = None
    for sample in range(x.shape[1]):
        for step in range(len(x)):
            for layer in names:
                differ = (values[layer][step, sample] != 0) != (
                    done.values[layer][step, sample] != 0
                )
                if differ.any() and want is None:
                    want = (sample, step, layer, int(differ.argmax()))
    found = nd.compare(graph, program, x)
    first = found.first
    assert (first.sample, first.step, first.layer, first.neuron) == want
    assert first.spike_float != first.spike_integer
    below, above = sorted((first.membrane_float, first.membrane_integer))
    assert below < first.threshold <= above * (1 + 1e-9)
    assert first.membrane_float == pytest.approx(first.membrane_integer, rel=0.5)
    flips = {n: int(np.sum((values[n] != 0) != (done.values[n] != 0))) for n in names}
    assert {layer.name: layer.flips for layer in found.layers} == flips
    total = sum(values[n].size for n in names)
    assert found.agreement == pytest.approx(1 - sum(flips.values()) / total)


def test_labels_give_both_accuracies(network):
    graph, x, program = network
    labels = nd.interpret(graph, x).argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    found = nd.compare(graph, program, x, labels=labels)
    assert found.accuracy_float == pytest.approx(39 / 40)
    assert found.accuracy_integer == nd.simulate(program, x).accuracy(labels)
    for wrong in (labels[:1], labels + 1, -labels - 1):
        with pytest.raises(InputError, match="labels") as caught:
            nd.compare(graph, program, x, labels=wrong)
        assert (caught.value.code, bool(caught.value.fix)) == ("E106", True)
    assert found.label_changes >= abs(found.accuracy_float - found.accuracy_integer) * 40 - 1e-9


def test_the_text_names_the_divergence_and_the_record_is_complete(network):
    graph, x, program = network
    found = nd.compare(graph, program, x)
    text = comparison_text(found)
    assert (
        f"sample {found.first.sample}, step {found.first.step}, layer {found.first.layer}" in text
    )
    record = comparison_record(found)
    assert record["first"]["neuron"] == found.first.neuron
    assert record["layers"][0]["agreement"] <= 1


def test_a_changed_threshold_is_found_where_it_was_changed(network):
    """The comparison is with the model: a program whose constant differs diverges right there."""
    graph, x, _ = network
    exact = nd.compile(graph, nd.target("asic45"), calibration=x, bits=16)
    node = exact["blocks.1.tn"]
    worse = replace(node, coefs={**node.coefs, "threshold": node.coefs["threshold"] // 2})
    nodes = tuple(worse if n.name == node.name else n for n in exact.nodes)
    found = nd.compare(graph, replace(exact, nodes=nodes), x)
    before = nd.compare(graph, exact, x)
    flips = {layer.name: layer.flips for layer in found.layers}
    baseline = {layer.name: layer.flips for layer in before.layers}
    assert flips["blocks.0.tn"] == baseline["blocks.0.tn"]
    assert flips["blocks.1.tn"] > 5 * max(baseline["blocks.1.tn"], 1)


def test_an_unrelated_model_is_refused(network):
    _, x, program = network
    other = sdtcm(np.random.default_rng(5), width=8)
    with pytest.raises(InputError, match="not compiled from this model") as caught:
        nd.compare(other, program, x)
    assert caught.value.code == "E107"


def test_identical_runs_have_no_divergence(network):
    graph, x, program = network
    found = nd.compare(graph, program, np.zeros_like(x[:1, :1]))
    assert found.first is None
    assert "every spike of every layer agrees" in comparison_text(found)


@pytest.mark.parametrize("name", [spec.name for spec in SPECS.values() if spec.spiking])
def test_every_spiking_neuron_has_a_threshold_to_show(name):
    """Published or folded: a moving one is compared as its value at rest."""
    rng = np.random.default_rng(8)
    graph = chain(rng, [(name, {})], norm=True)
    x = inputs_for(rng, graph, steps=60, samples=20)
    for stage in (graph, fold(graph)):
        program = nd.compile(stage, nd.target("asic45"), calibration=x, bits=2)
        first = nd.compare(stage, program, x).first
        below, above = sorted((first.membrane_float, first.membrane_integer))
        assert below <= first.threshold * (1 + 1e-9)
        assert first.threshold <= above * (1 + 1e-9)
