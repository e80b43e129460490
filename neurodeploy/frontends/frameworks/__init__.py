"""Layers of snnTorch, norse, SpikingJelly and sinabs, read from the live modules.

Classes are known by their path; none of the packages is imported. One file each has a table
`KINDS` of the classes that become neurons, and where the package has such: `OPEN`, containers that
are looked into; `LIFTED`, what runs other layers on every step; `PLAIN`, its own versions of
torch's layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neurodeploy.frontends.frameworks import norse, sinabs, snntorch, spikingjelly
from neurodeploy.frontends.frameworks.layer import HEADS, STEP, Kind, Layer, RefusedError, Wrong

__all__ = [
    "HEADS",
    "STEP",
    "Kind",
    "Layer",
    "RefusedError",
    "Wrong",
    "foreign",
    "kind",
    "lifted",
    "names",
    "plain",
]

_ALL: tuple[Any, ...] = (snntorch, norse, spikingjelly, sinabs)
_PACKAGES = {each.PACKAGE for each in _ALL}
_KINDS: dict[str, Kind] = {path: kind for each in _ALL for path, kind in each.KINDS.items()}


def _tables(name: str) -> dict[str, Any]:
    return {path: value for each in _ALL for path, value in getattr(each, name, {}).items()}


_OPEN: set[str] = {path for each in _ALL for path in getattr(each, "OPEN", ())}
_LIFTED: dict[str, Callable[[Any], list[Any] | None]] = _tables("LIFTED")
_PLAIN: dict[str, Callable[[Any], Any]] = _tables("PLAIN")
_SAME = {"__init__", "__module__", "__doc__", "__qualname__", "__firstlineno__", "extra_repr"}
_SAME |= {
    "__static_attributes__",
    "__annotations__",
    "__parameters__",
    "__orig_bases__",
    "__abstractmethods__",
}
_SAME |= {"_abc_impl"}


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _of(module: Any) -> str:
    """Return the class path of a module, or of the class that it only configures."""
    for cls in type(module).__mro__:
        if _path(cls) in _KINDS or not set(vars(cls)) <= _SAME:
            return _path(cls)
    return _path(type(module))


def kind(module: Any) -> Kind | None:
    """Return how a module that is neurons of another framework is read, or None."""
    return _KINDS.get(_of(module))


def foreign(module: Any) -> bool:
    """Whether a module is another framework's, and not a container to look into."""
    paths = [_path(cls) for cls in type(module).__mro__]
    inherits = any(path in _KINDS for path in paths)
    own = paths[0].split(".", 1)[0] in _PACKAGES and paths[0] not in _OPEN
    return inherits or own


def lifted(module: Any) -> list[Any] | None:
    """Return the layers that a module runs on every step by itself; None if it is none such."""
    found = _LIFTED.get(_path(type(module)))
    return None if found is None else found(module)


def plain(module: Any) -> Any:
    """Return torch's own layer of which a module is a framework's version; else the module."""
    found = _PLAIN.get(_path(type(module)))
    return module if found is None else found(module)


def names() -> str:
    """Return the classes that are known, by package."""
    lines = []
    for each in _ALL:
        known = sorted(path.rsplit(".", 1)[1] for path in each.KINDS)
        lines.append(f"{each.PACKAGE}: {', '.join(known)}")
    return "; ".join(lines)
