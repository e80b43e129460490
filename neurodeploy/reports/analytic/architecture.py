"""Architectures as TOML files: a family, its sizes, its rates, and where they are published.

    name = "mine"
    title = "two layers of LIF"
    family = "spiking_mlp"
    steps = 100

    [sizes]                       # the arguments of the family
    sizes = [2, 64, 64, 10]

    [rates]                       # by node or pattern; see `expect.expected`
    "*" = 0.05

Those of the papers ship with the package, each with a source for its sizes and rates.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurodeploy.errors import InputError
from neurodeploy.reports.analytic.expect import expected
from neurodeploy.reports.analytic.families import FAMILIES
from neurodeploy.reports.energy import Counts
from neurodeploy.targets import Target
from neurodeploy.targets.find import find_toml
from neurodeploy.targets.toml import load_toml, malformed, record

_SHIPPED = Path(__file__).parent / "networks"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network without weights, and how often its neurons fire."""

    name: str
    title: str
    family: str
    steps: int
    sizes: Mapping[str, Any]
    rates: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def counts(
        self,
        target: Target,
        *,
        rates: Mapping[str, float] | None = None,
        steps: int | None = None,
        **sizes: Any,
    ) -> Counts:
        """Return what one inference is expected to do on a target.

        rates and steps: in place of the file's; sizes: in place of those of that name. Raises
        InputError E105 for sizes or rates that do not fit.
        """
        family, length = FAMILIES[self.family], steps or self.steps
        known = inspect.signature(family).parameters
        given = {**self.sizes, **sizes}
        for key in given:
            if key not in known or key == "target":
                names = ", ".join(name for name in known if name != "target")
                what = f"{self.family} has no size {key!r}"
                raise InputError("E105", what, where=self.name, fix=f"one of {names}")
        for key, value in given.items():
            kind = str(known[key].annotation)
            if not any(_is(value, one) for one in kind.split(" | ")):
                fix = f"give it as {kind}; numbers are whole, from 1 on"
                raise InputError("E105", f"{key} is {value!r}", where=self.name, fix=fix)
        if "steps" in known:
            given["steps"] = length
        missing = [
            key
            for key, parameter in known.items()
            if parameter.default is parameter.empty and key not in given and key != "target"
        ]
        if missing:
            what = f"{self.family} needs the sizes {', '.join(missing)}"
            raise InputError("E105", what, where=self.name, fix="give them under [sizes]")
        program = family(target, **given)
        return expected(program, self.rates if rates is None else rates, steps=length)


def _is(value: Any, kind: str) -> bool:
    """Whether a size is of the kind, not a union, that an argument is annotated with."""
    if kind.startswith("Sequence["):
        inner = kind.removeprefix("Sequence[").removesuffix("]")
        return isinstance(value, list | tuple) and all(_is(one, inner) for one in value)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    kinds = {"bool": bool, "str": str, "None": type(None), "Mapping[str, Any]": Mapping}
    return isinstance(value, kinds[kind])


def architecture_names() -> list[str]:
    """Return the names of the architectures that ship."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def architecture(name: str) -> Architecture:
    """Return one that ships, by name, or the one in the file that `name` is the path of.

    Raises InputError E201 for an unknown name, E101 and E202 for a bad file.
    """
    path = find_toml(name, _SHIPPED, architecture_names(), "architecture")
    found = record(Architecture, load_toml(path), path, "")
    if found.family not in FAMILIES:
        fix = f"one of {', '.join(FAMILIES)}"
        raise malformed(path, f"family {found.family!r} is unknown", fix)
    if found.steps < 1:
        raise malformed(path, f"steps is {found.steps}", "give at least 1")
    return found
