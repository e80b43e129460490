"""Recomputed blocks: the same function, gradients and statistics, with less kept."""

from __future__ import annotations

import copy

import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.nn import LIF, SDTCM, BatchNorm, recompute

STEPS = 30


def network(**how):
    torch.manual_seed(0)
    model = SDTCM(2, 6, 3, 4, dt=(0.1, 0.9), theta=(0.0, 3.0), dropout=0.2, **how).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def trained(model, steps=3):
    """Return outputs, gradients and statistics of some steps of training."""
    torch.manual_seed(1)
    found, optimizer = [], torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(steps):
        x = (4 * torch.randn(STEPS, 5, 2, dtype=torch.float64)).requires_grad_()
        optimizer.zero_grad()
        y = model(x)
        y.square().sum().backward()
        found += [y.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]
        optimizer.step()
    return [*found, *model.buffers()]


@pytest.mark.parametrize("how", [{}, {"norm": "post"}, {"bidirectional": True}], ids=str)
def test_training_is_the_same_to_the_last_bits(how):
    plain, less = network(**how), network(**how, checkpoint_steps=STEPS)
    want, got = trained(plain), trained(less)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    grads = [g for g in want if g.is_floating_point()]
    assert all(g.abs().max() > 0 for g in grads)


def kept(model):
    """Return the bytes that the forward pass keeps for the backward pass."""
    sizes = {}

    def pack(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = model(torch.randn(STEPS, 5, 2, dtype=torch.float64)).sum()
    assert loss.requires_grad
    return sum(sizes.values())


def test_less_is_kept_and_only_of_long_sequences():
    everything = kept(network())
    assert kept(network(checkpoint_steps=STEPS)) < everything / 3
    assert kept(network(checkpoint_steps=STEPS + 1)) == everything


def test_statistics_follow_each_batch_once_and_again_afterwards():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), BatchNorm(3), LIF(3))
    twin, x = copy.deepcopy(model), torch.randn(STEPS, 4, 2)
    recompute(model, x).sum().backward()
    twin(x).sum().backward()
    assert model[1].num_batches_tracked == 1
    torch.testing.assert_close(model[1].running_mean, twin[1].running_mean, rtol=0, atol=0)
    model(x)
    assert model[1].num_batches_tracked == 2


def test_statistics_follow_again_after_a_failure():
    class Fails(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.calls = BatchNorm(2), 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("the second time")
            return self.norm(x)

    model = Fails()
    out = recompute(model, torch.randn(STEPS, 4, 2))
    with pytest.raises(RuntimeError, match="the second time"):
        out.sum().backward()
    assert model.norm.follows


def test_it_is_saved_traced_and_checked(tmp_path):
    model = network(checkpoint_steps=STEPS).eval()
    x = 4 * torch.randn(STEPS, 5, 2)
    nd.save(model, tmp_path / "m.pt", example=x)
    assert nd.nn.load(tmp_path / "m.pt").checkpoint_steps == STEPS
    want = nd.interpret(nd.trace(network().eval(), x), x.numpy())
    assert (nd.interpret(nd.trace(model, x), x.numpy()) == want).all()
    with pytest.raises(InputError, match="checkpoint_steps is 0"):
        network(checkpoint_steps=0)
