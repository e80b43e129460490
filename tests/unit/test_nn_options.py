"""Every option of every module of `neurodeploy.nn` does what options do: it changes the result.

The registry is `CLASSES` of checkpoints, the options are the keys of `config()`, so that a new
module or a new option that is not listed here fails. Two modules that differ in one option are
built from the same random numbers, and one gets all weights of the other that it has too: what
still differs is the option's doing.
"""

from __future__ import annotations

import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch

from neurodeploy.nn.description import CLASSES
from neurodeploy.nn.neurons import Neuron

STEPS, BATCH, WIDTH = 30, 2, 4
SIZES = {"width", "inputs", "hidden", "sizes", "blocks", "classes", "steps", "features", "tokens"}
SIZES |= {"shape", "out", "kernel", "positions", "encoding", "state"}
START = {"dt", "theta", "init", "beta", "alpha", "v_th", "tau", "rho"}  # where weights start
SLOPES = {"surrogate", "steepness"}  # what only gradients see
TRAINING = {"dropout", "momentum"}  # what only training sees
SAME = {"method", "checkpoint_steps", "sdn"}  # other ways to the same result, or nearly
TRAINED = {"train", "train_a", "train_alpha", "train_b", "train_beta", "train_dt", "train_rho"}
TRAINED |= {"train_tau", "train_threshold", "train_v_th"}  # what becomes a weight

NEURON = {"amplitude": [True], "reverse": [True], "recurrent": [True], "steepness": [1.0]}
NEURON |= {"surrogate": ["boxcar"]}
NET = {"readout": ["sum", "last", "steps"]}
SSM = {"dt": [(0.5, 0.8)], "dropout": [0.5], "bidirectional": [True], "residual": [True, False]}
BLOCK = {**SSM, "norm": ["pre", "post", None], "norm_kind": ["layer"], "method": ["fft"]}
BLOCK |= {"surrogate": ["boxcar"], "steepness": [3.0], "v_th": [0.6], "train_b": [True, False]}
BLOCK |= {"init": ["lin", "inv"], "discretization": ["zoh", "bilinear"]}
SPIKING_SSM = {**BLOCK, "tau": [0.7], "reset": ["soft"], "train_threshold": [False]}
SPIKING_SSM |= {"sdn": [True]}
SDTCM = {"norm": ["post", None], "bidirectional": [True], "outer_residual": [True], "tau": [0.7]}
SDTCM |= {"amplitude": ["none", "tn", "both"], "v_sn": [0.1], "dt": [(0.5, 0.8)], "v_th": [0.2]}
SDTCM |= {"theta": [(1.0, 2.0)], "train_tau": [True], "dropout": [0.5], "steepness": [1.0]}
SDTCM |= {"surrogate": ["boxcar"]}
TERNARY = {"ratio": [0.5], "threshold": ["step"], "momentum": [0.9], "steepness": [1.0]}
TERNARY |= {"surrogate": ["boxcar"]}
GSU = {**SSM, **TERNARY, "norm": ["layer", None], "pre_norm": [True], "init": ["lin"]}
GSU |= {"discretization": ["zoh"]}
FOLLOWING = {"threshold": "constant", "surrogate": "triangle"}
CONV = {"stride": [2], "padding": [1], "dilation": [2], "groups": [2], "bias": [False]}
POOL = {"kind": ["max"], "stride": [1], "padding": [0], "count_padding": [False]}
TABLE = {"width": WIDTH, "steps": STEPS}
SPEED = {"dt": (0.2, 0.9)}
LIVELY = {**SPEED, "state": 4, "dropout": 0.0}
SIZE = {"inputs": WIDTH, "width": WIDTH, "blocks": 2, "classes": 3}

OPTIONS = {  # class: arguments to start from, and other values of every option
    "PRF": ({**SPEED, "theta": (0.0, 3.0)}, {**NEURON, "dt": [(0.5, 0.8)], "theta": [(1.0, 2.0)],
            "tau": [0.7], "v_th": [0.5], "train_tau": [True]}),
    "LIF": ({"v_reset": 0.0}, {**NEURON, "beta": [0.5], "v_th": [0.5], "gain": [2.0],
            "train_beta": [True], "train_v_th": [True]}),
    "SpatialNeuron": ({"amplitude": False}, {**NEURON, "v_th": [0.1], "reverse": []}),
    "LI": ({}, {"beta": [0.5], "leak": [False], "train_beta": [True], "reverse": [True],
           "recurrent": [True]}),
    "LSTM": ({"inputs": WIDTH}, {"layers": [2], "bidirectional": [True]}),
    "S4D": ({**SPEED, "state": 4}, {"init": ["inv"], "discretization": ["bilinear"],
            "dt": [(0.5, 0.8)], "skip": [False], "train_dt": [False], "train_a": [False],
            "train_b": [True], "reverse": [True], "method": ["fft"]}),
    "ALIF": ({}, {**NEURON, "beta": [0.5], "rho": [0.5], "v_th": [0.5], "adaptation": [0.2],
             "jump": [1.0], "gain": [2.0, None], "train_beta": [True], "train_rho": [True]}),
    "CubaLIF": ({}, {**NEURON, "alpha": [0.3], "beta": [0.5], "v_th": [0.5], "gain": [2.0],
                "train_alpha": [True], "train_beta": [True]}),
    "MultiSpikeLIF": ({}, {**NEURON, "beta": [0.5], "v_th": [0.5], "gain": [2.0], "v_min": [-0.1],
                      "spikes": ["one"], "train_beta": [True]}),
    "TCLIF": ({}, {**NEURON, "beta": [(-0.9, 0.2)], "gamma": [0.1], "v_th": [0.5]}),
    "TwoCompartment": ({}, {**NEURON, "alpha": [(0.5, 0.9)], "beta": [(-0.9, 0.2)],
                       "gamma": [0.4], "v_th": [0.5], "train_alpha": [True],
                       "train_beta": [False]}),
    "ParallelLIF": ({}, {**NEURON, "beta": [0.5], "v_th": [0.5], "gain": [2.0],
                    "train_beta": [True], "train_v_th": [True], "method": ["decoupled"]}),
    "SurrogateLIF": ({}, {"beta": [0.7], "reset": ["soft"], "surrogate": ["boxcar"],
                     "steepness": [3.0], "sdn": [True]}),
    "BatchNorm": ({}, {"eps": [0.5], "momentum": [0.9, None]}),
    "Embedding": ({"tokens": 6}, {}),
    "Readout": ({"kind": "sum"}, {"kind": ["mean", "last", "rate", "steps"]}),
    "Scale": ({}, {"gain": [0.5]}),
    "Delay": ({}, {"steps": [3, [0, 1, 2, 3]]}),
    "Conv": ({"shape": (2, 5, 5), "out": 4, "kernel": 2}, CONV),
    "Pool": ({"shape": (2, 5, 5), "kernel": 2, "padding": 1}, POOL),
    "CELIF": ({"encoding": TABLE}, {**NEURON, "alpha": [0.9], "beta": [0.5], "theta0": [0.1]}),
    "CELIFNet": ({"inputs": WIDTH, "hidden": (5, WIDTH), "classes": 3, "steps": STEPS},
                 {"recurrent": [True], "alpha": [0.9], "beta": [0.5], "theta0": [0.1],
                  "amplitude": [True], "reverse": [True], "surrogate": ["boxcar"],
                  "steepness": [1.0], **NET}),
    "TemporalEncoding": ({"width": WIDTH, "steps": STEPS}, {}),
    "SDTCMBlock": ({**SPEED, "theta": (0.0, 3.0)}, SDTCM),
    "SDTCM": ({**SIZE, **SPEED, "theta": (0.0, 3.0)},
              {**SDTCM, **NET, "input_scale": [0.3], "checkpoint_steps": [8]}),
    "SpikingMLP": ({"sizes": (WIDTH, 5, WIDTH, 3)},
                   {"neuron": ["PRF", "TCLIF"], "recurrent": [True, (False, True)], "beta": [0.5],
                    "v_th": [0.5], "gain": [2.0], "train_beta": [True], "train_v_th": [True],
                    "amplitude": [True], "reverse": [True], "surrogate": ["boxcar"],
                    "steepness": [1.0], "readout": ["mean", "last", "rate", "steps"]}),
    "SDN": ({}, {}),
    "Threshold": ({}, {"v_th": [0.5], "train": [False]}),
    "SpikingSSMBlock": ({**LIVELY, "norm": "post", "v_th": 0.3}, SPIKING_SSM),
    "SpikingSSM": ({**SIZE, **LIVELY, "norm": "post", "v_th": 0.3}, {**SPIKING_SSM, **NET}),
    "BinaryS4DBlock": (LIVELY, BLOCK),
    "BinaryS4D": ({**SIZE, **LIVELY}, {**BLOCK, **NET}),
    "Ternary": ({"surrogate": "triangle"}, {**TERNARY, "threshold": ["constant"], "momentum": []}),
    "GSU": (FOLLOWING, TERNARY),
    "GSUBlock": ({**LIVELY, **FOLLOWING}, GSU),
    "GSUNetwork": ({**SIZE, **LIVELY, **FOLLOWING}, {**GSU, **NET, "input_scale": [0.3]}),
}  # fmt: skip
ELSEWHERE = {"SDN": {"tau"}, "SpatialNeuron": {"reverse"}}  # a name; nothing without a memory
ELSEWHERE |= {name: {"gamma", "context"} for name in ("CELIF", "CELIFNet")}  # tested below
RESETS = ("LIF", "ALIF", "ParallelLIF", "SpikingMLP", "CubaLIF", "MultiSpikeLIF")
ELSEWHERE |= {name: {"v_reset", "reset"} for name in RESETS}


def built(name, arguments):
    """Return the module in float64, its weights away from any special value."""
    torch.manual_seed(0)
    kind = CLASSES[name]
    if "width" in inspect.signature(kind).parameters:
        arguments = {"width": WIDTH, **arguments}
    module = kind(**arguments).double()
    with torch.no_grad():
        for key, value in module.named_parameters():
            generator = torch.Generator().manual_seed(sum(key.encode()) + value.numel())
            value.add_(0.2 * torch.randn(value.shape, generator=generator).to(value))
    return module


def pair(name, arguments, key, value):
    """Return modules without and with an option; all weights that both have are the same."""
    one, other = built(name, arguments), built(name, {**arguments, key: value})
    if key not in START:
        weights = other.state_dict()
        shared = {k: v for k, v in one.state_dict().items() if k in weights}
        same = {k: v for k, v in shared.items() if v.shape == weights[k].shape}
        other.load_state_dict(same, strict=False)
    return one, other


def drive(name):
    generator = torch.Generator().manual_seed(1)
    if name == "Embedding":
        return torch.randint(0, 6, (STEPS, BATCH, 1), generator=generator)
    width = 50 if name in ("Conv", "Pool") else 1 if name == "SDN" else WIDTH
    return 2 * torch.randn(STEPS, BATCH, width, generator=generator).double() + 0.3


def results(module, x, mode="eval"):
    """Return outputs and, in training, the gradients of a loss for all weights and x."""
    torch.manual_seed(5)
    module.train(mode == "train")
    x = x.clone().requires_grad_(x.is_floating_point())
    y = module(x)
    if mode == "eval":
        return [y.detach()]
    (y * torch.linspace(-1, 2, y.numel()).view(y.shape).cos()).sum().backward()
    grads = [p.grad for p in (x, *module.parameters()) if p.grad is not None]
    return [y.detach(), *grads, *(b.detach().double() for b in module.buffers())]


def differ(one, other):
    return len(one) != len(other) or any(
        a.shape != b.shape or not torch.allclose(a, b, rtol=1e-9, atol=1e-12)
        for a, b in zip(one, other, strict=True)
    )


ROWS = [
    (name, key, value)
    for name, (start, options) in OPTIONS.items()
    for key, values in options.items()
    for value in values
    if value != built(name, start).config()[key]
]


@pytest.mark.parametrize(("name", "key", "value"), ROWS, ids=str)
def test_an_option_changes_what_it_should_and_nothing_else(name, key, value):
    one, other = pair(name, OPTIONS[name][0], key, value)
    assert CLASSES[name](**other.config()).config() == other.config()
    x = drive(name)
    a, b = results(one, x), results(other, x)
    assert all(torch.isfinite(value).all() for value in b)
    if key in TRAINED:
        trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (one, other)]
        assert trained[0] != trained[1]
    elif key in SLOPES | TRAINING:
        assert not differ(a, b)
        assert differ(results(one, x, "train"), results(other, x, "train"))
    elif key in SAME:
        assert key == "sdn" or not differ(a, b)
    else:
        assert differ(a, b)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_listed(name):
    start, options = OPTIONS[name]
    known = {"compare", *SIZES, *options, *ELSEWHERE.get(name, set())}
    chosen = getattr(CLASSES[name], "spec", None)
    known |= set(chosen.choices) if chosen else set()
    assert set(built(name, start).config()) <= known
    assert options.keys() <= built(name, start).config().keys()


def test_every_class_is_listed():
    assert set(OPTIONS) == {name for name, kind in CLASSES.items() if hasattr(kind, "config")}


def chosen():
    """Return (class, options, other options) of neurons that differ in one choice of their spec."""
    for name, kind in CLASSES.items():
        if not (issubclass(kind, Neuron) and name in OPTIONS):
            continue
        accepted = kind(**arguments(name, kind.spec.options())).config()
        for key, values in kind.spec.choices.items():
            if key in accepted and key not in ("compare", *OPTIONS[name][1]):
                yield from ((name, key, one, other) for one, other in pairwise(values))


def arguments(name, options):
    """Return the arguments of a neuron, its width apart, for choices of its spec."""
    more = {"encoding": None} if options.get("context") in ("s", "v") else {}
    if "context" in options and not more:
        more = {"encoding": TABLE}
    known = inspect.signature(CLASSES[name]).parameters
    given = {k: v for k, v in options.items() if k in known}
    return {"width": WIDTH, **given, **more}


@pytest.mark.parametrize(("name", "key", "one", "other"), list(chosen()), ids=str)
def test_every_choice_of_a_spec_is_a_neuron_of_its_own(name, key, one, other):
    first, second = (
        built(name, arguments(name, CLASSES[name].spec.options(**{key: choice})))
        for choice in (one, other)
    )
    x = drive(name)
    assert differ(results(first, x), results(second, x))


HARD = [("LIF", "hard"), ("LIF", "hard_next"), ("ALIF", "hard"), ("CubaLIF", "hard_next")]
HARD += [("MultiSpikeLIF", "hard")]


@pytest.mark.parametrize(("name", "reset"), HARD, ids=str)
def test_where_a_hard_reset_goes_changes_the_spikes(name, reset):
    low, zero = (built(name, {"reset": reset, "v_reset": value}) for value in (-1.0, 0.0))
    assert differ(results(low, drive(name)), results(zero, drive(name)))


COMPARING = [
    name
    for name, kind in CLASSES.items()
    if issubclass(kind, Neuron) and "compare" in kind.spec.choices
]


@pytest.mark.parametrize("name", [n for n in COMPARING if n != "SurrogateLIF"])
def test_at_an_exact_tie_one_comparison_fires_and_the_other_does_not(name):
    start = {**OPTIONS[name][0], "width": WIDTH, "amplitude": False}
    fires, waits = (CLASSES[name](**start, compare=how).double() for how in (">=", ">"))
    waits.load_state_dict(fires.state_dict())

    def silent(module, bits):
        x = np.full((1, 1, WIDTH), bits, np.int64).view(np.float64)  # in the order of integers
        return not module.eval()(torch.from_numpy(x))[0, 0, 0]

    low, high = (int(np.float64(end).view(np.int64)) for end in (0.0, 1e6))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if silent(fires, middle) else (low, middle)
    assert silent(fires, low)
    assert not silent(fires, high)
    assert silent(waits, high)
