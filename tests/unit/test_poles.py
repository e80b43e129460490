"""What rounding does to time constants and frequencies: measured, reported, refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import chain, chip_for, inputs_for, neurons, spiking_ssm

from neurodeploy.errors import FitError
from neurodeploy.graph.ir import Population
from neurodeploy.neurons import SPECS
from neurodeploy.passes.coefficients import sound
from neurodeploy.passes.pipeline import compile_graph, fold
from neurodeploy.passes.poles import change
from neurodeploy.reports.records import program_record
from neurodeploy.reports.text import program_text
from neurodeploy.targets import target


def folded(name, **coefs):
    """Neurons of these coefficients; what is not given is 0."""
    arrays = np.broadcast_arrays(*(np.asarray(v, float) for v in coefs.values()))
    width = arrays[0].shape[-1]
    zero = dict.fromkeys(SPECS[name].coefs._fields, np.zeros(width))
    ones = np.ones(width)
    return Population(
        spec=name,
        options=SPECS[name].options(),
        coefs={**zero, **dict(zip(coefs, arrays, strict=True))},
        sign=ones,
        bias=0 * ones,
        unit=ones,
    )


def test_errors_are_relative_and_of_what_there_is_to_keep():
    beta = np.array([0.99, 0.5, 1.0, 0.05, 0.9])
    rounded = np.array([0.98, 0.5, 1.0, 0.06, 0.0])
    found = change(folded("lif", beta=beta), folded("lif", beta=rounded).coefs)
    want = [1 - np.log(0.99) / np.log(0.98), 0, np.nan, np.nan, 1.0]
    np.testing.assert_allclose(found.time_constant[0], want, rtol=1e-12)
    assert np.all(np.isnan(found.frequency))
    notes = found.notes()
    assert notes["time_constant_error_max"] == 1.0
    assert notes["time_constant_error_median"] == pytest.approx(want[0])
    assert notes["time_constant_errors"] == [float(f"{want[0]:.3g}"), 0.0, None, None, 1.0]
    assert "frequency_errors" not in notes


def test_a_rotation_counts_if_it_turns_while_it_lasts():
    rho, angle = np.array([0.99, 0.99, 1.0]), np.array([0.0015, 0.0005, 1e-6])
    op = folded("prf", c=rho * np.cos(angle), d=rho * np.sin(angle))
    slower = {**op.coefs, "d": op.coefs["d"] * 0.5}
    found = change(op, slower)
    np.testing.assert_allclose(found.frequency[0], [0.5, np.nan, 0.5], atol=1e-3)
    stopped = change(op, {**op.coefs, "d": 0 * rho})
    assert stopped.dead.tolist() == [[True, False, True]]
    assert not stopped.undamped.any()


@pytest.mark.parametrize(
    ("before", "after", "undamped"),
    [
        (0.999, 1.0, True),
        (0.999, 0.9999, False),
        (1.0, 1.0, False),  # a sum that is meant to stay
        (1.0, 1.001, True),
        (1.01, 1.02, False),  # it grew before
    ],
)
def test_what_no_longer_decays_is_undamped(before, after, undamped):
    for angle in (0.0, 0.7):
        op, other = (
            folded("prf", c=[size * np.cos(angle)], d=[size * np.sin(angle)])
            for size in (before, after)
        )
        assert change(op, other.coefs).undamped.tolist() == [[undamped]]


@pytest.mark.parametrize("name", [spec.name for spec in SPECS.values() if spec.name != "spatial"])
def test_every_neuron_with_memory_reports_each_channel(name):
    """Time constants, frequencies, or both, but where a number is meant to stay."""
    rng = np.random.default_rng(3)
    graph = spiking_ssm(rng) if name == "s4d" else chain(rng, [(name, {})])
    node = next(node.name for node in graph if getattr(node.op, "spec", "") == name)
    chip = chip_for([(name, {})], "loihi2")
    program = compile_graph(graph, chip, calibration=inputs_for(rng, graph), coef_bits=6).program
    layer = next(x for x in program_record(program)["layers"] if x["name"] == node)
    kinds = [kind for kind in ("time_constant", "frequency") if f"{kind}_errors" in layer]
    assert kinds
    for kind in kinds:
        each = [error for error in layer[f"{kind}_errors"] if error is not None]
        assert len(layer[f"{kind}_errors"]) == program[node].width
        assert 0 < layer[f"{kind}_error_max"] == pytest.approx(max(each), rel=1e-2)
        assert layer[f"{kind}_error_median"] == pytest.approx(np.median(each), rel=1e-2)
        assert f"{100 * layer[f'{kind}_error_max']:.2g}, " in program_text(program)


def rotating(angle, rho=0.99):
    """A network of PRF neurons whose first channel turns by `angle` a step."""
    rng = np.random.default_rng(1)
    graph = chain(rng, [("prf", {})])
    op = neurons(rng, "prf", 5)
    first = np.arange(5) == 0
    changed = {
        "dt": np.full(5, 0.5),
        "tau": np.where(first, -0.5 / np.log(rho), op.params["tau"]),
        "theta": np.where(first, 2 * angle, op.params["theta"]),
    }
    graph = graph.replace("0.neurons", replace(op, params={**op.params, **changed}))
    return graph, inputs_for(rng, graph)


def without_shifts(chip="loihi2", bits=8):
    found = target(chip)
    return replace(found, numbers=replace(found.numbers, coef_bits=bits, coef_frac=bits - 1))


def test_a_rotation_that_would_stop_is_refused_by_name_and_a_target_with_shifts_keeps_it():
    graph, x = rotating(0.002)
    with pytest.raises(FitError, match=r"the rotation rounds to 0 in 1 of 5") as caught:
        compile_graph(graph, without_shifts(), calibration=x)
    assert caught.value.code == "E302"
    assert caught.value.where == 'population "0.neurons"'
    assert "coef_frac" in caught.value.fix
    assert compile_graph(graph, target("loihi2"), calibration=x)


def test_a_rotation_that_never_mattered_may_stop():
    graph, x = rotating(0.0002)
    program = compile_graph(graph, without_shifts(), calibration=x).program
    assert program["0.neurons"].coefs["d"][0] == 0


def test_tuning_keeps_what_would_be_refused():
    first = folded("prf", c=[0.9, 0.9, 0.9], d=[0.1, 0.1, 0.1])
    now = folded("prf", c=[0.9, 1.0, 1.2], d=[0.1, 0.1, 0.0])
    bits = {"c": 13, "d": 13}
    assert sound(first, now, target("loihi2").numbers, bits).tolist() == [True, False, False]
    assert sound(first, first, target("loihi2").numbers, bits).all()
    graph, _ = rotating(0.002)
    op = fold(graph)["0.neurons"].op
    assert sound(op, op, without_shifts().numbers, {"c": 8, "d": 8}).tolist() == [
        *[False, True, True, True, True]
    ]
