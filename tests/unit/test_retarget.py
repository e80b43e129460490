"""A program's integers on other targets: the same bits, or every reason why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import chain, inputs_for, sdtcm, spiking_ssm

import neurodeploy as nd
from neurodeploy.errors import FitError
from neurodeploy.passes.retarget import Retarget
from neurodeploy.program.formats import FORMATS, differences, inputs_have_bits
from neurodeploy.targets import target


def changed(name, **changes):
    """Return a shipped target with changes, given as part__key=value."""
    chip = target(name)
    for key, value in changes.items():
        part, field = key.split("__")
        chip = replace(chip, **{part: replace(getattr(chip, part), **{field: value})})
    return replace(chip, name="other")


def compiled(name, neurons=(("prf", {}), ("lif", {})), **more):
    rng = np.random.default_rng(1)
    graph = chain(rng, list(neurons), width=9)
    x = inputs_for(rng, graph)
    return nd.compile(graph, target(name), calibration=x, **more), x


@pytest.fixture(scope="module")
def loihi():
    return compiled("loihi2")


def test_on_its_own_target_nothing_changes(loihi):
    program, x = loihi
    again = Retarget(program.target)(program)
    assert again.placement == program.placement
    assert [node.name for node in again] == [node.name for node in program]
    for mine, other in zip(program.populations, again.populations, strict=True):
        assert mine.latency == other.latency
        assert [edge.delay for edge in mine.edges] == [edge.delay for edge in other.edges]
    np.testing.assert_array_equal(nd.simulate(again, x).integers, nd.simulate(program, x).integers)


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 255, 8), (-127, 127, 8), (-128, 127, 8), (0, 256, 9), (-129, 0, 9)],
)
def test_an_input_has_the_bits_of_its_range(loihi, low, high, bits):
    program, _ = loihi
    source = replace(program.source, low=low, high=high)
    nodes = tuple(source if node is program.source else node for node in program)
    program = replace(program, nodes=nodes)
    assert not list(inputs_have_bits(program, changed("loihi2", numbers__input_bits=bits)))
    (broken,) = inputs_have_bits(program, changed("loihi2", numbers__input_bits=bits - 1))
    assert broken == ('input "input"', bits, bits - 1)


@pytest.mark.parametrize("name", ["loihi2", "asic45"])
def test_every_program_fits_the_target_that_it_was_made_for(name):
    rng = np.random.default_rng(1)
    graph = sdtcm(rng)
    for x in (inputs_for(rng, graph), abs(inputs_for(rng, graph))):
        program = nd.compile(graph, target(name), calibration=x)
        assert Retarget(target(name))(program).placement == program.placement


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_on_a_target_that_holds_it_it_means_the_same(loihi, delay):
    program, x = loihi
    how = {"core__neurons": 4, "timing__synapse_delay": delay, "numbers__state_bits": 31}
    moved = Retarget(changed("loihi2", **how))(program)
    assert moved.latency == delay * (program.latency if delay else 0)
    assert len({part.core for part in moved.placement}) > 1
    record = [node.name for node in program]
    mine, other = (nd.simulate(p, 3 * x, record=record, states=True) for p in (program, moved))
    np.testing.assert_array_equal(mine.integers, other.integers)
    for name in record:
        np.testing.assert_array_equal(mine.values[name], other.values[name])
        if name in mine.states:
            np.testing.assert_array_equal(mine.states[name], other.states[name])


#: What breaks each limit of `FORMATS`, and a word of what is said.
BREAKS = {
    "weights_have_bits": ({"numbers__weight_bits": 7}, "Needs 8; has 7"),
    "inputs_have_bits": ({"numbers__input_bits": 7}, "Needs 8; has 7"),
    "registers_have_bits": ({"numbers__state_bits": 23}, "Needs 24; has 23"),
    "membranes_fit_messages": ({"numbers__message_bits": 8}, "has 8"),
    "coefficients_have_bits": ({"numbers__coef_bits": 12}, "Needs 13; has 12"),
    "products_drop_bits": ({"numbers__coef_frac": 11}, "Needs 12; has 11"),
    "currents_shift_down": ({"numbers__shift_min": 0}, "has 0"),
    "currents_shift_up": ({"numbers__shift_max": 0}, "has 0"),
    "readout_has_bits": ({"numbers__readout_bits": 3}, "has 3"),
}


@pytest.fixture(scope="module")
def rich():
    """A program with all that formats are about: a membrane that travels, shifts both ways."""
    rng = np.random.default_rng(0)
    graph = spiking_ssm(rng, readout="last")
    program = nd.compile(graph, target("loihi2"), calibration=inputs_for(rng, graph))
    nodes = [
        replace(node, shift=node.shift * 0 - 3) if node.name == "lif" else node for node in program
    ]
    assert program.readout.weight is not None
    return replace(program, nodes=tuple(nodes))


def refused(program, chip):
    with pytest.raises(FitError) as caught:
        Retarget(chip)(program)
    return caught.value.records()


@pytest.mark.parametrize("rule", FORMATS, ids=lambda rule: rule.__name__)
def test_every_format_that_is_too_narrow_is_named(rich, rule):
    changes, says = BREAKS[rule.__name__]
    assert not list(rule(rich, rich.target))
    found = [r for r in refused(rich, changed("loihi2", **changes)) if rule.__doc__ in r["what"]]
    assert found
    assert all(
        r["code"] == "E301" and r["where"] and "compile the model" in r["fix"] for r in found
    )
    assert any(says in r["what"] for r in found)


def test_formats_that_are_just_wide_enough_hold_it(rich):
    widest = max(node.coef_frac for node in rich.populations)
    moved = Retarget(changed("loihi2", numbers__coef_frac=max(widest, 12)))(rich)
    assert [node.name for node in moved] == [node.name for node in rich]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"numbers__rounding": "floor"},
            "products round by 'toward_zero' in the program, by 'floor'",
        ),
        ({"numbers__overflow": "wrap"}, "full registers saturate in the program, and wrap there"),
    ],
)
def test_arithmetic_that_differs_is_named(rich, changes, says):
    (record,) = [r for r in refused(rich, changed("loihi2", **changes)) if r["code"] == "E305"]
    assert says in record["what"]
    assert "'lif'" in record["where"]
    assert record["fix"] == "compile the model for other"


def test_rounding_does_not_matter_where_nothing_is_dropped():
    """Products with one and sums: whatever the rule, there is nothing to round."""
    program, x = compiled("loihi2", neurons=[("lif", {})])
    lif, _ = program.populations
    one = np.full(lif.width, 1 << lif.coef_frac)
    nodes = [replace(n, coefs={**n.coefs, "beta": one}) if n is lif else n for n in program.nodes]
    exact, chip = replace(program, nodes=tuple(nodes)), changed("loihi2", numbers__rounding="floor")
    moved = Retarget(chip)(exact)
    np.testing.assert_array_equal(nd.simulate(moved, x).integers, nd.simulate(exact, x).integers)
    assert list(differences(program, chip))
    down = [replace(n, shift=n.shift * 0 - 1) if n.name == lif.name else n for n in nodes]
    assert list(differences(replace(program, nodes=tuple(down)), chip))


def test_limits_and_delays_are_those_of_the_compiler():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    program = nd.compile(graph, target("loihi2"), calibration=inputs_for(rng, graph))
    chip = changed("loihi2", core__memory_kib=0, chip__neurons=5, timing__max_delay=1)
    whats = " ".join(record["what"] for record in refused(program, replace(chip, words=("mul",))))
    for part in ("so many KiB", "chip holds so many neurons", "every operation", "waits at most 1"):
        assert part in whats
