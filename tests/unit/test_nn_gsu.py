"""Networks of state spaces and gated spiking units: sizes, equations, deployment."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from conformance.test_passes import assert_simulator_is_reference

import neurodeploy as nd
from neurodeploy.errors import FitError, InputError

NORMS = [("batch", False), ("batch", True), ("layer", False), ("layer", True), (None, False)]
OPTIONS = list(product((False, True), (False, True), NORMS))


def trained(**options):
    torch.manual_seed(0)
    model = nd.nn.GSUNetwork(2, 8, 2, 3, state=4, dt=(0.05, 0.5), **options)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nd.nn.BatchNorm):
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, nd.nn.BatchNorm | torch.nn.LayerNorm):
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-0.3, 0.3)
    return model.double().eval()


@pytest.mark.parametrize(("state", "printed"), [(2, 37.9), (64, 85.5)])
def test_the_sizes_of_the_paper(state, printed):
    model = nd.nn.GSUNetwork(1, 128, 2, 10, state=state)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert round(count / 1000, 1) == printed


@pytest.mark.parametrize(("bidirectional", "residual", "norms"), OPTIONS)
def test_every_layout_is_its_equations_its_graph_and_a_program(bidirectional, residual, norms):
    norm, pre_norm = norms
    model = trained(bidirectional=bidirectional, residual=residual, norm=norm, pre_norm=pre_norm)
    block, x = model.blocks[0], torch.randn(20, 4, 2, dtype=torch.float64)
    with torch.no_grad():
        u = torch.randn(20, 4, 8, dtype=torch.float64)
        same = torch.nn.Identity()
        first = block.norm if pre_norm else same
        last = block.norm if norm and not pre_norm else same
        y = block.s4d(first(u)) + (block.s4d_reverse(first(u)) if bidirectional else 0)
        z = torch.nn.functional.gelu(block.layer_norm(block.gsu(y)))
        torch.testing.assert_close(block(u), last(u + z if residual else z))
        want = model(x).numpy()
    graph = nd.trace(model, x)
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=1e-8, atol=1e-10)
    program = nd.compile(graph, nd.target("asic45"), calibration=x.numpy(), verify=True)
    assert_simulator_is_reference(program, x.numpy())
    mixing = [e for e in nd.simulate(program, x.numpy()).edges if e.target.endswith(".gsu")]
    assert [edge.kind for edge in mixing] == ["add"] * 4


@pytest.mark.parametrize("bidirectional", [False, True])
def test_constant_thresholds_deploy_with_additions_only(bidirectional):
    """Membranes get one unit here too, or the weights -1, 0 and 1 behind them would become any."""
    model = trained(bidirectional=bidirectional, threshold="constant")
    x = torch.randn(30, 6, 2, dtype=torch.float64)
    model.train()
    for _ in range(20):
        model(x)
    want = model.eval()(x).detach().numpy()
    program = nd.compile(nd.trace(model, x), nd.target("asic45"), calibration=x.numpy())
    assert_simulator_is_reference(program, x.numpy())
    run = nd.simulate(program, x.numpy())
    assert [e.kind for e in run.edges if e.target.endswith(".gsu")] == ["add"] * 4
    assert np.sqrt(np.mean((run.outputs - want) ** 2)) < 0.2 * np.sqrt(np.mean(want**2))


def test_sixteen_bits_follow_the_float_network():
    model = trained()
    x = np.random.default_rng(0).normal(size=(40, 30, 2))
    graph = nd.trace(model, x)
    want = nd.interpret(graph, x)
    got = nd.simulate(nd.compile(graph, nd.target("asic45"), calibration=x), x).outputs
    assert np.sqrt(np.mean((got - want) ** 2)) < 0.15 * np.sqrt(np.mean(want**2))


def test_loihi_2_names_every_layer_that_it_has_no_unit_for():
    x = np.random.default_rng(0).normal(size=(20, 4, 2))
    with pytest.raises(FitError) as caught:
        nd.compile(nd.trace(trained(), x), nd.target("loihi2"), calibration=x)
    places = [r["where"] for r in caught.value.records() if "vector operation" in r["what"]]
    kinds = [place.split("(")[1][:-1] for place in places]
    assert kinds == ["rescale", "ternary_step", "product", "layernorm", "gelu"] * 2


def test_checkpoints_and_wrong_values(tmp_path):
    model = nd.nn.GSUNetwork(
        2, 6, 1, 3, state=2, bidirectional=True, norm="layer", threshold="constant", dropout=0.1
    )
    nd.save(model, tmp_path / "m.pt", example=torch.zeros(3, 1, 2))
    assert nd.nn.load(tmp_path / "m.pt").config() == model.config()
    for wrong in ({"norm": "group"}, {"init": "hippo"}, {"ratio": -1.0}):
        with pytest.raises(InputError) as caught:
            nd.nn.GSUBlock(4, **wrong)
        assert caught.value.code == "E105"
    with pytest.raises(InputError, match="blocks is 0"):
        nd.nn.GSUNetwork(1, 4, 0, 2)


@pytest.mark.parametrize("build", [nd.nn.GSUBlock, partial(nd.nn.GSUNetwork, 1, 4, 1)])
def test_without_a_norm_there_is_no_pre_norm(build):
    with pytest.raises(InputError, match="pre_norm without a norm") as caught:
        build(4, norm=None, pre_norm=True)
    assert (caught.value.code, "pre_norm=False" in caught.value.fix) == ("E105", True)


def test_it_trains():
    torch.manual_seed(0)
    model = nd.nn.GSUNetwork(1, 12, 1, 2, state=4, dt=(0.01, 0.3))
    x = torch.randn(30, 32, 1)
    labels = (x[:15].sum((0, 2)) > x[15:].sum((0, 2))).long()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
