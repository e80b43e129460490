"""The order of work within a step.

A step is a chain of phases. A node whose values arrive within the step (an edge of delay 0) is
updated in a phase after all that it waits for:

    phase(node) = 0 without such edges, else 1 + max over them of phase(source)

So a network whose synapses take a step has one phase, in which all cores work side by side, and a
network without delays has one phase per layer. Each phase ends with a barrier. A layer that runs
backwards in time over a buffered sequence takes the same cycles in another order; its phases are
listed under the step of their data.
"""

from __future__ import annotations

from neurodeploy.program.ir import Program, edges


def phases(program: Program) -> list[list[str]]:
    """Return the names of the nodes that are updated in each phase of a step."""
    level: dict[str, int] = {}
    for node in program:
        waits = [level[edge.source] for edge in edges(node) if edge.delay == 0]
        level[node.name] = 1 + max(waits, default=-1)
    found: list[list[str]] = [[] for _ in range(1 + max(level.values()))]
    for name, at in level.items():
        found[at].append(name)
    return found
