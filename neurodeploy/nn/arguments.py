"""What arguments of modules must be, checked in one way: InputError E105 names argument and fix.

`owner` is the module that is being built, whose class the error names. What torch makes of a wrong
size, number or flag is a TypeError far from here, or a module that means something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

from neurodeploy.errors import InputError

ONE_NUMBER = "give one number; what channels have of their own is trained, see docs/models.md"


def invalid(owner: object, what: str, fix: str) -> InputError:
    """Return the error of an argument of `owner`."""
    return InputError("E105", what, where=f"neurodeploy.nn.{type(owner).__name__}", fix=fix)


def whole(value: Any) -> bool:
    """Whether a value is a whole number of Python or numpy; True is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_sizes(owner: object, **sizes: Any) -> None:
    """Raise InputError E105 unless every size is a whole number of at least 1."""
    for name, value in sizes.items():
        if not whole(value) or value < 1:
            fix = "give a whole number of at least 1"
            raise invalid(owner, f"{name} is {value!r}", fix)


def require_flags(owner: object, **flags: Any) -> None:
    """Raise InputError E105 unless every flag is True or False."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise invalid(owner, f"{name} is {value!r}", "give True or False")


def require_choice(owner: object, name: str, value: Any, known: Iterable[str | None]) -> None:
    """Raise InputError E105 unless the value is one of those that are known."""
    names = list(known)
    if not isinstance(value, str | None) or value not in names:
        raise invalid(owner, f"no {name} {value!r}", f"one of {', '.join(map(str, names))}")


def number(owner: object, name: str, value: Any) -> float:
    """Return one finite number; raise InputError E105 for anything else."""
    found = _real(value)
    if found is None:
        raise invalid(owner, f"{name} is {value!r}", ONE_NUMBER)
    if not math.isfinite(found):
        raise invalid(owner, f"{name} must be finite, and is {found}", ONE_NUMBER)
    return found


def within(owner: object, name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Return one finite number from `low` to `high`; raise InputError E105 for anything else."""
    found = number(owner, name, value)
    if not low <= found <= high:
        fix = f"give at least {low}" if high == math.inf else f"give one from {low} to {high}"
        raise invalid(owner, f"{name} is {value!r}", fix)
    return found


def positive(owner: object, name: str, value: Any) -> float:
    """Return one finite number above 0; raise InputError E105 for anything else."""
    found = number(owner, name, value)
    if not found > 0:
        raise invalid(owner, f"{name} is {value!r}", "it must be finite and > 0")
    return found


def two(owner: object, name: str, values: Any, fix: str) -> tuple[float, float]:
    """Return two numbers; raise InputError E105 with `fix` for anything else."""
    found = [_real(value) for value in _each(values)]
    if len(found) != 2 or found[0] is None or found[1] is None:
        raise invalid(owner, f"{name} is {values!r}", fix)
    return found[0], found[1]


def wholes(owner: object, name: str, values: Any, fix: str) -> list[int]:
    """Return whole numbers, of a sequence or one; raise InputError E105 for anything else."""
    found = [values] if whole(values) else _each(values)
    if not found or not all(map(whole, found)):
        raise invalid(owner, f"{name} is {values!r}", fix)
    return [int(value) for value in found]


def _real(value: Any) -> float | None:
    """Return one number as a float; None for anything else: a flag and a text are no numbers."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch's: of many elements
        return None


def _each(values: Any) -> list[Any]:
    try:
        return [] if isinstance(values, str) else list(values)
    except TypeError:  # one value, or an array without axes
        return []
