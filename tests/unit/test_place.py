"""Placement: it fits, covers every neuron once, repeats itself, and never changes a spike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import chain, inputs_for, sdtcm

import neurodeploy as nd
from neurodeploy.errors import FitError, InputError
from neurodeploy.passes.anneal import estimate, load
from neurodeploy.passes.pieces import pieces_of
from neurodeploy.passes.place import PLACES
from neurodeploy.passes.traffic import rates, traffic
from neurodeploy.program import limits
from neurodeploy.program.ir import Source
from neurodeploy.program.routes import packet_counts
from neurodeploy.reports.records import program_record
from neurodeploy.targets.cycles import Grid


def small(name="asic45", **core):
    """Return a target whose cores hold little, so that layers cover several."""
    chip = nd.target(name)
    return replace(chip, core=replace(chip.core, **{"neurons": 4, **core}))


@pytest.fixture(scope="module")
def net():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng, inputs=3, width=9, blocks=1)
    return graph, inputs_for(rng, graph, steps=30, samples=3)


@pytest.mark.parametrize("chip", [small(), small("loihi2")], ids=["asic45", "loihi2"])
@pytest.mark.parametrize("place", PLACES)
def test_every_neuron_has_one_core_that_holds_it_and_spikes_stay(net, chip, place):
    graph, x = net
    if place == "cycles" and chip.cycles is None:
        with pytest.raises(FitError, match="does not say how long its steps take"):
            nd.compile(graph, chip, calibration=x, place=place)
        return
    naive = nd.compile(graph, chip, calibration=x)
    placed = nd.compile(graph, chip, calibration=x, place=place)
    limits.check(placed, chip)
    for node in placed:
        own = sorted((part.first, part.last) for part in placed.placement if part.node == node.name)
        covered = [i for first, last in own for i in range(first, last)]
        assert covered == ([] if isinstance(node, Source) else list(range(node.width)))
    every = [node.name for node in naive]
    runs = [nd.simulate(program, x, record=every) for program in (naive, placed)]
    for name in every:
        np.testing.assert_array_equal(runs[0].values[name], runs[1].values[name])


def test_another_placement_is_refused(net):
    with pytest.raises(InputError, match="no placement 'best'") as caught:
        nd.compile(net[0], small(), calibration=net[1], place="best")
    assert (caught.value.code, caught.value.fix) == ("E105", f"one of {', '.join(PLACES)}")


@pytest.mark.parametrize("place", ["traffic", "cycles"])
def test_one_seed_gives_one_placement(net, place):
    graph, x = net
    how = {"calibration": x, "place": place}
    first, again, other = (nd.compile(graph, small(), seed=s, **how) for s in (1, 1, 2))
    assert first.placement == again.placement
    assert first.placement != other.placement
    assert first.notes["placement"] == {"by": place, "seed": 1}
    assert program_record(first)["placement"]["by"] == place


def test_traffic_and_cycles_get_less(net):
    """Measured by the cycle model, not by the estimate that was minimised."""
    graph, x = net
    timed = {
        place: nd.simulate(
            nd.compile(graph, small(), calibration=x, place=place), x, timing=True
        ).cycles
        for place in PLACES
    }
    hops = {place: sum(link.packets for link in found.links) for place, found in timed.items()}
    assert hops["traffic"] < 0.8 * hops["naive"]
    assert timed["cycles"].total < 0.95 * timed["naive"].total


def test_cycles_is_no_worse_than_traffic_by_its_own_estimate(net):
    """On a board with more cores than are needed: it also begins from the least traffic."""
    graph, x = net
    wide = board(chip_hop_cycles=6, chip_flit_cycles=4)
    cycles = replace(wide.cycles, mesh_x=4, mesh_y=4)
    wide = replace(wide, chip=replace(wide.chip, cores=16), cycles=cycles)
    for seed in range(3):
        ours, other = (
            estimated(nd.compile(graph, wide, calibration=x, place=place, seed=seed), x)
            for place in ("cycles", "traffic")
        )
        assert ours <= other


def test_a_long_way_takes_cycles():
    """Of three inputs to the far corner, four links within chips and two between, by hand."""
    pair = chain(np.random.default_rng(1), [("lif", {})], width=1, spiking=True)
    x = np.ones((20, 1, 3))
    program = nd.compile(pair, board(), calibration=x)
    near, far = (
        replace(program, placement=tuple(replace(part, core=core) for part in program.placement))
        for core in (0, 15)
    )
    way, port, link = 4 * 1 + 2 * 20, 3 * 1, 3 * 8
    more = (link - port) + way + 3 * way / 1000
    assert estimated(far, x) - estimated(near, x) == pytest.approx(more)


def estimated(program, x):
    """Return the cycles of a step that placement expects of a program as it is placed."""
    graph = traffic(program, program.target, pieces_of(program.placement), rates(program, x))
    cores = np.array([part.core for part in program.placement])
    return estimate(graph, cores, True, load(graph))


@pytest.mark.parametrize("place", PLACES)
def test_the_estimate_of_traffic_is_what_the_cycle_model_counts(place):
    """Packets, and the hops they take, of a chain of Dense edges: exact."""
    rng = np.random.default_rng(5)
    graph = chain(rng, [("lif", {}), ("lif", {})], width=9, spiking=True)
    x = inputs_for(rng, graph, steps=40, samples=2)
    program = nd.compile(graph, small(), calibration=x, place=place)
    found = nd.simulate(program, x, timing=True).cycles
    pieces = pieces_of(program.placement)
    graph = traffic(program, program.target, pieces, rates(program, x))
    cores = np.array([part.core for part in program.placement])
    packets = sum(load.received for load in found.cores) / x[..., 0].size
    hops = sum(link.packets for link in found.links) / x[..., 0].size
    assert estimate(graph, cores, False, load(graph)) == pytest.approx(packets + hops)


def board(**figures):
    """Return four small chips of four cores in a square, whose links between them are slow."""
    chip = small()
    cycles = replace(
        chip.cycles,
        **{"mesh_x": 2, "mesh_y": 2, "chips_x": 2, "chips_y": 2},
        **{"chip_hop_cycles": 20, "chip_flit_cycles": 8, **figures},
    )
    return replace(chip, chip=replace(chip.chip, cores=4), cycles=cycles)


def test_chips_are_chosen_too(net):
    """Slow links between chips are crossed less, and steps take fewer cycles, than naively."""
    graph, x = net
    runs = {
        place: nd.simulate(
            nd.compile(graph, board(), calibration=x, place=place), x, timing=True, traffic=True
        )
        for place in PLACES
    }
    crossed = {
        place: sum(count.hops_chip for count in packet_counts(run.program, run.sent))
        for place, run in runs.items()
    }
    assert crossed["traffic"] < 0.8 * crossed["naive"]
    assert runs["cycles"].cycles.total < 0.8 * runs["naive"].cycles.total
    spikes = [[node.spikes for node in run.nodes] for run in runs.values()]
    assert all(counts == spikes[0] for counts in spikes)
    assert sum(spikes[0]) > 0


def test_a_mesh_without_a_clock_gives_ways_too(net):
    """Hops count where a target says where its cores are, and no more than that."""
    graph, x = net
    chip = replace(small("loihi2"), mesh=Grid(x=32, y=4))
    naive, near = (
        nd.simulate(nd.compile(graph, chip, calibration=x, place=place), x, traffic=True)
        for place in ("naive", "traffic")
    )
    hops = [
        sum(c.hops_x + c.hops_y for c in packet_counts(run.program, run.sent))
        for run in (naive, near)
    ]
    assert hops[1] < 0.8 * hops[0]


def test_balance_is_even():
    graph = chain(np.random.default_rng(1), [("lif", {})], width=9)
    program = nd.compile(graph, small(), place="balanced")
    sizes = [part.last - part.first for part in program.placement if "neurons" in part.node]
    assert sizes == [3, 3, 3]
    assert len({part.core for part in program.placement}) == len(program.placement)


def test_what_fits_only_one_way_is_placed_that_way():
    chip = small()
    tight = replace(chip, chip=replace(chip.chip, cores=3), cycles=None)
    graph = chain(np.random.default_rng(1), [("lif", {})], width=9)
    naive = nd.compile(graph, tight)
    assert nd.compile(graph, tight, place="balanced").placement == naive.placement
    with pytest.raises(FitError, match="so many cores"):
        nd.compile(graph, replace(tight, chip=replace(tight.chip, cores=2)), place="traffic")
