r"""Neurons of a NIR file as a profile reads them, and the operations they become.

Every tool's neurons are one of these, exactly:

    v[t] = beta v[t-1] + gain x[t] + bias                    leaky integrators, spiking or not
    i[t] = alpha i[t-1] + gain x[t], then v from i           with a synapse

A membrane that starts at `start`, not at 0, is read as v - start: its threshold and reset move too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.frontends.nir_stated import Stated, option
from neurodeploy.graph.ir import Affine, Array, Neurons, Op, vector

EXACT = 1e-5  #: tools compute what they write in float32
_SINGLE = 1e-12


@dataclass(frozen=True, eq=False)
class Cell:
    """A node with neurons: its numbers [width], and how they are wired.

    narrow: the fields that the file has in float32; looped: whether they hear themselves; step_s:
    the length of a step that the file gives away, in seconds.
    """

    name: str
    type: str
    fields: Mapping[str, Array]
    narrow: frozenset[str]
    looped: bool
    stated: Stated
    defaults: Mapping[str, Any]
    step_s: float | None = None

    @property
    def width(self) -> int:
        """How many neurons there are."""
        return len(next(iter(self.fields.values())))

    def __getitem__(self, key: str) -> Array:
        """Return a field; resets are to 0, and inputs count as they are, where nothing is said."""
        if key in self.fields:
            return self.fields[key]
        if key in _ABSENT:
            return np.full(self.width, _ABSENT[key])
        raise self.refuse("E101", f"{self.type} has no numbers {key!r}", "write the file again")

    def ask(self, key: str) -> Any:
        """Return what was stated, or must be."""
        return self.stated.ask(key, self.name, self.defaults[key])

    def told(self, key: str, otherwise: Any) -> Any:
        """Return what was stated in place of what the tool always does."""
        found = self.stated.told(key, self.name)
        return otherwise if found is None else found

    def dt(self) -> float:
        """Return the length of a step in seconds, from the file or as it was stated."""
        if self.step_s is None:
            return float(self.ask("dt"))
        told = float(self.told("dt", self.step_s))
        if not np.isclose(told, self.step_s, rtol=EXACT, atol=0):
            what = f"{option('dt')} is {told:g}, and the file's numbers say {self.step_s:g}"
            raise self.refuse("E108", what, f"leave {option('dt')} out")
        return told

    def single(self, value: Array, key: str) -> Array:
        """Return what a tool had in float32, where `value`, got from field `key`, allows it."""
        near = value.astype(np.float32).astype(np.float64)
        if key in self.narrow:
            return near
        return np.where(np.abs(near - value) <= _SINGLE, near, value)

    def expect(self, key: str, value: Any, why: str) -> None:
        """Refuse a field that is not what the tool writes."""
        if not np.allclose(self[key], value, rtol=EXACT, atol=1e-12):
            what = f"{key} of {self.type} is {_shown(self[key])}; {why}"
            raise self.refuse("E108", what, "state another --source, or correct the file")

    def refuse(self, code: str, what: str, fix: str) -> InputError:
        """Return an error about this node."""
        return InputError(code, what, where=f'node "{self.name}"', fix=fix)


_ABSENT = {"v_reset": 0.0, "w_in": 1.0}  # files before nir 1.0.7 have no v_reset
Recover = Callable[[Cell], "list[Op]"]


def _shown(value: Array) -> str:
    low, high = value.min(), value.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def leaky(cell: Cell, beta: Array, gain: Any, bias: Any = 0.0, start: Any = 0.0) -> list[Op]:
    """Return integrators v = beta v + gain x + bias, whose output is v."""
    options = {"leak": not np.all(beta == 1)}
    bias = bias - (1 - beta) * start
    found: list[Op] = [_neurons(cell, "li", options, {"beta": beta}, gain, bias)]
    if np.any(start):
        found.append(Affine(np.ones(cell.width), vector(start, cell.width)))
    return found


def spiking(
    cell: Cell,
    beta: Array,
    gain: Any,
    *,
    reset: str,
    compare: str,
    bias: Any = 0.0,
    start: Any = 0.0,
) -> list[Op]:
    """Return neurons v = beta v + gain x + bias that fire at the cell's threshold."""
    options, params = _firing(cell, reset, compare, start)
    params |= {"beta": beta, "gain": np.ones(cell.width)}
    return [_neurons(cell, "lif", options, params, gain, bias - (1 - beta) * start)]


def current_based(
    cell: Cell,
    alpha: Array,
    beta: Array,
    gain: Any,
    *,
    reset: str,
    compare: str,
    bias: Any = 0.0,
    start: Any = 0.0,
) -> list[Op]:
    """Return neurons i = alpha i + gain x, v = beta v + i + bias.

    A bias on the membrane, which no synapse delays, makes two nodes of them.
    """
    bias = np.broadcast_to(bias - (1 - beta) * start, (cell.width,))
    if np.any(bias):
        synapse = leaky(cell, alpha, gain)
        return [
            *synapse,
            *spiking(
                cell,
                beta,
                1.0,
                reset=reset,
                compare=compare,
                bias=bias + (1 - beta) * start,
                start=start,
            ),
        ]
    options, params = _firing(cell, reset, compare, start)
    params |= {"alpha": alpha, "beta": beta, "gain": np.ones(cell.width)}
    return [_neurons(cell, "cubalif", options, params, gain, 0.0)]


def counting(
    cell: Cell, beta: Array, gain: Any, *, spikes: str, reset: str, v_min: float | str
) -> list[Op]:
    """Return neurons that send a spike for each threshold, never below `v_min`."""
    floor = v_min != "none"
    options = {"spikes": spikes, "reset": reset, "floor": floor}
    params = {
        "beta": beta,
        "v_th": cell["v_threshold"],
        "gain": np.ones(cell.width),
        "v_reset": np.zeros(cell.width),
        "v_min": vector(v_min if floor else 0.0, cell.width),
    }
    return [_neurons(cell, "multispike", options, params, gain, 0.0)]


def _firing(
    cell: Cell, reset: str, compare: str, start: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    hard = reset in ("hard", "hard_next")
    v_reset = cell["v_reset"] - start if hard else np.zeros(cell.width)
    params = {"v_th": cell["v_threshold"] - start, "v_reset": v_reset}
    return {"reset": reset, "compare": compare}, params


def _neurons(
    cell: Cell,
    spec: str,
    options: Mapping[str, Any],
    params: Mapping[str, Any],
    gain: Any,
    bias: Any,
) -> Neurons:
    width = cell.width
    values = {key: vector(value, width) for key, value in params.items()}
    return Neurons(spec, options, values, vector(gain, width), vector(bias, width))
