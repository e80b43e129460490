"""Classes that stand in for the layers of other frameworks: their paths and attributes, no more.

That is all that is read of them: none can be run.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

WIDTH = 5


def stands_for(path, base=torch.nn.Module):
    """Return a class of that path, whose attributes are given by name."""
    module, _, name = path.rpartition(".")

    def start(self, **values):
        base.__init__(self)
        for key, value in values.items():
            setattr(self, key, value)

    def forward(self, x, *states):
        raise AssertionError("a framework's layer is read, not run")

    made = type(name, (base,), {"__init__": start, "forward": forward})
    made.__module__ = module
    return made


def named(name, value=None):
    """Return a function, or a callable, of that name."""

    def function(*args):
        return value(*args) if callable(value) else value

    function.__name__ = name
    return function


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def above(margin):
    return (margin > 0).double()


def at_least(margin):
    return (margin >= 0).double()


LEAKY = "snntorch._neurons.leaky.Leaky"
SYNAPTIC = "snntorch._neurons.synaptic.Synaptic"
RLEAKY = "snntorch._neurons.rleaky.RLeaky"
RESETS = ("subtract", "zero", "none")
RUNS = {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}


def snn(path, reset="subtract", delay=True, **more):
    values = {
        "beta": number(0.8),
        "threshold": torch.linspace(0.6, 1.2, WIDTH, dtype=torch.float64),
        "reset_mechanism_val": torch.tensor(RESETS.index(reset)),
        "state_function": named(RUNS[reset]),
        "reset_delay": delay,
        "graded_spikes_factor": number(1.0),
        "spike_grad": above,
        "state_quant": False,
        "inhibition": False,
        "init_hidden": True,
        "output": False,
    }
    return stands_for(path)(**{**values, **more})


def snn_step(cell, zero_first):
    """One step of snnTorch 1.0, state (current, membrane, spikes)."""
    reset, delay = RESETS[int(cell.reset_mechanism_val)], cell.reset_delay
    threshold = cell.threshold

    def step(state, x):
        zero = torch.zeros_like(x)
        syn, mem, spk = state or (zero, zero, zero)
        fired = above(mem - threshold)
        x = x + cell.recurrent(spk) if hasattr(cell, "recurrent") else x
        syn = cell.alpha * syn + x if hasattr(cell, "alpha") else x
        if reset == "zero" and zero_first:
            mem = cell.beta * ((1 - fired) * mem) + syn
        else:
            mem = cell.beta * mem + syn
            mem = mem - fired * {"subtract": threshold, "zero": mem, "none": 0}[reset]
        spk = above(mem - threshold)
        if not delay:
            again = spk - fired
            mem = mem - again * {"subtract": threshold, "zero": mem, "none": 0}[reset]
        return spk, (syn, mem, spk)

    return step


NORSE = "norse.torch.module"


def norse_layer(name, activation, **parameters):
    p = SimpleNamespace(method="super", **{k: v for k, v in parameters.items()})
    return stands_for(f"{NORSE}.{name}")(activation=named(activation), p=p, dt=0.002)
