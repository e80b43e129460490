"""Packets and hops by arithmetic, against the links that the cycle model follows one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import inputs_for, sdtcm
from support.placed import on_machine, random_program, random_values

import neurodeploy as nd
from neurodeploy.backends.simulator.cycles import Replay
from neurodeploy.backends.simulator.memory import fired
from neurodeploy.errors import InputError
from neurodeploy.program.ir import Program, Readout, Slice, Source, Stream
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.routes import packet_counts
from neurodeploy.program.synapses import Dense, Tap
from neurodeploy.targets import target


def links(found, machine):
    """Return packets over links along x, along y, and between chips."""
    x = y = chip = 0
    for link in found.links:
        along = link.direction in ("east", "west")
        at, size = (link.x, machine.mesh_x) if along else (link.y, machine.mesh_y)
        if (at + (link.direction in ("east", "north"))) % size == 0:
            chip += link.packets
        elif along:
            x += link.packets
        else:
            y += link.packets
    return x, y, chip


def test_packets_and_hops_are_those_that_the_cycle_model_moves():
    crossed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        program = random_program(rng, chips=seed % 2 == 0)
        values = random_values(rng, program)
        replay = Replay(program)
        replay.add({name: fired(value) for name, value in values.items()})
        found, machine = replay.result(), program.target.cycles
        sent = {name: np.count_nonzero(v, axis=(0, 1)) for name, v in values.items()}
        counts = packet_counts(program, sent)
        assert sum(c.packets for c in counts) == sum(load.received for load in found.cores)
        sums = tuple(sum(getattr(c, f"hops_{way}") for c in counts) for way in ("x", "y", "chip"))
        assert sums == links(found, machine)
        crossed += sums[2] > 0
    assert crossed > 10


def by_hand(placement, **figures):
    """Return two spikes' inputs into a stream of four, which a second stream of two reads."""
    base = target("asic45")
    first = Stream(
        name="first",
        width=4,
        edges=(Dense(source="input", weight=np.ones((4, 2), int), weight_bits=8),),
        unit=np.ones(4),
    )
    tap = Tap(source="first", sign=np.array([1, 0, -1, 1]))
    second = Stream(name="second", width=4, edges=(tap,), unit=np.ones(4))
    program = Program(
        name="hand",
        target=base,
        numbers=base.numbers,
        nodes=(Source(name="input", width=2, low=0, high=1, unit=1.0), first, second),
        readout=Readout(source="second", kind="last", unit=np.ones(4), offset=np.zeros(4)),
        placement=placement,
    )
    return on_machine(program, **figures)


def test_hand_counted_hops():
    """A mesh of 3 x 2: cores 0 1 2 in the south, 3 4 5 in the north."""
    program = by_hand(
        (
            Slice(node="first", first=0, last=2, core=0),
            Slice(node="first", first=2, last=4, core=5),  # two links east, one north
            Slice(node="second", first=0, last=3, core=5),
            Slice(node="second", first=3, last=4, core=4),
        )
    )
    sent = {"input": np.array([3, 1]), "first": np.array([10, 20, 30, 40]), "second": np.zeros(4)}
    inputs, first, second = packet_counts(program, sent)
    # each input spike goes to core 0, where it is, and to core 5
    assert (inputs.packets, inputs.local) == (8, 4)
    assert (inputs.hops_x, inputs.hops_y, inputs.hops_chip) == (8, 4, 0)
    # neuron 0 from core 0 to 5; neuron 1 has no target; neuron 2 stays on 5; 3 goes from 5 to 4
    assert (first.packets, first.local) == (80, 30)
    assert (first.hops_x, first.hops_y) == (2 * 10 + 40, 10)
    assert (second.packets, second.hops_x) == (0, 0)


def test_links_between_chips_are_counted_apart():
    """Two chips of one column each, side by side: one link in between, and one north."""
    placement = (
        Slice(node="first", first=0, last=4, core=0),
        Slice(node="second", first=0, last=4, core=3),
    )
    chips = {"chips_x": 2, "chips_y": 1, "chip_hop_cycles": 9, "chip_flit_cycles": 3}
    program = by_hand(placement, mesh_x=1, mesh_y=2, **chips)
    sent = {"input": np.array([0, 0]), "first": np.array([1, 1, 1, 1]), "second": np.zeros(4)}
    first = packet_counts(program, sent)[1]
    assert (first.packets, first.hops_x, first.hops_y, first.hops_chip) == (3, 0, 3, 3)


def test_without_a_mesh_there_are_packets_and_no_hops():
    placement = (
        Slice(node="first", first=0, last=4, core=0),
        Slice(node="second", first=0, last=4, core=1),
    )
    program = by_hand(placement)
    program = replace(program, target=replace(program.target, cycles=None))
    sent = {"input": np.array([1, 0]), "first": np.array([0, 5, 0, 7]), "second": np.zeros(4)}
    inputs, first, _ = packet_counts(program, sent)
    assert (inputs.packets, first.packets) == (1, 7)
    assert (first.local, first.hops_x, first.hops_y, first.hops_chip) == (None,) * 4


def test_a_node_that_is_not_placed_is_named():
    program = by_hand((Slice(node="first", first=0, last=4, core=0),))
    sent = {name: np.ones(width) for name, width in (("input", 2), ("first", 4), ("second", 4))}
    with pytest.raises(InputError, match="not placed on cores") as caught:
        packet_counts(program, sent)
    assert caught.value.where == 'node "second"'


@pytest.mark.parametrize("name", ["asic45", "loihi2"])
def test_a_run_counts_what_every_neuron_sends_where_it_is_asked_to(name):
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph, steps=20, samples=5)
    program = nd.compile(graph, nd.target(name), calibration=x)
    assert nd.simulate(program, x).sent == {}
    run = nd.simulate(program, x, traffic=True)
    values = execute(program, to_integers(program.source, x)[0]).values
    assert set(run.sent) == {node.name for node in program}
    for node, sent in run.sent.items():
        np.testing.assert_array_equal(sent, np.count_nonzero(values[node], axis=(0, 1)))
