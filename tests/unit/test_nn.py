"""The modules of `neurodeploy.nn`: what they compute, refuse and say of themselves."""

import inspect
import math

import pytest
import torch

from neurodeploy.errors import InputError
from neurodeploy.nn import (
    ALIF,
    LI,
    LIF,
    PRF,
    S4D,
    SDTCM,
    TCLIF,
    BatchNorm,
    Conv,
    CubaLIF,
    MultiSpikeLIF,
    ParallelLIF,
    Pool,
    Readout,
    Scale,
    SDTCMBlock,
    SpatialNeuron,
    TwoCompartment,
)

DOUBLE = torch.float64


def draw(*shape):
    return torch.randn(*shape, dtype=DOUBLE)


def scatter(model):
    """Move every parameter and statistic away from its start, so that none can be forgotten."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = 0.3 * torch.randn_like(value)
                value.add_(noise.abs() if "var" in name else noise)
    return model


# Neurons


def test_the_published_initial_ranges():
    torch.manual_seed(0)
    neuron = PRF(4000, dt=(0.001, 0.1), theta=(0.0, 2.0))
    p = neuron.params()
    logs = p.dt.log10()
    assert logs.min() > -3.01
    assert logs.max() < -0.99
    assert abs(logs.mean() + 2) < 0.05, "log-uniform"
    assert abs(logs.std() - 2 / math.sqrt(12)) < 0.02
    assert p.theta.min() >= 0
    assert p.theta.max() <= 2
    assert abs(p.theta.mean() - 1) < 0.05
    assert (p.tau, p.v_th) == (2.0, 1.0)


def test_constants_keep_all_their_digits():
    """A float32 buffer would make 0.9 another number in a float64 network."""
    neuron = LIF(3, beta=0.9, v_th=1 / 3).double()
    assert neuron.params().beta.item() == 0.9
    assert neuron.folded()[0].threshold.item() == 1 / 3


def test_trained_decay_starts_where_it_was_set():
    for neuron in (LIF(3, beta=0.7, train_beta=True), LI(3, beta=0.7, train_beta=True)):
        torch.testing.assert_close(neuron.params().beta, torch.full((3,), 0.7, dtype=DOUBLE))
        assert [name for name, _ in neuron.named_parameters()] == ["beta_logit"]


def test_the_amplitude_is_one_scalar_that_starts_at_one():
    neuron, x = SpatialNeuron(3), torch.ones(2, 1, 3)
    assert [p.shape for p in neuron.parameters()] == [()]
    assert neuron(x).eq(1).all()
    with torch.no_grad():
        neuron.log_amplitude.fill_(math.log(2.5))
    torch.testing.assert_close(neuron(x), torch.full_like(x, 2.5))
    assert not list(SpatialNeuron(3, amplitude=False).parameters())
    assert not list(LIF(3).parameters())


BAD_ARGUMENTS = [
    (PRF, {"dt": (0.0, 0.1)}, "dt must be > 0"),
    (PRF, {"dt": (0.1, 0.01)}, r"dt is \(0.1, 0.01\)"),
    (PRF, {"dt": (0.1,) * 3}, "give a range"),
    (PRF, {"dt": (0.1,)}, "give a range"),
    (PRF, {"theta": (0.0, math.inf)}, "theta must be finite"),
    (PRF, {"theta": (0.0, math.nan)}, "theta is"),
    (PRF, {"tau": -1.0}, "tau must be > 0"),
    (PRF, {"tau": math.nan}, "tau must be finite"),
    (PRF, {"v_th": 0.0}, "v_th must be > 0"),
    (PRF, {"compare": "=>"}, "compare='=>'"),
    (PRF, {"surrogate": "sigmoid"}, "no surrogate 'sigmoid'[\\s\\S]*arctan, triangle, boxcar"),
    (PRF, {"steepness": 0.0}, "steepness is 0.0"),
    (PRF, {"width": 0}, "width is 0"),
    (LIF, {"width": 2.5}, "width is 2.5"),
    (PRF, {"dt": 0.1}, "dt is 0.1"),
    (PRF, {"theta": (1.0, 2.0, 3.0)}, "theta is"),
    (S4D, {"dt": 0.1}, "dt is 0.1"),
    (S4D, {"state": 8.0}, "state is 8.0"),
    (TCLIF, {"beta": 0.5}, "beta is 0.5"),
    (TwoCompartment, {"alpha": 0.9}, "alpha is 0.9"),
    (ParallelLIF, {"reset": "hard"}, "a reset that is not soft"),
    (LIF, {"beta": 1.1}, r"beta must be in \[0, 1\]"),
    (LIF, {"beta": math.nan}, "beta must be finite"),
    (LIF, {"beta": 1.0, "train_beta": True}, r"within \(0, 1\)"),
    (LIF, {"gain": 0.0}, "gain must be > 0"),
    (LIF, {"reset": "zero"}, "reset='zero'"),
    (LIF, {"v_reset": 0.5}, "v_reset has no meaning for reset='soft'"),
    (LIF, {"v_reset": 1.0, "reset": "hard"}, "v_reset must be below v_th"),
    (SpatialNeuron, {"v_th": math.inf}, "v_th must be finite"),
    (LI, {"beta": -0.1}, r"beta must be in \[0, 1\]"),
    (LI, {"beta": 0.5, "leak": False}, "beta must be 1 without leak"),
    (LI, {"leak": False, "train_beta": True}, "cannot be trained without leak"),
]


@pytest.mark.parametrize(("module", "arguments", "says"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named_with_a_fix(module, arguments, says):
    with pytest.raises(InputError, match=says) as caught:
        module(**{"width": 3, **arguments})
    assert caught.value.code == "E105"
    assert caught.value.fix
    assert caught.value.where == f"neurodeploy.nn.{module.__name__}"


NEURONS = (ALIF, LI, LIF, PRF, TCLIF, CubaLIF, MultiSpikeLIF, SpatialNeuron, TwoCompartment)


def numbers_of(module):
    """Return the names of a neuron's arguments that are single numbers."""
    found = inspect.signature(module.__init__).parameters.values()
    return [p.name for p in found if str(p.annotation).startswith("float")]


@pytest.mark.parametrize("module", NEURONS, ids=lambda module: module.__name__)
def test_a_number_for_each_channel_is_refused_where_one_is_asked_for(module):
    names = numbers_of(module)
    assert names
    for name in names:
        for wrong in ([0.5, 0.6, 0.7], torch.tensor([0.5, 0.6, 0.7]), "x"):
            with pytest.raises(InputError, match=f"{name} is") as caught:
                module(3, **{name: wrong})
            assert (caught.value.code, bool(caught.value.fix)) == ("E105", True)


BAD_CHOICES = [
    (lambda: Readout("max"), "no readout 'max'"),
    (lambda: SDTCMBlock(3, norm="layer"), "no norm 'layer'"),
    (lambda: SDTCMBlock(3, amplitude=True), "no amplitude True"),
    (lambda: SDTCM(1, 3, 0, 2), "blocks is 0"),
]


@pytest.mark.parametrize(("build", "says"), BAD_CHOICES)
def test_a_bad_choice_is_named_with_a_fix(build, says):
    with pytest.raises(InputError, match=says) as caught:
        build()
    assert caught.value.code == "E105"
    assert caught.value.fix


@pytest.mark.parametrize("x", [torch.zeros(4, 3), torch.zeros(4, 1, 2), torch.zeros(0, 1, 3)])
@pytest.mark.parametrize("module", [PRF(3), LI(3), BatchNorm(3)], ids=["prf", "li", "norm"])
def test_inputs_of_another_shape_are_refused(module, x):
    with pytest.raises(InputError, match=r"\[T, B, 3\]") as caught:
        module(x)
    assert caught.value.code == "E106"


def test_integers_are_not_currents():
    with pytest.raises(InputError, match=r"torch\.uint8"):
        PRF(3)(torch.zeros(2, 1, 3, dtype=torch.uint8))


# Layers


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batchnorm_is_that_of_torch(dtype, momentum):
    torch.manual_seed(0)
    ours = BatchNorm(5, eps=1e-3, momentum=momentum).to(dtype)
    theirs = torch.nn.BatchNorm1d(5, eps=1e-3, momentum=momentum).to(dtype)
    scatter(ours)
    theirs.load_state_dict(ours.state_dict())
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    for step in range(4):
        x, g = (3 * draw(70, 9, 5) + 20).to(dtype), draw(70, 9, 5).to(dtype)
        results = []
        for norm, order in ((ours, (0, 1, 2)), (theirs, (1, 2, 0))):
            norm.train(step < 3)
            v = x.clone().requires_grad_()
            y = norm(v.permute(order)).permute(*(order.index(i) for i in range(3)))
            norm.zero_grad()
            (y * g).sum().backward()
            state = {n: value.clone() for n, value in norm.state_dict().items()}
            results.append([y, v.grad, norm.weight.grad, norm.bias.grad, *state.values()])
        assert len(results[0]) == len(results[1]) == 9
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, **tolerance)


def test_batchnorm_takes_any_layout_and_a_single_step_of_two_samples():
    norm = scatter(BatchNorm(4).double())
    x = draw(3, 5, 4).permute(1, 0, 2)
    torch.testing.assert_close(norm(x), norm(x.contiguous()), rtol=0, atol=0)
    y = BatchNorm(4).double()(draw(1, 2, 4))
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(4, dtype=DOUBLE), atol=1e-12, rtol=0)


def test_batchnorm_does_not_lose_a_small_spread_on_a_large_mean():
    torch.manual_seed(0)
    x = (1000 + 0.01 * draw(200, 50, 3)).float()
    y = BatchNorm(3)(x).double()
    exact = x.double()
    var = exact.var((0, 1), correction=0)
    assert (var < 2e-4).all()
    assert (y - (exact - exact.mean((0, 1))) / (var + 1e-5).sqrt()).abs().max() < 0.01


def test_batchnorm_results_do_not_depend_on_threads(monkeypatch):
    results = []
    for threads in ("1", "3"):
        monkeypatch.setenv("NEURODEPLOY_THREADS", threads)
        x = torch.linspace(-1, 3, 300 * 8 * 16).sin().view(300, 8, 16).requires_grad_()
        y = BatchNorm(16)(x)
        (y**3).sum().backward()
        results.append((y.detach(), x.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_batchnorm_of_other_float_types_falls_back_on_torch():
    x = torch.randn(20, 4, 3)
    y = BatchNorm(3).bfloat16()(x.bfloat16())
    torch.testing.assert_close(y.float(), BatchNorm(3)(x), rtol=0.05, atol=0.05)


def test_batchnorm_in_training_needs_two_values():
    with pytest.raises(InputError, match="single value per channel"):
        BatchNorm(3)(torch.zeros(1, 1, 3))
    assert BatchNorm(3).eval()(torch.zeros(1, 1, 3)).shape == (1, 1, 3)


def test_readouts():
    x = torch.arange(12.0).view(3, 2, 2)
    want = {"mean": [[4, 5], [6, 7]], "sum": [[12, 15], [18, 21]], "last": [[8, 9], [10, 11]]}
    assert {kind: Readout(kind)(x).tolist() for kind in want} == want
    assert Readout("steps")(x) is x


def test_scale():
    x = torch.ones(2, 1, 3)
    assert Scale(3, 0.5)(x).eq(0.5).all()
    assert Scale(3)(x).eq(1).all()


CONFIGURED = [
    PRF(3, dt=(0.01, 0.2), theta=(1.0, 2.0), tau=3.0, v_th=0.5, compare=">", amplitude=True),
    LIF(3, beta=0.5, v_th=2.0, gain=3.0, v_reset=-1.0, reset="hard", train_beta=True, reverse=True),
    SpatialNeuron(3, v_th=0.1, amplitude=False, surrogate="boxcar", steepness=3.0),
    LI(3, beta=0.3, train_beta=True, reverse=True),
    LI(3, leak=False),
    BatchNorm(3, eps=0.1, momentum=None, positions=2),
    Conv((2, 4, 3), 4, (2, 1), (1, 2), (1, 0, 0, 2), (2, 1), groups=2, bias=False),
    Pool((2, 4), 2, "avg", 1, 1, count_padding=False),
    Readout("last"),
    Scale(3, 0.25),
    SDTCMBlock(3, norm="post", bidirectional=True, outer_residual=True, amplitude="both"),
    SDTCMBlock(3, norm=None, amplitude="tn", v_sn=0.7, dropout=0.3, surrogate="triangle"),
    SDTCM(
        2, 3, 2, 4, readout="sum", input_scale=3.0, tau=1.5, dt=(0.1, 0.8), v_th=0.3, steepness=1.0
    ),
]


@pytest.mark.parametrize("module", CONFIGURED, ids=lambda m: type(m).__name__)
def test_a_config_is_plain_and_rebuilds_the_module(module):
    config = module.config()
    plain = (int, float, str, bool, type(None), tuple)
    assert all(isinstance(value, plain) for value in config.values())
    again = type(module)(**config)
    assert again.config() == config
    assert repr(again) == repr(module)
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    assert {name: value.shape for name, value in again.state_dict().items()} == shapes


@pytest.mark.parametrize("module", CONFIGURED, ids=lambda m: type(m).__name__)
def test_a_config_holds_every_argument(module):
    import inspect

    names = set(inspect.signature(type(module)).parameters) - {"block"}
    assert names <= set(module.config())
    if isinstance(module, SDTCM):
        block = set(inspect.signature(SDTCMBlock).parameters)
        assert block <= set(module.config())
