"""What the reference, the simulator and sessions make of a program, beside what is so by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import neurodeploy as nd
from neurodeploy.program.ir import backwards
from neurodeploy.program.reference import execute, read, to_integers
from support import by_hand
from support.drawn_edges import edgy


@dataclass
class Found:
    """Of a run, all that is known of it; counts None where nothing is counted."""

    values: dict
    states: dict
    lost: dict
    integers: list
    outputs: np.ndarray
    counts: dict | None = field(default=None)


def reference(made, x):
    whole, _ = to_integers(made.source, x)
    done = execute(made, whole)
    integers, outputs = read(made.readout, done.values[made.readout.source])
    return Found(done.values, done.states, done.overflows, integers, outputs)


def simulator(made, x):
    run = nd.simulate(made, x, record=[node.name for node in made], states=True)
    return _ran(run, run.values, run.states)


def _ran(run, values, states):
    counts = {
        "spikes": run.spikes,
        "clipped": run.clipped_inputs,
        "events": dict(run.events),
        "operations": [edge.operations for edge in run.edges],
    }
    return Found(values, states, run.overflows, run.integers, run.outputs, counts)


def session(made, x):
    """Step by step, or not at all where that cannot be."""
    return in_pieces(made, x, range(1, len(x)))


def pieces(made, x):
    """In pieces of one, two, three, ... steps."""
    return in_pieces(made, x, np.cumsum(np.arange(1, len(x))))


def in_pieces(made, x, cuts):
    if not x.shape[1] or any(backwards(node) for node in made):
        return simulator(made, x)
    steps = nd.Session(made, x.shape[1], record=[node.name for node in made])
    sent = [steps.run(part) for part in np.split(x, [c for c in cuts if c < len(x)])]
    values = {name: np.concatenate([each.values[name] for each in sent]) for name in sent[0].values}
    run = steps.result()
    found = _ran(run, values, steps.states)
    each = made.readout.kind == "steps"
    found.integers = np.concatenate([s.integers for s in sent]) if each else sent[-1].integers
    found.outputs = np.concatenate([s.outputs for s in sent]) if each else sent[-1].outputs
    return found


RUNS = (reference, simulator, session, pieces)


def assert_exact(made, x, runs=RUNS):
    """Compare every beginning of a sequence: its last states are those of each step."""
    for steps in range(1, len(x) + 1):
        want = by_hand.run(made, x[:steps])
        for run in runs:
            compare(made, run(made, x[:steps]), want)
    return want


def compare(made, found, want):
    same(found.values, want.values)
    same(found.states, want.states)
    assert {name: found.lost.get(name, 0) for name in want.lost} == want.lost
    assert found.integers.tolist() == want.integers
    if found.counts is None:
        return
    counts = found.counts
    assert {name: counts["spikes"][name] for name in want.spikes} == want.spikes
    assert counts["clipped"] == want.clipped
    assert counts["operations"] == list(want.operations.values())
    for key, events in want.events.items():
        arrived = counts["events"][key]
        assert arrived.tolist() == events if np.ndim(arrived) else arrived == sum(events), key


def same(found, want):
    assert found.keys() == want.keys()
    for name, value in want.items():
        assert found[name].tolist() == value, name


def drawn(rng, source, steps, samples):
    """Inputs; where there are several samples, the first is silent, the second all at one end."""
    width, low, high = source
    x = edgy(rng, low, high, steps, samples, width)
    if samples > 1:
        x[:, 0], x[:, 1] = 0, high
    return x
