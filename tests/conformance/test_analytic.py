"""Counts from sizes and rates against counts of runs, for every family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.program.ir import Population, Source, Vector, edges
from neurodeploy.program.run import node_count
from neurodeploy.program.synapses import Dense
from neurodeploy.reports.analytic import FAMILIES, expected
from neurodeploy.reports.energy import energy, of_run

STEPS, SAMPLES = 30, 3


class S4(torch.nn.Module):
    """The network without spikes that the family `s4d` is."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.s4d, self.gelu = nd.nn.S4D(4, state=4), torch.nn.GELU()
            self.mix, self.glu = torch.nn.Linear(4, 8), torch.nn.GLU(dim=-1)

        def forward(self, u):
            return u + self.glu(self.mix(self.gelu(self.s4d(u))))

    def __init__(self):
        super().__init__()
        self.encoder, self.readout = torch.nn.Linear(3, 4), nd.nn.Readout("mean")
        self.blocks = torch.nn.Sequential(self.Block(), self.Block())
        self.classifier = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.classifier(self.readout(self.blocks(self.encoder(x))))


def relu():
    linear, act = torch.nn.Linear, torch.nn.ReLU
    layers = [linear(3, 5), act(), linear(5, 4), act(), linear(4, 2)]
    return torch.nn.Sequential(*layers, nd.nn.Readout("sum"))


class LSTM(torch.nn.Module):
    """Two layers, a mean, a classifier."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nd.nn.LSTM(3, 5), nd.nn.LSTM(5, 4)
        self.readout, self.classifier = nd.nn.Readout("mean"), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.classifier(self.readout(self.b(self.a(x))))


MLP = {"sizes": [3, 5, 4, 2], "recurrent": [True, False]}
BLOCKS = {"inputs": 3, "width": 4, "blocks": 2, "classes": 2}
SSM = {**BLOCKS, "state": 4}
ONE = {**SSM, "blocks": 1, "bidirectional": True}

#: family, its sizes, the trainable network, and names that differ
ROWS = {
    **{
        f"mlp-{name}": (
            "spiking_mlp",
            {**MLP, "neuron": name.lower()},
            lambda name=name: nd.nn.SpikingMLP((3, 5, 4, 2), neuron=name, recurrent=True),
            {},
        )
        for name in ("LIF", "ALIF", "TCLIF", "PRF")
    },
    "mlp-mean": (
        "spiking_mlp",
        {"sizes": [3, 5, 4, 2], "readout": "mean"},
        lambda: nd.nn.SpikingMLP((3, 5, 4, 2), readout="mean"),
        {},
    ),
    "celif": (
        "spiking_mlp",
        {**MLP, "neuron": "celif", "readout": "mean", "steps": STEPS},
        lambda: nd.nn.CELIFNet(3, [5, 4], 2, STEPS, recurrent=True),
        {"layers.0.neuron": "neurons.0", "layers.1.neuron": "neurons.1"},
    ),
    "sdtcm": ("sdtcm", BLOCKS, lambda: nd.nn.SDTCM(3, 4, 2, 2), {}),
    "sdtcm-bidirectional": (
        "sdtcm",
        {**BLOCKS, "bidirectional": True},
        lambda: nd.nn.SDTCM(3, 4, 2, 2, norm="post", bidirectional=True),
        {},
    ),
    "sdtcm-tokens": (
        "sdtcm",
        {**BLOCKS, "tokens": 7},
        lambda: nd.nn.SDTCM(1, 4, 2, 2, tokens=7),
        {},
    ),
    "spiking-ssm": ("spiking_ssm", SSM, lambda: nd.nn.SpikingSSM(**SSM), {}),
    "spiking-ssm-bidirectional": ("spiking_ssm", ONE, lambda: nd.nn.SpikingSSM(**ONE), {}),
    "binary-s4d": (
        "binary_s4d",
        {**SSM, "residual": False},
        lambda: nd.nn.BinaryS4D(**SSM, residual=False),
        {},
    ),
    "gsu": ("gsu", SSM, lambda: nd.nn.GSUNetwork(**SSM), {}),
    "gsu-residual": (
        "gsu",
        {**ONE, "residual": True},
        lambda: nd.nn.GSUNetwork(**ONE, residual=True),
        {},
    ),
    "s4d": ("s4d", SSM, S4, {}),
    "lstm": (
        "lstm",
        {"sizes": [3, 5, 4], "classes": 2},
        LSTM,
        {"layers.0": "a.0", "layers.1": "b.0"},
    ),
    "relu": (
        "relu_mlp",
        {"sizes": [3, 5, 4, 2]},
        relu,
        {"layers.0": "1", "layers.1": "3", "readout": "5"},
    ),
}


def made(row, target):
    """Return the sketch, the compiled program of the same sizes, and inputs of it."""
    family, sizes, network, _ = ROWS[row]
    torch.manual_seed(3)
    net = network().eval()
    with torch.no_grad():
        for parameter in net.parameters():  # biases too
            parameter.add_(0.01 * torch.randn_like(parameter))
    shape = (STEPS, SAMPLES, sizes.get("inputs", 3))
    x = (
        torch.randint(0, 7, (STEPS, SAMPLES, 1)).double()
        if "tokens" in sizes
        else torch.randn(shape)
    )
    program = nd.compile(nd.trace(net), target, calibration=x)
    return FAMILIES[family](target, **sizes), program, x


CASES = [(row, "asic45") for row in ROWS] + [("mlp-LIF", "loihi2"), ("sdtcm", "loihi2")]


@pytest.mark.parametrize(("row", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_a_family_counts_as_its_network_does(row, name):
    """Its sketch is what the compiler makes of these sizes; at measured rates it counts the run."""
    sketch, program, x = made(row, nd.target(name))
    names = ROWS[row][3]
    same_structure(sketch, program, names)
    run = nd.simulate(program, x, traffic=True)
    measured = {
        name: int(sent.sum()) / (len(sent) * STEPS * SAMPLES) for name, sent in run.sent.items()
    }
    back = {own: mine for mine, own in names.items()}
    renamed = {back.get(name, name): rate for name, rate in measured.items()}
    counts = expected(program, measured, steps=STEPS, samples=SAMPLES)
    same_counts(counts, run)
    same_counts(expected(sketch, renamed, steps=STEPS, samples=SAMPLES), run)
    for mode in ("physical", "paper") if name == "asic45" else ("paper",):
        a, b = energy(counts, mode=mode), energy(run, mode=mode)
        slack = 0.05 if any(e.source == e.target for e in run.edges) else 1e-9
        assert a.total_pj == pytest.approx(b.total_pj, rel=slack)
        assert a.total_pj > 0
        for mine, own in zip(a.beside, b.beside, strict=True):
            assert mine.total_pj == pytest.approx(own.total_pj)


def same_structure(sketch, program, names):
    assert [names.get(node.name, node.name) for node in sketch] == [n.name for n in program]
    for mine, node in zip(sketch, program, strict=True):
        assert (type(mine), mine.width) == (type(node), node.width)
        if isinstance(node, Source):
            assert (mine.spiking, mine.tokens) == (node.spiking, node.tokens)
            continue
        assert mine.latency == node.latency
        for a, b in zip(edges(mine), edges(node), strict=True):
            assert (type(a), names.get(a.source, a.source), a.delay) == (type(b), b.source, b.delay)
            if isinstance(a, Dense):
                assert (a.weight.shape, a.weight_bits) == (b.weight.shape, b.weight_bits)
        bare = plain(program)
        counts = [node_count(p, n.name, updates=0) for p, n in ((sketch, mine), (bare, node))]
        alike(*counts, scalings=1 + len(edges(node)) if isinstance(node, Vector) else 0)
        shifts(counts[1], node_count(program, node.name, updates=0))
    heads = [0 if p.readout.weight is None else p.readout.weight.size for p in (sketch, program)]
    assert heads[0] == heads[1]
    assert [part.core for part in sketch.placement] == [part.core for part in program.placement]


def plain(program):
    """Return the program with coefficients that are one, in words without shifts."""
    nodes = [
        replace(
            node,
            coefs={name: np.ones_like(value) for name, value in node.coefs.items()},
            words={},
            coef_frac=program.numbers.coef_bits - 1,
        )
        if isinstance(node, Population)
        else node
        for node in program
    ]
    return replace(program, nodes=tuple(nodes))


def shifts(bare, own):
    """A slow decay costs at most a subtraction a multiply, and a shift of 6 bits a word."""
    more = own.per_update.get("add", 0) - bare.per_update.get("add", 0)
    assert 0 <= more <= own.per_update.get("mul", 0)
    assert 0 <= own.state_bits - bare.state_bits <= 6 * (own.per_update.get("mul", 0) + 1)


def alike(mine, own, *, scalings):
    """A vector operation may scale by a power of two, which is a shift, where luck has it."""
    for op in {*mine.per_update, *own.per_update}:
        slack = scalings if op == "mul" else 0
        assert mine.per_update.get(op, 0) == pytest.approx(own.per_update.get(op, 0), abs=slack), op
    assert (mine.sums, mine.value_bits, mine.written_bits) == (
        own.sums,
        own.value_bits,
        own.written_bits,
    )
    assert mine.state_bits == pytest.approx(own.state_bits, abs=16 * scalings)


def same_counts(counts, run):
    found = of_run(run)
    for a, b in zip(counts.edges, found.edges, strict=True):
        unheard = len(run.sent[b.source]) * SAMPLES if b.source == b.target else 0
        assert a.events == pytest.approx(b.events, abs=1e-6 + unheard)
        assert (a.kind, a.values, a.dense) == (b.kind, b.values, b.dense)
        assert [size for size, _ in a.rows] == [size for size, _ in b.rows]
        assert (a.dense, a.synapses, a.weight_bits) == (b.dense, b.synapses, b.weight_bits)
    for a, b in zip(counts.nodes, found.nodes, strict=True):
        assert (a.updates, a.spikes) == (b.updates, pytest.approx(b.spikes))
    for a, b in zip(counts.packets, found.packets, strict=True):
        assert a.packets == pytest.approx(b.packets)
        assert a.hops_x == pytest.approx(b.hops_x)
    assert counts.readout_macs == found.readout_macs
