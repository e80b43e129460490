"""What a program means: every node's `step` under `Fixed`, one time step after another.

Slow, obvious, the definition. Backends are tested against it, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.arith import Fixed
from neurodeploy.errors import InputError, require_rows
from neurodeploy.neurons.spec import over_batch
from neurodeploy.program.ir import Ints, Population, Program, Readout, Reals, Source, Vector, edges
from neurodeploy.program.synapses import Edge
from neurodeploy.program.vector import registers, step
from neurodeploy.program.vector import run as run_vector
from neurodeploy.tokens import one_hot


@dataclass(frozen=True, eq=False)
class Execution:
    """What every node did, in the time of the input (latencies are taken out).

    values[name] is [T, B, width] int64; states[name] is [states, B, width], the final ones, one
    row per mode of a state that has modes;
    membranes[name] [T, B, width] is what each spike was decided on; overflows[name] counts
    values that did not fit a register, or a vector operation's formats.
    """

    values: dict[str, Ints]
    states: dict[str, Ints] = field(default_factory=dict)
    membranes: dict[str, Ints] = field(default_factory=dict)
    overflows: dict[str, int] = field(default_factory=dict)


def check_shape(source: Source, x: Any) -> None:
    """Raise InputError E106 if x has not the shape [T, B, C] that the program reads."""
    if x.ndim != 3 or x.shape[2] != source.width or x.shape[0] < 1:
        raise InputError(
            "E106",
            f"input has shape {x.shape}",
            fix=f"give x [T, B, {source.width}]: steps, samples, channels",
        )


def check_finite(x: Any) -> None:
    """Raise InputError E106 if an array has numbers that are none, or not real."""
    if isinstance(x, np.ndarray) and x.dtype.kind not in "biuf":
        raise InputError("E106", f"input holds {x.dtype}, not numbers", fix="give real numbers")
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and not np.all(np.isfinite(x)):
        raise InputError("E106", "input has NaN or infinite values", fix="clean the data")


def to_integers(source: Source, x: Any) -> tuple[Ints, int]:
    """Return real inputs x [T, B, C] as the program's integers, and how many were clipped.

    Token ids become spikes. Where spikes are read, all that is neither 0 nor 1 counts as clipped:
    rounding it is a loss, too. Raises InputError E106 if x does not have the shape or the numbers
    the program reads.
    """
    data = one_hot(x, source.width) if source.tokens else np.asarray(x)
    check_shape(source, data)
    check_finite(data)
    exact = data.astype(np.float64) / source.unit
    rounded = np.rint(exact)
    clipped = np.clip(rounded, source.low, source.high)
    meant = exact if source.spiking else rounded
    return clipped.astype(np.int32), int(np.count_nonzero(clipped != meant))


@dataclass(frozen=True)
class _Watched(Fixed):
    """`Fixed`, counting the register writes that did not fit, and noting what is compared."""

    events: list[int] = field(default_factory=lambda: [0], compare=False)
    compared: list[Any] = field(default_factory=list, compare=False)

    def write(self, value: Any) -> Any:
        stored = super().write(value)
        self.events[0] += int(np.count_nonzero(stored != value))
        return stored

    def spike(self, value: Any, threshold: Any, compare: str) -> Any:
        self.compared[:] = [value]
        return super().spike(value, threshold, compare)

    def count(self, value: Any, threshold: Any) -> Any:
        self.compared[:] = [value]
        return super().count(value, threshold)


def check_length(program: Program, steps: int) -> None:
    """Raise InputError E106 if a sequence of `steps` is longer than a table of the program."""
    for node in program.populations:
        require_rows(steps, node.longest, f'population "{node.name}"')


def execute(program: Program, x: Ints) -> Execution:
    """Run integers x [T, B, C] through `program`; raise InputError E106 if T is too long."""
    check_length(program, len(x))
    done = Execution({program.source.name: x.astype(np.int64)})
    for node in program:
        if isinstance(node, Source):
            continue
        if isinstance(node, Vector):
            _vector(node, done)
            continue
        current = _sum(edges(node, recurrent=False), node.width, done)
        if isinstance(node, Population):
            _neurons(program, node, current, done)
        else:
            done.values[node.name] = current
    return done


def _sum(ends: Iterable[Edge], width: int, done: Execution) -> Ints:
    shape = next(iter(done.values.values())).shape[:2]
    return sum(
        (_current(edge, done.values[edge.source]) for edge in ends),
        start=np.zeros((*shape, width), np.int64),
    )


def _vector(node: Vector, done: Execution) -> None:
    operands = [
        [edge for edge, k in zip(node.edges, node.operands, strict=True) if k == operand]
        for operand in range(len(node.gain))
    ]
    others = [[edge for edge in ends if edge.source != node.name] for ends in operands]
    currents = [_sum(ends, node.width, done) for ends in others]
    if not registers(node):
        done.values[node.name], done.overflows[node.name] = run_vector(node, currents)
        return
    again = [[edge for edge in ends if edge.source == node.name] for ends in operands]
    out, lost = np.zeros_like(currents[0]), 0
    sent = np.zeros_like(out[0])
    kept = [np.zeros_like(sent) for _ in registers(node)]
    for t in reversed(range(len(out))) if node.reverse else range(len(out)):
        heard = [sum((_current(edge, sent) for edge in ends), start=0) for ends in again]
        totals = [current[t] + own for current, own in zip(currents, heard, strict=True)]
        sent, kept, over = step(node, kept, totals)
        out[t], lost = sent, lost + over
    done.values[node.name], done.overflows[node.name] = out, lost
    done.states[node.name] = np.stack(kept)


def _current(edge: Edge, value: Ints) -> Ints:
    current: Ints = edge.product(value) << edge.exponent
    return current


def _neurons(program: Program, node: Population, current: Ints, done: Execution) -> None:
    fixed, spec = program.fixed(node), node.model
    o = _Watched(fixed.coef_frac, fixed.state_bits, fixed.rounding, fixed.overflow)
    coefs = over_batch(spec, spec.coefs(**node.coefs))
    rows = spec.rows(spec.state._fields, node.modes)
    z = spec.parts(spec.state, np.zeros((rows, *current.shape[1:]), np.int64), node.modes)
    out, membrane = np.zeros_like(current), np.zeros_like(current)
    steps, sent, again = range(len(current)), np.zeros_like(out[0]), node.recurrent
    for i, t in enumerate(reversed(steps) if node.reverse else steps):
        total = current[t] if again is None else current[t] + _current(again, sent)
        x = o.shift(total, node.shift) + node.bias
        out[t], z = spec.step(o, spec.at(coefs, i), z, x, node.options)
        membrane[t] = o.compared[-1] if o.compared else 0  # the last decides on what is sent
        sent = out[t]
    done.values[node.name] = out
    done.states[node.name] = spec.stack(z, current.shape[1:])
    done.overflows[node.name] = o.events[0]
    if o.compared:
        done.membranes[node.name] = membrane


def read(readout: Readout, value: Ints) -> tuple[Ints, Reals]:
    """Return the readout of node values [T, B, n]: its integers, and what they are worth."""
    whole = integers(readout, value)
    return whole, worth(readout, whole, len(value))


def integers(readout: Readout, value: Ints) -> Ints:
    """Return the integers of the readout of node values [T, B, n]; the last step may be enough."""
    whole = value if readout.kind == "steps" else value[-1]
    if readout.weight is None:
        return whole
    return whole.astype(np.int64) @ readout.weight.T.astype(np.int64)


def worth(readout: Readout, whole: Ints, steps: int) -> Reals:
    """Return what the integers of a readout stand for, after so many steps."""
    real = whole.astype(np.float64)
    real *= readout.unit / steps if readout.mean else readout.unit
    real += readout.offset
    return real
