"""From quantities to joules: which price of a table is that of which operation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from neurodeploy.targets import Prices, Target

WORD = 64  #: bits of one access to memory, as tables price it
CAUSES = (
    "synapse",
    "neuron",
    "weight_memory",
    "state_memory",
    "sequence_memory",
    "routing",
    "static",
)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """So many operations of one kind, for one cause.

    op: "add", "mac", "mul", "cmp", "div", "sqrt" of operands of `bits` (`real`: floating point; a
    "mac" adds to `sum_bits`); "weight", "state" or "sequence", one access of 64 bits to that
    memory; the key of a price; or "picojoule", which is one.
    """

    layer: str
    cause: str
    op: str
    count: float
    bits: int = 0
    sum_bits: int = 0
    real: bool = False


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What is not known of a machine, and moves its energy."""

    sums: str = "memory"  #: currents are summed in the state "memory", or in "registers"
    fetch: str = (
        "row"  #: weights come as whole words of a "row", their "bits" alone, or a "word" each
    )
    memory_step: int = 0  #: published memories larger (or smaller) than the one that fits
    active: bool = True  #: neurons update as if none were at rest
    end: int = 0  #: of a price's published range: -1 the least, 1 the greatest figure


class Book:
    """A price table, applied to one target; `missing` has the layers that lack each price."""

    def __init__(
        self,
        prices: Prices,
        target: Target,
        how: Assumptions,
        weight_bits: float,
        sequence_bits: float,
    ) -> None:
        """Take the bits of all weights and of sequences: what does not fit is off the chip."""
        self.prices, self.how, self.missing = prices, how, dict[str, set[str]]()
        core, buffer_kib = target.core, target.chip.buffer_kib
        weight_kib, state_kib = core.weight_kib or core.memory_kib, core.state_kib
        self.memory = {
            "weight": self._holding(weight_kib, target.cores, weight_bits),
            "state": self._sram(state_kib or core.memory_kib),
            "sequence": self._holding(buffer_kib, 1, sequence_bits),
        }

    def _holding(self, kib: int | None, count: int, bits: float) -> str:
        """Return the key of `count` memories of `kib`, or of DRAM if `bits` do not fit them."""
        return "dram_64b" if kib and bits > kib * 8192 * count else self._sram(kib)

    def pj(self, item: Quantity) -> float:
        """Return the energy of a quantity; note it, and return 0, if the table has no price."""
        if not item.count:
            return 0.0
        if item.op == "picojoule":
            return item.count
        keys = self._keys(item)
        unknown = [key for key in keys if key not in self.prices.energy_pj]
        for key in unknown:
            self.missing.setdefault(key, set()).add(item.layer)
        return 0.0 if unknown else item.count * sum(map(self._price, keys))

    def _price(self, key: str) -> float:
        low, high = self.prices.range_pj(key)
        return {-1: low, 0: self.prices.energy_pj[key], 1: high}[self.how.end]

    def _keys(self, item: Quantity) -> list[str]:
        """Return the keys of the prices that add up to one operation."""
        if item.op in self.memory:
            return [self.memory[item.op]]
        if item.op not in ("add", "mac", "mul", "cmp", "div", "sqrt"):
            return [item.op]
        direct = f"{'synapse' if item.cause == 'synapse' else 'neuron'}_{item.op}"
        if direct in self.prices.energy_pj or item.op in ("div", "sqrt"):
            return [direct]
        if item.op == "mac":
            return [self._width("mul", item.bits, item), self._width("add", item.sum_bits, item)]
        return [self._width("mul" if item.op == "mul" else "add", item.bits, item)]

    def _width(self, kind: str, bits: int, item: Quantity) -> str:
        """Return the key of the narrowest price that holds `bits`."""
        family = f"{kind}_{'fp' if item.real else 'int'}"
        widths = self._sizes(rf"{family}(\d+)")
        return f"{family}{min((w for w in widths if w >= bits), default=bits)}"

    def _sram(self, kib: int | None) -> str:
        """Return the key of the smallest memory that holds `kib`, or a step from it."""
        if kib is None:
            return "memory of unknown size"
        sizes = self._sizes(r"sram_(\d+)kib_64b")
        fit = [i for i, size in enumerate(sizes) if size >= kib]
        if not fit:
            return f"sram_{kib}kib_64b"
        at = min(max(fit[0] + self.how.memory_step, 0), len(sizes) - 1)
        return f"sram_{sizes[at]}kib_64b"

    def _sizes(self, form: str) -> list[int]:
        found = (re.fullmatch(form, key) for key in self.prices.energy_pj)
        return sorted(int(match[1]) for match in found if match)
