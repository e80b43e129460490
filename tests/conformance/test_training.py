"""The laws of training: the compiled scan is the sequential form, and both are as published."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.networks import distinct

from neurodeploy.kernels.surrogates import SURROGATES
from neurodeploy.neurons import SPECS
from neurodeploy.neurons.celif import TABLED
from neurodeploy.neurons.spec import over_batch
from neurodeploy.nn import (
    ALIF,
    CELIF,
    LI,
    LIF,
    PRF,
    S4D,
    TCLIF,
    CubaLIF,
    MultiSpikeLIF,
    SpatialNeuron,
    TwoCompartment,
)

WIDTH = 5
MODULES = {  # each neuron with all it can train; KeyError if you forget yours
    "prf": lambda width, **o: PRF(
        width, dt=(0.02, 0.4), theta=(0.0, 9.0), train_tau=True, amplitude=True, **o
    ),
    "lif": lambda width, **o: LIF(
        width, **lif(o), train_beta=True, train_v_th=True, amplitude=True
    ),
    "spatial": lambda width, **o: SpatialNeuron(width, amplitude=True, **o),
    "li": lambda width, **o: LI(width, train_beta=o["leak"], **o),
    "alif": lambda width, **o: ALIF(width, **alif(o), amplitude=True),
    "cubalif": lambda width, **o: CubaLIF(
        width, **lif(o), train_alpha=True, train_beta=True, amplitude=True
    ),
    "multispike": lambda width, **o: MultiSpikeLIF(
        width, **multispike(o), train_beta=True, amplitude=True
    ),
    "tclif": lambda width, **o: TCLIF(width, gamma=0.4, amplitude=True, **o),
    "two_compartment": lambda width, **o: TwoCompartment(
        width, gamma=0.2, train_alpha=True, amplitude=True, **o
    ),
    "celif": lambda width, **o: CELIF(
        width, **encoding(width, o), theta0=0.15, amplitude=True, **o
    ),
    "s4d": lambda width, **o: S4D(width, state=6, dt=(0.05, 0.5), train_b=True, **o),
}
GAIN = {**dict.fromkeys(MODULES, 1.0), "prf": 8.0}  # that makes a drive of noise fire
VARIANTS = distinct()


def encoding(width, options):
    table = {"width": width + 1, "steps": 110}
    return {"encoding": table if options["context"] in TABLED else None}


def lif(options):
    reset = {"v_reset": -0.3} if "hard" in options["reset"] else {}
    return {"beta": 0.7, "v_th": 0.9, "gain": 1.3, **reset, **options}


def multispike(options):
    reset = {"v_reset": -0.3} if options["reset"] == "hard" else {}
    rest = {key: options[key] for key in options if key != "floor"}
    return {"beta": 0.7, "v_th": 0.7, "v_min": -0.5 if options["floor"] else None, **reset, **rest}


def alif(options):
    reset = {"v_reset": -0.3} if options["reset"] == "hard" else {}
    trained = {"train_beta": True, "train_rho": True}
    return {"beta": 0.7, "rho": 0.8, "v_th": 0.6, "gain": None, **trained, **reset, **options}


def label(row):
    return " ".join([row[0], *(f"{key}={value}" for key, value in row[1].items())])


def make(name, options, width=WIDTH, **how):
    torch.manual_seed(3)
    neuron = MODULES[name](width, **options, **how).double()
    with torch.no_grad():  # away from the common start, so that no channel is like another
        for parameter in neuron.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return neuron


def draw(name, steps, batch, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(steps + 100 * batch + 1000 * width)
    x = torch.randn(steps, batch, width, generator=generator, dtype=torch.float64)
    return (GAIN.get(name, 1.0) * (x + 0.3)).to(dtype)


def run(forward, neuron, x):
    """Return outputs, the gradient of x, and those of all parameters, for a fixed loss."""
    x = x.clone().requires_grad_()
    neuron.zero_grad()
    y = forward(x)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape).cos()
    (y * weight).sum().backward()
    found = {"y": y.detach(), "x": x.grad, **{n: p.grad for n, p in neuron.named_parameters()}}
    zeros = {n: torch.zeros_like(p) for n, p in neuron.named_parameters()}  # of what is not used
    return {name: zeros[name] if grad is None else grad for name, grad in found.items()}


def assert_same(got, want, rtol=1e-10):
    assert got.keys() == want.keys()
    for name, value in want.items():
        error = (got[name] - value).abs().max()
        assert error <= rtol * (value.abs().max() + 1e-3), (name, float(error))


def assert_compiled_is_sequential(neuron, x, rtol=1e-10):
    got = run(neuron, neuron, x)
    assert_same(got, run(neuron.sequential_forward, neuron, x), rtol)
    return got


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("row", VARIANTS, ids=label)
def test_the_compiled_scan_is_the_sequential_form_with_all_its_gradients(row, reverse):
    name, options = row
    neuron = make(name, options, reverse=reverse)
    got = assert_compiled_is_sequential(neuron, draw(name, 37, 3, WIDTH))
    if SPECS[name].spiking:
        assert 0.02 < got["y"].count_nonzero() / got["y"].numel() < 0.9
    for parameter, grad in got.items():
        assert grad.abs().max() > 0, f"{parameter} is not exercised"


@pytest.mark.parametrize("surrogate", sorted(set(SURROGATES) - {"arctan"}))
@pytest.mark.parametrize("name", ["prf", "lif", "spatial"])
def test_every_surrogate(name, surrogate):
    options = {"reset": "hard"} if name == "lif" else {}
    for steepness in (0.7, 4.0):
        how = {"surrogate": surrogate, "steepness": steepness}
        neuron = make(name, SPECS[name].options(**options), **how)
        got = assert_compiled_is_sequential(neuron, draw(name, 37, 3, WIDTH))
        assert got["x"].abs().max() > 0


PUBLISHED_SLOPES = {  # at margin m, for steepness a
    "arctan": lambda m, a: a / 2 / (1 + (math.pi / 2 * a * m) ** 2),
    "triangle": lambda m, a: max(0.0, a - a * a * abs(m)),
    "boxcar": lambda m, a: a / 2 if abs(m) < 1 / a else 0.0,
    "window": lambda m, a: 1.0 if abs(m) < 1 / a else 0.0,
    "fast_sigmoid": lambda m, a: a / 2 / (1 + a * abs(m)) ** 2,
    "superspike": lambda m, a: 1 / (1 + a * abs(m)) ** 2,
    "piecewise_quadratic": lambda m, a: max(0.0, a - a * a * abs(m)),
}


@pytest.mark.parametrize("a", [0.5, 2.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_are_the_published_slopes(name, a):
    m = torch.linspace(-3, 3, 25, dtype=torch.float64)
    want = [PUBLISHED_SLOPES[name](value, a) for value in m.tolist()]
    torch.testing.assert_close(SURROGATES[name](m, torch.tensor(a)).tolist(), want)
    half = torch.logspace(-6, 6, 200_001, dtype=torch.float64)
    area = 2 * torch.trapezoid(SURROGATES[name](half, torch.tensor(a)), half).item()
    assert area == pytest.approx(2 / a if name in ("window", "superspike") else 1, abs=1e-3)


SHAPES = [
    (1, 3, 4),
    (2, 1, 1),
    (33, 1, 1),
    (15, 2, 3),
    (16, 2, 3),
    (17, 2, 3),
    (40, 1, 7),
    (18, 3, 1500),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_every_shape(name, shape):
    """One step, one sample, one channel, around the stride of kept states, over a block's edge."""
    for reverse in (False, True):
        neuron = make(name, SPECS[name].options(), width=shape[-1], reverse=reverse)
        assert_compiled_is_sequential(neuron, draw(name, *shape))


@pytest.mark.parametrize("name", SPECS)
def test_silence(name):
    neuron = make(name, SPECS[name].options())
    got = assert_compiled_is_sequential(neuron, torch.zeros(20, 2, WIDTH, dtype=torch.float64))
    assert not got["y"].any()
    assert got["x"].abs().max() > 0


@pytest.mark.parametrize("name", SPECS)
def test_input_and_gradient_need_not_be_contiguous(name):
    neuron, x = make(name, SPECS[name].options()), draw(name, 21, 4, WIDTH)
    want = run(neuron, neuron, x)
    spread = torch.stack((x, x + 1), -1)[..., 0].permute(1, 0, 2).contiguous().permute(1, 0, 2)
    assert not spread.is_contiguous()
    assert_same(run(neuron, neuron, spread), want, 0)
    transposed = run(lambda v: neuron(v).permute(2, 1, 0).contiguous().permute(2, 1, 0), neuron, x)
    assert_same(transposed, want, 1e-15)
    expanded = x.clone().requires_grad_()
    neuron(expanded).sum((0, 1)).sum().backward()  # arrives as a view of one number
    again = x.clone().requires_grad_()
    neuron.sequential_forward(again).sum().backward()
    assert_same({"x": expanded.grad}, {"x": again.grad})


@pytest.mark.parametrize("name", SPECS)
def test_in_float32_it_is_the_same_function(name):
    neuron = make(name, SPECS[name].options()).float()
    got = assert_compiled_is_sequential(neuron, draw(name, 30, 3, WIDTH, torch.float32), 1e-4)
    assert got["y"].dtype == torch.float32


@pytest.mark.parametrize("name", SPECS)
def test_other_float_types_take_the_sequential_form(name):
    neuron, x = make(name, SPECS[name].options()), draw(name, 9, 2, WIDTH, torch.bfloat16)
    got = run(neuron, neuron, x)
    assert got["y"].dtype == torch.bfloat16
    assert_same(got, run(neuron.sequential_forward, neuron, x), 0.03)


@pytest.mark.parametrize("name", SPECS)
def test_reverse_is_the_forward_run_of_the_reversed_input(name):
    x = draw(name, 30, 3, WIDTH)
    forward, backward = (make(name, SPECS[name].options(), reverse=r) for r in (False, True))
    backward.load_state_dict(forward.state_dict())
    want = run(lambda v: forward(v.flip(0)).flip(0), forward, x)
    assert_same(run(backward, backward, x), want)
    assert (forward(x) != backward(x)).any() or name == "spatial"


@pytest.mark.parametrize("name", SPECS)
def test_results_do_not_depend_on_the_number_of_threads(name, monkeypatch):
    neuron, x = make(name, SPECS[name].options(), width=40), draw(name, 100, 8, 40)
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("NEURODEPLOY_THREADS", threads)
        results.append(run(neuron, neuron, x))
    assert_same(results[1], results[0], 0)
    assert_same(results[2], results[0], 0)


FORK = """
import os, torch
from neurodeploy.nn import LIF
neuron, x = LIF(50), torch.randn(50, 20, 50)
want = neuron(x)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(neuron(x), want) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_wait_for_threads_it_does_not_have():
    env = {**os.environ, "NEURODEPLOY_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", FORK], env=env, timeout=60, check=False)
    assert done.returncode == 0


# The published models, written down again here.


def heaviside(margin, compare=">="):
    """Return a spike with the derivative 1 / (1 + (pi m)**2) of Fang et al., without any class."""
    fires = (margin >= 0 if compare == ">=" else margin > 0).to(margin.dtype)
    soft = torch.atan(math.pi * margin) / math.pi
    return fires + soft - soft.detach()


def published_prf(neuron, x, compare):
    """arXiv 2410.03530, Eq. 19, with complex numbers and the step length where it stands there."""
    dt, theta = neuron.log_dt.exp(), neuron.theta
    decay = torch.exp(torch.complex(-dt / neuron.log_tau.exp(), dt * theta))
    z, out = torch.zeros(x.shape[1:], dtype=torch.complex128), []
    for row in x:
        z = decay * z + dt * row
        out.append(heaviside(z.real - neuron.v_th, compare))
    return neuron.log_amplitude.exp() * torch.stack(out)


def published_lif(neuron, x, compare):
    """Eq. 2-3: the threshold is subtracted at the next step, before the decay."""
    beta, v_th = neuron.beta_logit.sigmoid(), neuron.log_v_th.exp()
    u = s = torch.zeros(x.shape[1:], dtype=x.dtype)
    out = []
    for row in x:
        u = beta * (u - v_th * s) + neuron.gain * row
        s = heaviside(u - v_th, compare)
        out.append(s)
    return neuron.log_amplitude.exp() * torch.stack(out)


@pytest.mark.parametrize("compare", [">=", ">"])
@pytest.mark.parametrize(("name", "published"), [("prf", published_prf), ("lif", published_lif)])
def test_folded_training_is_exactly_the_published_model(name, published, compare):
    neuron = make(name, SPECS[name].options(compare=compare))
    x = draw(name, 60, 4, WIDTH)
    got = run(neuron, neuron, x)
    assert 0.05 < got["y"].count_nonzero() / got["y"].numel() < 0.9
    assert_same(got, run(lambda v: published(neuron, v, compare), neuron, x))


def by_fft(kernel, x):
    """Return kernel [T, N] convolved with x [T, B, N] along time, causally."""
    size = 2 * len(x)
    product = torch.fft.fft(x.to(kernel), size, 0) * torch.fft.fft(kernel, size, 0)[:, None]
    return torch.fft.ifft(product, size, 0)[: len(x)].real


def level(neuron):
    return neuron.params().v_th


def fft_membrane(neuron, x):
    """arXiv 2410.03530, Eq. 20-21 for PRF, Eq. 12-13 for LIF: the membrane without reset."""
    times = torch.arange(len(x), dtype=x.dtype)[:, None]
    if isinstance(neuron, PRF):
        dt, theta = neuron.log_dt.exp(), neuron.theta
        rate = torch.complex(-dt / neuron.log_tau.exp(), dt * theta)
        return by_fft(dt * torch.exp(rate * times), x)
    kernel = neuron.gain * neuron.beta_logit.sigmoid() ** times
    return by_fft(kernel.to(torch.complex128), x)


@pytest.mark.parametrize(("name", "options"), [("prf", {}), ("lif", {"reset": "none"})])
def test_the_scan_is_the_parallel_form_of_the_paper(name, options):
    neuron, x = make(name, SPECS[name].options(**options)), draw(name, 300, 2, WIDTH)

    def parallel(v):
        return neuron.log_amplitude.exp() * heaviside(fft_membrane(neuron, v) - level(neuron))

    margin = (fft_membrane(neuron, x) - level(neuron)).abs().min()
    assert margin > 1e-9, "a tie, where rounding may decide"
    got = run(neuron, neuron, x)
    assert 0.02 < got["y"].count_nonzero() / got["y"].numel() < 0.9
    assert_same(got, run(parallel, neuron, x), 1e-9)


def test_the_decoupled_reset_of_the_paper_is_the_soft_reset():
    """Eq. 12 and Algorithm 2: the membrane by FFT, the reset in a moving threshold."""
    neuron, x = make("lif", SPECS["lif"].options(reset="soft")), draw("lif", 200, 3, WIDTH)
    beta = neuron.beta_logit.sigmoid().detach()
    bias, spikes = torch.zeros(x.shape[1:], dtype=x.dtype), []
    for row in fft_membrane(neuron, x):
        spikes.append((row >= level(neuron) * (1 + bias)).to(x))
        bias = beta * (bias + spikes[-1])
    got = neuron(x) / neuron.alpha()
    assert 0.05 < got.mean() < 0.9
    torch.testing.assert_close(got, torch.stack(spikes), rtol=1e-12, atol=0)


@pytest.mark.parametrize("leak", [True, False])
def test_a_membrane_has_the_gradient_of_finite_differences(leak):
    neuron = make("li", {"leak": leak}, width=3)
    names = [name for name, _ in neuron.named_parameters()]

    def membrane(x, *values):
        return torch.func.functional_call(neuron, dict(zip(names, values, strict=True)), (x,))

    values = [parameter.detach().requires_grad_() for parameter in neuron.parameters()]
    assert len(values) == leak
    x = draw("li", 20, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(membrane, (x, *values))


@pytest.mark.parametrize(("compare", "fires"), [(">=", 1.0), (">", 0.0)])
def test_exact_ties(compare, fires):
    for neuron in (
        SpatialNeuron(1, v_th=0.5, compare=compare),
        LIF(1, v_th=0.5, compare=compare),
        PRF(1, dt=(0.5, 0.5), v_th=0.25, compare=compare),
    ):
        x = torch.full((1, 1, 1), 0.5)
        assert neuron(x).item() == neuron.sequential_forward(x).item() == fires


def test_what_each_reset_does():
    x = torch.tensor([1.5, 0.0, 0.0]).view(3, 1, 1)

    def spikes(**how):
        return LIF(1, beta=1.0, v_th=0.5, **how)(x).flatten().tolist()

    assert spikes(reset="none") == [1, 1, 1]
    assert spikes(reset="soft") == [1, 1, 1]  # 1.5, then 1.0, then 0.5
    assert spikes(reset="soft", compare=">") == [1, 1, 0]
    assert spikes(reset="hard") == [1, 0, 0]
    assert spikes(reset="hard", v_reset=0.49) == [1, 0, 0]
    assert LIF(1, beta=0.5)(torch.tensor([0.9, 0.55]).view(2, 1, 1)).flatten().tolist() == [0, 1]


def test_nothing_is_kept_or_computed_for_gradients_nobody_wants():
    neuron = make("prf", SPECS["prf"].options())
    with torch.no_grad():
        assert not neuron(draw("prf", 20, 2, WIDTH)).requires_grad
    for parameter in neuron.parameters():
        parameter.requires_grad_(False)
    x = draw("prf", 20, 2, WIDTH).requires_grad_()
    neuron(x).sum().backward()
    assert x.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in neuron.parameters())


def test_the_spikes_are_those_of_the_reference_reading():
    """What is trained is what `Real` says: the definition of what a graph means."""
    from neurodeploy.arith import Real

    for name, options in VARIANTS:
        neuron, spec, x = make(name, options), SPECS[name], draw(name, 40, 3, WIDTH)
        k = spec.coefs(*(np.asarray(torch.as_tensor(v).detach()) for v in neuron.folded()[0]))
        k = spec.arranged(k, WIDTH)
        modes, rows = spec.modes(k._asdict()), []
        zeros = np.zeros((spec.rows(spec.state._fields, modes), 3, WIDTH))
        state = spec.parts(spec.state, zeros, modes)
        for t, row in enumerate(x.numpy()):
            out, state = spec.step(Real(), spec.at(over_batch(spec, k), t), state, row, options)
            rows.append(out)
        want = neuron.alpha().item() * np.array(rows, float)
        np.testing.assert_array_equal(neuron(x).detach().numpy(), want)
