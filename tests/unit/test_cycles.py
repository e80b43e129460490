"""The cycle model against a machine that is moved forward one cycle at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.machine import run_machine
from support.placed import on_machine, random_program, random_values

from neurodeploy.backends.simulator.cycles import Replay


def timed(program, values, chunks=1):
    replay = Replay(program)
    samples = len(values[program.source.name])
    for part in np.array_split(np.arange(samples), chunks):
        replay.add({name: value[part] for name, value in values.items()})
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
