"""Networks of snnTorch, norse, SpikingJelly and sinabs: their own spikes, step by step, and ours.

In float64, with random weights and biases. snnTorch and sinabs make spikes of float32, whatever
comes in: so they get a spike function that keeps the type, or whole weights behind them.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import InputError

TOOLS = ("snntorch", "norse", "spikingjelly", "sinabs")
missing = [tool for tool in TOOLS if find_spec(tool) is None]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}; make peers"),
    pytest.mark.filterwarnings("ignore"),
]

T, B, SIZES = 60, 3, (4, 6, 5)


@pytest.fixture(autouse=True)
def doubles():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def drive(*shape):
    return torch.randn(*(shape or (T, B, SIZES[0]))) * 2


def linear(i, scale=1.0):
    layer = torch.nn.Linear(SIZES[i], SIZES[i + 1])
    torch.nn.init.uniform_(layer.bias, -0.3, 0.6)
    with torch.no_grad():
        layer.weight *= scale
    return layer


def stepwise(net, x):
    """Return the spikes over x [T, B, C] of a network of one step that returns a membrane too."""
    return torch.stack([net(row)[0] for row in x])


def same(net, x, want, example=None, spikes=True):
    graph = nd.trace(net, x if example is None else example)
    flat = x.reshape(T, B, -1).numpy()
    got = nd.interpret(graph, flat)
    want = want.detach().numpy().reshape(got.shape)
    if spikes:
        rate = want.mean()
        assert rate > 0.02, rate
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    return graph


def fire(margin):
    return (margin > 0).to(margin)


def per_channel(width, low, high):
    return torch.rand(width) * (high - low) + low


SNN = {
    "Leaky": {"beta": per_channel},
    "Lapicque": {"R": 3.0, "C": 1.5, "time_step": 0.7},
    "Synaptic": {"alpha": per_channel, "beta": 0.8},
    "RLeaky": {"beta": 0.85, "linear_features": SIZES[1]},
    "RLeaky one to one": {"beta": 0.85, "all_to_all": False, "V": 0.4},
    "RSynaptic": {"alpha": 0.5, "beta": 0.8, "linear_features": SIZES[1]},
}


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("name", SNN)
def test_snntorch(name, reset, delay):
    import snntorch

    kind = name.split()[0]
    if kind == "RSynaptic" and not delay:
        pytest.skip("it fails in snnTorch 1.0, and is refused")
    if kind == "Lapicque" and not delay:
        pytest.skip("Lapicque has no reset_delay")
    options = {k: v(SIZES[1], 0.3, 0.95) if callable(v) else v for k, v in SNN[name].items()}
    options |= {"threshold": per_channel(SIZES[1], 0.6, 1.4), "reset_mechanism": reset}
    options |= {} if kind == "Lapicque" else {"reset_delay": delay}
    cell = getattr(snntorch, kind)(init_hidden=True, spike_grad=fire, **options)
    last = snntorch.Leaky(0.7, init_hidden=True, output=True, spike_grad=fire)
    net = torch.nn.Sequential(linear(0, 3), cell, linear(1, 2), last).double()
    x = drive()
    want = stepwise(net, x)
    graph = same(net, x, want)
    assert graph["1"].op.options["compare"] == ">"


def test_snntorch_states_in_the_users_hands_and_a_membrane_as_readout():
    import snntorch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = linear(0), linear(1)
            self.lif1 = snntorch.Synaptic(0.6, 0.8, spike_grad=fire)
            self.lif1.graded_spikes_factor = torch.tensor(1.7)
            self.lif2 = snntorch.Leaky(0.9, reset_mechanism="none", spike_grad=fire)

        def forward(self, x, syn1=None, mem1=None, mem2=None):
            spk1, syn1, mem1 = self.lif1(self.fc1(x), syn1, mem1)
            _, mem2 = self.lif2(self.fc2(spk1), mem2)
            return mem2, syn1, mem1, mem2

    net, x = Net().double(), drive()
    state, want = (None, None, None), []
    for row in x:
        out, *state = net(row, *state)
        want.append(out)
    graph = same(net, x, torch.stack(want), spikes=False)
    assert graph["lif1"].op.amplitude == pytest.approx(1.7)
    assert graph["lif2.membrane"].op.spec == "li"


NORSE = ("LIFCell", "LIF", "LIFRecurrentCell", "LIFRecurrent", "LIFBoxCell", "IAFCell", "IAF")


@pytest.mark.parametrize("bio", [False, True])
@pytest.mark.parametrize("name", NORSE)
def test_norse(name, bio):
    import norse.torch as norse

    def t(value):
        return torch.as_tensor(value, dtype=torch.float64)

    v = {"v_th": t(-0.2), "v_reset": t(-1.4)} if bio else {"v_th": t(0.4), "v_reset": t(0.0)}
    leak = {"v_leak": t(-1.0)} if bio else {"v_leak": t(0.0)}
    taus = {"tau_mem_inv": t(150.0), "tau_syn_inv": t(220.0)}
    if "IAF" in name:
        p = norse.IAFParameters(**v)
    elif "Box" in name:
        from norse.torch.functional.lif_box import LIFBoxParameters

        p = LIFBoxParameters(tau_mem_inv=taus["tau_mem_inv"], **v, **leak)
    else:
        p = norse.LIFParameters(**taus, **v, **leak)
    sizes = (SIZES[1], SIZES[1]) if "Recurrent" in name else ()
    cell = getattr(norse, name)(*sizes, p, dt=0.002)
    step = name.endswith("Cell")
    last = norse.LICell if step else norse.LI
    li = norse.LIParameters(*(t(x) for x in (180.0, 90.0, 0.0)))
    net = norse.SequentialState(linear(0, 2), cell, linear(1), last(li, dt=0.002)).double()
    x = drive()
    if step:
        state, rows = None, []
        for row in x:
            out, state = net(row, state)
            rows.append(out)
        want = torch.stack(rows)
    else:
        want, _ = net(x)
    graph = same(net, x, want, spikes=False)
    spikes = nd.interpret(graph, x.numpy(), record=["1"])[1]["1"]
    assert 0.02 < spikes.mean() < 0.9


@pytest.mark.parametrize("soft", [False, True])
def test_norse_box_resets(soft):
    import norse.torch as norse
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value

    p = LIFBoxParameters(
        tau_mem_inv=torch.tensor(200.0),
        v_th=torch.tensor(0.3),
        reset_method=reset_subtract if soft else reset_value,
    )
    net = norse.SequentialState(linear(0), norse.LIFBoxCell(p), linear(1), norse.LIFBoxCell(p))
    x, state, rows = drive(), None, []
    for row in x:
        out, state = net.double()(row, state)
        rows.append(out)
    graph = same(net, x, torch.stack(rows))
    assert graph["1"].op.options["reset"] == ("soft" if soft else "hard")


def test_norse_sequences_of_maps():
    import norse.torch as norse

    p = norse.LIFParameters(v_th=torch.tensor(0.05))
    net = norse.SequentialState(
        norse.Lift(torch.nn.Conv2d(2, 3, 3)),
        norse.LIF(p),
        torch.nn.Flatten(2),
        linear(1),
        norse.LIF(p),
    )
    net[3] = torch.nn.Linear(48, 5)
    x = drive(T, B, 2, 6, 6)
    same(net.double(), x, net(x)[0])


def steps(step_mode, net, x):
    from spikingjelly.activation_based import functional

    functional.reset_net(net)
    return net(x) if step_mode == "m" else torch.stack([net(row) for row in x])


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("v_reset", [None, 0.0, -0.4])
@pytest.mark.parametrize("name", ["IFNode", "LIFNode", "LIFNode drives whole", "ParametricLIFNode"])
def test_spikingjelly(name, v_reset, step_mode):
    from spikingjelly.activation_based import layer, neuron

    kind = name.split()[0]
    options = {"v_threshold": 0.7, "v_reset": v_reset, "step_mode": step_mode}
    if kind == "LIFNode":
        options |= {"tau": 2.7, "decay_input": name == kind}
    fc = layer.Linear(*SIZES[:2], step_mode=step_mode)
    second = neuron.IFNode(v_reset=v_reset, step_mode=step_mode)
    net = torch.nn.Sequential(fc, getattr(neuron, kind)(**options), linear(1), second).double()
    x = drive()
    graph = same(net, x, steps(step_mode, net, x))
    assert graph["1"].op.options == {
        "reset": "soft" if v_reset is None else "hard",
        "compare": ">=",
    }


def test_spikingjelly_maps_and_containers():
    from spikingjelly.activation_based import layer, neuron

    net = torch.nn.Sequential(
        layer.Conv2d(2, 3, 3, padding=1, bias=False, step_mode="m"),
        layer.BatchNorm2d(3, step_mode="m"),
        neuron.LIFNode(step_mode="m", v_threshold=0.3),
        layer.AvgPool2d(2, step_mode="m"),
        layer.SeqToANNContainer(torch.nn.Flatten(), torch.nn.Linear(27, 5), torch.nn.Dropout(0.3)),
        neuron.IFNode(step_mode="m", v_reset=None),
    ).double()
    torch.nn.init.uniform_(net[1].bias, 0.3, 0.9)
    net[1].running_var.uniform_(0.5, 2)
    x = drive(T, B, 2, 6, 6)
    same(net.eval(), x, steps("m", net, x))


@pytest.mark.parametrize("decode", ["mean-mem", "last_mem"])
@pytest.mark.parametrize("name", ["NonSpikingLIFNode", "NonSpikingIFNode"])
def test_spikingjelly_readouts(name, decode):
    from spikingjelly.activation_based import neuron

    net = torch.nn.Sequential(linear(0), getattr(neuron, name)(decode=decode)).double()
    x = drive()
    same(net, x, net(x), spikes=False)


def batches(net, x):
    return net(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("syn", [None, 3.0])
@pytest.mark.parametrize("low", [None, -0.5])
@pytest.mark.parametrize("reset", ["MembraneSubtract", "MembraneReset"])
@pytest.mark.parametrize("spikes", ["MultiSpike", "SingleSpike"])
@pytest.mark.parametrize("name", ["LIF", "LIF not normed", "LIF alphas", "IAF"])
def test_sinabs(name, spikes, reset, low, syn):
    from sinabs import activation, layers

    options = {
        "spike_threshold": torch.tensor(0.6),
        "spike_fn": getattr(activation, spikes),
        "reset_fn": getattr(activation, reset)(),
        "min_v_mem": low,
        "tau_syn": syn,
    }
    if name != "IAF":
        options |= {"tau_mem": 4.0, "norm_input": name != "LIF not normed"}
        options |= {"train_alphas": name == "LIF alphas"}
    cell = getattr(layers, name.split()[0])(**options)
    net = torch.nn.Sequential(linear(0, 2), cell).double()
    x = drive()
    graph = same(net, x, batches(net, x))
    assert (graph["1"].op.spec == "multispike") == (spikes == "MultiSpike" or low is not None)


@pytest.mark.parametrize("name", ["LIFRecurrent", "IAFRecurrent"])
def test_sinabs_recurrence(name):
    from sinabs import layers

    torch.set_default_dtype(torch.float32)  # sinabs' recurrence is
    inner = torch.nn.Linear(SIZES[1], SIZES[1], bias=False)
    options = {"tau_mem": 4.0} if name == "LIFRecurrent" else {}
    cell = getattr(layers, name)(rec_connect=inner, **options)
    net = torch.nn.Sequential(linear(0, 2), cell)
    x = drive()
    same(net, x, batches(net, x))


def test_sinabs_merged_steps_maps_and_a_leaky_readout():
    from sinabs import layers

    torch.set_default_dtype(torch.float32)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3),
        layers.IAFSqueeze(batch_size=B),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(12, 5),
        layers.ExpLeakSqueeze(tau_mem=4.0, batch_size=B),
    )
    x = drive(T, B, 2, 6, 6)
    want = net(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (B, T)).transpose(0, 1)
    same(net, x, want, spikes=False)


def test_a_network_of_each_compiles_and_the_program_agrees():
    import norse.torch as norse
    import snntorch
    from sinabs import layers
    from spikingjelly.activation_based import neuron

    cells = {
        "snntorch": snntorch.Synaptic(0.6, 0.8, init_hidden=True, spike_grad=fire),
        "norse": norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.3))),
        "spikingjelly": neuron.LIFNode(v_reset=None),
        "sinabs": layers.LIF(4.0),
    }
    for name, cell in cells.items():
        parts = (linear(0, 2), cell, linear(1))
        net = (norse.SequentialState if name == "norse" else torch.nn.Sequential)(*parts)
        x = drive().numpy()
        graph = nd.trace(net.double(), x)
        program = nd.compile(graph, nd.target("asic45"), calibration=x)
        found = nd.compare(graph, program, x)
        (layer,) = found.layers
        assert layer.spikes_float > 50, name
        assert layer.flips <= 0.01 * layer.updates, (name, layer)
        assert layer.spikes_both >= 0.95 * layer.spikes_float, (name, layer)
        assert found.label_changes == 0, (name, found)


def test_what_a_tool_does_that_cannot_be_carried_is_refused_at_once():
    import snntorch
    from sinabs import layers
    from sinabs.activation import MembraneReset

    def state_quant(mem):
        return mem.round()

    net = torch.nn.Sequential(
        linear(0),
        snntorch.Leaky(0.9, init_hidden=True, state_quant=state_quant, inhibition=True),
        snntorch.Alpha(0.9, 0.8, init_hidden=True),
        snntorch.RSynaptic(0.9, 0.8, linear_features=6, init_hidden=True, reset_delay=False),
    )
    with pytest.raises(InputError) as caught:
        nd.trace(net)
    said = str(caught.value)
    for part in ("state_quant", "inhibition", "2 (Alpha)", "3 (RSynaptic)", "reset_delay=False"):
        assert part in said, said
    inner = torch.nn.Linear(6, 6)
    with pytest.raises(InputError, match="first step"):
        nd.trace(torch.nn.Sequential(linear(0), layers.LIFRecurrent(3.0, inner)))
    with pytest.raises(InputError, match="did not spike"):
        nd.trace(torch.nn.Sequential(linear(0), layers.LIF(3.0, reset_fn=MembraneReset(0.2))))


def lifs():
    import snntorch

    return [snntorch.Leaky(beta, spike_grad=fire) for beta in (0.9, 0.8)]


class Tutorial(torch.nn.Module):
    """The network of snnTorch's tutorials."""

    def __init__(self, num_steps=None):
        super().__init__()
        self.fc1, self.fc2 = linear(0, 2), linear(1)
        self.lif1, self.lif2 = lifs()
        self.num_steps = num_steps

    def forward(self, x):
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for step in range(self.num_steps or x.size(0)):
            cur1 = self.fc1(x if self.num_steps else x[step])
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


def test_the_loop_of_snntorchs_tutorials():
    net, x = Tutorial().double(), drive()
    same(net, x, net(x)[0])


def test_a_loop_on_the_same_input():
    net, x = Tutorial(T).double(), drive(B, SIZES[0])
    same(net, x.expand(T, B, SIZES[0]), net(x)[0])


def test_a_loop_of_snntorch_with_hidden_states_and_maps():
    import snntorch
    from snntorch import utils

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            lif = {"spike_grad": fire, "init_hidden": True}
            self.net = torch.nn.Sequential(
                torch.nn.Conv2d(1, 2, 3),
                snntorch.Leaky(0.9, **lif),
                torch.nn.MaxPool2d(2),
                torch.nn.Flatten(),
                torch.nn.Linear(8, 5),
                snntorch.Leaky(0.7, output=True, **lif),
            )

        def forward(self, x):
            utils.reset(self.net)
            rec = []
            for _ in range(T):
                spk, _ = self.net(x)
                rec.append(spk)
            return torch.stack(rec)

    net, image = Net().double(), drive(B, 1, 6, 6)
    same(net, image.expand(T, B, 1, 6, 6), net(image))


def test_a_loop_of_norse():
    import norse.torch as norse

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            p = norse.LIFParameters(v_th=torch.tensor(0.2))
            self.hidden = norse.SequentialState(linear(0, 2), norse.LIFCell(p), linear(1))
            self.out = norse.LIFBoxCell()

        def forward(self, x):
            state, last, rec = None, None, []
            for t in range(x.shape[0]):
                y, state = self.hidden(x[t], state)
                y, last = self.out(3 * y, last)
                rec.append(y)
            return torch.stack(rec)

    net, x = Net().double(), drive()
    same(net, x, net(x))


def test_a_loop_of_spikingjelly_that_adds():
    from spikingjelly.activation_based import functional, neuron

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            lif = neuron.LIFNode(v_threshold=0.3)
            self.net = torch.nn.Sequential(linear(0, 2), lif, linear(1), neuron.IFNode())

        def forward(self, x):
            functional.reset_net(self)
            out = 0.0
            for _ in range(T):
                out += self.net(x)
            return out / T

    net, x = Net().double(), drive(B, SIZES[0])
    same(net, x.expand(T, B, SIZES[0]), net(x))
