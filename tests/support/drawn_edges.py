"""Random edges, whose weights use the room that a current has."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from neurodeploy.program.synapses import Conv, Dense, Tap
from neurodeploy.windows import Windows

CURRENT = 2**31 - 1  #: the greatest that the simulator adds in 32 bits


def edgy(rng, low, high, *shape):
    """Integers from low to high: the ends, what is around zero, and every order of magnitude."""
    ends = np.clip([low, high, 0, 1, -1], low, high)
    size = np.exp2(rng.uniform(0, np.log2(max(high - low, 1) + 1), shape))
    spread = rng.integers(low, high, shape, endpoint=True)
    around = np.clip(rng.choice([-1, 1], shape) * size, low, high).astype(np.int64)
    return np.choose(rng.integers(0, 3, shape), [rng.choice(ends, shape), spread, around])


@dataclass(frozen=True)
class Form:
    """A convolution without its weights."""

    maps: int
    out: int
    groups: int
    windows: Windows

    @property
    def width(self):
        return self.out * self.windows.positions


def convolution(rng, senders):
    """A convolution of any setting over so many values, on one axis, two or three."""
    shape = _factors(rng, senders, 1 + int(rng.integers(1, 4)))
    axes = len(shape) - 1
    while True:
        found = Windows(
            size=shape[1:],
            kernel=tuple(rng.integers(1, 4, axes).tolist()),
            stride=tuple(rng.integers(1, 4, axes).tolist()),
            padding=tuple(rng.integers(0, 3, 2 * axes).tolist()),
            dilation=tuple(rng.integers(1, 4, axes).tolist()),
        )
        if not list(found.problems()) and found.positions <= 30:
            break
    groups = int(rng.choice([n for n in (1, 2, 3) if shape[0] % n == 0]))
    return Form(shape[0], groups * int(rng.integers(1, 3)), groups, found)


def _factors(rng, number, count):
    """Numbers that multiply to one."""
    found = []
    for _ in range(count - 1):
        found.append(int(rng.choice([n for n in range(1, number + 1) if number % n == 0])))
        number //= found[-1]
    return (number, *found)


def edges(rng, sends, heard, width, *, own, form=None):
    """Return edges from those that are heard, and the most that they bring together.

    sends: how many, and at most what. form: of the first, if it is a convolution.
    """
    room, made, reach = CURRENT // len(heard), [], 0
    for number, source in enumerate(heard):
        here = form if number == 0 else None
        edge, most = _edge(rng, source, *sends[source], width, room, own=source == own, form=here)
        made.append(edge)
        reach += most
    return tuple(made), reach


def _edge(rng, source, senders, most, width, room, *, own, form):
    """Return an edge, and the most that it can bring: no more than there is room for."""
    shape = (width, senders)
    if form is not None:
        shape = (form.out, form.maps // form.groups, *form.windows.kernel)
    fan = prod(shape[1:])
    room //= max(most, 1)  # what the weights of a row may add up to, shifted
    each = max(room // fan, 1)
    exponent = int(rng.integers(0, min(4, each.bit_length())))
    how = {"source": source, "exponent": exponent, "delay": int(rng.integers(own, 3))}
    if form is None and senders == width and not own and rng.random() < 0.3:
        sign = rng.integers(-1, 2, width) * (room > 0)
        return Tap(sign=sign, **how), (most << exponent) * (room > 0)
    limit = min(each >> exponent, int(rng.choice([1, 127, 32767, 2**31 - 1])))
    rows = edgy(rng, -limit, limit, shape[0], fan)
    if limit * fan > room >> exponent:  # one for each row, or none
        rows *= np.arange(fan) == rng.integers(0, fan, (len(rows), 1))
        rows *= room > 0
    reach = int(np.abs(rows).sum(axis=1).max(initial=0)) * most << exponent
    weight = rows.reshape(shape)
    if form is None:
        return Dense(weight=weight, weight_bits=16, **how), reach
    at = form.windows
    how |= {"stride": at.stride, "padding": at.padding, "dilation": at.dilation}
    how |= {"shape": (form.maps, *at.size), "groups": form.groups}
    return Conv(weight=weight, weight_bits=16, **how), reach
