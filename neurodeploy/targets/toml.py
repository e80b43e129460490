"""Read TOML files into checked records: unknown and missing keys, types, and sources of numbers."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from difflib import get_close_matches
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


def meant(name: str, known: Iterable[str]) -> str:
    """Return "did you mean ...? " of the known name that is nearest, or nothing if none is near."""
    names = list(known)
    near = [one for one in names if one.startswith(name)] or get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def sourced(
    keys: Sequence[str], sources: Mapping[str, Any], path: Path, also: Sequence[str] = ()
) -> None:
    """Raise InputError E202 unless every key has a source, and every source one of them.

    also: keys that may have a source, and need none.
    """
    for key in keys:
        source = sources.get(key)
        if not isinstance(source, str) or not source.strip():
            raise malformed(path, f"{key} has no source", f'add [sources] "{key}" = "paper, table"')
    for key in sorted({*sources} - {*keys, *also}):
        fix = f"{meant(key, keys)}leave out sources of what the file does not have"
        raise malformed(path, f"the source {key!r} is of nothing in the file", fix)


def record(cls: type[T], raw: Mapping[str, Any], path: Path, table: str) -> T:
    """Return `raw`, the table of that name, as a dataclass; raises InputError E202 naming a key."""
    if not isinstance(raw, Mapping):
        raise malformed(path, f"{table} is {raw!r}", f"make it a table, [{table}]")
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    required = {
        name
        for name, item in known.items()
        if item.default is MISSING and item.default_factory is MISSING
    }
    for wrong, what in ((set(raw) - set(known), "unknown"), (required - set(raw), "missing")):
        if wrong:
            key = ".".join(filter(None, (table, min(wrong))))
            hint = meant(min(wrong), known) if what == "unknown" else ""
            fix = f"{hint}known keys: {', '.join(sorted(known))}"
            raise malformed(path, f"{what} key {key!r}", fix)
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
