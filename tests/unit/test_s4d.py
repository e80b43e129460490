"""S4D as trained: where its systems start, how they are discretised, and its two methods."""

import math

import numpy as np
import pytest
import torch
from conformance.test_passes import assert_simulator_is_reference

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.nn import S4D
from neurodeploy.passes.pipeline import fold

VARIANTS = [
    {"init": init, "discretization": rule, "train_b": b, "skip": skip, "reverse": reverse}
    for init, rule, b, skip, reverse in (
        ("lin", "zoh", False, True, False),
        ("inv", "bilinear", True, True, False),
        ("lin", "bilinear", True, False, True),
        ("inv", "zoh", False, False, True),
    )
]


def make(width=3, state=8, **how):
    torch.manual_seed(2)
    module = S4D(width, state=state, **how).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def published(module, x):
    """The system in continuous time, discretised by its textbook definition, one state a mode."""
    dt = np.exp(module.log_dt.detach().numpy())
    a = -np.exp(module.log_decay.detach().numpy()) + 1j * module.frequency.detach().numpy()
    b = np.ones_like(a)
    if module.train_b:
        b = module.input_re.detach().numpy() + 1j * module.input_im.detach().numpy()
    c = module.output_re.detach().numpy() + 1j * module.output_im.detach().numpy()
    d = module.skip_weight.detach().numpy() if module.options["skip"] else 0.0
    if module.discretization == "zoh":
        step, inside = np.exp(dt * a), (np.exp(dt * a) - 1) / a * b
    else:
        step = (1 / (1 - dt / 2 * a)) * (1 + dt / 2 * a)
        inside = (1 / (1 - dt / 2 * a)) * dt * b
    u, rows = np.zeros((x.shape[1], *a.shape), complex), []
    for row in x[::-1] if module.reverse else x:
        u = step * u + inside * row[:, None]
        rows.append(2 * np.real(np.sum(c * u, axis=1)) + d * row)
    return np.array(rows[::-1] if module.reverse else rows)


@pytest.mark.parametrize("how", VARIANTS, ids=str)
def test_both_methods_compute_the_published_system(how):
    module = make(**how)
    x = torch.randn(257, 3, 3, dtype=torch.float64)
    want = published(module, x.numpy())
    np.testing.assert_allclose(module(x).detach(), want, rtol=0, atol=1e-9)
    np.testing.assert_allclose(module.fft_forward(x).detach(), want, rtol=0, atol=1e-9)
    graph = nd.trace(module, x)
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=0, atol=1e-9)


def test_both_methods_have_the_same_gradients():
    x = torch.randn(100, 2, 3, dtype=torch.float64)
    grads = []
    for method in ("scan", "fft"):
        module = make(train_b=True, method=method)
        given = x.clone().requires_grad_()
        (module(given) * torch.linspace(-1, 1, x.numel()).view(x.shape)).sum().backward()
        grads.append([given.grad, *(p.grad for p in module.parameters())])
    for a, b in zip(*grads, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_where_the_frequencies_start():
    """Gu et al. 2022, Eq. 8 and 9."""
    lin, inv = S4D(2, state=6), S4D(2, state=6, init="inv")
    want = {lin: [0, math.pi, 2 * math.pi], inv: [6 / math.pi * v for v in (5, 1, 0.2)]}
    for module, values in want.items():
        for channel in range(2):
            found = module.frequency[:, channel].detach()
            torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float32))
        torch.testing.assert_close(module.log_decay.exp(), torch.full((3, 2), 0.5))
    dt = S4D(2000, state=2).log_dt.exp()
    assert 0.001 <= dt.min() < 0.0012
    assert 0.085 < dt.max() <= 0.1


@pytest.mark.parametrize(
    ("how", "count"),
    [
        ({}, 5 * (1 + 4 * 4 + 1)),
        ({"train_b": True}, 5 * (1 + 4 * 6 + 1)),
        ({"skip": False}, 5 * (1 + 4 * 4)),
        ({"train_a": False}, 5 * (1 + 4 * 2 + 1)),
        ({"train_dt": False}, 5 * (4 * 4 + 1)),
    ],
    ids=str,
)
def test_what_is_trained(how, count):
    assert sum(p.numel() for p in S4D(5, state=8, **how).parameters()) == count


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"init": "legs"}, "no init 'legs'"),
        ({"discretization": "euler"}, "no discretization 'euler'"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"state": 5}, "state is 5"),
        ({"state": 0}, "state is 0"),
        ({"dt": (0.1, 0.01)}, "dt is (0.1, 0.01)"),
        ({"dt": (0.0, 0.01)}, "dt is (0.0, 0.01)"),
    ],
)
def test_what_it_refuses(how, says):
    with pytest.raises(InputError, match=r"E105") as caught:
        S4D(3, **how)
    assert says in str(caught.value)


def test_it_learns_to_delay():
    """Every parameter moves, and the loss falls."""
    module = make(width=2, state=16, train_b=True, dt=(0.05, 0.3))
    start = [p.detach().clone() for p in module.parameters()]
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    for _ in range(120):
        x = torch.randn(60, 8, 2, dtype=torch.float64)
        loss = (module(x)[5:] - x[:-5]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert all((a != b).any() for a, b in zip(start, module.parameters(), strict=True))


def test_tuning_moves_every_mode_and_keeps_it_decaying():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 4), S4D(4, state=4, dt=(0.05, 0.5)), nd.nn.Readout("mean")]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(4, 3)).double()
    x = torch.randn(30, 12, 2, dtype=torch.float64).numpy()
    graph, chip = nd.trace(net, x), nd.target("asic45")
    tuned = nd.tune(graph, chip, x, np.arange(12) % 3, bits=4, epochs=3, rate=0.3, batch=4)
    before, after = fold(graph)["1"].op.coefs, tuned["1"].op.coefs
    for name in ("a_re", "a_im", "c_re", "c_im", "d"):
        assert np.any(after[name] != before[name]), name
    assert np.all(np.hypot(after["a_re"], after["a_im"]) < 1)
    nd.compile(tuned, chip, calibration=x)


class Summed(torch.nn.Module):
    """Two state spaces, one of them backwards, summed in front of a Linear of any kind."""

    def __init__(self, behind):
        super().__init__()
        self.forwards = S4D(7, state=4, dt=(0.05, 0.5))
        self.backwards = S4D(7, state=4, dt=(0.05, 0.5), reverse=True)
        self.mix, self.behind = torch.nn.Linear(7, 5), behind
        self.readout, self.classifier = nd.nn.Readout("mean"), torch.nn.Linear(5, 3)

    def forward(self, x):
        y = self.behind(self.mix(self.forwards(x) + self.backwards(x)))
        return self.classifier(self.readout(y))


@pytest.mark.parametrize("behind", [torch.nn.Identity, torch.nn.ReLU, lambda: nd.nn.LIF(5)])
def test_a_linear_behind_a_sum_of_two_directions_fits_its_registers(behind):
    """A Linear reads the sum as wide as its parts, so these leave room for it."""
    torch.manual_seed(0)
    net, x = Summed(behind()).double(), 2 * torch.randn(30, 6, 7, dtype=torch.float64)
    program = nd.compile(nd.trace(net, x), nd.target("asic45"), calibration=x.numpy())
    assert_simulator_is_reference(program, x.numpy())
    want = net(x).detach().numpy()
    assert np.abs(nd.simulate(program, x.numpy()).outputs - want).max() < 0.03 * np.abs(want).max()
