"""SpikingSSM, Binary S4D and the surrogate network, against loops written out here."""

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.ir import Neurons, Surrogate, identical
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.nn import (
    SDN,
    BinaryS4D,
    BinaryS4DBlock,
    SpikingSSM,
    SpikingSSMBlock,
    SurrogateLIF,
    Threshold,
    train_sdn,
)
from neurodeploy.nn.sdn import agreement, carried_over
from neurodeploy.passes.pipeline import compile_graph, fold


def published(block, u, spikes):
    """One block by the equations of the papers, in numpy; `spikes` turns y into spikes."""
    v = u
    if block.placement == "pre":
        v = norm(block, u)
    y = block.ssm(v).detach().numpy()
    if block.ssm_reverse is not None:
        y = y + block.ssm_reverse(v).detach().numpy()
    s = spikes(y)
    weight, bias = (p.detach().numpy() for p in (block.mix.weight, block.mix.bias))
    both = s @ weight.T + bias
    half = both.shape[-1] // 2
    m = torch.from_numpy(both[..., :half] / (1 + np.exp(-both[..., half:])))
    m = u + m if block.residual else m
    return norm(block, m) if block.placement == "post" else m


def norm(block, x):
    layer = block.norm
    if block.norm_kind == "batch":
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return (x - layer.running_mean) * scale + layer.bias
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    return (x - mean) / (var + layer.eps).sqrt() * layer.weight + layer.bias


def lif(block):
    threshold = np.exp(block.threshold.log_v_th.detach().numpy())
    soft = block.lif.options["reset"] == "soft"

    def run(y):
        u, rows = np.zeros(y.shape[1:]), []
        for row in y / threshold:
            u = block.lif.beta * u + row
            s = u >= 1
            rows.append(s * 1.0)
            u = u - s if soft else u * ~s
        return np.array(rows)

    return run


def shaken(module):
    torch.manual_seed(5)
    with torch.no_grad():
        for value in module.double().state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return module.eval()


SHAPES = [
    {},
    {"norm": "post", "norm_kind": "layer"},
    {"norm": None, "bidirectional": True},
    {"residual": False, "norm_kind": "layer"},
    {"init": "inv", "discretization": "bilinear", "train_b": True},
]


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("how", SHAPES, ids=str)
def test_a_block_is_the_published_one(how, reset):
    block = shaken(SpikingSSMBlock(5, state=6, dt=(0.05, 0.5), v_th=0.4, reset=reset, **how))
    u = torch.randn(80, 3, 5, dtype=torch.float64)
    want = published(block, u, lif(block)).detach()
    torch.testing.assert_close(block(u).detach(), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("how", SHAPES, ids=str)
def test_a_binary_block_is_the_published_one(how):
    block = shaken(BinaryS4DBlock(5, state=6, dt=(0.05, 0.5), **how))
    u = torch.randn(80, 3, 5, dtype=torch.float64)
    want = published(block, u, lambda y: (y > 0) * 1.0).detach()
    torch.testing.assert_close(block(u).detach(), want, rtol=1e-9, atol=1e-9)


def test_published_sizes():
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(BinaryS4D(1, 128, 2, 10, residual=False)) == 117_770
    assert count(SDN()) == 153


@pytest.mark.parametrize("kind", [SpikingSSM, BinaryS4D])
@pytest.mark.parametrize("readout", ["mean", "steps"])
def test_networks_learn_all_their_parameters(kind, readout):
    torch.manual_seed(9)
    network = kind(2, 6, 2, 3, state=4, readout=readout, dt=(0.05, 0.5))
    y = network(torch.randn(30, 4, 2))
    assert y.shape == ((30, 4, 3) if readout == "steps" else (4, 3))
    y.square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in network.parameters())


def test_the_surrogate_sees_the_last_eight_inputs():
    torch.manual_seed(8)
    x = torch.randn(40, 1, 1)
    for t in range(8, 20):
        other = x.clone()
        other[t] += 1
        sdn = SDN()
        changed = (sdn(other) != sdn(x)).flatten().nonzero().flatten()
        assert set(changed.tolist()) <= set(range(t + 1, t + 9))
        assert len(changed) > 0


def test_a_trained_surrogate_spikes_like_the_neurons():
    sdn, share = train_sdn(updates=60, lanes=32, steps=64, rate=0.03)
    assert share > 0.95
    assert agreement(SDN(), torch.randn(200, 8, 4)) < share
    x = torch.randn(100, 3, 2)
    exact = SurrogateLIF(2)(x)
    carried = carried_over(x, 0.125)
    assert torch.equal((carried + x >= 1).float(), exact)
    assert not any(p.requires_grad for p in sdn.parameters())


def spiking(sdn):
    torch.manual_seed(3)
    from neurodeploy.nn import S4D, Readout

    layers = (torch.nn.Linear(2, 6), S4D(6, state=8, dt=(0.05, 0.5)), Threshold(6, 0.3))
    last = (torch.nn.Linear(6, 3), Readout("mean"))
    return torch.nn.Sequential(*layers, SurrogateLIF(6, sdn=sdn), *last).double()


def test_gradients_under_a_surrogate_pass_to_the_same_step_only():
    """Shen et al. 2024, Eq. 18."""
    torch.manual_seed(7)
    neurons = SurrogateLIF(3, sdn=SDN()).double()
    x = (0.5 + 0.3 * torch.randn(20, 2, 3, dtype=torch.float64)).requires_grad_()
    neurons(x)[7].sum().backward()
    assert x.grad[7].abs().max() > 0
    assert x.grad.abs().sum() == x.grad[7].abs().sum()


def test_the_graph_holds_the_surrogate_and_the_compiler_drops_it():
    sdn, _ = train_sdn(updates=60, lanes=32, steps=64, rate=0.03)
    network = spiking(sdn)
    x = torch.randn(50, 4, 2, dtype=torch.float64)
    graph = nd.trace(network, x)
    assert type(graph["3"].op) is Surrogate
    got = interpret(graph, x.numpy())
    np.testing.assert_allclose(got, network(x).detach(), rtol=0, atol=1e-9)
    record, arrays = to_record(graph)
    assert identical(from_record(record, arrays), graph)
    program = compile_graph(graph, nd.target("loihi2"), calibration=x.numpy()).program
    share = program.notes["surrogates"]["3"]
    network[3].sdn = None
    exact = nd.trace(network, x)
    assert type(exact["3"].op) is Neurons
    assert identical(fold(graph), fold(exact))
    _, ours = interpret(exact, x.numpy(), ["3"])
    _, theirs = interpret(graph, x.numpy(), ["3"])
    assert share == np.mean(ours["3"] == theirs["3"]) > 0.9


def test_an_onnx_file_cannot_hold_a_surrogate(tmp_path):
    graph = nd.trace(spiking(SDN()), torch.randn(5, 1, 2))
    with pytest.raises(InputError, match="a surrogate network is for training"):
        nd.export(graph, tmp_path / "g.onnx")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SurrogateLIF(2, reset="soft", sdn=SDN()), "SDN for tau 0.125 and a hard reset"),
        (lambda: SurrogateLIF(2, beta=0.5, sdn=SDN()), "SDN for tau 0.125"),
        (lambda: SDN(1.0), "tau is 1.0"),
        (lambda: Threshold(2, 0.0), "v_th is 0.0"),
        (lambda: SpikingSSMBlock(2, norm="sometimes"), "no norm 'sometimes'"),
        (lambda: BinaryS4DBlock(2, norm_kind="group"), "no norm_kind 'group'"),
        (lambda: SpikingSSM(2, 2, 0, 2), "blocks is 0"),
    ],
)
def test_what_they_refuse(make, says):
    with pytest.raises(InputError, match=r"E105") as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize("kind", [SpikingSSM, BinaryS4D])
@pytest.mark.parametrize("how", [{"norm": "pre", "bidirectional": True}, {"norm_kind": "layer"}])
def test_networks_compile_and_simulate(kind, how):
    """From the module to integers; on one without the units, all that is missing is named."""
    torch.manual_seed(0)
    network = kind(2, 8, 2, 3, state=4, dt=(0.05, 0.5), **how).double().eval()
    x = torch.randn(60, 6, 2, dtype=torch.float64)
    graph, want = nd.trace(network, x), network(x).detach().numpy()
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=0, atol=1e-9)
    program = nd.compile(graph, nd.target("asic45"), calibration=x.numpy())
    got = nd.simulate(program, x.numpy()).outputs
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()
    with pytest.raises(nd.NeurodeployError, match="glu"):
        nd.compile(graph, nd.target("loihi2"), calibration=x.numpy())
