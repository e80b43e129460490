"""SD-TCM, against its equations in plain torch."""

import math
from itertools import product

import pytest
import torch
from torch import fx

from neurodeploy.nn import SDTCM, BatchNorm, Readout, Scale, SDTCMBlock
from neurodeploy.nn.neurons import Neuron

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


def soft_spike(margin):
    soft = torch.atan(math.pi * margin) / math.pi
    return (margin >= 0).to(margin) + soft - soft.detach()


class Published:
    """arXiv 2410.03530, Eq. 98-102 and 19, from a state dict, without a module of the project."""

    def __init__(self, state, *, norm, outer, bidirectional, training):
        self.w, self.norm, self.outer = state, norm, outer
        self.bidirectional, self.training = bidirectional, training

    def linear(self, at, x):
        return x @ self.w[f"{at}.weight"].T + self.w[f"{at}.bias"]

    def alpha(self, at):
        return self.w[f"{at}.log_amplitude"].exp() if f"{at}.log_amplitude" in self.w else 1.0

    def prf(self, at, x):
        dt, theta = self.w[f"{at}.log_dt"].exp(), self.w[f"{at}.theta"]
        z, rows = torch.zeros(x.shape[1:], dtype=torch.complex128), []
        for row in x:
            z = torch.exp(torch.complex(-dt / 2.0, dt * theta)) * z + dt * row
            rows.append(soft_spike(z.real - 0.3))
        return self.alpha(at) * torch.stack(rows)

    def normalise(self, at, x):
        mean, var = self.w[f"{at}.running_mean"], self.w[f"{at}.running_var"]
        if self.training:
            mean = x.mean((0, 1))
            var = ((x - mean) ** 2).mean((0, 1))
        return (x - mean) / (var + 1e-5).sqrt() * self.w[f"{at}.weight"] + self.w[f"{at}.bias"]

    def inner(self, at, v, u):
        s = self.prf(f"{at}tn", v)
        if self.bidirectional:
            s = torch.cat((s, self.prf(f"{at}tn_reverse", v.flip(0)).flip(0)), -1)
        x = u + self.linear(f"{at}linear1", s)
        q = self.alpha(f"{at}sn") * soft_spike(x - 0.5)
        return x + self.linear(f"{at}linear2", q)

    def block(self, at, u):
        if self.norm == "pre":
            v = self.normalise(f"{at}norm", u)
            return u + self.inner(at, v, v) if self.outer else self.inner(at, v, u)
        y = u + self.inner(at, u, u) if self.outer else self.inner(at, u, u)
        return self.normalise(f"{at}norm", y) if self.norm == "post" else y

    def network(self, x, blocks, scale, readout):
        u = self.linear("encoder", x * scale)
        for i in range(blocks):
            u = self.block(f"blocks.{i}.", u)
        if self.norm == "pre":
            u = self.normalise("norm", u)
        reduced = {"mean": u.mean(0), "sum": u.sum(0), "last": u[-1], "steps": u}
        return self.linear("classifier", reduced[readout])


FAST = {"dt": (0.1, 0.8), "theta": (0.0, 4.0), "v_th": 0.3}  # spikes within a few steps
COMBINATIONS = list(product(("pre", "post", None), (False, True), (False, True)))
AMPLITUDES = {"sn": ["sn"], "tn": ["tn"], "both": ["tn", "sn"], "none": []}


def gradients(forward, model, x):
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = forward(x)
    (y * torch.linspace(1, 3, y.numel(), dtype=y.dtype).view(y.shape).sin()).sum().backward()
    return {"y": y.detach(), "x": x.grad, **{n: p.grad for n, p in model.named_parameters()}}


def assert_published(model, forward, x, silent=()):
    got, want = gradients(model, model, x), gradients(forward, model, x)
    for name, value in want.items():
        assert (value.abs().max() > 1e-11) == (name not in silent), f"{name} is not exercised"
        torch.testing.assert_close(got[name], value, rtol=1e-8, atol=1e-11, msg=name)


def weights(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("amplitude", AMPLITUDES)
@pytest.mark.parametrize(("norm", "outer", "bidirectional"), COMBINATIONS)
def test_a_block_is_the_published_one(norm, outer, bidirectional, amplitude, training):
    torch.manual_seed(1)
    how = {"norm": norm, "outer_residual": outer, "bidirectional": bidirectional}
    block = scatter(SDTCMBlock(6, **how, amplitude=amplitude, **FAST).double()).train(training)
    trained = {name.split(".")[0] for name, _ in block.named_parameters() if "amplitude" in name}
    assert {name.removesuffix("_reverse") for name in trained} == set(AMPLITUDES[amplitude])
    how = {"norm": norm, "outer": outer, "bidirectional": bidirectional, "training": training}
    published = Published(weights(block), **how)
    x = 3 * draw(14, 3, 6)
    assert 0.02 < block.tn(x).count_nonzero() / x.numel() < 0.9
    silent = {"linear2.bias"} if norm == "post" and training else set()  # its norm takes it out
    assert_published(block, lambda u: published.block("", u), x, silent)


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "steps"])
@pytest.mark.parametrize(("norm", "outer", "bidirectional"), COMBINATIONS)
def test_a_network_is_the_published_one(norm, outer, bidirectional, readout):
    torch.manual_seed(2)
    how = {"norm": norm, "outer_residual": outer, "bidirectional": bidirectional}
    model = SDTCM(2, 5, 2, 3, **how, readout=readout, input_scale=4.0, **FAST)
    model = scatter(model.double())
    how = {"norm": norm, "outer": outer, "bidirectional": bidirectional, "training": True}
    published = Published(weights(model), **how)
    x = draw(12, 4, 2)
    assert model(x).shape == ((12, 4, 3) if readout == "steps" else (4, 3))
    # the last step is the first of a backward neuron: without a norm that mixes steps, it
    # has not rotated yet
    resting = norm is None and readout == "last" and bidirectional
    silent = {"blocks.1.tn_reverse.theta"} if resting else set()
    # what shifts each step alike is taken out by the norm that follows
    shifts = {"blocks.1.linear2.bias"} if norm else set()
    shifts |= {"blocks.0.linear2.bias"} if norm == "post" or (norm and outer) else set()
    silent |= shifts | ({"encoder.bias"} if norm == "pre" and outer else set())
    assert_published(model, lambda v: published.network(v, 2, 4.0, readout), x, silent)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts():
    """The published sMNIST network has 68.9 k; a bidirectional block adds a PRF and D x D."""
    d, block = 128, SDTCMBlock(128)
    assert count(block) == 2 * (d * d + d) + 2 * d + 2 * d + 1
    assert count(SDTCM(1, 128, 2, 10)) == 68_876
    assert count(SDTCMBlock(128, bidirectional=True)) - count(block) == d * d + 2 * d
    both = SDTCMBlock(128, bidirectional=True, amplitude="both")
    assert count(both) - count(SDTCMBlock(128, bidirectional=True)) == 2
    assert count(SDTCMBlock(128, norm=None, amplitude="none")) == count(block) - 2 * d - 1
    assert count(SDTCM(1, 8, 1, 3)) - count(SDTCM(1, 8, 1, 3, norm="post")) == 16


def test_dropout_acts_on_what_each_linear_adds_and_only_in_training():
    torch.manual_seed(0)
    u = draw(9, 2, 4)
    certain = SDTCMBlock(4, norm=None, dropout=1.0).double()
    torch.testing.assert_close(certain(u), u, rtol=0, atol=0)
    block, plain = SDTCMBlock(4, dropout=0.5).double(), SDTCMBlock(4).double()
    plain.load_state_dict(block.state_dict())
    assert not torch.equal(block(u), plain(u))
    plain.load_state_dict(block.state_dict())
    torch.testing.assert_close(block.eval()(u), plain.eval()(u), rtol=0, atol=0)


class Tracer(fx.Tracer):
    def is_leaf_module(self, module, name):
        known = (Neuron, BatchNorm, Readout, Scale, torch.nn.Linear, torch.nn.Dropout)
        return isinstance(module, known)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(("norm", "outer", "bidirectional"), COMBINATIONS)
def test_a_network_can_be_traced(norm, outer, bidirectional, dropout):
    how = {"norm": norm, "outer_residual": outer, "bidirectional": bidirectional}
    model = SDTCM(2, 5, 2, 3, **how, dropout=dropout, **FAST).double().eval()
    graph = Tracer().trace(model)
    kinds = {node.op for node in graph.nodes}
    assert kinds == {"placeholder", "call_module", "call_function", "output"}
    called = [node.target.__name__ for node in graph.nodes if node.op == "call_function"]
    assert set(called) == ({"add", "cat"} if bidirectional else {"add"})
    assert called.count("add") == (6 if outer else 4)
    used = {node.target for node in graph.nodes if node.op == "call_module"}
    leaves = {n for n, m in model.named_modules() if not list(m.children())}
    assert used == leaves
    x = draw(7, 2, 2)
    torch.testing.assert_close(fx.GraphModule(model, graph)(x), model(x), rtol=0, atol=0)


def test_training_learns():
    """Which of two halves of the sequence holds the pulses: needs memory, a few steps suffice."""
    torch.manual_seed(0)
    model = SDTCM(1, 16, 1, 2, dt=(0.05, 0.5), theta=(0.0, 2.0))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    labels = torch.arange(64) % 2
    early = (torch.arange(40) < 20)[:, None] == (labels == 0)
    x = (early.float() * (torch.rand(40, 64) < 0.3))[..., None]
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert losses[-1] < 0.2
