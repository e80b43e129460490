"""The cycle model against a machine that is moved forward one cycle at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.machine import run_machine
from support.networks import chain, inputs_for
from support.placed import on_machine, random_program, random_values

import neurodeploy as nd
from neurodeploy.backends.simulator.cycles import Replay
from neurodeploy.backends.simulator.memory import fired
from neurodeploy.errors import FitError
from neurodeploy.program.ir import Slice, Source, Stream
from neurodeploy.program.synapses import Dense, Tap
from neurodeploy.reports.timing import cycles_record


def timed(program, values, chunks=1):
    replay = Replay(program)
    samples = len(values[program.source.name])
    for part in np.array_split(np.arange(samples), chunks):
        replay.add({name: fired(value[part]) for name, value in values.items()}, first=part[0])
    return replay.result()


def agree(program, values):
    found = timed(program, values)
    steps, critical, tally = run_machine(program, values)
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_array_equal(found.critical, critical)
    for i, load in enumerate(found.cores):
        assert load.stages == tuple(tally["stage", load.core, s] for s in range(5)), load
        assert load.stages == tuple(found.stages[:, i].sum(axis=0))
        assert load.sent == tally["sent", load.core]
        assert load.received == tally["received", load.core]
        assert load.adding == tally["adding", load.core]
        assert load.words == tally["words", load.core]
    for p, phase in enumerate(found.phases):
        assert phase.stages == tuple(tally["phase", p, s] for s in range(6))
    assert sum(phase.cycles for phase in found.phases) == found.total
    links = {(link.x, link.y, link.direction): link for link in found.links}
    for kind, at, *_ in tally:
        if kind == "link":
            assert at in links
    for at, link in links.items():
        assert (link.packets, link.waited) == (tally["link", at], tally["waited", at])
    return found


def waits(found):
    return sum(link.waited for link in found.links)


def test_four_hundred_random_machines_to_the_cycle():
    met = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        program = random_program(rng)
        met += waits(agree(program, random_values(rng, program))) > 0
    assert met > 80  # packets stand in each other's way in many of them


def test_wide_layers_to_the_cycle():
    """Values in several words of bits, and stops with hundreds of packets to put in order."""
    met = 0
    for seed in range(25):
        rng = np.random.default_rng(4000 + seed)
        program = random_program(rng, widest=150)
        found = agree(program, random_values(rng, program))
        met += sum(link.waited > 1000 for link in found.links) > 0
    assert met > 5


def test_threads_change_nothing():
    rng = np.random.default_rng(5000)
    for _ in range(10):
        program = random_program(rng)
        values = random_values(rng, program, steps=150, samples=2)
        bits = {name: fired(value) for name, value in values.items()}
        one, three = Replay(program), Replay(program)
        one.add(bits)
        three.add(bits, threads=3)
        a, b = one.result(), three.result()
        np.testing.assert_array_equal(a.steps, b.steps)
        np.testing.assert_array_equal(a.critical, b.critical)
        np.testing.assert_array_equal(a.stages, b.stages)
        assert (a.cores, a.links, a.phases) == (b.cores, b.links, b.phases)


def test_full_queues_hold_packets_up_to_the_cycle():
    """A second machine, whose links and cores have one to three places to wait in."""
    slower = 0
    for seed in range(120):
        rng = np.random.default_rng(1000 + seed)
        program = random_program(rng, queues=True)
        values = random_values(rng, program)
        found = agree(program, values)
        free = replace(program.target, cycles=replace(program.target.cycles, queues=None))
        slower += found.total > timed(replace(program, target=free), values).total
    assert slower > 8


def test_queues_with_room_for_all_change_nothing():
    for seed in range(40):
        rng = np.random.default_rng(2000 + seed)
        program = random_program(rng, chips=seed % 2 == 0)
        values = random_values(rng, program)
        wide = replace(program.target, cycles=replace(program.target.cycles, queues=10_000))
        free, queued = timed(program, values), timed(replace(program, target=wide), values)
        np.testing.assert_array_equal(free.steps, queued.steps)
        np.testing.assert_array_equal(free.critical, queued.critical)
        assert (free.cores, free.links, free.phases) == (queued.cores, queued.links, queued.phases)


@pytest.mark.parametrize("queues", [False, True])
def test_many_chips_to_the_cycle(queues):
    """Grids of chips, whose sides share one slow link in each direction."""
    crossed = 0
    for seed in range(40):
        rng = np.random.default_rng(3000 + seed)
        program = random_program(rng, chips=True, queues=queues)
        found = agree(program, random_values(rng, program))
        machine = found.machine
        crossed += any(
            link.packets
            and link.direction in ("east", "north")
            and (link.x + 1) % machine.mesh_x == 0
            for link in found.links
        )
    assert crossed > 10


def chain_of_two(width, spikes, hops, **figures):
    """Return a program of two cores, `hops` apart, and values with the first neurons active."""
    base = random_program(np.random.default_rng(0), delays=True)
    source = Source(name="input", width=1, low=0, high=1, unit=1.0)
    first = Stream(
        name="first",
        width=width,
        edges=(Tap(source="input", sign=np.zeros(1, int), delay=1),),
        unit=np.ones(width),
        latency=1,
    )
    edge = Dense(source="first", weight=np.ones((5, width), int), weight_bits=4, delay=1)
    second = Stream(name="second", width=5, edges=(edge,), unit=np.ones(5), latency=2)
    slices = (
        Slice(node="first", first=0, last=width, core=0),
        Slice(node="second", first=0, last=5, core=hops),
    )
    readout = replace(base.readout, source="second")
    program = replace(base, nodes=(source, first, second), readout=readout, placement=slices)
    values = {
        "input": np.zeros((1, 1, 1), np.uint8),
        "first": (np.arange(width) < spikes).astype(np.uint8)[None, None],
        "second": np.zeros((1, 1, 5), np.int32),
    }
    return on_machine(program, mesh_x=8, mesh_y=1, **figures), values


@pytest.mark.parametrize("width", [1, 7, 40])
@pytest.mark.parametrize("share", [0, 0.5, 1])
@pytest.mark.parametrize("hops", [0, 1, 7])
@pytest.mark.parametrize("lanes", [1, 4])
def test_closed_form_of_one_source_and_one_destination(width, share, hops, lanes):
    """max(ceil(N/U) + L_neu, 1 + L_neu + hops + S II + L_syn), where a spike costs II >= 1."""
    spikes = int(share * width)
    program, values = chain_of_two(width, spikes, hops, lanes=lanes, neuron_fill=3, synapse_fill=2)
    found = timed(program, values)
    apart = -(-max(width, 5) // lanes) + 3
    interval = max(5, -(-5 * 4 // 8))  # five weights, one accumulator; 20 bits, words of 8
    both = -(-width // lanes) + -(-5 // lanes) + 3  # where both slices share the core
    expected = max(apart if hops else both, (1 + 3 + hops + spikes * interval + 2) * (spikes > 0))
    assert found.steps[1, 0] - found.machine.barrier == expected
    assert found.machine.barrier == 8 + 1
    agree(program, values)


def test_silence_is_neurons_and_a_barrier():
    for seed in range(20):
        program = random_program(np.random.default_rng(seed))
        values = {node.name: np.zeros((1, 3, node.width), np.int8) for node in program}
        found = timed(program, values)
        assert sum(load.sent + load.received for load in found.cores) == 0
        assert (found.steps == found.steps[0]).all()
        assert set(found.by_stage()) >= {"neuron", "barrier"}
        assert found.by_stage()["route"] == found.by_stage()["synapse"] == 0


def test_one_core_needs_no_links():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        program = on_machine(random_program(rng), mesh_x=1, mesh_y=1, lanes=2, multipliers=2)
        program = replace(
            program, placement=tuple(replace(part, core=0) for part in program.placement)
        )
        found = agree(program, random_values(rng, program))
        assert found.links == ()
        assert found.bottleneck == 0


def test_chunks_change_nothing():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        program = random_program(rng)
        values = random_values(rng, program, steps=3, samples=5)
        whole, parts = timed(program, values), timed(program, values, chunks=3)
        np.testing.assert_array_equal(whole.steps, parts.steps)
        np.testing.assert_array_equal(whole.stages, parts.stages)
        assert (whole.cores, whole.links, whole.phases) == (parts.cores, parts.links, parts.phases)


def test_a_chain_of_layers_within_a_step_is_a_chain_of_phases():
    """Layers that wait for each other add up; layers that need not wait work side by side."""
    rng = np.random.default_rng(3)
    graph = chain(rng, [("lif", {}), ("li", {}), ("spatial", {})], width=6)
    x = inputs_for(rng, graph, steps=5, samples=2)
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    run = nd.simulate(program, x, timing=True)
    assert [phase.nodes for phase in run.cycles.phases] == [(node.name,) for node in program]
    every = [node.name for node in program]
    kept = nd.simulate(program, x, record=every)
    values = {name: value.transpose(1, 0, 2) for name, value in kept.values.items()}
    np.testing.assert_array_equal(run.cycles.steps, run_machine(program, values)[0])
    np.testing.assert_array_equal(run.outputs, kept.outputs)
    assert kept.cycles is None

    slow = replace(program.target, timing=replace(program.target.timing, synapse_delay=1))
    slow = replace(slow, timing=replace(slow.timing, max_delay=9))
    program = nd.compile(graph, slow, calibration=x)
    run = nd.simulate(program, x, timing=True)
    assert len(run.cycles.phases) == 1
    assert len(run.cycles.steps) == len(x) + program.latency
    kept = nd.simulate(program, x, record=every)
    values = {name: value.transpose(1, 0, 2) for name, value in kept.values.items()}
    np.testing.assert_array_equal(run.cycles.steps, run_machine(program, values)[0])


def test_a_clock_gives_seconds():
    program, values = chain_of_two(7, 3, 2, clock_hz=1_000)
    found = timed(program, values)
    assert found.latency_s == pytest.approx(found.total / 1000)
    assert found.throughput_hz == pytest.approx(1000 / found.total)
    assert found.latency_max_s == found.latency_s
    assert sum(found.by_stage().values()) == found.total
    use = found.utilisation()
    adding = sum(load.adding for load in found.cores)
    assert use["synapses"] == pytest.approx(adding / (2 * found.total))
    assert use["links"] == pytest.approx(2 * 3 / (2 * found.total))


def test_an_asynchronous_chip_has_no_cycles():
    graph = chain(np.random.default_rng(0), [("lif", {})])
    program = nd.compile(graph, nd.target("loihi2"))
    with pytest.raises(FitError, match="loihi2 does not say how long its steps take") as caught:
        nd.simulate(program, np.zeros((3, 1, 3)), timing=True)
    assert caught.value.code == "E304"
    assert "[cycles]" in caught.value.fix


def test_no_samples_take_no_time():
    graph = chain(np.random.default_rng(0), [("lif", {})])
    program = nd.compile(graph, nd.target("asic45"))
    found = nd.simulate(program, np.zeros((3, 0, 3)), timing=True).cycles
    assert (found.total, found.latency_s, found.throughput_hz) == (0, 0, 0)
    record = cycles_record(found)
    assert record["step_cycles"] == {"min": 0, "median": 0, "max": 0}
    assert record["utilisation"] == {"neuron_lanes": 0, "synapses": 0, "links": 0}


def test_a_network_larger_than_a_chip_takes_several():
    """Placed on chip after chip, within the limits of all, and timed with the links between."""
    base = nd.target("asic45")
    figures = {"mesh_x": 1, "mesh_y": 1, "chip_hop_cycles": 9, "chip_flit_cycles": 2}
    board = replace(base.cycles, chips_x=2, chips_y=2, **figures)
    chip = replace(base.chip, cores=1, neurons=8)
    small = replace(base, cycles=board, chip=chip, core=replace(base.core, neurons=8))
    rng = np.random.default_rng(0)
    graph = chain(rng, [("lif", {}), ("lif", {})], width=8)
    x = inputs_for(rng, graph, steps=4, samples=1)
    program = nd.compile(graph, small, calibration=x)
    assert {part.core for part in program.placement} == {0, 1, 2}
    found = nd.simulate(program, x, timing=True).cycles
    assert {(link.x, link.y, link.direction) for link in found.links} >= {(0, 0, "east")}
    assert all(link.busy == 2 * link.packets for link in found.links)
    with pytest.raises(FitError, match="so many neurons"):
        nd.compile(graph, replace(small, cycles=replace(board, chips_y=None)), calibration=x)
