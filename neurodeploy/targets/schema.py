"""Read and check target files.

A target is one chip or technology: what it holds, what it computes in, how it is timed. Every
number has a source. A number that nobody published is left out; reports then name it under "not
modelled".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from neurodeploy.arith import OVERFLOWS, ROUNDINGS
from neurodeploy.targets.cycles import Grid, Machine, problem
from neurodeploy.targets.toml import load_toml, malformed, meant, record, sourced

#: What a neuron core can be said to do in one update: the words of `arith`, and what a target has
#: a unit for: the kinds of vector operations of `program.vector`.
WORDS: tuple[str, ...] = (
    "mul",
    "add",
    "sub",
    "write",
    "ge",
    "gt",
    "select",
    "count",
    "times",
    "largest",
)
WORDS += ("read", "total", "layernorm", "gelu", "relu", "glu", "lstm", "product")
WORDS += ("ternary", "ternary_step", "rescale", "delay")
BUNDLES = ("lava",)
#: Of values: their products must fit the 63 bits of the simulator. Programs hold weights, and the
#: simulator the membranes that neurons send, in no more than these.
WIDEST = {"input_bits": 32, "message_bits": 32, "readout_bits": 32}
WIDEST |= {"weight_bits": 16, "state_bits": 32}
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
    value of the wrong type or out of range, a word that is not known, a number without a source.
    """
    raw = load_toml(path)
    parts: dict[str, Any] = {}
    for key, cls in (("chip", Chip), ("core", Core), ("numbers", Numbers), ("timing", Timing)):
        parts[key] = record(cls, raw.get(key, {}), path, key)
    parts["cycles"] = _optional(raw, "cycles", Machine, parts["chip"], path)
    parts["mesh"] = _optional(raw, "mesh", Grid, parts["chip"], path)
    if parts["cycles"] and parts["mesh"]:
        raise malformed(path, "[mesh] beside [cycles], which says where cores are", "drop [mesh]")
    for key in ("words", "not_modelled"):
        if key in raw or key != "words":
            parts[key] = _texts(raw.get(key, []), key, path)
    parts |= {key: raw.get(key) for key in ("prices", "bundle")}
    target = record(Target, {"sources": {}, **raw, **parts}, path, "")
    tables = ("chip", "core", "numbers", "timing", "cycles", "mesh")
    numbers = [f"{table}.{key}" for table in tables for key in raw.get(table, ())]
    sourced(numbers, target.sources, path, also=[*raw])
    for key, allowed in (("rounding", ROUNDINGS), ("overflow", OVERFLOWS)):
        _known(f"numbers.{key}", getattr(target.numbers, key), allowed, path)
    if not target.words:
        raise malformed(path, "words is empty", f"name some of {', '.join(WORDS)}")
    for word in target.words:
        _known("words", word, WORDS, path)
    if target.bundle is not None:
        _known("bundle", target.bundle, BUNDLES, path)
    _in_range(target, path)
    least, most = target.numbers.coef_bits - 1, min(31, 62 - target.numbers.state_bits)
    if least > most:
        fix = f"give at most {most + 1}: products of registers must fit 63 bits"
        raise malformed(path, f"numbers.coef_bits is {least + 1}", fix)
    if not least <= target.numbers.coef_frac <= most:
        fix = f"use {least} (coef_bits - 1) to {most}: products of registers must fit 63 bits"
        raise malformed(path, f"numbers.coef_frac is {target.numbers.coef_frac}", fix)
    return target


def _texts(value: Any, key: str, path: Path) -> tuple[str, ...]:
    """Return a list of texts; raise InputError E202 for anything else."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise malformed(path, f"{key} is {value!r}", f'give a list, {key} = ["...", "..."]')
    return tuple(value)


def _known(key: str, value: str, known: Sequence[str], path: Path) -> None:
    """Raise InputError E202 unless the value of a key is one that is known."""
    if value not in known:
        fix = f"{meant(value, known)}known: {', '.join(known)}"
        raise malformed(path, f"{key} is unknown: {value!r}", fix)


def _in_range(target: Target, path: Path) -> None:
    """Raise InputError E202 for a number that no chip has: sizes, widths, delays, shifts."""
    tables = (("chip", target.chip), ("core", target.core), ("timing", target.timing))
    least = {f"{table}.{item.name}": 1 for table, part in tables for item in fields(part)}
    least |= {"timing.synapse_delay": 0, "timing.max_delay": target.timing.synapse_delay}
    widths = [item.name for item in fields(Numbers) if item.name.endswith("_bits")]
    least |= {f"numbers.{name}": 2 for name in widths}
    least["numbers.shift_max"] = target.numbers.shift_min
    for key, bound in least.items():
        table, name = key.split(".")
        value = getattr(getattr(target, table), name)
        if isinstance(value, int) and not isinstance(value, bool) and value < bound:
            raise malformed(path, f"{key} is {value}", f"give at least {bound}")
    most = WIDEST | {"current_bits": 62 - target.numbers.shift_max}
    for name, bound in most.items():
        if (value := getattr(target.numbers, name)) > bound:
            fix = f"give at most {bound}: what is computed of them must fit the simulator"
            raise malformed(path, f"numbers.{name} is {value}", fix)


def _optional(raw: dict[str, Any], key: str, cls: type[T], chip: Chip, path: Path) -> T | None:
    """Return the table [cycles] or [mesh] of a file, checked, if it is there."""
    if key not in raw:
        return None
    found = record(cls, raw[key], path, key)
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
