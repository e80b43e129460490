"""Put every node on cores. Placement never changes spikes. Sources stay outside the chip.

    naive     nodes in execution order, cut into slices that fit; a core is filled before the next
    balanced  every node on as few cores as can hold it, in even slices, on the emptiest cores
    traffic   annealed from the naive placement, and from pieces half as large, by what neurons
              send each other on calibration data: packets and the hops they take (`traffic`)
    cycles    likewise, and from what has the least traffic, by an estimate of the cycles of a step
              (`anneal`)

The last two are never worse than the naive placement by their own estimate. Where nodes fit no
other way, the naive placement stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from neurodeploy.errors import FitError, InputError
from neurodeploy.passes.pieces import Piece, amounts, cut, fill, pieces_of, room, slices
from neurodeploy.passes.traffic import Traffic, rates, traffic
from neurodeploy.program.ir import Ints, Program, Reals, Slice, Source
from neurodeploy.program.memory import Footprint, footprint, most
from neurodeploy.targets import Target


@dataclass(frozen=True)
class Place:
    """Fill cores one after the other."""

    target: Target
    name: str = "place"

    def __call__(self, program: Program) -> Program:
        """Return the placed program; whether it fits is for `limits.check` to say."""
        slices: list[Slice] = []
        core, used = 0, Footprint()
        for node in program:
            if isinstance(node, Source):
                continue
            first = 0
            while first < node.width:
                count = most(program, node.name, first, partial(self._fits, used))
                if count == 0 and used.neurons:
                    core, used = core + 1, Footprint()
                    continue
                count = max(count, 1)  # one neuron too large for any core: limits will say so
                last = first + count
                slices.append(Slice(node=node.name, first=first, last=last, core=core))
                used = used + footprint(program, node.name, first, last)
                first = last
        return replace(program, placement=tuple(slices))

    def _fits(self, used: Footprint, more: Footprint) -> bool:
        return bool(np.all(amounts(used + more) <= room(self.target)))


PLACES = ("naive", "balanced", "traffic", "cycles")

_MOVES, _LEAST_MOVES = 400, 300  # of each piece, and of all
_WORK = 300_000_000  # elementary steps of an annealing, about: a few seconds


@dataclass(frozen=True, eq=False)
class PlaceBy:
    """Place by balance, traffic or cycles; the calibration data x [T, B, C] gives the traffic."""

    target: Target
    kind: str
    calibration: Reals | None = None
    seed: int = 0
    name: str = "place"

    def __call__(self, program: Program) -> Program:
        """Return the placed program; raises FitError E304 for cycles without a machine."""
        if self.kind == "cycles" and self.target.cycles is None:
            raise FitError(
                "E304",
                f"{self.target.name} does not say how long its steps take",
                where=f"target {self.target.name}",
                fix="--place traffic, or a target with a [cycles] table",
            )
        naive = Place(self.target)(program)
        if self.kind == "balanced":
            found = self._balanced(program) or naive.placement
        else:
            found = self._annealed(program, naive.placement)
        note = {"placement": {"by": self.kind, "seed": self.seed}}
        return replace(program, placement=found, notes={**program.notes, **note})

    def _balanced(self, program: Program) -> tuple[Slice, ...] | None:
        pieces = cut(program, self.target, 1)
        cores = fill(program, self.target, pieces, spread=True)
        return None if cores is None else slices(pieces, cores)

    def _annealed(self, program: Program, naive: tuple[Slice, ...]) -> tuple[Slice, ...]:
        if any(part.core >= self.target.cores for part in naive):
            return naive  # it does not fit: limits will say so
        rate = rates(program, self.calibration)
        starts: list[tuple[Sequence[Piece], Ints]] = [(pieces_of(naive), _cores(naive))]
        for spread, parts in ((False, 2), (True, 1)):
            pieces = cut(program, self.target, parts)
            cores = fill(program, self.target, pieces, spread=spread)
            starts += [] if cores is None else [(pieces, cores)]
        best, least = naive, float("inf")
        for some, cores in starts:
            graph = traffic(program, self.target, some, rate)
            placed, cost = self._anneal(graph, cores, by_cycles=False)
            if self.kind == "cycles":  # from the start, and from what has the least traffic
                found = [self._anneal(graph, at, by_cycles=True) for at in (cores, placed)]
                placed, cost = min(found, key=lambda each: each[1])
            if cost < least:
                best, least = slices(some, placed), cost
        return best

    def _anneal(self, graph: Traffic, cores: Ints, *, by_cycles: bool) -> tuple[Ints, float]:
        from neurodeploy.passes.anneal import anneal

        work = 30 * len(graph.to) + 8 * graph.phases * len(graph.x)
        moves = max(_LEAST_MOVES, min(_MOVES * len(cores), _WORK // work))
        placed, cost = anneal(graph, cores, by_cycles, moves, self.seed)
        return placed, float(cost)


def _cores(placement: Sequence[Slice]) -> Ints:
    return np.array([part.core for part in placement], np.int64)


def place_by(target: Target, kind: str, calibration: Reals | None, seed: int) -> Place | PlaceBy:
    """Return the pass for one of `PLACES`; raises InputError E105 for anything else."""
    if kind not in PLACES:
        fix = f"one of {', '.join(PLACES)}"
        raise InputError("E105", f"no placement {kind!r}", fix=fix)
    return Place(target) if kind == "naive" else PlaceBy(target, kind, calibration, seed)
