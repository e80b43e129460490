"""Ternary values and the gated spiking unit: equations, gradients, graphs, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.graph.ir import Linear, identical
from neurodeploy.graph.nonlinear import Gelu, Glu, LayerNorm, Product, Relu, Ternary


def ternary(x, level):
    """Eq. 18, one number at a time."""
    flat = [
        1.0 if v >= t else -1.0 if v <= -t else 0.0 for v, t in zip(x.flat, level.flat, strict=True)
    ]
    return np.array(flat).reshape(x.shape)


def gsu(x, weight, b, c, ratio=0.15):
    """Eq. 17, one step at a time, in float64."""
    steps, samples, _ = x.shape
    out = np.zeros((steps, samples, len(weight)))
    signs = ternary(weight, np.full(weight.shape, ratio * np.abs(weight).max()))
    for t in range(steps):
        for s in range(samples):
            row = x[t, s]
            sign = ternary(row, np.full(row.shape, ratio * np.abs(row).max()))
            out[t, s] = (weight @ sign + b) * (signs @ row + c)
    return out


def made(width=6, features=4, **more):
    torch.manual_seed(0)
    return nd.nn.GSU(width, features, **more).double().eval()


def arrays(module):
    return [p.detach().numpy() for p in (module.weight, module.bias, module.gate_bias)]


def test_the_gsu_is_equation_17():
    module, x = made(), torch.randn(9, 3, 6, dtype=torch.float64)
    x[2, 1] = 0.0  # silence: the threshold is 0 too, and every sign 1
    x[3, 0, 1] = x[3, 0, 0].abs() * 0.15  # a tie, if the first is the largest
    with torch.no_grad():
        np.testing.assert_allclose(module(x).numpy(), gsu(x.numpy(), *arrays(module)), rtol=1e-12)


def test_the_gradients_go_straight_through():
    module, x = made(), torch.randn(5, 2, 6, dtype=torch.float64, requires_grad=True)
    up = torch.randn(5, 2, 4, dtype=torch.float64)
    module(x).backward(up)
    w, b, c = (p.detach() for p in (module.weight, module.bias, module.gate_bias))
    sign, signs = module.ternary(x).detach(), module.ternary_weight().detach()
    value, gate = sign @ w.T + b, x.detach() @ signs.T + c
    left, right = up * gate, up * value
    torch.testing.assert_close(x.grad, left @ w + right @ signs)
    both = torch.einsum("tbo,tbi->oi", left, sign) + torch.einsum("tbo,tbi->oi", right, x.detach())
    torch.testing.assert_close(module.weight.grad, both)
    torch.testing.assert_close(module.bias.grad, left.sum((0, 1)))
    torch.testing.assert_close(module.gate_bias.grad, right.sum((0, 1)))


@pytest.mark.parametrize("surrogate", ["arctan", "triangle", "boxcar", "fast_sigmoid"])
def test_a_surrogate_acts_at_both_thresholds(surrogate):
    x = torch.tensor([[[1.0, 0.15, -0.15, 0.6, 0.0]]], dtype=torch.float64, requires_grad=True)
    nd.nn.Ternary(surrogate=surrogate, steepness=4.0)(x).sum().backward()
    near, far = x.grad[0, 0, 1:3], x.grad[0, 0, 3]
    assert torch.all(near > 1)
    assert far < near.min() / 4
    assert x.grad[0, 0, 1] == pytest.approx(float(x.grad[0, 0, 2]))


def test_a_constant_threshold_follows_in_training_and_stays_in_use():
    module = nd.nn.Ternary(threshold="constant", momentum=0.5)
    x = torch.randn(7, 2, 5)
    level = module.level.clone()
    want = level + 0.5 * (0.15 * x.abs().amax(-1).mean() - level)
    module(x)
    torch.testing.assert_close(module.level, want)
    module.eval()
    y = module(100 * x)
    torch.testing.assert_close(module.level, want)
    torch.testing.assert_close(y, torch.sign(x) * (100 * x.abs() >= want))
    assert set(nd.nn.Ternary().state_dict()) == set()


@pytest.mark.parametrize("threshold", ["step", "constant"])
def test_the_graph_of_a_gsu(threshold):
    module, x = made(threshold=threshold), torch.randn(8, 3, 6, dtype=torch.float64)
    graph = nd.trace(
        torch.nn.Sequential(module, torch.nn.LayerNorm(4).double(), torch.nn.GELU()), x
    )
    kinds = [type(node.op) for node in graph][1:]
    assert kinds == [Ternary, Linear, Linear, Product, LayerNorm, Gelu]
    assert set(np.unique(graph["0.gate"].op.weight)) == {-1, 0, 1}
    with torch.no_grad():
        want = torch.nn.functional.gelu(torch.nn.functional.layer_norm(module(x), (4,)))
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want.numpy(), rtol=1e-9, atol=1e-12)


def test_a_gsu_alone_is_followed_and_saved(tmp_path):
    module, x = made(), torch.randn(8, 3, 6, dtype=torch.float64)
    nd.save(module, tmp_path / "m.pt", example=x)
    assert identical(nd.load(tmp_path / "m.pt"), nd.trace(module, x))
    with torch.no_grad():
        assert torch.equal(nd.nn.load(tmp_path / "m.pt")(x), module(x))


class Mixed(torch.nn.Module):
    """Every layer and function of this kind, as a user would write them."""

    def __init__(self):
        super().__init__()
        self.encode, self.norm = torch.nn.Linear(3, 6), torch.nn.LayerNorm(6)
        self.bare = torch.nn.LayerNorm([6], elementwise_affine=False)
        self.gelu, self.tanh = torch.nn.GELU(), torch.nn.GELU("tanh")
        self.wide, self.glu = torch.nn.Linear(6, 12), torch.nn.GLU(dim=-1)
        self.relu, self.ternary = torch.nn.ReLU(inplace=True), nd.nn.Ternary()

    def forward(self, x):
        functional = torch.nn.functional
        u = self.norm(self.encode(x))
        u = u + self.gelu(u) * self.tanh(self.bare(u))
        v = self.glu(self.wide(u)) - 0 * u if False else self.glu(self.wide(u))
        v = functional.gelu(v) + functional.gelu(v, approximate="tanh") + functional.relu(v)
        w = functional.glu(self.wide(v), dim=2) + torch.relu(v) + v.relu()
        return self.relu(self.ternary(w) * w + v * v)


def test_layers_and_functions_are_followed():
    torch.manual_seed(1)
    module, x = Mixed().double().eval(), torch.randn(9, 4, 3, dtype=torch.float64) * 3
    torch.nn.init.normal_(module.norm.weight)
    torch.nn.init.normal_(module.norm.bias)
    graph = nd.trace(module, x)
    with torch.no_grad():
        want = module(x).numpy()
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=1e-9, atol=1e-12)
    kinds = [type(node.op) for node in graph]
    for kind, count in ((LayerNorm, 2), (Gelu, 4), (Glu, 2), (Product, 3), (Relu, 4), (Ternary, 1)):
        assert kinds.count(kind) == count


@pytest.mark.parametrize(
    "module",
    [
        torch.nn.LayerNorm((4, 6)),
        torch.nn.GLU(dim=0),
    ],
    ids=["a norm over two axes", "a GLU over time"],
)
def test_other_axes_are_refused_by_name(module):
    with pytest.raises(InputError, match="a layer that is not known") as caught:
        nd.trace(torch.nn.Sequential(module), torch.randn(8, 4, 6))
    assert caught.value.code == "E104"


@pytest.mark.parametrize(
    "module",
    [
        torch.nn.LayerNorm(6, eps=1e-3),
        torch.nn.LayerNorm(6, bias=False),
        torch.nn.LayerNorm(6, elementwise_affine=False),
        torch.nn.GELU("tanh"),
        torch.nn.ReLU(),
        torch.nn.GLU(),
        nd.nn.Ternary(ratio=0.3, threshold="constant"),
        nd.nn.GSU(6, 3, surrogate="arctan"),
    ],
    ids=lambda module: type(module).__name__,
)
def test_checkpoints_hold_them(module, tmp_path):
    model, x = torch.nn.Sequential(module).eval(), torch.randn(8, 3, 6)
    nd.save(model, tmp_path / "m.pt", example=x)
    again = nd.nn.load(tmp_path / "m.pt")
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert repr(again) == repr(model)


@pytest.mark.parametrize(
    "wrong", [{"threshold": "none"}, {"surrogate": "cosine"}, {"ratio": -0.1}, {"features": -1}]
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(InputError) as caught:
        nd.nn.GSU(6, **wrong)
    assert caught.value.code == "E105"
    with pytest.raises(InputError, match=r"GSU got torch.float32 of shape \[3, 6\]"):
        nd.nn.GSU(6)(torch.zeros(3, 6))
