"""The points of a sweep, what they are judged by, and the rows that come of them.

A row has a key: a digest of all that decides on its numbers. Two rows with the same key are the
same row, whoever computed them, and when.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.frontends import Model
from neurodeploy.graph.ir import digest
from neurodeploy.targets import Prices, Target
from neurodeploy.targets import prices as price_table


@dataclass(frozen=True, kw_only=True)
class Point:
    """One design: names of a model and a target, and how the model is compiled for it.

    bits and coef_bits are texts, as `--bits` takes them; empty: what the compiler chooses.
    """

    model: str
    target: str
    bits: str
    coef_bits: str
    place: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Row(Point):
    """What is known of a point: its error, or what it needs and does; counts are per inference."""

    key: str
    version: str  #: of neurodeploy
    error: str | None = None  #: a code of docs/errors.md; nothing else is then known
    message: str | None = None
    samples: int | None = None
    steps: int | None = None
    accuracy: float | None = None  #: None without labels
    energy_pj: float | None = None  #: None where no table prices it
    prices: str | None = None  #: the table
    not_priced: str | None = None  #: operations that the table has no price for
    memory_kib: float | None = None  #: of weights, states and constants
    cores: int | None = None
    neurons: int | None = None
    synapses: int | None = None
    cycles: float | None = None  #: None where the target states no machine, or untimed
    latency_s: float | None = None  #: likewise
    spikes: float | None = None
    synaptic_adds: float | None = None
    synaptic_macs: float | None = None
    overflows: float | None = None
    clipped_inputs: float | None = None


def grid(
    models: Iterable[str],
    targets: Iterable[str],
    bits: Iterable[str],
    coef_bits: Iterable[str],
    places: Iterable[str],
    seed: int,
) -> tuple[Point, ...]:
    """Return every combination, each once, the last choice turning fastest."""
    rows = product(models, targets, bits, coef_bits, places)
    names = ("model", "target", "bits", "coef_bits", "place")
    points = (Point(**dict(zip(names, row, strict=True)), seed=seed) for row in rows)
    return tuple(dict.fromkeys(points))


@dataclass(frozen=True, eq=False, kw_only=True)
class Study:
    """What the names of points stand for, and the data that all are judged by.

    x [T, B, C]; labels y [B], or None. prices: one table for all, or None for each target's own.
    timing: count cycles where the target states a machine. The example of a model is the data that
    sets its scales, or None for bounds. Raises InputError E106 for data of another shape.
    """

    models: Mapping[str, Model]
    targets: Mapping[str, Target]
    x: Any
    y: Any
    prices: Prices | None = None
    timing: bool = True

    def __post_init__(self) -> None:
        if np.ndim(self.x) != 3 or 0 in np.shape(self.x):
            what = f"the data have shape {np.shape(self.x)}"
            raise InputError("E106", what, fix="give x [T, B, C], with at least one of each")
        if self.y is not None and np.shape(self.y) != np.shape(self.x)[1:2]:
            what = f"labels of shape {np.shape(self.y)} for {np.shape(self.x)[1]} samples"
            raise InputError("E106", what, fix="give y [B], class indices")

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return int(np.shape(self.x)[1])

    def prices_on(self, name: str) -> Prices | None:
        """Return the price table that applies on target `name`."""
        own = self.targets[name].prices
        return self.prices or (price_table(own) if own else None)

    def spans(self, size: int) -> list[tuple[int, int]]:
        """Return the samples of each chunk, first and last (excluded)."""
        firsts = range(0, self.samples, size)
        return [(first, min(first + size, self.samples)) for first in firsts]

    @cached_property
    def data_digest(self) -> str:
        """A digest of the data and labels."""
        return fingerprint(self.x, self.y)

    @cached_property
    def model_digests(self) -> dict[str, str]:
        """A digest of each model, with the data that set its scales."""
        return {k: fingerprint(digest(m.graph), m.example) for k, m in self.models.items()}

    def program_key(self, point: Point) -> str:
        """Return a digest of all that decides on the program of a point."""
        choice = {k: v for k, v in asdict(point).items() if k not in ("model", "target")}
        target = asdict(self.targets[point.target])
        return fingerprint(version("neurodeploy"), self.model_digests[point.model], target, choice)

    def key(self, point: Point) -> str:
        """Return a digest of all that decides on the row of a point."""
        prices = self.prices_on(point.target)
        table = None if prices is None else asdict(prices)
        return fingerprint(self.program_key(point), self.data_digest, table, self.timing)


def fingerprint(*parts: Any) -> str:
    """Return a digest of arrays and plain data."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str}{part.shape}".encode())
            found.update(np.ascontiguousarray(part).data)
        else:
            found.update(json.dumps(part, sort_keys=True).encode())
        found.update(b"\0")
    return found.hexdigest()[:32]
