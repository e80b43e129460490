"""Read TOML files into checked records: unknown and missing keys, types, and sources of numbers."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from neurodeploy.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

T = TypeVar("T")


def load_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a file; raises InputError E101 (unreadable) or E202 (not TOML)."""
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
        raise malformed(path, f"not valid TOML: {error}", "see docs/targets.md") from error


def malformed(path: Path, what: str, fix: str) -> InputError:
    """Return the error of a file whose content does not hold."""
    return InputError("E202", what, where=str(path), fix=fix)


def sourced(keys: list[str], sources: Mapping[str, str], path: Path) -> None:
    """Raise InputError E202 unless every key has a source."""
    for key in keys:
        if not sources.get(key):
            raise malformed(path, f"{key} has no source", f'add [sources] "{key}" = "paper, table"')


def record(cls: type[T], raw: Mapping[str, Any], path: Path, table: str) -> T:
    """Return `raw`, the table of that name, as a dataclass; raises InputError E202 naming a key."""
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    required = {
        name
        for name, item in known.items()
        if item.default is MISSING and item.default_factory is MISSING
    }
    for wrong, what in ((set(raw) - set(known), "unknown"), (required - set(raw), "missing")):
        if wrong:
            key = ".".join(filter(None, (table, min(wrong))))
            raise malformed(path, f"{what} key {key!r}", f"known keys: {', '.join(sorted(known))}")
    for name, kind in get_type_hints(cls).items():
        if name in raw and not _fits(raw[name], kind):
            key = ".".join(filter(None, (table, name)))
            raise malformed(path, f"{key} is {raw[name]!r}", "give a value of the documented type")
    return cls(**raw)


def _fits(value: Any, kind: Any) -> bool:
    """Say whether `value` is of the annotated type, its elements aside; True is no number."""
    options = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if isinstance(value, bool):
        return bool in options
    return isinstance(value, tuple(get_origin(option) or option for option in options))
