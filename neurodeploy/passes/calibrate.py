"""Measure, or bound, what every node reaches.

With data, the float graph runs on it and the least and greatest values are noted. Without, bounds
follow from the weights: an input in [-1, 1] (spikes: [0, 1]), a Linear's rows summed, a register
bounded by what drive and resets add up to over `steps` steps,

    sum over t of |A^t B| drive + |A^t| amounts

with A and B the undriven update and the response to the drive, as `step` has them when nothing
fires. Neurons with tables or modes: a membrane of pole p reaches its drive / (1 - |p|), or its
drive times `steps` where it does not decay; a graded output follows by one step from there, with
magnitudes for numbers. Bounds are wide; data give more precise integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from neurodeploy.arith import Real
from neurodeploy.graph.interpret import read_input
from neurodeploy.graph.ir import (
    Add,
    Affine,
    Array,
    Concat,
    Graph,
    Input,
    Node,
    Op,
    Population,
    Range,
    Reduce,
)
from neurodeploy.graph.nonlinear import Lstm, VectorOp
from neurodeploy.graph.vectors import bounds_of, cell_bound
from neurodeploy.graph.weights import Weighted, bounds
from neurodeploy.neurons import Kind
from neurodeploy.passes.base import GraphPass
from neurodeploy.passes.measure import measured, union

_CHUNK = 16  # samples at a time: bounds memory
_HUGE = 1e200  # above this, what grows without bound is cut off


@dataclass(frozen=True, eq=False)
class Calibrate(GraphPass):
    """Attach ranges; `data` is x [T, B, C] or None, `origin` says where it comes from."""

    name: ClassVar[str] = "calibrate"
    tolerance: ClassVar[float | None] = None

    data: Array | None = None
    origin: str = "bounds"
    steps: int = 1024  #: longest sequence assumed where bounds need one

    def __call__(self, graph: Graph) -> Graph:
        """Return `graph` with a range at every node; raise InputError E106 for unfit data."""
        if self.data is None:
            return replace(graph, ranges=_bounds(graph, self.steps), calibration=self.origin)
        ranges: dict[str, Range] = {}
        data = read_input(graph, self.data)
        for first in range(0, data.shape[1], _CHUNK):
            for name, seen in measured(graph, data[:, first : first + _CHUNK]).items():
                ranges[name] = union(ranges.get(name), seen)
        return replace(graph, ranges=ranges, calibration=self.origin)


def _bounds(graph: Graph, steps: int) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for node in graph:
        ranges[node.name] = _bound(node, [ranges[name] for name in node.inputs], steps)
    return ranges


def _bound(node: Node, inputs: list[Range], steps: int) -> Range:
    op = node.op
    if isinstance(op, Population):
        return _population(op, inputs[0], steps)
    if isinstance(op, Reduce) and op.kind != "last":
        top = np.maximum(np.abs(inputs[0].low + op.bias), np.abs(inputs[0].high + op.bias)) * steps
        low, high = (inputs[0].low + op.bias, inputs[0].high + op.bias)
        times = steps if op.kind == "sum" else 1
        return Range(low * times, high * times, top)
    low, high = _stateless(op, inputs)
    held = cell_bound(op, inputs[0].high, steps) if isinstance(op, Lstm) else np.zeros_like(low)
    return Range(low, high, held)


def _stateless(op: Op, inputs: list[Range]) -> tuple[Array, Array]:
    if isinstance(op, Input):
        return np.full(op.width, 0.0 if op.spiking else -1.0), np.ones(op.width)
    if isinstance(op, Weighted):
        return bounds(op, inputs[0].low, inputs[0].high)
    if isinstance(op, Add):
        return sum_of([r.low for r in inputs]), sum_of([r.high for r in inputs])
    if isinstance(op, VectorOp):
        return bounds_of(op, [r.low for r in inputs], [r.high for r in inputs])
    if isinstance(op, Concat):
        return np.concatenate([r.low for r in inputs]), np.concatenate([r.high for r in inputs])
    gain, bias = (op.gain, op.bias) if isinstance(op, Affine) else (1.0, getattr(op, "bias", 0.0))
    ends = np.stack([inputs[0].low * gain + bias, inputs[0].high * gain + bias])
    return ends.min(axis=0), ends.max(axis=0)


def sum_of(parts: list[Array]) -> Array:
    """Return the sum of arrays [width]."""
    return np.asarray(np.sum(np.stack(parts), axis=0))


def _population(op: Population, drive: Range, steps: int) -> Range:
    spec = op.model
    top = np.maximum(np.abs(drive.low), np.abs(drive.high)) * np.abs(op.sign) + np.abs(op.bias)
    if op.recurrent is not None:  # every sender at once; a membrane fed back is not lowered
        top = top + np.abs(op.recurrent).sum(axis=1) * abs(op.amplitude)
    coefs = spec.coefs(**op.coefs)
    known = not (spec.tables or spec.modal)
    peaks = _reach(op, top, steps)[None] if known else _by_poles(op, top, steps)
    amplitude = np.full_like(top, op.amplitude)
    if spec.spiking:
        peak = np.broadcast_to(peaks.max(axis=0), top.shape)
        counted = spec.traced(op.options).most > 1
        many = np.floor(peak / op.coefs["threshold"]) if counted else peak
        sent = amplitude * np.clip(many, 1, spec.traced(op.options).most)
        return Range(np.minimum(sent, 0), np.maximum(sent, 0), peak)
    sizes = spec.coefs(*(np.abs(value) for value in coefs))
    state = spec.state(
        *(_Number(peaks if n in spec.modal else peaks[0]) for n in spec.state._fields)
    )
    out = spec.step(_Size(), sizes, state, _Number(top), op.options)[0].size
    return Range(-out * np.abs(amplitude), out * np.abs(amplitude), peaks.max(axis=0))


@dataclass(frozen=True, eq=False)
class _Number:
    """A bound on magnitudes."""

    size: Array

    def __add__(self, other: _Number) -> _Number:
        return _Number(self.size + other.size)

    __sub__ = __add__


class _Size:
    """The reading of a step on bounds of magnitudes, for neurons that send their membrane."""

    def mul(self, coef: Any, value: Any) -> Any:
        return _Number(coef * value.size)

    def write(self, value: Any) -> Any:
        return value

    def spike(self, value: Any, threshold: Any, compare: str) -> Any:  # noqa: ARG002
        return _Number(np.ones_like(value.size))

    def select(self, condition: Any, yes: Any, no: Any) -> Any:  # noqa: ARG002
        return _Number(np.maximum(yes.size, no.size))

    def count(self, value: Any, threshold: Any) -> Any:
        return _Number(np.floor(value.size / threshold))

    def times(self, number: Any, amount: Any) -> Any:
        return _Number(number.size * amount)

    def largest(self, a: Any, b: Any) -> Any:
        return _Number(np.maximum(a.size, b))

    def read(self, table: Any) -> Any:
        return table

    def total(self, value: Any) -> Any:
        return _Number(value.size.sum(axis=0))


def _by_poles(op: Population, top: Array, steps: int) -> Array:
    """Return the reach [poles, width] of what decays by each pole alone."""
    poles = op.model.poles(op.model.coefs(**op.coefs))
    with np.errstate(divide="ignore"):
        held = np.minimum(1 / np.maximum(1 - np.atleast_2d(np.abs(poles)), 0), steps)
    return np.asarray(top * held)


@dataclass(frozen=True)
class _Silent(Real):
    """The Real reading of neurons that do not fire."""

    def spike(self, value: Any, threshold: Any, compare: str) -> Any:  # noqa: ARG002
        return np.zeros(np.shape(value), bool)

    def count(self, value: Any, threshold: Any) -> Any:  # noqa: ARG002
        return np.zeros(np.shape(value))


def _reach(op: Population, top: Array, steps: int) -> Array:
    """Return what the registers of neurons can reach in `steps` steps of a drive up to `top`."""
    spec, zero = op.model, np.zeros_like(top)
    values = (abs(op.coefs[k]) for k, kind in spec.kinds.items() if kind is Kind.AMOUNT)
    amounts, size = sum(values, start=zero), len(spec.state._fields)

    def update(state: Array, x: Any) -> Array:
        _, after = spec.step(_Silent(), spec.coefs(**op.coefs), spec.state(*state), x, op.options)
        return np.clip(
            np.reshape(np.broadcast_arrays(*after, top)[:size], state.shape), -_HUGE, _HUGE
        )

    rest = np.zeros((size, 1, *top.shape))
    offset = update(rest, zero)
    units = np.broadcast_to(np.eye(size)[:, :, None], (size, size, *top.shape))
    response = np.concatenate([update(rest, np.ones_like(top)) - offset, units], axis=1)
    driven, reset = np.zeros((2, size, *top.shape))
    for _ in range(steps):
        driven += np.abs(response[:, 0]) * top + np.abs(offset[:, 0])
        reset += np.abs(response[:, 1:]).sum(axis=1) * amounts
        response = update(response, zero) - offset
    step = spec.traced(op.options)
    if step.decision and step.decision.args[0] not in step.registers:
        driven = 2 * driven + top  # what a moving threshold takes is at most what was there
    return np.asarray(np.max([top, *(driven + reset)], axis=0))
