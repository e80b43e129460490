"""Where the values of a placed program go: packets, and the links that they cross.

A value that is not zero leaves as one packet for each core that holds targets of it, and takes the
links of XY routing: |x - x'| from east to west or back, |y - y'| from north to south or back, of
which those between two chips are counted apart. Inputs enter at the router of core 0. A packet
whose target is on its own router crosses none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.program.ir import Ints, Program, Slice, Source, edges
from neurodeploy.targets.cycles import Grid

Router = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PacketCount:
    """The packets that one node sent, over all samples and steps, and the links they crossed.

    Links are None where the target does not say where its cores are.
    """

    node: str
    packets: float
    local: float | None  #: packets that crossed no link
    hops_x: float | None  #: links from east to west and back, within chips
    hops_y: float | None  #: links from north to south and back, within chips
    hops_chip: float | None  #: links between chips


def slices(program: Program, name: str) -> list[Slice]:
    """Return the slices of node `name`; raises InputError E107 if they are not all of it."""
    found = [part for part in program.placement if part.node == name]
    if sum(part.last - part.first for part in found) != program[name].width:
        raise InputError(
            "E107",
            "a node is not placed on cores",
            where=f'node "{name}"',
            fix="compile the model again",
        )
    return found


def weights_behind(program: Program, name: str) -> dict[int, Ints]:
    """Return, by core, how many weights, and bits of weights, stand behind each neuron, [2, width].

    A Tap has one bit per channel, where its sign is not zero.
    """
    width = program[name].width
    found: dict[int, Ints] = {}
    for node in program:
        for edge in edges(node):
            for part in slices(program, node.name) if edge.source == name else ():
                own = found.setdefault(part.core, np.zeros((2, width), np.int64))
                own += np.outer((1, edge.weight_bits), edge.reached(part.first, part.last))
    return found


def packet_counts(program: Program, sent: Mapping[str, Ints]) -> tuple[PacketCount, ...]:
    """Return what every node sent; `sent` has how often each neuron's value was not zero, [width].

    Raises InputError E107 if a node is not placed.
    """
    return tuple(_packets(program, node.name, sent[node.name]) for node in program)


def _packets(program: Program, name: str, sent: Ints) -> PacketCount:
    grid, node = program.target.grid, program[name]
    packets, sums = 0.0, np.zeros(4)  # local, x, y, chip
    parts = [(0, node.width, 0)]
    if not isinstance(node, Source):
        parts = [(part.first, part.last, part.core) for part in slices(program, name)]
    for core, (weights, _) in weights_behind(program, name).items():
        going = np.where(weights > 0, sent, 0)
        for first, last, own in parts:
            count = going[first:last].sum()
            packets += count
            if grid is not None:
                start = (0, 0) if isinstance(node, Source) else grid.router(own)
                sums += count * _way(grid, start, grid.router(core))
    local, x, y, chip = (None,) * 4 if grid is None else sums.tolist()
    return PacketCount(
        node=name, packets=float(packets), local=local, hops_x=x, hops_y=y, hops_chip=chip
    )


def _way(grid: Grid, start: Router, end: Router) -> Ints:
    """Return [1 if no link, links along x, links along y, links between chips] of one packet."""
    x, y = abs(start[0] - end[0]), abs(start[1] - end[1])
    chips_x = abs(start[0] // grid.x - end[0] // grid.x)
    chips_y = abs(start[1] // grid.y - end[1] // grid.y)
    return np.array([x + y == 0, x - chips_x, y - chips_y, chips_x + chips_y], np.int64)
