"""What a user states about a NIR file of another tool, where the file leaves it open.

A statement holds for all neurons, or for those whose names match: {"*": "zero", "lif1": "none"},
as text `*=zero,lif1=none`; where several patterns match, the last one counts. What a file needs and
nobody stated is collected, so that it can be listed at once; what was stated and nothing in the
file needs is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from neurodeploy.errors import InputError, NeurodeployError

YES = ("yes", "no")


@dataclass(frozen=True)
class Statement:
    """Something that files lose: what it is, the words for it, and how they are read."""

    about: str
    words: str
    read: Callable[[Any], Any]


def _one_of(*words: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in words:
            raise ValueError
        return value

    return read


def _yes(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return bool(_one_of(*YES)(value) == "yes")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _positive(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError
    return float(value)


def _or_none(read: Callable[[Any], float]) -> Callable[[Any], float | str]:
    return lambda value: "none" if value == "none" else read(value)


STATEMENTS = {
    "dt": Statement("length of a step", "SECONDS", _positive),
    "reset": Statement(
        "what a spike does to the membrane",
        "subtract|zero|none",
        _one_of("subtract", "zero", "none"),
    ),
    "reset_delay": Statement("whether the reset comes a step later", "yes|no", _yes),
    "compare": Statement("how membrane and threshold are compared", "'>'|'>='", _one_of(">", ">=")),
    "norm_input": Statement("whether the input is scaled by 1 - decay", "yes|no", _yes),
    "spikes": Statement("spikes per step", "many|one", _one_of("many", "one")),
    "v_min": Statement("the least membrane", "NUMBER|none", _or_none(_number)),
    "tau_syn": Statement("time constant of the synapses", "STEPS|none", _or_none(_positive)),
    "feedback_bias": Statement(
        "whether the bias of a loop's weights counts at the first step, when nothing was sent yet",
        "always|late",
        _one_of("always", "late"),
    ),
}


def option(key: str) -> str:
    """Return the option of the command line that states `key`."""
    return f"--{key.replace('_', '-')}"


def rules_of(key: str, given: Any) -> dict[str, Any]:
    """Return the values that a statement gives, by pattern. Raises InputError E101."""
    statement = STATEMENTS[key]
    pairs = given if isinstance(given, Mapping) else _split(statement, given)
    found = {}
    for pattern, value in pairs.items():
        try:
            found[str(pattern)] = statement.read(value)
        except (ValueError, TypeError) as error:
            what = f"{option(key)} is {value!r}, not {statement.words}"
            fix = f"{option(key)}: {statement.about}; one for all, or PATTERN=VALUE,…"
            raise InputError("E101", what, fix=fix) from error
    return found


def _split(statement: Statement, given: Any) -> dict[str, Any]:
    if not isinstance(given, str):
        return {"*": given}
    try:
        return {"*": statement.read(given)}
    except (ValueError, TypeError):
        pairs = (part.strip().partition("=") for part in given.split(","))
        return {name if eq else "*": value if eq else name for name, eq, value in pairs}


@dataclass
class Stated:
    """What was stated; what was asked for, and what of it is missing, so far."""

    rules: Mapping[str, Mapping[str, Any]]
    defaults: bool = False
    used: set[tuple[str, str]] = field(default_factory=set)
    missing: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any], *, defaults: bool) -> Stated:
        """Return what is stated in `given`, by names of STATEMENTS. Raises InputError E101."""
        rules = {key: rules_of(key, value) for key, value in given.items() if value is not None}
        return cls(rules, defaults)

    def ask(self, key: str, node: str, default: Any) -> Any:
        """Return what was stated for a node, else, noted as missing, the tool's default."""
        found = self.told(key, node)
        if found is None:
            if not self.defaults:
                self.missing.setdefault(key, {})[node] = default
            return default
        return found

    def told(self, key: str, node: str) -> Any:
        """Return what was stated for a node, or None; it counts as used."""
        found = None
        for pattern, value in self.rules.get(key, {}).items():
            if fnmatchcase(node, pattern):
                self.used.add((key, pattern))
                found = value
        return found

    def problems(self, path: Path, source: str) -> Iterator[NeurodeployError]:
        """Yield one error with all that is missing, and one for each statement without use."""
        if self.missing:
            yield self._missing(path, source)
        for key, rules in self.rules.items():
            for pattern in rules:
                if (key, pattern) not in self.used:
                    yield self._unused(key, pattern, path, source)

    def _missing(self, path: Path, source: str) -> NeurodeployError:
        rows = []
        for key, nodes in self.missing.items():
            names = ", ".join(map(repr, nodes))
            rows.append(f"{key} ({STATEMENTS[key].about}) of {names}")
        ways = [
            f"{option(key)} {STATEMENTS[key].words} (default of {source}: {_word(default)})"
            for key, nodes in self.missing.items()
            for default in dict.fromkeys(nodes.values())
        ]
        return InputError(
            "E108",
            f"files of {source} do not state {'; '.join(rows)}",
            where=str(path),
            fix=f"state {'; '.join(ways)}; or --defaults for all of them",
        )

    def _unused(self, key: str, pattern: str, path: Path, source: str) -> NeurodeployError:
        which = "" if pattern == "*" else f" of {pattern!r}"
        what = f"{option(key)}{which} has no meaning in this file"
        if source:
            what += f": nothing that {source} leaves open asks for it"
        return InputError(
            "E101", what, where=str(path), fix=f"leave it out{which and ', or name others'}"
        )


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
