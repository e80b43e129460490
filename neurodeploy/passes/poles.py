r"""What rounding does to the memory of neurons, judged by the poles of the undriven update.

A pole p decays with the time constant -1 / log|p| and turns by arg p in a step. Rounded to q,

    time constant   |log|p| / log|q| - 1|       where p decays: 0.1 <= |p| < 1
    frequency       |arg q / arg p - 1|         where it turns, by 0.1 rad or more while it lasts

(A pole below 0.1 is forgotten within two steps; cos 0.1 is 1 but for half a percent.) A pole that
decayed and no longer does is `undamped`, and so is one that grows; a rotation that stops is `dead`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.graph.ir import Array, Population

_UNDAMPED = 1 - 1e-12  # a pole on the unit circle may be computed a little inside
_FORGOTTEN = 0.1
_TURNS = 0.1  # radians in a time constant


@dataclass(frozen=True, eq=False)
class Change:
    """Errors relative to what was, [poles, width], NaN where there is nothing to keep.

    undamped, dead: [1, width], what is not to be deployed.
    """

    time_constant: Array
    frequency: Array
    undamped: Array
    dead: Array

    @property
    def worst(self) -> float:
        """The largest error."""
        both = np.concatenate([self.time_constant, self.frequency])
        return float(np.nanmax(both, initial=0.0))

    def notes(self) -> dict[str, Any]:
        """Return largest and median errors of the channels, and those of each, as plain data."""
        found: dict[str, Any] = {}
        for name in ("time_constant", "frequency"):
            error = getattr(self, name)
            if np.all(np.isnan(error)):
                continue
            each = np.nanmax(np.where(np.isnan(error), -1.0, error), axis=0)
            seen = each[each >= 0]
            found[f"{name}_error_max"] = float(seen.max())
            found[f"{name}_error_median"] = float(np.median(seen))
            found[f"{name}_errors"] = [float(f"{e:.3g}") if e >= 0 else None for e in each]
        return found


def change(op: Population, rounded: Mapping[str, Any]) -> Change | None:
    """Compare the poles of `op` with those of other coefficients; None without memory."""
    p, q = _poles(op, op.coefs), _poles(op, rounded)
    if p is None or q is None:
        return None
    before, after = np.abs(p), np.abs(q)
    lasts, decays = before >= _FORGOTTEN, before < _UNDAMPED
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(lasts & decays, -1 / np.log(before), np.inf)
        tau = np.where(lasts & decays, np.abs(-1 / np.log(after) / time - 1), np.nan)
    angle, turned = np.abs(np.angle(p)), np.abs(np.angle(q))
    turns = lasts & (angle > 0) & (angle >= _TURNS / time)
    frequency = np.where(turns, np.abs(turned / np.where(turns, angle, 1.0) - 1), np.nan)
    stuck = (after >= _UNDAMPED) & decays
    grows = (after > 2 - _UNDAMPED) & (before <= 2 - _UNDAMPED)
    return Change(tau, frequency, _any(stuck | grows), _any(turns & (turned == 0)))


def _any(where: Any) -> Any:
    return where.any(axis=0, keepdims=True)


def _poles(op: Population, coefs: Mapping[str, Any]) -> Any:
    """Return the poles [k, width] of each channel, the slowest first; None without memory.

    Modes keep their order: rounding could change it.
    """
    poles = op.model.poles(op.model.coefs(**coefs))
    if poles is None:
        return None
    poles = np.reshape(poles, (-1, np.shape(poles)[-1]))
    if op.model.modal:
        return poles
    order = np.argsort(-np.round(np.abs(poles), 12), axis=0, kind="stable")
    return np.take_along_axis(poles, order, axis=0)
