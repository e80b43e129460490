"""Read and check price tables: what one operation costs, under one convention.

Arithmetic has a price per width (`mul_int8`), or one whatever the width (`neuron_mul`, which comes
first where both are there). Prices of events (`synapse_op`, `neuron_update_active`) are of a chip
that was measured or simulated whole: they include what an event does in arithmetic and memory.
Every number has a source and a grade.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurodeploy.targets.toml import load_toml, malformed, meant, record, sourced

GRADES = ("measured silicon", "simulated", "literature convention")

PRICED = {
    "synapse_add": "one weight added to a current, an AC",
    "synapse_mac": "one weight times a graded value, added to a current, a MAC",
    "neuron_mul": "one multiply of a neuron's update",
    "neuron_add": "one addition of a neuron's update",
    "neuron_cmp": "one comparison of a neuron's update",
    "neuron_div": "one division of a vector operation",
    "neuron_sqrt": "one square root of a vector operation",
    "synapse_op": "one synaptic operation with all that belongs to it",
    "neuron_update_active": "one neuron's update with all that belongs to it",
    "neuron_update_inactive": "the same for a neuron at rest",
    "spike_in_tile": "a packet to a core at the same router",
    "hop_x": "a packet from one router to the next, east or west",
    "hop_y": "a packet from one router to the next, north or south",
    "hop_chip": "a packet from one chip to the next",
    "dram_64b": "one access of 64 bits to memory off the chip",
}
_FAMILIES = {
    r"(add|mul)_(int|fp)[1-9]\d*": "one addition or multiply at a width",
    r"sram_[1-9]\d*kib_64b": "one access of 64 bits to an SRAM of that size",
}
POWERED = {"chip": "a chip that is on", "core": "a core that is in use"}


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What operations cost, in picojoules, under one convention.

    `ranges_pj` are the least and greatest published figure where there is more than one; `grades`
    those of single numbers, where they are not `grade`. `power_w` is paid for as long as a run
    takes; `time_ns` is what an operation takes, of the keys of energies.
    """

    name: str
    title: str
    scope: str
    grade: str
    energy_pj: Mapping[str, float]
    sources: Mapping[str, str]
    ranges_pj: Mapping[str, list[float]] = field(default_factory=dict)
    grades: Mapping[str, str] = field(default_factory=dict)
    power_w: Mapping[str, float] = field(default_factory=dict)
    time_ns: Mapping[str, float] = field(default_factory=dict)

    def grade_of(self, key: str) -> str:
        """Return the grade of one number."""
        return self.grades.get(key, self.grade)

    def range_pj(self, key: str) -> tuple[float, float]:
        """Return the least and greatest figure of an energy that the table has."""
        low, high = self.ranges_pj.get(key, (self.energy_pj[key],) * 2)
        return low, high


def read_prices(path: Path) -> Prices:
    """Read the price table at `path`.

    Raises InputError E101 (unreadable) or E202 naming file and key: missing or unknown keys, a
    price that is not above zero, a range that does not hold its price, a grade that is not known,
    a number without a source.
    """
    prices = record(Prices, load_toml(path), path, "")
    for table in ("energy_pj", "time_ns"):
        for key, value in getattr(prices, table).items():
            _known(key, table, path)
            _above_zero(f"{table}.{key}", value, path)
    for key, value in prices.power_w.items():
        if key not in POWERED:
            known = ", ".join(POWERED)
            raise malformed(path, f"unknown key 'power_w.{key}'", f"known: {known}")
        _above_zero(f"power_w.{key}", value, path)
    for key, ends in prices.ranges_pj.items():
        _range(prices, key, ends, path)
    for key in prices.grades:
        if key not in prices.energy_pj:
            raise malformed(path, f"grades.{key} is of no price", f"give energy_pj.{key} too")
    for grade in (prices.grade, *prices.grades.values()):
        if grade not in GRADES:
            raise malformed(path, f"grade {grade!r} is unknown", f"one of: {', '.join(GRADES)}")
    numbers = [*prices.energy_pj]
    numbers += [f"time_ns.{key}" for key in prices.time_ns]
    numbers += [f"power_w.{key}" for key in prices.power_w]
    sourced(numbers, prices.sources, path)
    return prices


def meaning(key: str) -> str | None:
    """Say what the price `key` is of, or None if there is no such price."""
    families = (text for form, text in _FAMILIES.items() if re.fullmatch(form, key))
    return PRICED.get(key) or next(families, None)


def _known(key: str, table: str, path: Path) -> None:
    if meaning(key) is None:
        families = "add_int8, mul_fp32, … (any width), sram_32kib_64b, … (any size)"
        fix = f"{meant(key, PRICED)}known: {', '.join(PRICED)}, {families}"
        raise malformed(path, f"unknown key '{table}.{key}'", fix)


def _above_zero(key: str, value: Any, path: Path) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise malformed(path, f"{key} is {value!r}", "leave the key out if the cost is not known")


def _range(prices: Prices, key: str, ends: Any, path: Path) -> None:
    """Raise InputError E202 unless `ends` are two numbers around the price `key`."""
    price, where = prices.energy_pj.get(key), f"ranges_pj.{key}"
    if price is None:
        raise malformed(path, f"{where} is of no price", f"give energy_pj.{key} too")
    if not (isinstance(ends, list) and len(ends) == 2):
        raise malformed(path, f"{where} is {ends!r}", "give [least, greatest]")
    for end in ends:
        _above_zero(where, end, path)
    if not ends[0] <= price <= ends[1]:
        raise malformed(path, f"{where} is {ends} around {price}", "give [least, greatest]")
