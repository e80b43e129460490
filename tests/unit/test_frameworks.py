"""Networks of other frameworks, read from live modules, beside independent loops of their steps.

The classes here stand in for the frameworks' own: they have their paths and attributes, which is
all that is read. `tests/peers/test_frameworks.py` has the frameworks themselves.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.stand_ins import (
    LEAKY,
    RESETS,
    RLEAKY,
    SYNAPTIC,
    WIDTH,
    above,
    at_least,
    named,
    norse_layer,
    number,
    snn,
    snn_step,
    stands_for,
)

import neurodeploy as nd
from neurodeploy.cli import main
from neurodeploy.errors import InputError
from neurodeploy.graph.interpret import interpret as compiled_interpret

T, B = 50, 3

#: step by step, without a kernel to compile for each reset
interpret = partial(compiled_interpret, compiled=False)


def drive():
    torch.manual_seed(0)
    return torch.randn(T, B, WIDTH, dtype=torch.float64) * 1.5 + 0.3


def behind_linear(cell, container=torch.nn.Sequential):
    torch.manual_seed(1)
    linear = torch.nn.Linear(WIDTH, WIDTH).double()
    torch.nn.init.uniform_(linear.bias, -0.2, 0.5)
    return container(linear, cell)


def outputs(net, x, step):
    """Return the outputs [T, B, WIDTH] of a loop over step(state, drive) behind the Linear."""
    state, rows = None, []
    with torch.no_grad():
        for current in net[0](x):
            out, state = step(state, current)
            rows.append(out)
    return torch.stack(rows).numpy()


def assert_same(net, x, step, spikes=True):
    graph = nd.trace(net, x)
    got, want = interpret(graph, x.numpy()), outputs(net, x, step)
    if spikes:
        assert want.mean() > 0.02
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    return graph


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("path", [LEAKY, SYNAPTIC, RLEAKY])
def test_snntorch_resets(path, reset, delay):
    more = {"alpha": number(0.6)} if path == SYNAPTIC else {}
    torch.manual_seed(2)
    more |= {"recurrent": torch.nn.Linear(WIDTH, WIDTH).double()} if path == RLEAKY else {}
    cell = snn(path, reset, delay, **more)
    net, x = behind_linear(cell), drive()
    graph = assert_same(net, x, snn_step(cell, zero_first=path == LEAKY))
    assert graph["1"].op.options["compare"] == ">"


def test_graded_spikes_and_a_comparison_of_ones_own():
    factor = torch.linspace(0.5, 2, WIDTH, dtype=torch.float64)
    cell = snn(LEAKY, graded_spikes_factor=factor, spike_grad=at_least)
    net, x = behind_linear(cell), drive()
    graph = nd.trace(net, x)
    assert graph["1"].op.options["compare"] == ">="
    inner = snn_step(snn(LEAKY), zero_first=True)
    want = outputs(net, x, inner) * factor.numpy()
    np.testing.assert_array_equal(interpret(graph, x.numpy()), want)


BIO = {"v_leak": number(-0.9), "v_th": number(-0.5), "v_reset": number(-1.2)}


def test_norse_integrates_then_decays_its_current():
    taus = {"tau_mem_inv": number(120.0), "tau_syn_inv": number(200.0)}
    cell = norse_layer("lif.LIF", "lif_feed_forward_step", **taus, **BIO)
    p, dt = cell.p, cell.dt

    def step(state, x):
        i, v = state or (torch.zeros_like(x), torch.full_like(x, -0.9))
        i = i + x
        v = v + dt * p.tau_mem_inv * ((p.v_leak - v) + i)
        i = i - dt * p.tau_syn_inv * i
        z = above(v - p.v_th)
        return z, (i, (1 - z) * v + z * p.v_reset)

    assert_same(behind_linear(cell), drive(), step)


@pytest.mark.parametrize("reset", ["reset_value", "reset_subtract"])
def test_norse_box(reset):
    soft = reset == "reset_subtract"
    values = {"v_leak": number(0.0), "v_th": number(0.3), "v_reset": number(-0.1)}
    values |= {"tau_mem_inv": number(180.0), "reset_method": named(reset)}
    cell = norse_layer("lif_box.LIFBoxCell", "lif_box_feed_forward_step", **values)

    def step(v, x):
        v = torch.zeros_like(x) if v is None else v
        v = v + 0.002 * 180 * (x - v)
        z = above(v - 0.3)
        return z, v - 0.3 * z if soft else (1 - z) * v - 0.1 * z

    assert_same(behind_linear(cell), drive(), step)


JELLY = "spikingjelly.activation_based.neuron"


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("v_reset", [None, -0.3])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_spikingjelly(step_mode, v_reset, decay_input):
    values = {"tau": 2.5, "v_threshold": 0.4, "v_reset": v_reset, "surrogate_function": at_least}
    cell = stands_for(f"{JELLY}.lif.LIFNode")(
        step_mode=step_mode, decay_input=decay_input, **values
    )
    rest = v_reset or 0.0

    def step(v, x):
        v = torch.full_like(x, rest) if v is None else v
        v = v + (x - (v - rest)) / 2.5 if decay_input else v - (v - rest) / 2.5 + x
        z = at_least(v - 0.4)
        return z, v - z * 0.4 if v_reset is None else z * v_reset + (1 - z) * v

    graph = assert_same(behind_linear(cell), drive(), step)
    assert graph["1"].op.options["compare"] == ">="


SINABS = "sinabs.layers"


def sinabs(name, spikes="MultiSpike", reset="MembraneSubtract", **more):
    own = {"subtract_value": None} if reset == "MembraneSubtract" else {"reset_value": 0.0}
    values = {
        "spike_fn": type(spikes, (), {}),
        "reset_fn": type(reset, (), own)(),
        "alpha_mem_calculated": number(0.8),
        "alpha_syn_calculated": None,
        "norm_input": True,
        "min_v_mem": None,
        "spike_threshold": number(0.2),
    }
    return stands_for(f"{SINABS}.{name}")(**{**values, **more})


@pytest.mark.parametrize("syn", [None, 0.6])
@pytest.mark.parametrize("low", [None, -0.1])
@pytest.mark.parametrize("reset", ["MembraneSubtract", "MembraneReset"])
@pytest.mark.parametrize("spikes", ["MultiSpike", "SingleSpike"])
def test_sinabs(spikes, reset, low, syn):
    more = {"min_v_mem": low, "alpha_syn_calculated": None if syn is None else number(syn)}
    cell = sinabs("lif.LIF", spikes, reset, **more)

    def step(state, x):
        i, v = state or (torch.zeros_like(x), torch.zeros_like(x))
        i = x if syn is None else syn * (i + x)
        v = 0.8 * v + (1 - 0.8) * i
        n = at_least(v - 0.2) if spikes == "SingleSpike" else (v > 0) * torch.trunc(v / 0.2)
        v = v - n * 0.2 if reset == "MembraneSubtract" else v * (n == 0)
        return n.double(), (i, v if low is None else torch.relu(v - low) + low)

    graph = assert_same(behind_linear(cell), drive(), step)
    several = spikes == "MultiSpike" or low is not None
    assert graph["1"].op.spec == ("multispike" if several else "lif" if syn is None else "cubalif")


def test_a_readout_over_time_is_known_by_the_order_of_the_framework():
    class Net(torch.nn.Module):
        def __init__(self, cell, dim):
            super().__init__()
            self.fc, self.cell, self.dim = torch.nn.Linear(WIDTH, WIDTH), cell, dim

        def forward(self, x):
            y = self.cell(self.fc(x))
            return torch.cat([y, 2 * y], -1).mean(self.dim)

    graph = nd.trace(Net(sinabs("iaf.IAF"), 1))
    assert type(graph[graph.output].op).__name__ == "Reduce"
    for cell, dim in ((sinabs("iaf.IAF"), 0), (snn(LEAKY), 0)):
        with pytest.raises(InputError, match=r"mean|it reads"):
            nd.trace(Net(cell, dim))


class Residual(torch.nn.Module):
    """A residual, a concatenation and a Linear in two places, on one step."""

    def __init__(self):
        super().__init__()
        self.fc, self.a, self.b = torch.nn.Linear(WIDTH, WIDTH), snn(LEAKY), snn(LEAKY, "zero")
        self.mix = torch.nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        a = self.a(self.fc(x))
        b = self.b(self.fc(a) + a)
        return self.mix(torch.cat([a, b], dim=1)) + b


@pytest.mark.parametrize("build", [Residual, lambda: as_graph_module(Residual())])
def test_residuals_concatenation_and_a_shared_linear(build):
    torch.manual_seed(3)
    net, x = build().double(), drive()
    graph = nd.trace(net, x)
    assert {"fc", "fc_1", "a", "b", "mix"} <= {node.name for node in graph}
    np.testing.assert_array_equal(graph["fc"].op.weight, graph["fc_1"].op.weight)
    steps = [snn_step(cell, zero_first=True) for cell in (net.a, net.b)]
    states, rows = [None, None], []
    with torch.no_grad():
        for row in x:
            a, states[0] = steps[0](states[0], net.fc(row))
            b, states[1] = steps[1](states[1], net.fc(a) + a)
            rows.append(net.mix(torch.cat([a, b], 1)) + b)
    np.testing.assert_allclose(interpret(graph, x.numpy()), torch.stack(rows), atol=1e-12)


def as_graph_module(module):
    class Leaves(torch.fx.Tracer):
        def is_leaf_module(self, m, path):
            return True

    return torch.fx.GraphModule(module, Leaves().trace(module))


def test_neurons_called_twice_would_share_their_state():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.cell = torch.nn.Linear(WIDTH, WIDTH), snn(LEAKY)

        def forward(self, x):
            return self.cell(self.fc(self.cell(self.fc(x))))

    with pytest.raises(InputError, match=r"cell.*called 2 times, and keeps its state"):
        nd.trace(Twice())


def hooked():
    cell = snn(LEAKY)
    cell.register_forward_hook(lambda module, args, out: out)
    return cell


class Own(stands_for(LEAKY)):
    def forward(self, x):
        return x


REFUSED = {
    "state_quant": lambda: snn(LEAKY, state_quant=torch.round),
    "inhibition": lambda: snn(LEAKY, inhibition=True),
    "chosen when it was built": lambda: snn(LEAKY, state_function=named("_base_zero")),
    "is no step": lambda: snn(LEAKY, spike_grad=torch.sigmoid),
    "a parameter of shape": lambda: snn(LEAKY, beta=torch.ones(WIDTH + 1)),
    "hooks": hooked,
    "not known, or changed": Own,
    "snntorch that is not known": stands_for("snntorch._neurons.alpha.Alpha"),
    "reset_delay=False": lambda: snn("snntorch._neurons.rsynaptic.RSynaptic", delay=False),
    "it subtracts v_th": lambda: norse_layer(
        "lif_box.LIFBoxCell",
        "lif_box_feed_forward_step",
        tau_mem_inv=number(100.0),
        reset_method=named("reset_subtract"),
        **BIO,
    ),
    "did not spike": lambda: sinabs(
        "lif.LIF", reset_fn=type("MembraneReset", (), {"reset_value": 0.3})()
    ),
    "a spike takes": lambda: sinabs(
        "lif.LIF", reset_fn=type("MembraneSubtract", (), {"subtract_value": 0.3})()
    ),
    "a spike function of its own": lambda: sinabs("lif.LIF", spikes="Noisy"),
    "the first step": lambda: sinabs("lif.LIFRecurrent", rec_connect=torch.nn.Linear(5, 5)),
    "spiking=False": lambda: stands_for(f"{JELLY}.lif.LIFNode")(
        step_mode="s",
        tau=2.0,
        decay_input=True,
        v_reset=0.0,
        v_threshold=1.0,
        surrogate_function=SimpleNamespace(spiking=False),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(what):
    with pytest.raises(InputError) as caught:
        nd.trace(behind_linear(REFUSED[what]()), drive())
    assert caught.value.code == "E104"
    assert "1 (" in caught.value.what
    assert what in caught.value.what
    assert caught.value.fix


def test_all_that_cannot_be_carried_is_named_at_once():
    cells = (snn(LEAKY, state_quant=torch.round, inhibition=True), sinabs("lif.LIF"), snn(LEAKY))
    with pytest.raises(InputError) as caught:
        nd.trace(torch.nn.Sequential(torch.nn.Linear(5, 5), *cells), drive())
    said = str(caught.value)
    for part in ("more than one order", "state_quant", "inhibition"):
        assert part in said


FACTORY = """
import torch
from tests_stand_ins import cell

def build():
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(5, 5), cell(), torch.nn.Linear(5, 2))
    return net, torch.randn(20, 4, 5)

def bare():
    return build()[0]

def broken():
    raise RuntimeError("no weights")

number = 3
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "tests_stand_ins", SimpleNamespace(cell=lambda: snn(LEAKY)))
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    (tmp_path / "my_networks.py").write_text(FACTORY)
    yield tmp_path
    sys.modules.pop("my_networks", None)


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_a_factory_is_compiled_from_the_command_line(factories):
    result = run("compile", "--model", "my_networks:build", "--target", "asic45")
    assert result.exit_code == 0, result.output
    assert "the example" in result.output
    assert (factories / "build.asic45" / "manifest.json").exists()
    np.savez(factories / "x.npz", x=np.random.default_rng(0).normal(size=(20, 4, 5)))
    data = ("--calibrate", "x.npz", "--verify", "--dry-run")
    result = run("compile", "--model", "my_networks:bare", "--target", "asic45", *data)
    assert result.exit_code == 0, result.output
    result = run("compare", "--model", "my_networks:build", "build.asic45", "--input", "x.npz")
    assert result.exit_code == 0, result.output
    shown = run("inspect", "--model", "my_networks:build").output
    assert "soft_after_decay" in shown


def test_weights_are_loaded_into_what_a_factory_builds(factories):
    state = {"0.weight": torch.ones(5, 5), "0.bias": torch.zeros(5)}
    state |= {"2.weight": torch.ones(2, 5), "2.bias": torch.full((2,), 0.25)}
    torch.save(state, factories / "weights.pt")
    result = run("inspect", "weights.pt", "--model", "my_networks:build")
    assert result.exit_code == 0, result.output
    assert "bias = 0.25, [2]" in result.output
    torch.save({**state, "2.bias": torch.ones(3)}, factories / "weights.pt")
    result = run("inspect", "weights.pt", "--model", "my_networks:build")
    assert result.exit_code == 3
    assert "E105" in result.output


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_networks", "names no function"),
        ("no_such_module:build", "there is no module"),
        ("my_networks:nothing", "has no function"),
        ("my_networks:number", "has no function"),
        ("my_networks:broken", "no weights"),
    ],
)
def test_a_factory_that_is_none(factories, name, says):
    result = run("inspect", "--model", name)
    assert result.exit_code == 3
    assert says in result.output


def test_a_model_must_be_named():
    result = run("inspect")
    assert result.exit_code == 2
    assert "--model" in result.output
