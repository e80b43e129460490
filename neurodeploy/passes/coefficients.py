"""Round a population's folded constants to the chip's integers.

    dimensionless  rint(k 2^coef_frac); with fewer bits, rint(k 2^f) 2^(coef_frac - f); refused
                   where |k| > 1
    threshold      ceil (for >=) or floor (for >) of k / lsb: comparing integers with the rounded
                   threshold is comparing them with the exact one
    amounts        rint(k / lsb)
    output weights rint(k / scale 2^coef_frac)

`lsb` [width] is what one unit of state is worth, `scale` [width] a graded output per unit of
weighted state, at least the largest output weight. What rounding does to the dynamics is judged by
the poles: one that no longer decays, and did before, is refused by name; the change of each
channel's time constant (of the slowest pole of a few, of every mode), and rotations that stop, are
reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.arith import Fixed
from neurodeploy.errors import FitError, NeurodeployError
from neurodeploy.graph.ir import Array, Population
from neurodeploy.neurons.spec import GE, GT, Kind


@dataclass(frozen=True, eq=False)
class Rounded:
    """Integer coefficients, what is wrong with them, and what rounding did."""

    coefs: dict[str, Any]
    problems: list[NeurodeployError]
    notes: dict[str, Any]


def output_scale(op: Population) -> Array:
    """Return the largest output weight of each channel, [width]; 1 where there is none."""
    kinds = op.model.kinds
    weights = [np.atleast_2d(v) for k, v in op.coefs.items() if kinds[k] is Kind.OUTPUT]
    if not weights:
        return np.ones(len(op.bias))
    top = np.abs(np.concatenate(weights)).max(axis=0)
    return np.where(top > 0, top, 1.0)


def round_coefs(
    op: Population, lsb: Array, scale: Array, fixed: Fixed, bits: int, where: str
) -> Rounded:
    """Round the coefficients of `op`; `lsb` and `scale` are those of the module's docstring.

    Dimensionless ones get `bits`, a sign and the others fractional; what the chip multiplies by
    ends in zeros where these are fewer than its own.
    """
    spec, zeros = op.model, fixed.coef_frac + 1 - bits
    coefs: dict[str, Any] = {}
    problems: list[NeurodeployError] = []
    for name, value in op.coefs.items():
        kind = spec.kinds[name]
        if kind.dimensionless:
            size = value / scale if kind is Kind.OUTPUT else value
            coefs[name] = np.rint(size * 2.0 ** (bits - 1)).astype(np.int64) << zeros
            problems += _outside(op, name, where) if kind is Kind.UNIT else []
            continue
        coefs[name] = _at_state_scale(value / lsb, kind, op.options)
        over = np.abs(coefs[name]) > fixed.state_max
        high = np.flatnonzero(over.any(axis=0) if name in spec.tables else over)
        if high.size:
            problems.append(
                FitError(
                    "E302",
                    f"{spec.name}: {name} needs more than {fixed.state_bits} bits"
                    f" in {high.size} of {len(lsb)} channels (first: channel {high[0]})",
                    where=f'population "{where}"',
                    fix="a target with wider state registers; or retrain with a larger step"
                    " length or input gain in these channels",
                )
            )
    poles = _sorted_poles(op, op.coefs)
    if poles is None:
        return Rounded(coefs, problems, {})
    after = _sorted_poles(op, {k: v / 2.0**fixed.coef_frac for k, v in coefs.items()})
    stuck = np.flatnonzero(np.any((np.abs(after) >= _UNDAMPED) & (np.abs(poles) < _UNDAMPED), 0))
    if stuck.size:
        problems.append(_undamped(spec.name, stuck, len(lsb), bits, where))
    if not spec.modal:
        poles, after = poles[0], after[0]
    return Rounded(coefs, problems, _pole_notes(poles, after))


_UNDAMPED = 1 - 1e-12  # a pole on the unit circle may be computed a little inside


def _sorted_poles(op: Population, coefs: Mapping[str, Any]) -> Any:
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


def _outside(op: Population, name: str, where: str) -> list[NeurodeployError]:
    """Name the channels whose dimensionless coefficient does not fit its format."""
    over = np.abs(op.coefs[name]) > 1
    wide = np.flatnonzero(over.any(axis=0) if name in op.model.tables else over)
    if not wide.size:
        return []
    return [
        FitError(
            "E302",
            f"{op.spec}: {name} is beyond 1 in {wide.size} of {over.shape[-1]} channels"
            f" (first: channel {wide[0]}), and has fractional bits only",
            where=f'population "{where}"',
            fix="train with a smaller learning rate or with weight decay on it",
        )
    ]


def _at_state_scale(value: Array, kind: Kind, options: Mapping[str, Any]) -> Any:
    if kind is Kind.THRESHOLD and options.get("compare") in (GE, GT):
        rounded = np.ceil(value) if options["compare"] == GE else np.floor(value)
    else:
        rounded = np.rint(value)
    limit = 2.0**62  # what is beyond any register stays beyond it, without overflowing int64
    return np.clip(rounded, -limit, limit).astype(np.int64)


def _undamped(spec: str, stuck: Any, width: int, bits: int, where: str) -> FitError:
    return FitError(
        "E302",
        f"{spec}: the decay rounds to 1.0 in {stuck.size} of {width} channels"
        f" (first: channel {stuck[0]}): they would never come to rest",
        where=f'population "{where}"',
        fix=f"a target with more than {bits - 1} fractional coefficient bits (or --coef-bits),"
        " or a longer time step",
    )


def _pole_notes(poles: Any, after: Any) -> dict[str, Any]:
    """Return relative changes of time constants (1 / log |pole|) and of frequencies."""
    moving = (np.abs(poles) > 0) & (np.abs(poles) < 1) & (np.abs(after) > 0) & (np.abs(after) < 1)
    notes: dict[str, Any] = {}
    if np.any(moving):
        before = 1 / np.log(np.abs(poles[moving]))
        error = np.abs(1 / np.log(np.abs(after[moving])) / before - 1)
        notes["time_constant_error_max"] = float(error.max())
        notes["time_constant_error_median"] = float(np.median(error))
    turning = np.angle(poles) != 0
    if np.any(turning):
        error = np.abs(np.angle(after[turning]) / np.angle(poles[turning]) - 1)
        notes["frequency_error_max"] = float(error.max())
        notes["frequency_error_median"] = float(np.median(error))
        notes["rotations_lost"] = int(np.count_nonzero(np.angle(after[turning]) == 0))
    return notes
