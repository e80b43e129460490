"""Find target files and price tables, by name or by path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neurodeploy.errors import InputError
from neurodeploy.targets.prices import Prices, read_prices
from neurodeploy.targets.schema import Target, read_target
from neurodeploy.targets.toml import meant


def _shipped() -> Path:
    """Return the folder of shipped files: inside the installed package, or the checkout's."""
    inside = Path(__file__).parent / "data"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "targets"


def target_names() -> list[str]:
    """Return the names of the shipped targets."""
    return sorted(path.stem for path in _shipped().glob("*.toml"))


def price_names() -> list[str]:
    """Return the names of the shipped price tables."""
    return sorted(path.stem for path in (_shipped() / "prices").glob("*.toml"))


def target(name: str) -> Target:
    """Return a shipped target by name, or the one in the file that `name` is the path of.

    Raises InputError E201 for an unknown name, of a target or of the price table that a target
    names, E101 and E202 for a bad file, of either.
    """
    path = find_toml(name, _shipped(), target_names(), "target")
    found = read_target(path)
    if found.prices is not None:
        home = _shipped() / "prices"
        read_prices(find_toml(found.prices, home, price_names(), "price table", str(path)))
    return found


def prices(name: str) -> Prices:
    """Return a price table, by name or path; raises like `target`."""
    return read_prices(find_toml(name, _shipped() / "prices", price_names(), "price table"))


def find_toml(name: str, home: Path, known: Sequence[str], what: str, where: str = "") -> Path:
    """Return the file that `name` is the path of, or else `home`/name.toml.

    Raises InputError E201 if that is none of the `known` names of such a `what`; `where` is the
    file that names it, if one does.
    """
    if name.endswith(".toml"):
        return Path(name)
    if name in known:
        return home / f"{name}.toml"
    raise InputError(
        "E201",
        f"unknown {what} {name!r}",
        where=where,
        fix=f"{meant(name, known)}known: {', '.join(known)}; or give the path of a .toml file",
    )
