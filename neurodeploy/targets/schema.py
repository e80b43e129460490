"""Read and check target files and price tables.

A target is one chip or technology: what it holds, what it computes in, how it is timed. Every
number has a source. A number that nobody published is left out; reports then name it under "not
modelled". A price table says what one operation costs; it too gives a source for each number.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from neurodeploy.arith import OVERFLOWS, ROUNDINGS, Fixed
from neurodeploy.errors import InputError
from neurodeploy.targets.cycles import Machine, problem

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Limits of the whole chip; None where no figure is public."""

    cores: int
    neurons: int | None = None
    synapses: int | None = None


@dataclass(frozen=True, kw_only=True)
class Core:
    """Limits of one core; None where no figure is public or the kind of memory does not exist."""

    neurons: int
    memory_kib: int | None = None  #: weights and neurons together
    weight_kib: int | None = None
    state_kib: int | None = None


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Widths of the chip's numbers in bits, and what happens at their ends."""

    weight_bits: int  #: widest weight
    input_bits: int  #: value of one real-valued input
    current_bits: int  #: accumulator of synaptic currents
    message_bits: int  #: value that travels from neuron to neuron
    state_bits: int  #: neuron register
    coef_frac: int  #: fractional bits of a neuron's coefficients
    shift_min: int  #: least shift from current to state scale
    shift_max: int  #: greatest shift from current to state scale
    readout_bits: int  #: weights of what follows the readout over time, once per inference
    rounding: str
    overflow: str

    @property
    def fixed(self) -> Fixed:
        """The integer reading of a step on this chip."""
        return Fixed(self.coef_frac, self.state_bits, self.rounding, self.overflow)


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

    @property
    def cores(self) -> int:
        """The cores of all chips."""
        return self.chip.cores * (self.cycles.chips if self.cycles else 1)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What one operation costs, in picojoules, under one convention."""

    name: str
    title: str
    scope: str
    grade: str
    energy_pj: Mapping[str, float]
    sources: Mapping[str, str]


PRICED = (
    "synapse_add",  # one weight added to a current (AC)
    "synapse_mac",  # one weight times a graded value, added to a current (MAC)
    "neuron_mul",
    "neuron_add",
    "neuron_cmp",
    "neuron_div",
    "neuron_sqrt",
    "sram_8kib_64b",  # one 64-bit access
    "sram_32kib_64b",
    "sram_1024kib_64b",
)


def read_target(path: Path) -> Target:
    """Read the target file at `path`.

    Raises InputError E101 (unreadable) or E202 naming file and key: missing or unknown keys, a
    value of the wrong type, a number without a source.
    """
    raw = _toml(path)
    parts: dict[str, Any] = {}
    for key, cls in (("chip", Chip), ("core", Core), ("numbers", Numbers), ("timing", Timing)):
        table = raw.pop(key, {})
        parts[key] = _record(cls, table, path, key)
        _sourced([f"{key}.{name}" for name in table], raw.get("sources", {}), path)
    parts["cycles"] = _machine(raw, parts["chip"], path)
    for key in ("words", "not_modelled"):
        parts[key] = tuple(raw.pop(key, ()))
    parts |= {key: raw.pop(key, None) for key in ("prices", "bundle")}
    target = _record(Target, {**raw, **parts}, path, "")
    for key, allowed in (("rounding", ROUNDINGS), ("overflow", OVERFLOWS)):
        if getattr(target.numbers, key) not in allowed:
            raise _malformed(path, f"numbers.{key} is unknown", f"use one of {', '.join(allowed)}")
    return target


def _machine(raw: dict[str, Any], chip: Chip, path: Path) -> Machine | None:
    """Take the table [cycles] out of `raw`, if it is there, and check it."""
    table = raw.pop("cycles", None)
    if table is None:
        return None
    machine = _record(Machine, table, path, "cycles")
    _sourced([f"cycles.{name}" for name in table], raw.get("sources", {}), path)
    wrong = problem(machine, chip.cores)
    if wrong is not None:
        raise _malformed(path, *wrong)
    return machine


def target_from(record: Mapping[str, Any]) -> Target:
    """Return the target that `dataclasses.asdict` made plain data of."""
    parts = {"chip": Chip, "core": Core, "numbers": Numbers, "timing": Timing, "cycles": Machine}
    values: dict[str, Any] = {
        key: parts[key](**value)
        if key in parts and value is not None
        else tuple(value)
        if isinstance(value, list)
        else value
        for key, value in record.items()
    }
    return Target(**values)


def read_prices(path: Path) -> Prices:
    """Read the price table at `path`; raises like `read_target`."""
    raw = _toml(path)
    prices = _record(Prices, raw, path, "")
    for key, value in prices.energy_pj.items():
        if key not in PRICED:
            raise _malformed(path, f"unknown key 'energy_pj.{key}'", f"known: {', '.join(PRICED)}")
        if not isinstance(value, int | float) or value <= 0:
            fix = "leave the key out if the cost is not known"
            raise _malformed(path, f"energy_pj.{key} is {value!r}", fix)
    _sourced(list(prices.energy_pj), prices.sources, path)
    return prices


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "E101",
            f"cannot read {path.name}: {error.strerror}",
            where=str(path),
            fix="check the path",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _malformed(path, f"not valid TOML: {error}", "see docs/targets.md") from error


def _malformed(path: Path, what: str, fix: str) -> InputError:
    return InputError("E202", what, where=str(path), fix=fix)


def _sourced(keys: list[str], sources: Mapping[str, str], path: Path) -> None:
    for key in keys:
        if not sources.get(key):
            raise _malformed(
                path, f"{key} has no source", f'add [sources] "{key}" = "paper, table"'
            )


def _record(cls: type[T], raw: Mapping[str, Any], path: Path, table: str) -> T:
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    required = {name for name, item in known.items() if item.default is MISSING}
    for wrong, what in ((set(raw) - set(known), "unknown"), (required - set(raw), "missing")):
        if wrong:
            key = ".".join(filter(None, (table, min(wrong))))
            raise _malformed(path, f"{what} key {key!r}", f"known keys: {', '.join(sorted(known))}")
    for name, kind in get_type_hints(cls).items():
        if name in raw and not _fits(raw[name], kind):
            key = ".".join(filter(None, (table, name)))
            raise _malformed(path, f"{key} is {raw[name]!r}", "give a value of the documented type")
    return cls(**raw)


def _fits(value: Any, kind: Any) -> bool:
    """Say whether `value` is of the annotated type, its elements aside; True is no number."""
    options = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if isinstance(value, bool):
        return bool in options
    return isinstance(value, tuple(get_origin(option) or option for option in options))
