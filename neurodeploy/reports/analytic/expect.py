"""What a program is expected to do at given rates, in the very counts of a run.

A rate is the share of a node's values that are not zero, per step: of spikes, spikes per neuron and
step. Every value of a node has the same chance, so an edge brings rate * width * steps events, a
recurrent one too (in a run the last step's are never heard).
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from neurodeploy.errors import InputError, require_counts
from neurodeploy.program.ir import Program, Source, edges
from neurodeploy.program.routes import packet_counts
from neurodeploy.program.run import edge_count, node_count
from neurodeploy.program.synapses import Edge, Tap
from neurodeploy.reports.energy import Counts, of_program

Rates = Mapping[str, float]


def expected(program: Program, rates: Rates, *, steps: int, samples: int = 1) -> Counts:
    """Return the counts of `samples` inferences of `steps` steps.

    rates: by node, or by pattern ("*", "blocks.*.tn"), of which the last that fits holds; needed
    for all nodes that spike, and 1 for others without one; tokens are one in all. Raises InputError
    E105 for a rate that is missing, out of range or of no node, and for no steps or samples.
    """
    require_counts(steps=steps, samples=samples)
    share = _shares(program, rates)
    updates = steps * samples
    head = program.readout
    readout = 0 if head.weight is None else head.weight.size * samples
    sent = {node.name: np.full(node.width, share[node.name] * updates) for node in program}
    fits = all(part.core < program.target.cores for part in program.placement)
    return of_program(
        program,
        steps=steps,
        samples=samples,
        edges=tuple(
            edge_count(
                program,
                edge,
                node.name,
                events=share[edge.source] * _reaching(program, edge) * updates,
                updates=updates - (samples if edge.source == node.name else 0),
            )
            for node in program
            for edge in edges(node)
        ),
        nodes=tuple(
            node_count(
                program,
                node.name,
                updates=updates * node.width,
                spikes=share[node.name] * node.width * updates if program.spikes(node.name) else 0,
            )
            for node in program
            if not isinstance(node, Source)
        ),
        readout_macs=readout * (steps if head.kind == "steps" else 1),
        packets=packet_counts(program, sent) if fits else None,
    )


def _reaching(program: Program, edge: Edge) -> int:
    """Return how many of the source's channels an edge brings on."""
    if isinstance(edge, Tap):
        return int(np.count_nonzero(edge.sign))
    return program[edge.source].width


def _shares(program: Program, rates: Rates) -> dict[str, float]:
    names = [node.name for node in program]
    for pattern, rate in rates.items():
        if not any(fnmatchcase(name, pattern) for name in names):
            fix = f"the nodes are {', '.join(names)}"
            raise InputError("E105", f"a rate of {pattern!r}, which is no node", fix=fix)
        if not 0 <= rate <= 1:
            fix = "give the share of values that are not zero, 0 to 1"
            raise InputError("E105", f"the rate of {pattern!r} is {rate}", fix=fix)
    shares = {}
    for node in program:
        fitting = [rate for pattern, rate in rates.items() if fnmatchcase(node.name, pattern)]
        if isinstance(node, Source) and node.tokens:
            shares[node.name] = 1 / node.width
        elif fitting and (program.spikes(node.name) or node.name in rates):
            shares[node.name] = fitting[-1]
        elif not program.spikes(node.name):
            shares[node.name] = 1.0
    missing = [name for name in names if name not in shares]
    if missing:
        fix = 'give them by name, or one for all, "*"'
        raise InputError("E105", f"no rates of {', '.join(missing)}", fix=fix)
    return shares
