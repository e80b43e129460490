"""Read and check target files.

A target is one chip or technology: what it holds, what it computes in, how it is timed. Every
number has a source. A number that nobody published is left out; reports then name it under "not
modelled".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from neurodeploy.arith import OVERFLOWS, ROUNDINGS
from neurodeploy.targets.cycles import Grid, Machine, problem
from neurodeploy.targets.toml import load_toml, malformed, record, sourced

T = TypeVar("T", Machine, Grid)


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Limits of the whole chip; None where no figure is public."""

    cores: int
    neurons: int | None = None
    synapses: int | None = None
    buffer_kib: int | None = None  #: of whole sequences, where layers run backwards in time


@dataclass(frozen=True, kw_only=True)
class Core:
    """Limits of one core; None where no figure is public or the kind of memory does not exist."""

    neurons: int
    memory_kib: int | None = None  #: weights and neurons together
    weight_kib: int | None = None
    state_kib: int | None = None
    shared_weights: bool = False  #: whether a convolution's kernel stands in it once


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Widths of the chip's numbers in bits, and what happens at their ends."""

    weight_bits: int  #: widest weight
    input_bits: int  #: value of one real-valued input
    current_bits: int  #: accumulator of synaptic currents
    message_bits: int  #: value that travels from neuron to neuron
    state_bits: int  #: neuron register
    coef_bits: int  #: widest coefficient of a neuron: a sign, and fractional bits
    coef_frac: int  #: most bits that a product drops; from coef_bits on, coefficients have shifts
    shift_min: int  #: least shift from current to state scale
    shift_max: int  #: greatest shift from current to state scale
    readout_bits: int  #: weights of what follows the readout over time, once per inference
    rounding: str
    overflow: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How steps pass."""

    synapse_delay: int  #: steps from a spike to its arrival at the next neuron
    max_delay: int  #: longest delay of a synapse [steps]
    streaming: bool  #: whether a step must be answered before the next one is known


@dataclass(frozen=True, kw_only=True)
class Target:
    """A chip or technology."""

    name: str
    title: str
    chip: Chip
    core: Core
    numbers: Numbers
    timing: Timing
    words: tuple[str, ...]  #: what a neuron core can do in one update
    prices: str | None  #: the price table that applies, if one does
    bundle: str | None  #: what `compile` writes beside the program
    not_modelled: tuple[str, ...]
    sources: Mapping[str, str]
    cycles: Machine | None = None  #: how long a step takes, if the file says so
    mesh: Grid | None = None  #: where the cores are, if the file says so without `cycles`

    @property
    def grid(self) -> Grid | None:
        """Where the cores are, if the file says so."""
        return self.cycles.grid if self.cycles else self.mesh

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return self.grid.chips if self.grid else 1

    @property
    def cores(self) -> int:
        """The cores of all chips."""
        return self.chip.cores * self.chips


def read_target(path: Path) -> Target:
    """Read the target file at `path`.

    Raises InputError E101 (unreadable) or E202 naming file and key: missing or unknown keys, a
    value of the wrong type or out of range, a number without a source.
    """
    raw = load_toml(path)
    parts: dict[str, Any] = {}
    for key, cls in (("chip", Chip), ("core", Core), ("numbers", Numbers), ("timing", Timing)):
        table = raw.pop(key, {})
        parts[key] = record(cls, table, path, key)
        sourced([f"{key}.{name}" for name in table], raw.get("sources", {}), path)
    parts["cycles"] = _optional(raw, "cycles", Machine, parts["chip"], path)
    parts["mesh"] = _optional(raw, "mesh", Grid, parts["chip"], path)
    for key in ("words", "not_modelled"):
        parts[key] = tuple(raw.pop(key, ()))
    parts |= {key: raw.pop(key, None) for key in ("prices", "bundle")}
    target = record(Target, {**raw, **parts}, path, "")
    for key, allowed in (("rounding", ROUNDINGS), ("overflow", OVERFLOWS)):
        if getattr(target.numbers, key) not in allowed:
            raise malformed(path, f"numbers.{key} is unknown", f"use one of {', '.join(allowed)}")
    _in_range(target, path)
    least, most = target.numbers.coef_bits - 1, min(31, 62 - target.numbers.state_bits)
    if not least <= target.numbers.coef_frac <= most:
        fix = f"use {least} (coef_bits - 1) to {most}: products of registers must fit 63 bits"
        raise malformed(path, f"numbers.coef_frac is {target.numbers.coef_frac}", fix)
    return target


def _in_range(target: Target, path: Path) -> None:
    """Raise InputError E202 for a number that no chip has: sizes, widths, delays, shifts."""
    tables = (("chip", target.chip), ("core", target.core), ("timing", target.timing))
    least = {f"{table}.{item.name}": 1 for table, part in tables for item in fields(part)}
    least |= {"timing.synapse_delay": 0, "timing.max_delay": target.timing.synapse_delay}
    widths = [item.name for item in fields(Numbers) if item.name.endswith("_bits")]
    least |= {f"numbers.{name}": 2 for name in widths} | {"numbers.input_bits": 1}
    least["numbers.shift_max"] = target.numbers.shift_min
    for key, bound in least.items():
        table, name = key.split(".")
        value = getattr(getattr(target, table), name)
        if isinstance(value, int) and not isinstance(value, bool) and value < bound:
            raise malformed(path, f"{key} is {value}", f"give at least {bound}")


def _optional(raw: dict[str, Any], key: str, cls: type[T], chip: Chip, path: Path) -> T | None:
    """Take the table [cycles] or [mesh] out of `raw`, if it is there, and check it."""
    table = raw.pop(key, None)
    if table is None:
        return None
    found = record(cls, table, path, key)
    sourced([f"{key}.{name}" for name in table], raw.get("sources", {}), path)
    wrong = problem(found, key, chip.cores)
    if wrong is not None:
        raise malformed(path, *wrong)
    return found


def target_from(record: Mapping[str, Any]) -> Target:
    """Return the target that `dataclasses.asdict` made plain data of."""
    parts = {"chip": Chip, "core": Core, "numbers": Numbers, "timing": Timing}
    parts |= {"cycles": Machine, "mesh": Grid}
    values: dict[str, Any] = {
        key: parts[key](**value)
        if key in parts and value is not None
        else tuple(value)
        if isinstance(value, list)
        else value
        for key, value in record.items()
    }
    return Target(**values)
