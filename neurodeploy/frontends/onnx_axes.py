"""The axes of values in an ONNX network, which a graph keeps flat.

An axis is "T" (steps), "B" (samples), "TB" (both merged) or a number of values. Each step of a
sample is flat in a graph: its values stand in the order of the numbers. So views that leave letters
and numbers in order change nothing, and moving letters alone changes nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

Axis = str | int
Axes = tuple[Axis, ...]


def letters(axes: Axes) -> str:
    """Return the letters, in order."""
    return "".join(axis for axis in axes if isinstance(axis, str))


def sizes(axes: Axes) -> tuple[int, ...]:
    """Return the numbers, in order: the shape of a step."""
    return tuple(axis for axis in axes if isinstance(axis, int))


def shown(axes: Axes) -> str:
    """Return axes as text: [B, 1, 28, 28]."""
    return f"[{', '.join(map(str, axes))}]"


def permuted(axes: Axes, order: Sequence[int]) -> Axes | None:
    """Return the axes in another order, or None if numbers change places."""
    new = tuple(axes[i] for i in order)
    wide = [i for i in order if isinstance(axes[i], int) and axes[i] != 1]
    return new if wide == sorted(wide) else None


def reshaped(axes: Axes, wanted: Sequence[Axis], fixed: Mapping[str, int]) -> Axes | None:
    """Return the axes that a reshape to `wanted` gives, -1 for what remains; None if values mix.

    fixed: the number that a letter stands for, where the file fixes it.
    """
    atoms: list[Axis] = []
    for axis in axes:
        atoms += list(axis) if isinstance(axis, str) else [axis] * (axis != 1)
    at = wanted.index(-1) if -1 in wanted else len(wanted)
    front = [_take(atoms, axis, fixed, 0) for axis in wanted[:at]]
    back = [_take(atoms, axis, fixed, -1) for axis in reversed(wanted[at + 1 :])]
    new = [*front, *reversed(back)]
    if at < len(wanted):
        kinds = {type(atom) for atom in atoms}
        rest = letters(tuple(atoms)) or int(prod(sizes(tuple(atoms))))
        new.insert(at, rest if len(kinds) < 2 else None)
        atoms = []
    if atoms or any(axis is None for axis in new):
        return None
    return tuple(axis for axis in new if axis is not None)


def _take(atoms: list[Axis], want: Axis, fixed: Mapping[str, int], side: int) -> Axis | None:
    """Take an axis from one side of the atoms; None if they do not begin (or end) with it."""
    if isinstance(want, str):
        several = [atoms.pop(side) for _ in want if atoms]
        found = several if side == 0 else several[::-1]
        return want if found == list(want) else None
    if atoms and isinstance(atoms[side], str):
        steps = atoms[side] == "T" and want != 1  # as many as the exporter saw
        return atoms.pop(side) if steps or fixed.get(str(atoms[side])) == want else _one(want)
    size = 1
    while atoms and isinstance(atoms[side], int) and size < want:
        rest = int(atoms.pop(side))
        inner = want // size
        if rest > inner and rest % inner == 0:
            atoms.insert(0 if side == 0 else len(atoms), rest // inner)
            rest = inner
        size *= rest
    return want if size == want else None


def _one(want: int) -> int | None:
    return 1 if want == 1 else None
