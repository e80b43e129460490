"""How replay is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function that makes no arrays.

    Of arrays that come in a tuple numba counts references whenever it reads one, each time with a
    lock. `_nrt=False` leaves that out.
    """
    options: dict[str, Any] = {"_nrt": False}
    compiled: F = njit(cache=True, nogil=True, **options)(function)
    return compiled


@intrinsic
def lowest(_typing: Any, _word: Any) -> Any:
    """Return the number of the lowest bit that is set, of a word that is not 0."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), code
