"""The laws of tuning: forward it is the simulator, backward the float network, for every neuron."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from support.networks import chain, chip_for, distinct, inputs_for, sdtcm, spiking_ssm
from support.vectors import KINDS
from support.vectors import network as network_of

from neurodeploy.arith import OVERFLOWS, ROUNDINGS, Fixed
from neurodeploy.backends.simulator import simulate
from neurodeploy.graph import ir as graph_ir
from neurodeploy.graph import nonlinear
from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.ir import Linear, Reduce
from neurodeploy.kernels.source import whole_words
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
from neurodeploy.tuning.vectors import REAL

VARIANTS = distinct()
STEPS, MODES = 37, 3  #: the longest sequence of a table, and the modes of neurons that have some
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


def neurons(rng, name, options, width, *, frac, reverse=False):
    spec = SPECS[name]
    sizes = {Kind.UNIT: 0.7 * 2**frac, Kind.OUTPUT: 2**frac, Kind.THRESHOLD: 900, Kind.AMOUNT: 700}
    read = spec.traced(options).tables

    def drawn(key, kind):
        lead = (STEPS if key in read else 0,) if key in spec.tables else ()
        shape = (MODES, width) if key in spec.modal else (*lead, width)
        size = rng.integers(int(sizes[kind] / 2), int(sizes[kind]), shape)
        return size * rng.choice([-1, 1], shape) if key in spec.tables | spec.modal else size

    coefs = {key: drawn(key, kind) for key, kind in spec.kinds.items()}
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


def real(node):
    """Return coefficients as tuning has them: dimensionless ones are multiples of 2^-coef_frac."""
    kinds, one = node.model.kinds, 2.0**node.coef_frac
    return {
        key: torch.tensor(value / (one if kinds[key].dimensionless else 1), dtype=torch.float64)
        for key, value in node.coefs.items()
    }


def both(node, fixed, x, weight, surrogate="arctan", heard=None):
    """Return outputs and the gradients of all that has some, compiled and by the loop."""
    found = []
    for run in (steps, sequential):
        given = {"x": torch.tensor(x, dtype=torch.float64), **real(node), **(heard or {})}
        for value in given.values():
            value.requires_grad_().grad = None
        coefs = node.model.coefs(*(given[key] for key in node.coefs))
        more = () if heard is None else ((given["weight"], given["bias"]),)
        out = run(node, fixed, coefs, given["x"], surrogate, 2.0, *more)
        (out * weight).sum().backward()
        grads = {key: value.grad for key, value in given.items()}
        found.append((out.detach().numpy(), {k: 0 if g is None else g for k, g in grads.items()}))
    return found


def assert_same(fast, slow):
    np.testing.assert_array_equal(fast[0], slow[0])
    for key, grad in slow[1].items():
        size = np.abs(np.asarray(grad)).max(initial=0)
        np.testing.assert_allclose(fast[1][key], grad, rtol=1e-9, atol=1e-9 * size, err_msg=key)


@every_variant
def test_the_compiled_steps_are_the_reading(name, options):
    """Roundings, overflows and surrogates take turns: each kernel is compiled for one of each."""
    turn, rng = VARIANTS.index((name, options)), np.random.default_rng(0)
    fixed = Fixed(12, 14, ROUNDINGS[turn % 3], OVERFLOWS[turn % 2])
    surrogate = list(SURROGATES)[turn % len(SURROGATES)]
    for count, width, reverse in ((STEPS, 5, False), (STEPS, 5, True), (1, 1, False)):
        node = neurons(rng, name, options, width, frac=12, reverse=reverse)
        x = rng.integers(-1500, 1500, (count, 3, width))
        weight = torch.tensor(rng.normal(size=x.shape))
        fast, slow = both(node, fixed, x, weight, surrogate)
        assert_same(fast, slow)
        assert count == 1 or np.count_nonzero(fast[0]) > 20


@pytest.mark.parametrize("name", [spec.name for spec in SPECS.values() if spec.spiking])
def test_the_compiled_steps_of_neurons_that_hear_themselves_are_the_reading(name):
    """Weights with a fraction: what they add up to is rounded before the bias is added."""
    turn, rng = list(SPECS).index(name), np.random.default_rng(0)
    fixed = Fixed(12, 14, ROUNDINGS[turn % 3], OVERFLOWS[turn % 2])
    for reverse in (False, True):
        node = neurons(rng, name, SPECS[name].options(), 5, frac=12, reverse=reverse)
        x = rng.integers(-6000, 6000, (STEPS, 3, 5)) / 4
        own = {"weight": rng.integers(-900, 900, (5, 5)) / 4, "bias": rng.integers(-90, 90, 5)}
        heard = {key: torch.tensor(value, dtype=torch.float64) for key, value in own.items()}
        weight = torch.tensor(rng.normal(size=x.shape))
        assert_same(*both(node, fixed, x, weight, heard=heard))


LONG = (30, 32)  # bits of a fraction and of a state: products are longer than float64 holds


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_products_longer_than_a_float_are_exact(rounding):
    rng = np.random.default_rng(2)
    fixed = Fixed(*LONG, rounding, "saturate")
    spec = SPECS["prf"]
    node = neurons(rng, "prf", spec.options(), 64, frac=LONG[0])
    coefs = {key: rng.integers(-(2**30), 2**30, 64) | 1 for key in ("c", "d")}
    node = replace(node, coefs=node.coefs | coefs, state_bits=LONG[1])
    x = rng.integers(-(2**30), 2**30, (STEPS, 40, 64))
    k, z, want = spec.coefs(**node.coefs), spec.state(*np.zeros((2, 40, 64), np.int64)), []
    for row in x:
        _, z = spec.step(fixed, k, z, row, node.options)
        want.append(z)
    body = {word.split("(")[0]: value for word, value in whole_words(fixed).items()}
    scope = {"np": np, "HALF": 0.5, "k": node.coefs["c"] / 2.0**30, "z": want[-1].re * 1.0}
    got = eval(body["multiplied"], scope)
    np.testing.assert_array_equal(got, fixed.mul(node.coefs["c"], want[-1].re))
    assert np.any(np.abs(want[-1].re) > 2**29)


@every_variant
def test_the_reading_is_fixed(name, options):
    """Step by step, whole numbers in the torch reading are those of `Fixed`, overflows and all."""
    rng = np.random.default_rng(1)
    for rounding, overflow in product(ROUNDINGS, OVERFLOWS):
        fixed = Fixed(12, 12, rounding, overflow)
        node = neurons(rng, name, options, 4, frac=12)
        spec = node.model
        zeros = np.zeros((spec.rows(spec.state._fields, node.modes), 4), np.int64)
        state = spec.parts(spec.state, zeros, node.modes)
        again = spec.parts(spec.state, torch.tensor(zeros, dtype=torch.float64), node.modes)
        whole, coefs = spec.coefs(**node.coefs), spec.coefs(**real(node))
        reading = Quantized(1.0, fixed=fixed)
        for t, row in enumerate(rng.integers(-1900, 1900, (30, 4))):
            out, state = spec.step(fixed, spec.at(whole, t), state, row, options)
            current = torch.tensor(row, dtype=torch.float64)
            sent, again = spec.step(reading, spec.at(coefs, t), again, current, options)
            np.testing.assert_array_equal(out, sent.numpy())
            for a, b in zip(state, again, strict=True):
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


@pytest.mark.parametrize("name", [spec.name for spec in SPECS.values() if spec.spiking])
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


def assert_gradients_are_finite(model, x, unread=()):
    (model(x) ** 2).sum().backward()
    for constant, change in zip(model.constants.all, model.constants.changes, strict=True):
        assert torch.all(torch.isfinite(change.grad)), constant.key
        assert torch.any(change.grad) or constant.key in unread, constant.key


def vectors_of(rng, kinds, **how):
    """Return a network of vector operations; "quantize" stands where a ReLU would."""
    graph = network_of(rng, ["relu" if kind == "quantize" else kind for kind in kinds], **how)
    for i, kind in enumerate(kinds):
        if kind == "quantize":
            graph = graph.replace(f"{i}.relu", nonlinear.Quantize(2**-6, -1000, 900))
    return graph


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "quantize"])
def test_forward_is_the_simulator_for_every_vector_operation(kind, residual):
    """Alone, and behind another that sends what it reads without weights."""
    turn = [*KINDS, "quantize"].index(kind)
    rng = np.random.default_rng(turn)
    for kinds in ([kind], [KINDS[turn - 3], kind]):
        graph = vectors_of(rng, kinds, residual=residual, readout="mean")
        x = inputs_for(rng, graph, steps=9)
        model = tuned(graph, x, bits=5)
        assert_forward_is_simulator(model, x * 1.5)
        assert_gradients_are_finite(model, x)


def test_every_vector_operation_has_a_real_form():
    assert {*REAL, nonlinear.Lstm} == set(nonlinear.VectorOp.__subclasses__())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_forward_is_the_simulator_for_state_spaces_that_share_a_sum(bidirectional):
    rng = np.random.default_rng(7)
    graph = spiking_ssm(rng, bidirectional=bidirectional)
    x = inputs_for(rng, graph, steps=20)
    model = tuned(graph, x, bits=4)
    assert_forward_is_simulator(model, x)
    assert_gradients_are_finite(model, x, unread={("back", "coefs.d")})


def test_weights_that_are_only_added_stay_so():
    rng = np.random.default_rng(8)
    graph = network_of(rng, ["ternary", "relu"], plain=True)
    signs = rng.choice([-1.0, 0.0, 1.0], graph["0.linear"].op.weight.shape)
    signs[:, :2] = 1.0
    graph = graph.replace("0.linear", replace(graph["0.linear"].op, weight=signs))
    x = inputs_for(rng, graph, steps=9)
    model = tuned(graph, x, bits=5)
    keys = {constant.key for constant in model.constants.all}
    assert ("0.linear", "weight") not in keys
    assert {("0.linear", "bias"), ("encoder", "weight"), ("head", "weight")} <= keys
    assert_forward_is_simulator(model, x)


STRAIGHT = (nonlinear.Ternary, nonlinear.Quantize)


def straightened(graph):
    """Return a graph whose ternary values, and those on a grid, are what they are made from."""
    nodes = (replace(n, op=nonlinear.Rescale()) if isinstance(n.op, STRAIGHT) else n for n in graph)
    return replace(graph, nodes=tuple(nodes))


def differences(constants, key, loss, size=1e-5):
    """Return the derivative of loss(graph) by each change of a constant, by central differences."""
    at = next(i for i, constant in enumerate(constants.all) if constant.key == key)
    change, found = constants.changes[at].detach(), []
    for i in range(change.numel()):
        ends = []
        for side in (size, -size):
            change.view(-1)[i] += side
            ends.append(loss(constants.graph()))
            change.view(-1)[i] -= side
        found.append((ends[0] - ends[1]) / (2 * size))
    return np.reshape(found, change.shape)


@pytest.mark.parametrize("kind", [*KINDS, "quantize"])
def test_gradients_of_vector_operations_are_differences_of_the_float_network(kind):
    """In float64, by the interpreter; in front of a ternary value, of what it is made from."""
    rng = np.random.default_rng(9)
    graph = fold(vectors_of(rng, [kind], width=4, plain=True))
    x = inputs_for(rng, graph, steps=6, samples=3, size=1.0)
    chip = target("asic45")
    numbers = replace(chip.numbers, input_bits=12, message_bits=32, current_bits=60)
    model = Tuned(Calibrate(x, "data")(graph), replace(chip, numbers=numbers), bits=10)
    weight = rng.normal(size=(3, 2))
    (model(x) * torch.tensor(weight)).sum().backward()
    for constant, change in zip(model.constants.all, model.constants.changes, strict=True):
        behind = constant.key[0] in ("head", "readout")

        def loss(graph, behind=behind):
            return float((interpret(graph if behind else straightened(graph), x) * weight).sum())

        exact = differences(model.constants, constant.key, loss)
        size = np.abs(exact).max()
        np.testing.assert_allclose(
            change.grad / size, exact / size, atol=1e-2, err_msg=str(constant.key)
        )


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
            coefs = spec.coefs(
                *(
                    values.get((node.name, f"coefs.{n}"), torch.tensor(np.array(op.coefs[n])))
                    for n in spec.coefs._fields
                )
            )
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
    """At 16 bits, with wide registers, spikes are the float ones and so, nearly, are gradients.

    Inputs are whole numbers: their unit is that of spikes, and weights of both have all their bits.
    """
    monkeypatch.setattr(network, "steps", sequential)  # the same; no kernels for these numbers
    rng = np.random.default_rng(5)
    first = {**options, "recurrent": recurrent and SPECS[name].spiking}
    graph = fold(chain(rng, [(name, first), ("lif", SPECS["lif"].options())], width=6))
    heard = graph["0.neurons"].op.recurrent
    if heard is not None:  # no larger than the other weights, row by row: none is clipped
        size = np.abs(graph["0.linear"].op.weight).max(axis=1) / np.abs(heard).max(axis=1)
        op = replace(graph["0.neurons"].op, recurrent=heard * size[:, None] / 2)
        graph = graph.replace("0.neurons", op)
    x = np.rint(inputs_for(rng, graph, steps=12, samples=5))
    chip = target("asic45")
    wide = {"current_bits": 60, "message_bits": 30, "input_bits": 24, "weight_bits": 16}
    wide |= {"coef_bits": 23, "coef_frac": 22, "state_bits": 40, "shift_min": -32}
    fine = replace(chip, numbers=replace(chip.numbers, **wide))
    model = Tuned(Calibrate(x, "data")(graph), fine, bits=16)
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
