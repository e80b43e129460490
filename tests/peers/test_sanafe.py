"""The cycle model and the counts beside SANA-FE, in its mode `simple`, with matched constants.

`simple` takes, for each step, the longest work of any core: its neurons one after another, or the
synaptic operations of what it receives one after another. The cycle model does that work and adds
what `simple` leaves out: packets come after their neurons are updated, over links, and wait.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.placed import on_machine

from neurodeploy.backends.simulator import memory
from neurodeploy.backends.simulator.cycles import Replay
from neurodeploy.program.ir import Program, Readout, Slice, Source, Stream
from neurodeploy.program.routes import packet_counts
from neurodeploy.program.run import edge_count, node_count
from neurodeploy.program.synapses import Dense, Tap
from neurodeploy.reports.energy import energy, of_program
from neurodeploy.targets import prices, target

pytestmark = pytest.mark.skipif(
    find_spec("sanafe") is None, reason="SANA-FE is not installed: make peers"
)

PRICES = {"update": 81, "synapse": 23.6, "east": 3.0, "west": 3.0, "north": 4.0, "south": 4.0}


def random_case(seed):
    """Return a placed program of senders and receivers, which all take part in every step."""
    rng = np.random.default_rng(seed)
    senders, receivers = (int(n) for n in rng.integers(1, 25, 2))
    x, y = (int(n) for n in rng.integers(1, 4, 2))
    silent = Tap(source="input", sign=np.zeros(1, int), delay=1)
    weight = np.ones((receivers, senders), int)
    first = [
        Stream(name=f"s{i}", width=1, edges=(silent,), unit=np.ones(1)) for i in range(senders)
    ]
    edges = tuple(
        Dense(source=f"s{i}", weight=weight[:, i : i + 1], weight_bits=8, delay=1)
        for i in range(senders)
    )
    last = Stream(name="r", width=receivers, edges=edges, unit=np.ones(receivers))
    base = target("asic45")
    places = [
        Slice(node=f"s{i}", first=0, last=1, core=c)
        for i, c in enumerate(rng.integers(0, x * y, senders).tolist())
    ]
    places += [
        Slice(node="r", first=i, last=i + 1, core=c)
        for i, c in enumerate(rng.integers(0, x * y, receivers).tolist())
    ]
    program = Program(
        name="peer",
        target=base,
        numbers=base.numbers,
        nodes=(Source(name="input", width=1, low=0, high=1, unit=1.0), *first, last),
        readout=Readout(
            source="r", kind="last", unit=np.ones(receivers), offset=np.zeros(receivers)
        ),
        placement=tuple(places),
    )
    figures = {"word_bits": 8, "barrier_cycles": 0, "synapse_fill": 0, "neuron_fill": 0}
    program = on_machine(program, mesh_x=x, mesh_y=y, **figures)
    steps = int(rng.integers(1, 9))
    fired = rng.random((steps, senders)) < rng.choice([0, 0.1, 0.5, 1])
    return program, fired


def peer(program, fired):
    """Return what SANA-FE makes of the same network."""
    machine, at = program.target.cycles, {}
    for part in program.placement:
        x, y = machine.router(part.core)
        at.setdefault(part.node, []).append(x * machine.mesh_y + y)  # column by column there
    steps, senders = fired.shape
    cores = [at[f"s{i}"][0] for i in range(senders)]
    given = {
        "x": machine.mesh_x,
        "y": machine.mesh_y,
        "steps": steps,
        "most": max(np.bincount(cores)),
        "time": {"update": 1.0, "synapse": 1.0, "hop": 1.0},
        "energy": PRICES,
        "senders": [[c, fired[:, i].astype(int).tolist()] for i, c in enumerate(cores)],
        "receivers": at["r"],
        "synapses": [[i, j] for i in range(senders) for j in range(len(at["r"]))],
    }
    text = json.dumps(given, default=int)
    command = [sys.executable, str(Path(__file__).parent / "sanafe_run.py")]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def values_of(program, fired):
    """Return the values of all nodes, every step a sample of its own: [B, 1, width]."""
    steps, senders = fired.shape
    zeros = {n.name: np.zeros((steps, 1, n.width), np.uint8) for n in program}
    return zeros | {f"s{i}": fired[:, i, None, None].astype(np.uint8) for i in range(senders)}


@pytest.mark.parametrize("seed", range(14))
def test_the_same_work_packets_and_energy(seed):
    program, fired = random_case(seed)
    found = peer(program, fired)
    same_work(program, fired, found)
    same_counts(program, fired, found)


def same_work(program, fired, found):
    """Every step is the work that `simple` counts, and the way."""
    values = values_of(program, fired)
    replay = Replay(program)
    replay.add({name: memory.fired(value) for name, value in values.items()})
    whole = replay.result()
    for t, simple in enumerate(found["perf"]["sim_time"]):
        one = Replay(program)
        one.add({name: memory.fired(value[t : t + 1]) for name, value in values.items()})
        step = one.result()
        updating = max(load.updating for load in step.cores)
        adding = max(load.adding for load in step.cores)
        assert simple == max(updating, adding)
        way = max((len(flow) for flow in ways(program)), default=0)
        waited = sum(link.waited for link in step.links)
        sent = sum(load.sent for load in step.cores)
        assert simple <= whole.steps[0, t] <= updating + sent + way + waited + adding


def ways(program):
    machine = program.target.cycles
    cores = {part.core for part in program.placement}
    at = [machine.router(core) for core in cores]
    return [range(abs(a[0] - b[0]) + abs(a[1] - b[1])) for a in at for b in at]


def same_counts(program, fired, found):
    """Packets, hops, operations and updates, and what they cost as events."""
    steps, senders = fired.shape
    sent = {node.name: np.zeros(node.width, int) for node in program}
    sent |= {f"s{i}": fired[:, i].sum(keepdims=True) for i in range(senders)}
    packets = packet_counts(program, sent)
    assert sum(count.packets for count in packets) == found["packets_sent"]
    hops = sum(count.hops_x + count.hops_y for count in packets)
    assert hops == sum(found["perf"]["hops"])
    last = program["r"]
    counted = [
        edge_count(program, edge, "r", events=int(sent[edge.source][0]), updates=steps)
        for edge in last.edges
    ]
    assert sum(edge.operations for edge in counted) == found["spikes"]
    names = [node.name for node in program.nodes[1:]]
    counts = of_program(
        program,
        steps=steps,
        samples=1,
        edges=tuple(counted),
        nodes=tuple(
            replace(node_count(program, n, updates=steps * program[n].width), spec="lif")
            for n in names
        ),
        readout_macs=0,
        packets=packets,
    )
    table = prices("loihi1")
    without = {key: value for key, value in table.energy_pj.items() if key != "spike_in_tile"}
    causes = energy(counts, replace(table, energy_pj=without)).by_cause()
    assert causes["synapse"] == pytest.approx(found["energy"]["synapse"])
    assert causes["neuron"] == pytest.approx(found["energy"]["soma"])
    assert causes["routing"] == pytest.approx(found["energy"]["network"])
