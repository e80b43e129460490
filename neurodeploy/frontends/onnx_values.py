"""What the values of an ONNX network are while it is read, and the nodes that compute them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.frontends.onnx_axes import Axes, Axis, letters, shown, sizes
from neurodeploy.graph.ir import Op


class Refused(Exception):  # noqa: N818 (it is caught, and becomes one of several errors)
    """A node cannot be read: what is wrong, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


class Skipped(Exception):  # noqa: N818
    """A node reads what was refused already."""


@dataclass(frozen=True, eq=False)
class Grid:
    """What the numbers of an array are whole multiples of each row's step of; and in how many bits.

    whole: int64, of the array's shape; bits: that hold what the file's type or limits allow.
    """

    whole: Any
    bits: int


@dataclass(frozen=True, eq=False)
class Const:
    """An array that is known; ends: of whole numbers, as a file limits them; grid: if on one."""

    array: Any
    ends: tuple[int, int] | None = None
    grid: Grid | None = None


@dataclass(frozen=True, eq=False)
class Levels:
    """The whole numbers that a quantizer makes of a sequence, before they are worth something."""

    source: Seq
    scale: float
    zero: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Filled:
    """One number, in a shape that depends on the input: what an LSTM starts from."""

    value: float


@dataclass(frozen=True)
class Dims:
    """A shape, some of whose numbers are not known; `whole` where it is one number."""

    axes: Axes
    whole: bool = False


@dataclass(frozen=True)
class Seq:
    """What node `name` of the graph computes, and its axes in the file."""

    name: str
    axes: Axes

    @property
    def channels(self) -> int:
        """The number of values, where they stand on the last axis alone."""
        wide = [size for size in sizes(self.axes) if size != 1]
        last = self.axes[-1]
        if not isinstance(last, int) or wide not in ([], [last]):
            fix = "flatten to [..., channels] in front of it"
            raise Refused(f"it reads the last axis of {shown(self.axes)}", fix)
        return last


@dataclass(frozen=True)
class Part:
    """One of `count` equal parts of the channels of a sequence."""

    whole: Seq
    index: int
    count: int


@dataclass(frozen=True)
class Sigmoid:
    """The sigmoid of a value, which a product makes a gate."""

    source: Seq | Part


@dataclass(frozen=True, eq=False)
class Call:
    """A node of the file: its operator, the values it reads (None where left out), attributes."""

    type: str
    name: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any]
    outputs: int
    used: int  #: of the outputs, how many up to the last that something reads
    add: Callable[[str, Op, Sequence[str]], str]  #: (suffix, op, nodes) to the new node's name
    fixed: Mapping[str, int]

    def seq(self, index: int = 0) -> Seq:
        """Return the sequence that is input `index`."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, Seq):
            kind = "a constant" if isinstance(value, Const) else type(value).__name__
            raise Refused(f"its input {index} is {kind}", "write it as layers of the network")
        return value

    def const(self, index: int, default: Any = None) -> Any:
        """Return the array that is input `index`, or `default` where it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None and default is not None:
            return default
        if not isinstance(value, Const):
            fix = "fold constants before exporting"
            raise Refused(f"its input {index} is not a constant of the file", fix)
        return value.array

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def emit(self, op: Op, source: Seq | Sequence[Seq], axes: Axes, suffix: str = "") -> Seq:
        """Append an operation to the graph; return what it computes."""
        sources = [source] if isinstance(source, Seq) else list(source)
        return Seq(self.add(suffix, op, [each.name for each in sources]), axes)

    def expect(self, **allowed: Any) -> None:
        """Refuse attributes that have another value than one of these."""
        for key, values in allowed.items():
            found = self.attributes.get(key, values[0])
            if found not in values:
                raise Refused(f"{key} is {found!r}", f"export it with {key}={values[0]!r}")


def heads(axes: Axes) -> Axes:
    """Return all but the last axis."""
    return axes[:-1]


def spread(value: Any, seq: Seq) -> Any:
    """Return a constant as numbers [width], one for each value of a step of `seq`.

    Raises Refused where it differs between steps or samples.
    """
    array = np.asarray(value, np.float64)
    places = [1 if isinstance(axis, str) else axis for axis in seq.axes]
    try:
        wide = np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(places)))
    except ValueError:
        wide = array
    if wide.shape != tuple(places):
        what = f"a constant of shape {list(array.shape)} beside values {shown(seq.axes)}"
        raise Refused(what, "use one number, or one for each channel")
    return wide.reshape(-1)


def axis_of(seq: Seq, index: int) -> Axis:
    """Return one axis, counted from either end."""
    if not -len(seq.axes) <= index < len(seq.axes):
        raise Refused(f"axis {index} of {shown(seq.axes)}", "export the model again")
    return seq.axes[index]


def over_time(seq: Seq, axis: int) -> Axes:
    """Return the axes without that of time, which `axis` must be."""
    if axis_of(seq, axis) != "T" or letters(seq.axes) not in ("TB", "BT"):
        fix = "reduce over time only; state the axes with --layout if they are others"
        raise Refused(f"it reduces over axis {axis} of {shown(seq.axes)}", fix)
    axis %= len(seq.axes)
    return (*seq.axes[:axis], *seq.axes[axis + 1 :])
