"""Weights as they are kept: in float32 where that loses nothing, and read as float64.

The weights of a network trained in float32 are float32 numbers. Everything is computed with them in
float64, some rows at a time; what a graph holds, as long as it lives, takes half of that. Factors
that passes fold into them stand beside them (`matrices.Scaled`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from neurodeploy.matrices import Matrix, Scaled

Cls = TypeVar("Cls", bound=type)


def kept(*names: str) -> Callable[[Cls], Cls]:
    """Return a class decorator: fields `names` keep arrays narrow, and give them as float64.

    Every access makes a new float64 array; `stored` gives what is kept.
    """

    def wrap(cls: Cls) -> Cls:
        for name in names:
            setattr(cls, name, Kept(name))
        return cls

    return wrap


class Kept:
    """A field of an object that keeps its array narrow."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else np.asarray(owner.__dict__[self.name], np.float64)

    def __set__(self, owner: Any, value: Any) -> None:
        owner.__dict__[self.name] = narrow(value)


def stored(owner: Any, name: str) -> Matrix:
    """Return the array of a field as it is kept, not to be written to."""
    found: Matrix = owner.__dict__[name]
    return found


def narrow(value: Any) -> Matrix:
    """Return the same numbers, read-only: in float32 if they are float32 numbers, else in float64.

    A read-only array of the right type is taken as it is, and so is what is `Scaled`; any other is
    copied.
    """
    if isinstance(value, Scaled):
        return value
    array = np.asarray(value)
    if array.dtype != np.float32:
        wide = np.asarray(array, np.float64)
        with np.errstate(over="ignore"):
            array = wide.astype(np.float32)
        if not np.array_equal(array, wide):
            array = wide.copy() if wide.flags.writeable else wide
    elif array.flags.writeable:
        array = array.copy()
    array.flags.writeable = False
    return array
