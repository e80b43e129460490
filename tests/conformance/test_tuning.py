"""The laws of tuning: forward it is the simulator, backward the float network, for every neuron."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from support.networks import chain, chip_for, inputs_for, sdtcm

from neurodeploy.arith import OVERFLOWS, ROUNDINGS, Fixed
from neurodeploy.backends.simulator import simulate
from neurodeploy.graph import ir as graph_ir
from neurodeploy.graph.ir import Linear, Reduce
from neurodeploy.kernels.surrogates import SURROGATES
from neurodeploy.neurons import SPECS, Kind
from neurodeploy.nn.surrogate import sequential as loop
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.pipeline import fold
from neurodeploy.program.ir import Population
from neurodeploy.targets import target
from neurodeploy.tuning import network
from neurodeploy.tuning.network import Tuned
from neurodeploy.tuning.reading import Quantized
from neurodeploy.tuning.steps import sequential, steps

PLAIN = [  # one constant of each kind for each neuron; tuning refuses others by name
    spec
    for spec in SPECS.values()
    if not (getattr(spec, "tables", None) or getattr(spec, "modal", None))
]
VARIANTS = [(spec.name, options) for spec in PLAIN for options in spec.variants()]
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


def neurons(rng, name, options, width, *, frac, reverse=False):
    spec = SPECS[name]
    sizes = {Kind.UNIT: 0.7 * 2**frac, Kind.THRESHOLD: 900, Kind.AMOUNT: 700}
    coefs = {
        key: rng.integers(int(sizes[kind] / 2), int(sizes[kind]), width)
        for key, kind in spec.kinds.items()
    }
    return Population(
        name="n",
        width=width,
        edges=(),
        spec=name,
        options=options,
        coefs=coefs,
        shift=np.zeros(width, np.int64),
        bias=np.zeros(width, np.int64),
        state_bits=14,
        coef_frac=frac,
        unit=rng.uniform(0.5, 2, width) / 1000,
        reverse=reverse,
    )


def both(node, fixed, x, weight, surrogate="arctan"):
    """Return spikes and the gradients of x and the coefficients, compiled and by the loop."""
    found = []
    for run in (steps, sequential):
        inputs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        table = np.array([node.coefs[n] for n in node.model.coefs._fields], np.float64)
        coefs = torch.tensor(table, requires_grad=True)
        out = run(node, fixed, coefs, inputs, surrogate, 2.0)
        (out * weight).sum().backward()
        found.append((out.detach().numpy(), inputs.grad.numpy(), coefs.grad))
    return found


@every_variant
def test_the_compiled_steps_are_the_reading(name, options):
    """Roundings, overflows and surrogates take turns: each kernel is compiled for one of each."""
    turn, rng = VARIANTS.index((name, options)), np.random.default_rng(0)
    fixed = Fixed(12, 14, ROUNDINGS[turn % 3], OVERFLOWS[turn % 2])
    surrogate = list(SURROGATES)[turn % len(SURROGATES)]
    for count, width, reverse in ((37, 5, False), (37, 5, True), (1, 1, False)):
        node = neurons(rng, name, options, width, frac=12, reverse=reverse)
        x = rng.integers(-1500, 1500, (count, 3, width))
        weight = torch.tensor(rng.normal(size=x.shape))
        fast, slow = both(node, fixed, x, weight, surrogate)
        np.testing.assert_array_equal(fast[0], slow[0])
        assert count == 1 or np.count_nonzero(fast[0]) > 20
        np.testing.assert_allclose(fast[1], slow[1], rtol=1e-9, atol=1e-12)
        if slow[2] is not None:  # a step without coefficients
            np.testing.assert_allclose(fast[2], slow[2], rtol=1e-9, atol=1e-12)


@every_variant
def test_the_reading_is_fixed(name, options):
    """Step by step, whole numbers in the torch reading are those of `Fixed`, overflows and all."""
    rng = np.random.default_rng(1)
    for rounding in ROUNDINGS:
        for overflow in OVERFLOWS:
            fixed = Fixed(12, 12, rounding, overflow)
            node = neurons(rng, name, options, 4, frac=12)
            spec, torch_state = node.model, None
            state = spec.state(*np.zeros((len(spec.state._fields), 4), np.int64))
            torch_state = spec.state(*torch.zeros(len(spec.state._fields), 4, dtype=torch.float64))
            reading = Quantized(1.0, fixed=fixed)
            coefs = {key: torch.tensor(v, dtype=torch.float64) for key, v in node.coefs.items()}
            for row in rng.integers(-1900, 1900, (30, 4)):
                out, state = spec.step(fixed, spec.coefs(**node.coefs), state, row, options)
                current = torch.tensor(row, dtype=torch.float64)
                again, torch_state = spec.step(
                    reading, spec.coefs(**coefs), torch_state, current, options
                )
                np.testing.assert_array_equal(out, again.numpy())
                for a, b in zip(state, torch_state, strict=True):
                    np.testing.assert_array_equal(a, b.numpy())


def tuned(graph, x, chip="asic45", **how):
    return Tuned(Calibrate(x, "data")(fold(graph)), target(chip), **how)


def assert_forward_is_simulator(model, x):
    program = model.program()
    names = [node.name for node in program]
    output, values = model.run(x, names)
    run = simulate(program, x, record=names)
    for name in names:
        np.testing.assert_array_equal(values[name], run.values[name], err_msg=name)
    np.testing.assert_array_equal(output.detach().numpy(), run.outputs)


SHAPES = list(
    product(("pre", "post", None), (False, True), (False, True), ("mean", "sum", "last", "steps"))
)


@pytest.mark.parametrize(("norm", "outer", "bidirectional", "readout"), SHAPES)
def test_forward_is_the_simulator_for_every_shape(norm, outer, bidirectional, readout):
    rng = np.random.default_rng(3)
    graph = sdtcm(rng, norm=norm, outer=outer, bidirectional=bidirectional, readout=readout)
    x = inputs_for(rng, graph, steps=20)
    choice = {"*": 4, "blocks.1.*": 6}
    model = tuned(graph, x[:, :2], bits=choice, coef_bits={"blocks.*.tn": 10})
    assert_forward_is_simulator(model, x * 1.5)
    model(x).sum().backward()
    for constant, change in zip(model.constants.all, model.constants.changes, strict=True):
        assert torch.all(torch.isfinite(change.grad)), constant.key
        unread = readout == "last" and "reverse.coefs" in ".".join(constant.key)  # its first step
        assert unread or torch.any(change.grad), constant.key


@every_variant
def test_forward_is_the_simulator_for_every_neuron(name, options):
    """Readouts and targets take turns: each kernel is compiled for one target's numbers."""
    turn, rng = VARIANTS.index((name, options)), np.random.default_rng(4)
    readout, chip = ("mean", "last", "steps")[turn % 3], ("asic45", "loihi2")[turn % 2]
    layers = [(name, options), ("lif", SPECS["lif"].options()), (name, options)]
    graph = chain(rng, layers, readout=readout, spiking=readout == "last", norm=readout == "mean")
    x = inputs_for(rng, graph, steps=17)
    chip = chip_for(layers, chip).name
    assert_forward_is_simulator(tuned(graph, x, chip, bits=4), x * 2)


@pytest.mark.parametrize("name", [spec.name for spec in PLAIN if spec.spiking])
@pytest.mark.parametrize("reverse", [False, True])
def test_forward_is_the_simulator_for_neurons_that_hear_themselves(name, reverse):
    rng = np.random.default_rng(6)
    own = {"recurrent": True, "reverse": reverse, "amplitude": 0.8}
    graph = chain(rng, [(name, own)], readout="sum", norm=True)
    x = inputs_for(rng, graph, steps=11)
    model = tuned(graph, x, bits={"*": 6, "0.neurons.recurrent": 3})
    assert_forward_is_simulator(model, x)
    (model(x) ** 2).sum().backward()
    used = SPECS[name].traced(SPECS[name].options()).used
    for constant, change in zip(model.constants.all, model.constants.changes, strict=True):
        coef = constant.key[1].removeprefix("coefs.")
        assert torch.any(change.grad) or coef in {*SPECS[name].coefs._fields} - used, constant.key


def float_outputs(graph, values, x):
    """Return the output [B, N] of a folded chain with a mean or sum, by the plain torch loop."""
    value = torch.tensor(x)
    for node in graph:
        op = node.op
        if isinstance(op, Linear):
            bias = values.get((node.name, "bias"), torch.tensor(op.bias))
            value = value @ values[node.name, "weight"].T + bias
        elif isinstance(op, graph_ir.Population):
            spec = op.model
            coefs = spec.coefs(*(values[node.name, f"coefs.{n}"] for n in spec.coefs._fields))
            drive = value + values.get((node.name, "bias"), torch.tensor(op.bias))
            weight = values.get((node.name, "recurrent"), torch.zeros(drive.shape[-1], 1).double())
            value = loop(
                spec,
                op.options,
                coefs,
                torch.tensor(np.array(op.unit)),
                drive,
                heard=None if op.recurrent is None else lambda out, weight=weight: out @ weight.T,
            )
        elif isinstance(op, Reduce):
            bias = values.get((node.name, "bias"), torch.tensor(op.bias))
            value = (value + bias).mean(0) if op.kind == "mean" else (value + bias).sum(0)
    return value


@pytest.mark.parametrize("recurrent", [False, True])
@every_variant
def test_gradients_are_those_of_the_float_network_where_integers_are_fine(
    name, options, recurrent, monkeypatch
):
    """At 26 bits, with wide registers, spikes are the float ones and so, nearly, are gradients."""
    monkeypatch.setattr(network, "steps", sequential)  # the same; no kernels for these numbers
    rng = np.random.default_rng(5)
    first = {**options, "recurrent": recurrent and SPECS[name].spiking}
    graph = fold(chain(rng, [(name, first), ("lif", SPECS["lif"].options())], width=6))
    heard = graph["0.neurons"].op.recurrent
    if heard is not None:  # no larger than the other weights, row by row: none is clipped
        size = np.abs(graph["0.linear"].op.weight).max(axis=1) / np.abs(heard).max(axis=1)
        op = replace(graph["0.neurons"].op, recurrent=heard * size[:, None] / 2)
        graph = graph.replace("0.neurons", op)
    x = inputs_for(rng, graph, steps=12, samples=5)
    chip = target("asic45")
    wide = {"current_bits": 60, "message_bits": 30, "input_bits": 24, "weight_bits": 26}
    wide |= {"coef_bits": 23, "coef_frac": 22, "state_bits": 40, "shift_min": -32}
    fine = replace(chip, numbers=replace(chip.numbers, **wide))
    model = Tuned(Calibrate(x, "data")(graph), fine, bits=26)
    weight = torch.tensor(rng.normal(size=(5, 2)))
    (model(x) * weight).sum().backward()
    values = {
        c.key: torch.tensor(np.array(c.start), requires_grad=True) for c in model.constants.all
    }
    output = float_outputs(graph, values, x)
    np.testing.assert_allclose(model(x).detach(), output.detach(), rtol=1e-3, atol=1e-3)
    (output * weight).sum().backward()
    for constant, change in zip(model.constants.all, model.constants.changes, strict=True):
        exact = values[constant.key].grad
        if exact is None:  # the step does not use it
            assert change.grad is None or not change.grad.any()
            continue
        exact = exact.numpy() * constant.scale
        size = np.abs(exact).max() or 1.0
        np.testing.assert_allclose(
            change.grad / size, exact / size, atol=3e-3, err_msg=constant.key
        )
