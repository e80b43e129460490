"""Every limit is broken by some network, names the place, and gives a fix; all at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.networks import chain, inputs_for, sdtcm

from neurodeploy.errors import FitError
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.limits import LIMITS, check, core_loads
from neurodeploy.targets import target


def loihi(**changes):
    """Return Loihi 2 with changed limits, given as part__key=value."""
    chip = target("loihi2")
    for key, value in changes.items():
        if "__" in key:
            part, name = key.split("__")
            chip = replace(chip, **{part: replace(getattr(chip, part), **{name: value})})
        else:
            chip = replace(chip, **{key: value})
    return chip


def compiled(chip, **shape):
    rng = np.random.default_rng(0)
    graph = sdtcm(rng, **shape)
    return compile_graph(graph, chip, calibration=inputs_for(rng, graph)).program


ROWS = [
    ({"chip__cores": 1, "core__neurons": 20}, {}, "E301", "has so many cores", "larger target"),
    ({"chip__neurons": 50}, {}, "E301", "chip holds so many neurons", "narrower"),
    ({"chip__synapses": 100}, {}, "E301", "chip holds so many synapses", "narrower"),
    ({"core__memory_kib": 0}, {}, "E301", "memory holds so many KiB", "--bits"),
    ({"numbers__current_bits": 8}, {}, "E301", "fits the current register", "--bits"),
    ({"numbers__message_bits": 9}, {}, "E301", "fits a message", "--bits"),
    ({"numbers__readout_bits": 48}, {}, "E301", "behind the readout", "readout_bits"),
    ({"words": ("add", "sub", "write", "ge", "select")}, {}, "E303", "every operation", "neurons"),
    ({}, {"bidirectional": True}, "E303", "no layer runs backwards", "asic45"),
    ({"timing__max_delay": 1}, {}, "E301", "waits at most 1 steps", "shorten"),
    (
        {"numbers__coef_bits": 3, "numbers__coef_frac": 2},
        {},
        "E302",
        "rounds to 1.0",
        "fractional coefficient bits",
    ),
    ({"numbers__state_bits": 4, "numbers__shift_min": 0}, {}, "E302", "needs more than", "wider"),
]


@pytest.mark.parametrize(("changes", "shape", "code", "says", "fix"), ROWS)
def test_a_broken_limit_is_named_with_its_fix(changes, shape, code, says, fix):
    with pytest.raises(FitError) as caught:
        compiled(loihi(**changes), **shape)
    found = [r for r in caught.value.records() if r["code"] == code and says in r["what"]]
    assert found, str(caught.value)
    assert all(fix in record["fix"] and record["where"] for record in found)
    assert caught.value.exit_code == 4


def test_all_broken_limits_are_reported_at_once():
    with pytest.raises(FitError) as caught:
        compiled(loihi(chip__neurons=50, chip__synapses=100, numbers__message_bits=9))
    whats = " ".join(record["what"] for record in caught.value.records())
    for part in ("so many neurons", "so many synapses", "fits a message"):
        assert part in whats


def test_a_limit_that_is_just_kept_passes_and_one_less_does_not():
    program = compiled(loihi())
    used = sum(load.neurons for load in core_loads(program).values())
    exact = loihi(chip__neurons=used)
    assert check(program, exact) is program
    with pytest.raises(FitError, match=rf"Needs {used}; has {used - 1}"):
        check(program, loihi(chip__neurons=used - 1))


def test_every_limit_has_a_manual_entry():
    for rule, (code, fix) in LIMITS.items():
        assert rule.__doc__.endswith(".")
        assert code.startswith("E3")
        assert fix


def test_placement_covers_every_neuron_once_and_fills_cores():
    program = compiled(loihi(core__neurons=5))
    for node in program.nodes[1:]:
        parts = sorted((s.first, s.last) for s in program.placement if s.node == node.name)
        assert parts[0][0] == 0
        assert parts[-1][1] == node.width
        assert all(a[1] == b[0] for a, b in pairwise(parts))
    loads = core_loads(program)
    assert max(load.neurons for load in loads.values()) == 5
    assert all(load.neurons == 5 for core, load in loads.items() if core < max(loads))


def test_delays_are_aligned_and_latency_is_the_longest_path():
    program = compiled(loihi())
    latency = {program.source.name: 0}
    for node in program.nodes[1:]:
        arrivals = {latency[edge.source] + edge.delay for edge in node.edges}
        assert arrivals == {node.latency}
        assert all(edge.delay >= 1 for edge in node.edges)
        latency[node.name] = node.latency
    assert program.latency == latency[program.readout.source] == 10


def test_without_synapse_delays_nothing_waits():
    program = compiled(target("asic45"))
    assert program.latency == 0
    assert all(edge.delay == 0 for node in program.nodes[1:] for edge in node.edges)


def test_weights_wider_than_the_target_are_refused():
    rng = np.random.default_rng(0)
    graph = chain(rng, [("lif", {})])
    with pytest.raises(Exception, match="12-bit weights are outside what loihi2 has"):
        compile_graph(graph, target("loihi2"), bits=12)
