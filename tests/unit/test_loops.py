"""Loops over time in a network's own forward, beside independent loops of the steps."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from support.stand_ins import (
    LEAKY,
    SYNAPTIC,
    WIDTH,
    above,
    norse_layer,
    number,
    snn,
    snn_step,
    stands_for,
)

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.graph.interpret import interpret as compiled_interpret

T, B = 12, 3

#: step by step, without a kernel to compile for each reset
interpret = partial(compiled_interpret, compiled=False)


class Net(torch.nn.Module):
    """Two Linears and neurons whose states the loop holds; `forward` is of each test."""

    def __init__(self, **more):
        super().__init__()
        torch.manual_seed(0)
        self.num_steps = T
        self.fc1, self.fc2 = torch.nn.Linear(4, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        for fc in (self.fc1, self.fc2):
            torch.nn.init.uniform_(fc.bias, 0, 0.8)
        hidden = {"init_hidden": False, **more}
        self.lif1, self.lif2 = snn(LEAKY, **hidden), snn(LEAKY, "zero", **hidden)
        self.double()

    def layers(self, cur, mem1, mem2):
        spk1, mem1 = self.lif1(self.fc1(cur), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return spk2, mem1, mem2


def at_rest():
    return torch.zeros(0)


class Steps(Net):
    def forward(self, x):
        mem1, mem2, spikes, membranes = at_rest(), at_rest(), [], []
        for step in range(x.size(0)):
            spk, mem1, mem2 = self.layers(x[step], mem1, mem2)
            spikes.append(spk)
            membranes.append(mem2)
        return torch.stack(spikes, dim=0), torch.stack(membranes)


class Rows(Net):
    def forward(self, x):
        mem1 = mem2 = None
        total = 0
        for row in x:
            spk, mem1, mem2 = self.layers(row, mem1, mem2)
            total += spk
        return total / x.shape[0], (mem1, mem2)


class Samples(Net):
    """Samples first, as the input of the loop and in what it returns."""

    def forward(self, x):
        spikes = []
        mem1 = mem2 = torch.zeros(x.shape[0], WIDTH)
        for step in range(x.shape[1]):
            spk, mem1, mem2 = self.layers(x[:, step], mem1, mem2)
            spikes.append(spk)
        return torch.stack(spikes, dim=1).mean(1)


class Swapped(Net):
    def forward(self, x):
        y = self.fc1(x.transpose(0, 1))
        mem1 = mem2 = torch.zeros_like(y[0])
        spikes = []
        for current in y.unbind(0):
            spk1, mem1 = self.lif1(current, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes += [spk2.unsqueeze(0)]
        return torch.cat(spikes, 0).sum(0)


class Layerwise(Net):
    """A loop for each layer, and a layer behind the last step."""

    def forward(self, x):
        mem, spikes, out = None, [], []
        for t in range(len(x)):
            spk, mem = self.lif1(self.fc1(x[t]), mem)
            spikes.append(spk)
        mem, y = None, torch.stack(spikes)
        for t in range(len(x)):
            spk, mem = self.lif2(self.fc2(y[t]), mem)
            out.append(spk)
        return self.fc2(out[-1])


class Static(Net):
    """The same input at every step."""

    def forward(self, x, mem1=None, mem2=None):
        spikes = []
        for _ in range(self.num_steps):
            spk, mem1, mem2 = self.layers(x.flatten(1), mem1, mem2)
            spikes.append(spk)
        return torch.stack(spikes), mem1


class Hidden(Net):
    """States that the layers hold; the first step sets what the others add to."""

    def __init__(self):
        super().__init__(init_hidden=True)

    def forward(self, x):
        total = None
        for step in range(self.num_steps):
            spk = self.lif2(self.fc2(self.lif1(self.fc1(x))))
            total = spk if step == 0 else total + spk
        return total


READ = {
    Steps: lambda s, net: s,
    Rows: lambda s, net: s.mean(0),
    Samples: lambda s, net: s.mean(0),
    Swapped: lambda s, net: s.sum(0),
    Layerwise: lambda s, net: net.fc2(s[-1]),
    Static: lambda s, net: s,
    Hidden: lambda s, net: s.sum(0),
}


def spikes_of(net, x):
    """Return the spikes [T, B, WIDTH] of the second layer."""
    steps = [snn_step(cell, zero_first=True) for cell in (net.lif1, net.lif2)]
    states, rows = [None, None], []
    for row in x:
        spk, states[0] = steps[0](states[0], net.fc1(row))
        spk, states[1] = steps[1](states[1], net.fc2(spk))
        rows.append(spk)
    return torch.stack(rows)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", READ)
def test_a_loop_over_time_is_one_step(kind, given):
    net = kind()
    x = torch.randn(T, B, 4, dtype=torch.float64) * 2
    if kind in (Static, Hidden):
        x = x[0].expand(T, B, 4)
    graph = nd.trace(net, x if given else None)
    with torch.no_grad():
        spikes = spikes_of(net, x)
        want = READ[kind](spikes, net).numpy()
    assert spikes.mean() > 0.05
    np.testing.assert_allclose(interpret(graph, x.numpy()), want, rtol=1e-12)
    assert [node.name for node in graph][:5] == ["input", "fc1", "lif1", "fc2", "lif2"]


def test_a_membrane_that_never_resets_is_read_at_the_last_step():
    class Membrane(Net):
        def __init__(self):
            super().__init__()
            self.lif2 = snn(LEAKY, "none", init_hidden=False)

        def forward(self, x):
            mem1 = mem2 = None
            for row in x:
                _, mem1, mem2 = self.layers(row, mem1, mem2)
            return mem2

    net, x = Membrane(), torch.randn(T, B, 4, dtype=torch.float64)
    graph = nd.trace(net, x)
    assert graph["lif2.membrane"].op.spec == "li"
    spikes, mem = interpret(graph, x.numpy(), record=["lif1"])[1]["lif1"], 0
    with torch.no_grad():
        for row in torch.tensor(spikes, dtype=torch.float64):
            mem = 0.8 * mem + net.fc2(row)
    np.testing.assert_allclose(interpret(graph, x.numpy()), mem.numpy(), rtol=1e-12)


class Maps(Net):
    """Convolutions in the loop, on steps of maps."""

    def __init__(self):
        super().__init__(init_hidden=True)
        self.conv = torch.nn.Conv2d(1, 2, 3).double()
        self.fc1 = torch.nn.Linear(8, WIDTH).double()

    def forward(self, x):
        spikes = []
        for step in range(x.size(0)):
            y = torch.relu(self.conv(x[step])).view(x.size(1), -1)
            spikes.append(self.lif1(self.fc1(y)))
        return torch.stack(spikes)


def test_maps_in_a_loop():
    net, x = Maps(), torch.randn(T, B, 1, 4, 4, dtype=torch.float64)
    graph = nd.trace(net, x)
    step, state, rows = snn_step(net.lif1, zero_first=True), None, []
    with torch.no_grad():
        for row in x:
            spk, state = step(state, net.fc1(torch.relu(net.conv(row)).flatten(1)))
            rows.append(spk)
    got = interpret(graph, x.flatten(2).numpy())
    np.testing.assert_array_equal(got, torch.stack(rows).numpy())


class NorseNet(Net):
    keep = True

    def __init__(self):
        super().__init__()
        values = {"v_leak": 0.0, "v_th": 0.3, "v_reset": -0.1, "tau_mem_inv": 180.0}
        values = {name: number(value) for name, value in values.items()}
        reset = type("reset_value", (), {"__name__": "reset_value"})()
        activation = "lif_box_feed_forward_step"
        self.lif1 = norse_layer("lif_box.LIFBoxCell", activation, reset_method=reset, **values)

    def forward(self, x):
        state, spikes = None, []
        for row in x:
            spk, new = self.lif1(self.fc1(row), state)
            state = new if self.keep else None
            spikes.append(spk)
        return torch.stack(spikes)


def test_a_state_of_norse_is_handed_on():
    net, x = NorseNet(), torch.randn(T, B, 4, dtype=torch.float64)
    v, rows = torch.zeros(B, WIDTH, dtype=torch.float64), []
    with torch.no_grad():
        for row in x:
            v = v + 0.36 * (net.fc1(row) - v)
            z = above(v - 0.3)
            v = (1 - z) * v - 0.1 * z
            rows.append(z)
    got = interpret(nd.trace(net, x), x.numpy())
    np.testing.assert_array_equal(got, torch.stack(rows).numpy())
    net.keep = False
    with pytest.raises(InputError, match="each step starts anew"):
        nd.trace(net, x)


class Refused(Net):
    """Loops whose steps are not all one step; `how` chooses the wrong one."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        if how == "swapped states":
            self.lif1 = snn(SYNAPTIC, alpha=number(0.6), init_hidden=False)

    def forward(self, x):
        mem1 = mem2 = syn = None
        spikes, first = [], 1 if self.how == "late" else 0
        spk1 = torch.zeros(B, WIDTH)
        table = torch.zeros(T, B, WIDTH)
        for t in range(first, x.size(0)):
            row = x[x.size(0) - 1 - t] if self.how == "backwards" else x[t]
            row = t * row if self.how == "index" else row
            cur = self.fc1(row)
            cur = 2 * cur if self.how == "one step" and t == 3 else cur
            if self.how == "feedback":
                cur = cur + self.fc2(spk1)
            if self.how == "samples":
                cur = cur * x.size(1)
            if self.how == "swapped states":
                spk1, mem1, syn = self.lif1(cur, syn, mem1)
            else:
                spk1, mem1 = self.lif1(cur, mem2 if self.how == "foreign state" else mem1)
            if self.how == "decayed":
                mem1 = mem1 * 0.5
            if self.how == "skips" and t % 2:
                continue
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            if self.how == "table":
                table[t] = spk2
            spikes.append(spk2)
        if self.how == "some":
            spikes = spikes[2:]
        if self.how == "alone":
            return spikes[1]
        return torch.stack(spikes)


REFUSED = {
    "one step": r"mul: it is in step 4, not in step 1",
    "index": r"mul: it is in step 2, not in step 1",
    "feedback": r"add: it reads lif1 of step 1, fc1 of step 2|add: it reads fc1.*lif1|fc2",
    "backwards": "getitem: it takes step 12 of x first",
    "late": "getitem: it takes step 2 of x first",
    "samples": r"mul: it computes with the number of samples",
    "swapped states": r"lif1.*step 2 is given \(2, 1\)",
    "foreign state": r"lif1",
    "decayed": r"lif1",
    "skips": r"lif2: it is called 6 times, and another layer 12",
    "table": r"setitem.*: it writes into a tensor",
    "some": r"stack: it stacks lif2 of step 3, lif2 of step 4, \.\.\., lif2 of step 12, not every",
    "alone": r"output: the network returns lif2 of step 2",
}


@pytest.mark.parametrize("how", REFUSED)
def test_steps_that_differ_are_refused_by_name(how):
    with pytest.raises(InputError, match=REFUSED[how]) as caught:
        nd.trace(Refused(how), torch.randn(T, B, 4, dtype=torch.float64))
    assert caught.value.code == "E104"
    assert caught.value.fix


def test_neurons_that_are_not_known_keep_their_refusal():
    class Unknown(Net):
        def __init__(self):
            super().__init__()
            self.lif1 = stands_for("snntorch._neurons.alpha.Alpha")()

        def forward(self, x):
            return torch.stack([self.lif2(self.lif1(self.fc1(row)))[0] for row in x])

    with pytest.raises(InputError, match=r"lif1 \(Alpha\)"):
        nd.trace(Unknown(), torch.randn(T, B, 4))
