"""What a layer of another framework is in a graph, and what reading one needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from neurodeploy.graph.ir import Neurons, Op

#: What stands in front of the channels where a layer is called: one step of all samples, or a
#: sequence in one of three orders.
STEP, TB, BT, FLAT = "[B, ...]", "[T, B, ...]", "[B, T, ...]", "[B*T, ...]"
HEADS = {STEP: ("B",), TB: ("T", "B"), BT: ("B", "T"), FLAT: ("BT",)}


class Wrong(NamedTuple):
    """Why a layer cannot be read, and what to do."""

    what: str
    fix: str


class RefusedError(Exception):
    """A layer cannot be read, for all of the reasons in `args`."""

    def __init__(self, *reasons: Wrong) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


@dataclass(frozen=True)
class Layer:
    """Operations, one after another, each with what its name adds to the layer's.

    returns: how many values a call returns, the output first and then states; 0: only the output.
    membrane: which of them is a membrane that never resets, and the operation that it is.
    keeps: the module keeps its state between calls.
    """

    ops: tuple[tuple[str, Op], ...]
    returns: int = 0
    membrane: tuple[int, Op] | None = None
    keeps: bool = True


class Kind(NamedTuple):
    """How a class of layers is read: read(module, shape of a step) raises RefusedError."""

    read: Callable[[Any, tuple[int, ...]], Layer]
    axes: Callable[[Any], str]


def always(axes: str) -> Callable[[Any], str]:
    """Return the axes of a class whose layers are all called in one way."""
    return lambda module: axes


def require(*checks: tuple[bool, str, str]) -> None:
    """Raise RefusedError for each check (holds, what is wrong if not, fix) that does not hold."""
    reasons = [Wrong(what, fix) for holds, what, fix in checks if not holds]
    if reasons:
        raise RefusedError(*reasons)


def spread(value: Any, shape: tuple[int, ...]) -> Any:
    """Return a number or tensor as float64 [width], as it broadcasts over a step of that shape."""
    array = np.asarray(torch.as_tensor(value).detach().cpu().numpy(), np.float64)
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    try:
        return np.array(np.broadcast_to(array, shape)).reshape(-1)
    except ValueError:
        what = f"a parameter of shape {array.shape} for steps of shape {shape}"
        raise RefusedError(Wrong(what, "give one number, or one per channel")) from None


def compare_of(fires: Callable[[Any], Any]) -> str:
    """Return the comparison that a spike function of (membrane - threshold) makes, by trying it.

    Raises RefusedError if it is no step from 0 to 1.
    """
    with torch.no_grad():
        margin = torch.tensor([-2.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 2.0])
        found = [float(value) for value in fires(margin)]
    for zero, compare in ((0.0, ">"), (1.0, ">=")):
        if found == [0.0, 0.0, 0.0, zero, 1.0, 1.0, 1.0]:
            return compare
    what = f"its spike function is no step: of -2, -0.001, 0, 0.001, 2 it makes {found[::2]}"
    raise RefusedError(Wrong(what, "use a surrogate whose forward is a step from 0 to 1"))


def neurons(
    spec: str,
    options: dict[str, Any],
    params: dict[str, Any],
    shape: tuple[int, ...],
    **more: Any,
) -> Neurons:
    """Return neurons over steps of a shape; params are numbers or what broadcasts with a step."""
    width = int(np.prod(shape))
    values = {name: spread(value, shape) for name, value in params.items()}
    given = {"gain": np.ones(width), "bias": np.zeros(width), **more}
    return Neurons(spec=spec, options=options, params=values, **given)


def integrator(beta: Any, gain: Any, shape: tuple[int, ...]) -> Neurons:
    """Return v = beta v + gain x, whose output is v."""
    leak = bool(np.any(spread(beta, shape) != 1))
    return neurons("li", {"leak": leak}, {"beta": beta}, shape, gain=spread(gain, shape))


def matrix(value: Any) -> Any:
    """Return a weight as float64."""
    return np.asarray(value.detach().cpu().numpy(), np.float64)
