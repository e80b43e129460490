"""What is kept of whole sequences where a layer runs backwards in time.

A layer that runs backwards begins when all steps of what it reads are there, and what it sends is
there when it has ended. So nodes run in stages, those of one stage step by step together:

    stage(n) = the largest over its inputs i of   stage(i) + (1 where n or i runs backwards)

What is read in a later stage than it is sent in is kept for all steps: written once, read once in
each such stage, and free after the last.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from neurodeploy.program.ir import Program, backwards, edges
from neurodeploy.program.run import value_bits


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """The values of one node, of all steps; `bits` are those of one step."""

    node: str
    width: int
    bits: int
    sent: int  #: the stage that writes them
    read: tuple[int, ...]  #: the later stages that read them


def buffers(program: Program) -> tuple[Buffer, ...]:
    """Return what is kept of whole sequences; nothing where no layer runs backwards."""
    stages: dict[str, int] = {}
    readers: dict[str, set[int]] = defaultdict(set)
    for node in program:
        inputs = [edge.source for edge in edges(node, recurrent=False)]
        stages[node.name] = max(
            (stages[i] + (backwards(node) or backwards(program[i])) for i in inputs), default=0
        )
        for name in inputs:
            readers[name].add(stages[node.name])
    if backwards(program[program.readout.source]):
        readers[program.readout.source].add(stages[program.readout.source] + 1)
    return tuple(
        Buffer(
            node=name,
            width=program[name].width,
            bits=program[name].width * value_bits(program, name),
            sent=stages[name],
            read=later,
        )
        for name, found in readers.items()
        if (later := tuple(sorted(stage for stage in found if stage > stages[name])))
    )


def peak_bits(kept: tuple[Buffer, ...], steps: int) -> int:
    """Return the most bits that are kept at one time, for one sequence of so many steps."""
    stages = {stage for each in kept for stage in (each.sent, *each.read)}
    return max(
        (steps * sum(b.bits for b in kept if b.sent <= stage <= b.read[-1]) for stage in stages),
        default=0,
    )
