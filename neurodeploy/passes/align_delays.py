"""Give every synapse its delay, so that parallel paths arrive together.

On a target where a synapse takes d steps, a node lags behind the input by

    latency(node) = max over its edges of latency(source) + d

and an edge that would arrive early waits: delay = latency(node) - latency(source). The network then
computes, `latency` steps later, exactly what it computes without delays. With d = 0 nothing waits.
A recurrent edge, from a node to itself, takes one step on every target: that is what it means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from neurodeploy.errors import FitError, NeurodeployError, together
from neurodeploy.program.ir import Program, ProgramNode, Source, edges
from neurodeploy.targets import Target


@dataclass(frozen=True)
class AlignDelays:
    """Set the delay of every edge and the latency of every node."""

    target: Target
    name: str = "align-delays"

    def __call__(self, program: Program) -> Program:
        """Return the timed program.

        Raises FitError E301 naming every edge whose delay the target does not have.
        """
        timing = self.target.timing
        latency: dict[str, int] = {}
        nodes: list[ProgramNode] = []
        problems: list[NeurodeployError] = []
        for node in program:
            if isinstance(node, Source):
                latency[node.name] = 0
                nodes.append(node)
                continue
            others = edges(node, recurrent=False)
            lag = max(latency[edge.source] for edge in others) + timing.synapse_delay
            latency[node.name] = lag
            timed = tuple(
                replace(e, delay=1 if e.source == node.name else lag - latency[e.source])
                for e in node.edges
            )
            if others != node.edges and timing.synapse_delay > 1:
                problems.append(_too_slow(node.name, self.target))
            for edge in edges(replace(node, edges=timed), recurrent=False):
                if edge.delay > timing.max_delay:
                    problems.append(
                        FitError(
                            "E301",
                            f"a synapse waits at most {timing.max_delay} steps; needs {edge.delay}",
                            where=f'"{edge.source}" to "{node.name}", target {self.target.name}',
                            fix="shorten the longer of the two paths, or use a target without"
                            " synapse delays",
                        )
                    )
            nodes.append(replace(node, edges=timed, latency=lag))
        if problems:
            raise together(problems)
        return replace(program, nodes=tuple(nodes))


def _too_slow(name: str, target: Target) -> FitError:
    return FitError(
        "E301",
        f"a recurrent synapse takes one step; synapses here take {target.timing.synapse_delay}",
        where=f'population "{name}", target {target.name}',
        fix="train without recurrent weights, or use a target whose synapses take at most a step",
    )
