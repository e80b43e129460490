"""The laws of training neurons that hear themselves: exact backpropagation, by compiled kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conformance.test_training import (
    GAIN,
    WIDTH,
    assert_compiled_is_sequential,
    assert_same,
    draw,
    heaviside,
    label,
    make,
    run,
)

from neurodeploy import nn
from neurodeploy.frontends.torch import trace
from neurodeploy.graph.interpret import interpret
from neurodeploy.neurons import SPECS

DEFAULTS = [(name, spec.options()) for name, spec in SPECS.items() if not spec.modal]
RESETS = [("lif", options) for options in SPECS["lif"].variants() if options["compare"] == ">"]


def looped(name, options=None, width=WIDTH, **how):
    options = SPECS[name].options() if options is None else options
    neuron = make(name, options, width, recurrent=True, **how)
    with torch.no_grad():  # strong enough to matter, weak enough not to run away
        neuron.recurrent.weight.mul_(GAIN[name] * (0.5 if not SPECS[name].spiking else 1.5))
    return neuron


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("row", [*DEFAULTS, *RESETS], ids=label)
def test_the_compiled_loop_is_the_sequential_form_with_all_its_gradients(row, reverse):
    name, options = row
    neuron = looped(name, options, reverse=reverse)
    got = assert_compiled_is_sequential(neuron, draw(name, 37, 3, WIDTH), 1e-9)
    assert {"recurrent.weight", "recurrent.bias"} <= set(got)
    if SPECS[name].spiking:
        assert 0.02 < got["y"].count_nonzero() / got["y"].numel() < 0.98
    for parameter, grad in got.items():
        assert grad.abs().max() > 0, f"{parameter} is not exercised"
    with torch.no_grad():
        neuron.recurrent.weight.zero_()
    assert (neuron(draw(name, 37, 3, WIDTH)) != got["y"]).any()


SHAPES = [(1, 3, 4), (2, 1, 1), (33, 1, 1), (16, 2, 3), (17, 5, 6), (18, 8, 300), (2, 2, 2100)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(shape):
    """One step, one sample, one channel, around the stride of kept states, over a block's edge."""
    for reverse in (False, True):
        neuron = looped("lif", width=shape[-1], reverse=reverse)
        assert_compiled_is_sequential(neuron, draw("lif", *shape), 1e-9)


def published(neuron, x):
    """Soft-reset LIF that adds W y[t-1] + b to its input, by autograd through a plain loop."""
    beta, alpha = neuron.beta_logit.sigmoid(), neuron.log_amplitude.exp()
    v_th = neuron.log_v_th.exp()
    u = s = torch.zeros(x.shape[1:], dtype=x.dtype)
    out = []
    for row in x:
        current = row + alpha * s @ neuron.recurrent.weight.T + neuron.recurrent.bias
        u = beta * (u - v_th * s) + neuron.gain * current
        s = heaviside(u - v_th)
        out.append(alpha * s)
    return torch.stack(out)


def test_it_is_backpropagation_through_time_of_the_published_model():
    neuron, x = looped("lif"), draw("lif", 60, 4, WIDTH)
    got = run(neuron, neuron, x)
    assert_same(got, run(lambda v: published(neuron, v), neuron, x), 1e-9)


def test_a_membrane_has_the_gradient_of_finite_differences():
    neuron = looped("li", width=3)
    names = [name for name, _ in neuron.named_parameters()]

    def membrane(x, *values):
        return torch.func.functional_call(neuron, dict(zip(names, values, strict=True)), (x,))

    values = [parameter.detach().requires_grad_() for parameter in neuron.parameters()]
    assert torch.autograd.gradcheck(membrane, (draw("li", 12, 2, 3).requires_grad_(), *values))


def test_silence():
    neuron = looped("lif")
    with torch.no_grad():
        neuron.recurrent.bias.zero_()
    got = assert_compiled_is_sequential(neuron, torch.zeros(20, 2, WIDTH, dtype=torch.float64))
    assert not got["y"].any()
    assert got["x"].abs().max() > 0


def test_in_float32_it_is_the_same_function():
    neuron = looped("lif").float()
    got = assert_compiled_is_sequential(neuron, draw("lif", 30, 3, WIDTH, torch.float32), 1e-4)
    assert got["y"].dtype == torch.float32


def test_other_float_types_take_the_sequential_form():
    neuron, x = looped("lif"), draw("lif", 9, 2, WIDTH, torch.bfloat16)
    assert_same(run(neuron, neuron, x), run(neuron.sequential_forward, neuron, x), 0.03)


def test_input_and_gradient_need_not_be_contiguous():
    neuron, x = looped("lif"), draw("lif", 21, 4, WIDTH)
    want = run(neuron, neuron, x)
    spread = torch.stack((x, x + 1), -1)[..., 0].permute(1, 0, 2).contiguous().permute(1, 0, 2)
    assert_same(run(neuron, neuron, spread), want, 0)
    transposed = run(lambda v: neuron(v).permute(2, 1, 0).contiguous().permute(2, 1, 0), neuron, x)
    assert_same(transposed, want, 1e-15)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    neuron, x = looped("lif", width=40), draw("lif", 100, 8, 40)
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("NEURODEPLOY_THREADS", threads)
        results.append(run(neuron, neuron, x))
    assert_same(results[1], results[0], 0)
    assert_same(results[2], results[0], 0)


def test_a_layer_without_bias_hears_weights_only():
    neuron, x = looped("lif"), draw("lif", 21, 4, WIDTH)
    with torch.no_grad():
        neuron.recurrent.bias.zero_()
    want = neuron(x)
    neuron.recurrent.bias = None
    assert torch.equal(neuron(x), want)
    assert_compiled_is_sequential(neuron, x, 1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("row", DEFAULTS, ids=label)
def test_what_is_trained_is_what_the_graph_means(row, reverse, tmp_path):
    name, options = row
    neuron, x = looped(name, options, reverse=reverse), draw(name, 40, 3, WIDTH)
    graph = trace(neuron)
    want = neuron(x).detach().numpy()
    np.testing.assert_allclose(interpret(graph, x.numpy()), want, rtol=1e-9, atol=1e-12)
    nn.save(neuron, tmp_path / "m.pt")
    again = nn.load(tmp_path / "m.pt")
    assert again.config() == neuron.config()
    assert torch.equal(again(x), neuron(x))


@pytest.mark.parametrize("name", [name for name, _ in DEFAULTS])
def test_recurrence_is_off_unless_asked_for(name):
    plain = make(name, SPECS[name].options())
    assert plain.recurrent is None
    assert plain.config()["recurrent"] is False
    assert sum(p.numel() for p in looped(name).parameters()) == (
        sum(p.numel() for p in plain.parameters()) + WIDTH * WIDTH + WIDTH
    )
