"""Nodes cut into pieces that can be put on cores, and what the cores hold.

A piece is a run of neighbouring neurons of one node. Pieces of one node on one core that follow
each other are one slice again in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from neurodeploy.program.ir import Ints, Program, Slice, Source
from neurodeploy.program.memory import Footprint, footprint, most
from neurodeploy.targets import Target

_UNLIMITED = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Neurons `first` to `last` (excluded) of a node."""

    node: str
    first: int
    last: int

    @property
    def size(self) -> int:
        """How many neurons."""
        return self.last - self.first


def amounts(need: Footprint) -> Ints:
    """Return neurons, bits of weights, of neurons, and of both."""
    return np.array([need.neurons, need.weight_bits, need.state_bits, need.total_bits], np.int64)


def needs(program: Program, piece: Piece) -> Ints:
    """Return the amounts that a piece takes."""
    return amounts(footprint(program, piece.node, piece.first, piece.last))


def room(target: Target) -> Ints:
    """Return the amounts that a core has."""
    core = target.core
    limits = (core.weight_kib, core.state_kib, core.memory_kib)
    bits = [_UNLIMITED if kib is None else kib * 8192 for kib in limits]
    return np.array([core.neurons, *bits], np.int64)


def cut(program: Program, target: Target, parts: int) -> list[Piece]:
    """Cut every node into `parts` even pieces for each core that it needs at least."""
    found, there = [], room(target)
    for node in program:
        if isinstance(node, Source):
            continue
        size = most(program, node.name, 0, lambda need: bool(np.all(amounts(need) <= there)))
        count = min(node.width, parts * -(-node.width // max(size, 1)))
        ends = [node.width * i // count for i in range(count + 1)]
        found += [Piece(node=node.name, first=a, last=b) for a, b in pairwise(ends)]
    return found


def pieces_of(placement: Sequence[Slice]) -> list[Piece]:
    """Return the slices of a placement as pieces."""
    return [Piece(node=part.node, first=part.first, last=part.last) for part in placement]


def fill(program: Program, target: Target, pieces: Sequence[Piece], *, spread: bool) -> Ints | None:
    """Return a core for each piece, or None if they do not fit.

    In order: the first core with room; with `spread`, the one that would be filled least.
    """
    free = np.tile(room(target), (target.cores, 1))
    chosen = np.empty(len(pieces), np.int64)
    for i, piece in enumerate(pieces):
        need = needs(program, piece)
        fits = np.flatnonzero((free >= need).all(axis=1))
        if not len(fits):
            return None
        share = ((free[fits] - need) / room(target)).min(axis=1)
        core = fits[int(np.argmax(share))] if spread else fits[0]
        free[core] -= need
        chosen[i] = core
    return chosen


def slices(pieces: Sequence[Piece], cores: Ints) -> tuple[Slice, ...]:
    """Return pieces on cores as a placement, by core and node; neighbours are joined."""
    order = {piece.node: i for i, piece in reversed(list(enumerate(pieces)))}
    placed = sorted(
        zip(cores.tolist(), pieces, strict=True),
        key=lambda item: (item[0], order[item[1].node], item[1].first),
    )
    found: list[Slice] = []
    for core, piece in placed:
        last = found[-1] if found else None
        if last and (last.core, last.node, last.last) == (core, piece.node, piece.first):
            found[-1] = Slice(node=piece.node, first=last.first, last=piece.last, core=core)
        else:
            found.append(Slice(node=piece.node, first=piece.first, last=piece.last, core=core))
    return tuple(found)
