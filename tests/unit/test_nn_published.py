"""The networks of the papers: sizes as printed, and every option does something."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import NeurodeployError
from neurodeploy.graph.interpret import interpret


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_the_smnist_network_of_sdtcm_has_the_printed_size():
    """68.9k (arXiv 2410.03530, Table 2): two blocks of 128, with their norms and the last one."""
    assert parameters(nd.nn.SDTCM(1, 128, 2, 10)) == 68_876
    without = parameters(nd.nn.SDTCM(1, 128, 2, 10, norm=None, amplitude="none"))
    neurons = 2 * 2 * 128
    assert without - neurons == 67_594 == 256 + 4 * (128 * 128 + 128) + 1290


def test_tclif_trains_two_scalars_per_layer():
    names = {name: p.numel() for name, p in nd.nn.TCLIF(256).named_parameters()}
    assert names == {"c0": 1, "c1": 1}
    p = nd.nn.TCLIF(3, beta=(-0.3, 0.6)).params()
    assert (p.beta1.item(), p.beta2.item()) == pytest.approx((-0.3, 0.6), abs=1e-7)


CHANGES = {
    "norm": ("post", None),
    "bidirectional": (True,),
    "outer_residual": (True,),
    "amplitude": ("tn", "both", "none"),
    "v_sn": (0.4,),
    "tau": (1.0,),
    "v_th": (0.8,),
    "dt": ((0.1, 0.3),),
    "theta": ((0.0, 1.0),),
    "readout": ("sum", "last", "steps"),
    "input_scale": (0.5,),
}
ROWS = [(key, value) for key, values in CHANGES.items() for value in values]


def built(**options):
    """A network of amplitudes that are not 1, with weights that depend on their names only."""
    model = nd.nn.SDTCM(**{"inputs": 2, "width": 12, "blocks": 2, "classes": 3, **options})
    with torch.no_grad():
        for name, p in model.named_parameters():
            generator = torch.Generator().manual_seed(sum(name.encode()) * 31 + p.numel())
            if name.endswith(("log_dt", "theta")):
                low, high = options["dt" if name.endswith("dt") else "theta"]
                share = torch.rand(p.shape, generator=generator)
                span = np.log([low, high]) if name.endswith("dt") else (low, high)
                p.copy_(span[0] + share * (span[1] - span[0]))
            else:
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model.double().eval()


@pytest.mark.parametrize(("key", "value"), ROWS, ids=str)
def test_every_option_of_sdtcm_changes_the_output(key, value):
    common = {"dt": (0.2, 0.9), "theta": (0.0, 3.0)}
    x = 3 * torch.randn(40, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one, other = built(**common), built(**{**common, key: value})
    a, b = one(x).detach(), other(x).detach()
    assert a.shape != b.shape or (a - b).abs().max() > 1e-6
    assert nd.nn.SDTCM(**other.config()).config() == other.config()
    np.testing.assert_allclose(interpret(nd.trace(other, x), x.numpy()), b, rtol=1e-7, atol=1e-9)


def spiking(readout, **how):
    torch.manual_seed(2)
    layers = (torch.nn.Linear(3, 5), nd.nn.LIF(5, v_th=0.4, **how), nd.nn.Readout(readout))
    return torch.nn.Sequential(*layers).double()


def test_a_rate_is_the_share_of_steps_that_fired_through_the_whole_pipeline():
    model = spiking("rate")
    x = torch.randn(60, 4, 3, dtype=torch.float64)
    want = model[:2](x).mean(0).detach().numpy()
    assert 0 < want.mean() < 1
    graph = nd.trace(model, x)
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=1e-12)
    program = nd.compile(graph, nd.target("loihi2"), calibration=x.numpy())
    run = nd.simulate(program, x.numpy(), record=["1"])
    np.testing.assert_allclose(run.outputs, run.values["1"].mean(0), rtol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        torch.nn.Sequential(torch.nn.Linear(3, 5), nd.nn.Readout("rate")),
        torch.nn.Sequential(nd.nn.LI(3), nd.nn.Readout("rate")),
        spiking("rate", amplitude=True),
    ],
)
def test_a_rate_of_what_is_not_plain_spikes_is_refused(model):
    if hasattr(model[1], "log_amplitude") and model[1].log_amplitude is not None:
        model[1].log_amplitude.data.fill_(0.5)
    with pytest.raises(NeurodeployError) as caught:
        nd.trace(model)
    assert "a spike rate of what is not plain spikes" in caught.value.what


def test_a_readout_of_every_step_is_the_network_at_every_step():
    model = torch.nn.Sequential(spiking("steps"), torch.nn.Linear(5, 2)).double()
    x = torch.randn(30, 4, 3, dtype=torch.float64)
    graph = nd.trace(model, x)
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), model(x).detach(), rtol=1e-9)
    run = nd.simulate(nd.compile(graph, nd.target("loihi2"), calibration=x.numpy()), x.numpy())
    assert run.outputs.shape == (30, 4, 2)


@pytest.mark.parametrize("compare", [">=", ">"])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_decoupled_reset_is_the_sequential_one_with_all_gradients(compare, reverse):
    how = {"beta": 0.8, "v_th": 0.7, "gain": 1.2, "train_beta": True, "train_v_th": True}
    how |= {"amplitude": True, "compare": compare, "reverse": reverse}
    x = torch.randn(120, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    results = []
    for method in ("scan", "decoupled"):
        neuron, inputs = nd.nn.ParallelLIF(5, method=method, **how).double(), x.clone()
        y = neuron(inputs.requires_grad_())
        (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape).cos()).sum().backward()
        results.append([y.detach(), inputs.grad, *(p.grad for p in neuron.parameters())])
    assert 0.05 < results[0][0].count_nonzero() / x.numel() < 0.9
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    lif = nd.nn.LIF(5, **how).double()
    assert torch.equal(lif(x), results[0][0])


def test_the_decoupled_reset_knows_no_recurrence():
    with pytest.raises(NeurodeployError, match="decoupled with recurrent weights"):
        nd.nn.ParallelLIF(3, method="decoupled", recurrent=True)
    with pytest.raises(NeurodeployError, match="no method 'fft'"):
        nd.nn.ParallelLIF(3, method="fft")


def test_a_published_alif_follows_its_time_constants():
    """gain 1 - beta, jump (1 - rho) 1.8: trained together with the decays they come from."""
    neuron = nd.nn.ALIF(4, gain=None, train_beta=True, train_rho=True, reset="soft_raised")
    p = neuron.params()
    torch.testing.assert_close(p.gain, 1 - p.beta)
    torch.testing.assert_close(p.jump, (1 - p.rho) * 1.8)
    (p.gain.sum() + p.jump.sum()).backward()
    assert neuron.beta_logit.grad.abs().min() > 0
    assert neuron.rho_logit.grad.abs().min() > 0
    assert float(nd.nn.ALIF(2, jump=0.25).params().jump) == 0.25


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nd.nn.TCLIF(2, beta=(0.5, 0.5)), "beta is"),
        (lambda: nd.nn.TCLIF(2, gamma=-1), "gamma must be >= 0"),
        (lambda: nd.nn.TCLIF(2, coupling="paper"), "coupling='paper'"),
        (lambda: nd.nn.TwoCompartment(2, alpha=(1.5, 0.5)), r"alpha1 must be in \[0, 1\]"),
        (
            lambda: nd.nn.TwoCompartment(2, alpha=(1.0, 0.5), train_alpha=True),
            "to be trained|alpha",
        ),
        (lambda: nd.nn.TwoCompartment(2, beta=(0.5,)), "beta is"),
        (lambda: nd.nn.ALIF(2, rho=1.0, train_rho=True), "rho is 1.0"),
        (lambda: nd.nn.ALIF(2, jump=-0.1), "jump must be >= 0"),
        (lambda: nd.nn.ALIF(2, v_reset=0.1), "v_reset has no meaning"),
        (lambda: nd.nn.LIF(2, reset="hard_next", v_reset=1.0), "v_reset must be below v_th"),
    ],
)
def test_values_that_a_neuron_does_not_have_are_named(make, says):
    with pytest.raises(NeurodeployError, match=says) as caught:
        make()
    assert caught.value.code == "E105"
