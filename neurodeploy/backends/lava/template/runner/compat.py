"""Lava 0.10.0 on Python 3.11 and later, for which it was not released.

One thing stops its import there: fields of `lava.magma.compiler.var_model` default to instances of
a dataclass `ByteEncoder`, which newer versions of `dataclasses` refuse for having no hash. It gets
one while that module is imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from typing import Any

PATCHED = sys.version_info >= (3, 11)


def prepare() -> None:
    """Make Lava importable; to be called before anything of Lava is imported."""
    if not PATCHED:
        return
    hooks: Any = dataclasses
    original = hooks._get_field

    def get_field(cls: Any, name: str, *rest: Any) -> Any:
        default: Any = type(getattr(cls, name, None))
        if default.__name__ == "ByteEncoder" and default.__hash__ is None:
            default.__hash__ = object.__hash__
        return original(cls, name, *rest)

    hooks._get_field = get_field
    try:
        importlib.import_module("lava.magma.compiler.var_model")
    finally:
        hooks._get_field = original
