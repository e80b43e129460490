"""Choose the bits of each layer: the cheapest program within a tolerated loss of accuracy.

A knob is the weight bits of one Linear, the coefficient bits of one population, or those of a
table. From the bits a program has by default, each knob is turned down by one notch alone and the
program run: that is its sensitivity, the rise of the cross-entropy for what the notch saves. Then,
least sensitive first, every knob in turn goes down another notch, and stays there if the accuracy
of the whole program is still good enough, until no knob can go further. Every candidate is
compiled, placed and run on all the data: nothing is predicted. The same data give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from neurodeploy.errors import FitError

Bits = Mapping[str, int]
NOTCHES = {"weights": 1, "coefficients": 2}  # bits a knob goes down by at once
LEAST = {"weights": 2, "coefficients": 4}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One program that was run: bits by node, what it does and what it takes."""

    bits: Bits
    accuracy: float
    loss: float  #: mean cross-entropy of the outputs [nat]
    memory_kib: float
    energy_pj: float | None  #: of one inference; None where nothing prices it


@dataclass(frozen=True, kw_only=True)
class Knob:
    """What can be turned: `what` is "weights" or "coefficients" of node `name`."""

    name: str
    what: str
    count: int  #: of constants
    sensitivity: float | None = None  #: [nat] of one notch; None where it does not compile


@dataclass(frozen=True, kw_only=True)
class Search:
    """What was found: the start, the choice, every program that was run, in order."""

    start: Point
    chosen: Point
    knobs: tuple[Knob, ...]  #: least sensitive first
    points: tuple[Point, ...]
    drop: float  #: of accuracy, that was tolerated

    def front(self) -> tuple[Point, ...]:
        """Return the points that no other beats in both accuracy and cost, cheapest first."""
        ordered = sorted(self.points, key=lambda p: (self.cost(p), -p.accuracy))
        front: list[Point] = []
        for point in ordered:
            if not front or point.accuracy > front[-1].accuracy:
                front.append(point)
        return tuple(front)

    def cost(self, point: Point) -> float:
        """Return what `point` takes, as a share of the start."""
        return cost(point, self.start)


def cost(point: Point, start: Point) -> float:
    """Return the mean of memory and energy (where priced), each as a share of the start's."""
    shares = [point.memory_kib / start.memory_kib]
    if point.energy_pj is not None and start.energy_pj:
        shares.append(point.energy_pj / start.energy_pj)
    return sum(shares) / len(shares)


Evaluate = Callable[[Bits], Point]
Progress = Callable[[int, int], None]


def search(
    knobs: tuple[Knob, ...],
    start: Bits,
    evaluate: Evaluate,
    *,
    drop: float,
    progress: Progress = lambda done, total: None,
) -> Search:
    """Return the cheapest bits found whose accuracy is at most `drop` below that of `start`.

    evaluate(bits) compiles and runs a program; it may raise FitError, and the bits are then not
    possible.
    """
    return _Descent(knobs, evaluate, drop, progress).run(dict(start))


class _Descent:
    """One search: the points so far."""

    def __init__(
        self, knobs: tuple[Knob, ...], evaluate: Evaluate, drop: float, progress: Progress
    ) -> None:
        self.knobs, self.evaluate, self.drop, self.progress = knobs, evaluate, drop, progress
        self.points: list[Point] = []
        self.done, self.total = 0, 1

    def run(self, bits: dict[str, int]) -> Search:
        start = self.evaluate(bits)
        self.points.append(start)
        notches = sum(len(range(bits[k.name], LEAST[k.what], -NOTCHES[k.what])) for k in self.knobs)
        self.total = 1 + len(self.knobs) + notches
        self._advance()
        order = sorted(self._sensitivities(start), key=lambda pair: pair[0])
        knobs, chosen = tuple(knob for _, knob in order), start
        before = None
        while chosen != before:
            before = chosen
            for knob in knobs:
                point = self._lower(chosen.bits, knob)
                if point is not None and point.accuracy >= start.accuracy - self.drop - 1e-12:
                    chosen = point
        self.progress(self.total, self.total)
        return Search(
            start=start, chosen=chosen, knobs=knobs, points=tuple(self.points), drop=self.drop
        )

    def _sensitivities(self, start: Point) -> Iterator[tuple[float, Knob]]:
        """Yield each knob with its rise of the loss for what a notch saves, to sort by."""
        for knob in self.knobs:
            point = self._lower(start.bits, knob)
            if point is None:
                yield float("inf"), knob
                continue
            rise, saved = point.loss - start.loss, 1 - cost(point, start)
            found = Knob(name=knob.name, what=knob.what, count=knob.count, sensitivity=rise)
            yield (rise / saved if saved > 0 else float("inf")), found

    def _lower(self, bits: Bits, knob: Knob) -> Point | None:
        """Return the point one notch down, or None if there is none."""
        now = bits[knob.name] - NOTCHES[knob.what]
        if now < LEAST[knob.what]:
            return None
        lowered = {**bits, knob.name: now}
        known = next((point for point in self.points if point.bits == lowered), None)
        if known is not None:
            return known
        try:
            point = self.evaluate(lowered)
        except FitError:
            return None
        finally:
            self._advance()
        self.points.append(point)
        return point

    def _advance(self) -> None:
        self.done += 1
        self.progress(min(self.done, self.total), self.total)
