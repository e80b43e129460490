"""What onnxruntime's operators on int64 get wrong, by operators that it gets right.

Up to 1.31 its Min, Max, Clip, Sign and ReduceMax compare two numbers whose upper 32 bits are equal
by their lower 32 bits as *signed* numbers: Min(2**31 + 7, 5) is 2**31 + 7. Comparisons, Where, Abs
and arithmetic are right for all numbers, ReduceSum for sums below 2**53.
"""

from __future__ import annotations

from collections.abc import Callable


def clamped(put: Callable[..., str], value: str, low: str, high: str, out: str = "") -> str:
    """Append min(max(value, low), high) of int64 numbers, low <= high; return its name."""
    below = put("Where", put("Less", value, low), low, value)
    return put("Where", put("Greater", below, high), high, below, out=out)


def larger(put: Callable[..., str], a: str, b: str) -> str:
    """Append max(a, b) of int64 numbers."""
    return put("Where", put("Less", a, b), b, a)


def smaller(put: Callable[..., str], a: str, b: str) -> str:
    """Append min(a, b) of int64 numbers."""
    return put("Where", put("Less", a, b), a, b)
