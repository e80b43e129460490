"""The figures of a synchronous machine, from which the time of a step follows.

A target that gives them as its `[cycles]` table can be timed. What they mean, and how a step
passes, is in `backends/simulator/cycles` and in docs/cycles.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where cores are: on routers in a mesh, chips with such meshes in a grid."""

    x: int  #: routers of a chip, from west to east
    y: int  #: routers of a chip, from south to north
    cores: int = 1  #: at each router
    chips_x: int = 1
    chips_y: int = 1

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return self.chips_x * self.chips_y

    def router(self, core: int) -> tuple[int, int]:
        """Return (x, y) of the router of a core: cores count along x, then y, chip after chip."""
        chip, own = divmod(core // self.cores, self.x * self.y)
        y, x = divmod(own, self.x)
        row, column = divmod(chip, self.chips_x)
        return column * self.x + x, row * self.y + y


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Cores on a mesh, several such chips in a grid; times in clock cycles.

    Chips are joined by one link per side and direction, which all rows or columns share.
    """

    clock_hz: int
    mesh_x: int  #: cores of a chip, from west to east
    mesh_y: int  #: cores of a chip, from south to north
    banks: int  #: of a core's weight memory, read side by side
    word_bits: int  #: what a bank gives in one cycle
    accumulators: int  #: weights that a core adds in one cycle, at most
    lanes: int  #: neurons that a core updates side by side
    multipliers: int  #: of one lane
    axon_cycles: int  #: to look up where the weights of a packet stand
    synapse_fill: int  #: depth of the pipeline from packet to current
    neuron_fill: int  #: depth of the pipeline from current to spike
    hop_cycles: int  #: from one router to the next
    flit_cycles: int  #: for which a packet keeps a link busy
    barrier_cycles: int  #: per row and column of the chip, at the end of a step
    queues: int | None = None  #: packets that wait in front of a link or core; None: any number
    chips_x: int | None = None  #: chips from west to east; None: one
    chips_y: int | None = None  #: chips from south to north; None: one
    chip_hop_cycles: int | None = None  #: from the router of one chip to that of the next
    chip_flit_cycles: int | None = None  #: for which a packet keeps a link between chips busy

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return self.grid.chips

    @property
    def width(self) -> int:
        """Routers from west to east, over all chips."""
        return self.mesh_x * (self.chips_x or 1)

    @property
    def height(self) -> int:
        """Routers from south to north, over all chips."""
        return self.mesh_y * (self.chips_y or 1)

    @property
    def barrier(self) -> int:
        """Cycles from the end of the last core to the next step: rows and columns, then chips."""
        between = (self.chips_x or 1) + (self.chips_y or 1) - 2
        return self.barrier_cycles * (self.mesh_x + self.mesh_y) + between * (
            self.chip_hop_cycles or 0
        )

    @property
    def grid(self) -> Grid:
        """Where the cores are, one at each router."""
        chips = {"chips_x": self.chips_x or 1, "chips_y": self.chips_y or 1}
        return Grid(x=self.mesh_x, y=self.mesh_y, **chips)

    def router(self, core: int) -> tuple[int, int]:
        """Return (x, y) of the router of a core."""
        return self.grid.router(core)


_MAY_BE_ZERO = ("synapse_fill", "neuron_fill", "barrier_cycles")
#: Cycles of a run are counted in 64 bits; above these figures sums of a long one could leave them.
_MOST_CYCLES, _MOST = 1_000_000, 2**31 - 1


def problem(found: Machine | Grid, table: str, cores: int) -> tuple[str, str] | None:
    """Return what is wrong with a table of a file whose chips have `cores` cores, and the fix."""
    for item in fields(found):
        value, least = getattr(found, item.name), int(item.name not in _MAY_BE_ZERO)
        if value is not None and value < least:
            return f"{table}.{item.name} is {value}", f"give at least {least}"
        most = _MOST_CYCLES if item.name.endswith(("_cycles", "_fill")) else _MOST
        if value is not None and item.name != "clock_hz" and value > most:
            return f"{table}.{item.name} is {value}", f"give at most {most}"
    grid = found if isinstance(found, Grid) else found.grid
    if grid.x * grid.y * grid.cores != cores:
        what = f"{table}: a mesh of {grid.x} x {grid.y} routers for {cores} cores"
        return what, "let the routers times the cores at each be chip.cores"
    if isinstance(found, Grid) or found.chips == 1:
        return None
    if None in (found.chip_hop_cycles, found.chip_flit_cycles):
        what = f"{table}: nothing says how {found.chips} chips are joined"
        return what, "give chip_hop_cycles and chip_flit_cycles"
    return None
