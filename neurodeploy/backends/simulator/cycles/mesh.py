"""Routers, links and the way between them.

Routers stand on a grid, x to the east and y to the north. A packet goes along x first and then
along y (XY order). Each router has one link to each neighbour; where the neighbour is on another
chip, all rows (columns) of the chip share one link, which is named after the first of them.

Links are numbered so that a packet only ever goes on to links of higher numbers:

    east, by x ascending    west, by x descending    north, by y ascending    south, by y descending

since it turns at most once, from the first two kinds to the others. So what a link gets is settled
once all links before it have been served, and packets can never wait for each other in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neurodeploy.program.ir import Ints
from neurodeploy.targets.cycles import Machine

DIRECTIONS = ("east", "west", "north", "south")


@dataclass(frozen=True)
class Mesh:
    """The links of a machine."""

    machine: Machine

    def route(self, start: tuple[int, int], end: tuple[int, int]) -> list[int]:
        """Return the links from one router to another, in XY order."""
        (x, y), links = start, []
        while x != end[0]:
            way = 0 if x < end[0] else 1
            links.append(self._link(way, x, y))
            x += 1 - 2 * way
        while y != end[1]:
            way = 2 if y < end[1] else 3
            links.append(self._link(way, x, y))
            y += 1 if way == 2 else -1
        return links

    def _link(self, way: int, x: int, y: int) -> int:
        m, wide, high = self.machine, self.machine.width, self.machine.height
        if self._crosses(way, x, y):
            x, y = (x, y - y % m.mesh_y) if way < 2 else (x - x % m.mesh_x, y)
        order = (x * high + y, (wide - 1 - x) * high + y, y * wide + x, (high - 1 - y) * wide + x)
        return way * wide * high + order[way]

    def _crosses(self, way: int, x: int, y: int) -> bool:
        """Whether the link from (x, y) leads to another chip."""
        at, size = (x, self.machine.mesh_x) if way < 2 else (y, self.machine.mesh_y)
        return (at + (1 if way in (0, 2) else 0)) % size == 0

    @property
    def size(self) -> int:
        """Numbers of links run up to this, excluded."""
        return 4 * self.machine.width * self.machine.height

    def place(self, link: int) -> tuple[int, int, int]:
        """Return direction (index) and router (x, y) of a link."""
        wide, high = self.machine.width, self.machine.height
        way, order = divmod(link, wide * high)
        if way < 2:
            x, y = divmod(order, high)
            return way, x if way == 0 else wide - 1 - x, y
        y, x = divmod(order, wide)
        return way, x, y if way == 2 else high - 1 - y

    @cached_property
    def hop(self) -> Ints:
        """Cycles from one router to the next, by link."""
        return self._by_link(self.machine.hop_cycles, self.machine.chip_hop_cycles)

    @cached_property
    def flit(self) -> Ints:
        """Cycles for which a packet keeps a link busy, by link."""
        return self._by_link(self.machine.flit_cycles, self.machine.chip_flit_cycles)

    def _by_link(self, inside: int, between: int | None) -> Ints:
        values = [
            between if between is not None and self._crosses(*self.place(link)) else inside
            for link in range(self.size)
        ]
        return np.array(values, np.int64)
