"""What a placed program must keep to. A limit's docstring is its error and its manual entry.

Each limit yields (where, used, allowed) for every place it is broken; `check` raises all at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from neurodeploy.errors import FitError, NeurodeployError, together
from neurodeploy.matrices import bounds
from neurodeploy.program.ir import Population, Program, Reals, Source, Stream, Vector, backwards
from neurodeploy.program.memory import Footprint, footprint
from neurodeploy.program.synapses import Conv, Dense, Edge, Tap
from neurodeploy.targets import Target

Broken = Iterator[tuple[str, float, float]]
Limit = Callable[[Program, Target], Broken]


def cores_exist(program: Program, target: Target) -> Broken:
    """The chip has so many cores (or the chips, where there are several)."""
    used = 1 + max((s.core for s in program.placement), default=-1)
    if used > target.cores:
        yield f"target {target.name}", used, target.cores


def neurons_fit_chip(program: Program, target: Target) -> Broken:
    """The chip holds so many neurons (streams count, one per channel)."""
    used = sum(node.width for node in program if not isinstance(node, Source))
    limit = _of_all_chips(target.chip.neurons, target)
    if limit is not None and used > limit:
        yield f"target {target.name}", used, limit


def synapses_fit_chip(program: Program, target: Target) -> Broken:
    """The chip holds so many synapses (those of a convolution that share a weight are one)."""
    used = sum(load.weights for load in core_loads(program).values())
    limit = _of_all_chips(target.chip.synapses, target)
    if limit is not None and used > limit:
        yield f"target {target.name}", used, limit


def _of_all_chips(limit: int | None, target: Target) -> int | None:
    return None if limit is None else limit * target.chips


def neurons_fit_core(program: Program, target: Target) -> Broken:
    """A core holds so many neurons."""
    for core, load in core_loads(program).items():
        if load.neurons > target.core.neurons:
            yield f"core {core} of {target.name}", load.neurons, target.core.neurons


def memory_fits_core(program: Program, target: Target) -> Broken:
    """A core's memory holds so many KiB of weights and neurons."""
    for core, load in core_loads(program).items():
        for kib, bits in (
            (target.core.weight_kib, load.weight_bits),
            (target.core.state_kib, load.state_bits),
            (target.core.memory_kib, load.total_bits),
        ):
            if kib is not None and bits > kib * 8192:
                yield f"core {core} of {target.name}", bits / 8192, kib


def currents_fit(program: Program, target: Target) -> Broken:
    """The sum of all synapses of a neuron, at its largest, fits the current register."""
    allowed = 2 ** (target.numbers.current_bits - 1) - 1
    for name, (low, high) in current_bounds(program).items():
        used = int(max(-low.min(), high.max()))
        if used > allowed:
            yield f'node "{name}"', used, allowed


def messages_fit(program: Program, target: Target) -> Broken:
    """A graded value, at its largest, fits a message between neurons."""
    allowed = 2 ** (target.numbers.message_bits - 1) - 1
    for name, (low, high) in current_bounds(program).items():
        used = int(max(-low.min(), high.max()))
        if isinstance(program[name], Stream) and used > allowed:
            yield f'stream "{name}"', used, allowed
    for node in program:
        if isinstance(node, Vector) and max(-node.low, node.high) > allowed:
            yield f'vector "{node.name}"', max(-node.low, node.high), allowed


def readout_fits(program: Program, target: Target) -> Broken:  # noqa: ARG001
    """What the host adds up behind the readout, at its largest, fits 64 bits."""
    weight, allowed = program.readout.weight, 2**63 - 1
    if weight is None:
        return
    low, high = _bounds(program)[1][program.readout.source]
    used = float((np.abs(weight.astype(np.float64)) @ np.maximum(-low, high)).max(initial=0))
    if used > allowed:
        yield "readout", used, allowed


def words_exist(program: Program, target: Target) -> Broken:
    """The neuron cores have every operation that the neuron models use."""
    for node in program.populations:
        missing = node.model.traced(node.options).words - set(target.words)
        if missing:
            where = f'population "{node.name}" ({node.spec}: {", ".join(sorted(missing))})'
            yield where, len(missing), 0


def vector_units_exist(program: Program, target: Target) -> Broken:
    """The target has a unit for every vector operation."""
    for node in program:
        if isinstance(node, Vector) and node.kind not in target.words:
            yield f'vector "{node.name}" ({node.kind})', 1, 0


def time_runs_forwards(program: Program, target: Target) -> Broken:
    """A streaming target answers a step before it knows the next: no layer runs backwards."""
    for node in program:
        if backwards(node) and target.timing.streaming:
            yield f'{type(node).__name__.lower()} "{node.name}" (reverse)', 1, 0


LIMITS: dict[Limit, tuple[str, str]] = {
    cores_exist: ("E301", "a smaller network, fewer weight bits (--bits), or a larger target"),
    neurons_fit_chip: ("E301", "a narrower or shallower network"),
    synapses_fit_chip: ("E301", "a narrower or shallower network"),
    neurons_fit_core: ("E301", "a target with larger cores"),
    memory_fits_core: ("E301", "fewer weight bits (--bits), or a target with larger cores"),
    currents_fit: ("E301", "fewer weight bits (--bits), or a narrower layer in front"),
    messages_fit: ("E301", "fewer weight bits (--bits), or a target with wider messages"),
    readout_fits: ("E301", "a target whose numbers.readout_bits or state_bits are fewer"),
    words_exist: ("E303", "a neuron model that this target can run: neurodeploy neurons"),
    vector_units_exist: (
        "E303",
        "compile for a target with such units, such as asic45; or train with BatchNorm in place"
        " of LayerNorm, spiking neurons in place of GELU, ReLU, GLU, products, ternary values, and"
        " recurrent spiking neurons (LIF, ALIF, TCLIF with recurrent=True) in place of"
        " LSTM, and no delays",
    ),
    time_runs_forwards: (
        "E303",
        "train with bidirectional=False, or compile for a target that buffers whole sequences,"
        " such as asic45",
    ),
}


def check(program: Program, target: Target) -> Program:
    """Return `program`, or raise every broken limit at once (FitError E301, E303)."""
    found = problems(program, target)
    if found:
        raise together(found)
    return program


def problems(
    program: Program, target: Target, rules: Mapping[Limit, tuple[str, str]] = LIMITS
) -> list[NeurodeployError]:
    """Return an error for every place where a limit is broken."""
    return [
        FitError(code, f"{rule.__doc__} Needs {used:,g}; has {allowed:,g}", where=where, fix=fix)
        for rule, (code, fix) in rules.items()
        for where, used, allowed in rule(program, target)
    ]


def core_loads(program: Program) -> dict[int, Footprint]:
    """Return what each core has been given."""
    loads: dict[int, Footprint] = defaultdict(Footprint)
    for part in program.placement:
        loads[part.core] += footprint(program, part.node, part.first, part.last)
    return dict(loads)


def current_bounds(program: Program) -> dict[str, tuple[Reals, Reals]]:
    """Return the least and greatest current [width] that any input can cause at each node.

    So that a sum fits in any order, as events come, each value may also be 0. In float64: exact up
    to 2**53, far above any register.
    """
    return _bounds(program)[0]


def _bounds(program: Program) -> tuple[dict[str, tuple[Reals, Reals]], ...]:
    """Return the bounds of the currents of each node, and of what it sends."""
    found: dict[str, tuple[Reals, Reals]] = {}
    values: dict[str, tuple[Reals, Reals]] = {}
    for node in program:
        ones = np.ones(node.width)
        if isinstance(node, Source | Vector):
            values[node.name] = (ones * min(node.low, 0), ones * max(node.high, 0))
            if isinstance(node, Vector):
                found[node.name] = _vector_bounds(node, values)
            continue
        if isinstance(node, Population):
            most, fixed = node.most, program.fixed(node)
            top, lowest = fixed.state_max, fixed.state_max + (fixed.overflow == "wrap")
            values[node.name] = (ones * 0, ones * most) if most else (-ones * lowest, ones * top)
        parts = [_edge_bounds(edge, *values[edge.source]) for edge in node.edges]
        low, high = np.sum([p[0] for p in parts], axis=0), np.sum([p[1] for p in parts], axis=0)
        found[node.name] = (low, high)
        values.setdefault(node.name, (low, high))
    return found, values


def _vector_bounds(node: Vector, values: Mapping[str, tuple[Reals, Reals]]) -> tuple[Reals, Reals]:
    """Return the least and greatest current of any of the operands."""
    lows, highs = (np.zeros((len(node.gain), node.width)) for _ in range(2))
    for edge, operand in zip(node.edges, node.operands, strict=True):
        low, high = _edge_bounds(edge, *values[edge.source])
        lows[operand] += low
        highs[operand] += high
    return lows.min(axis=0), highs.max(axis=0)


def _edge_bounds(edge: Edge, low: Reals, high: Reals) -> tuple[Reals, Reals]:
    if isinstance(edge, Dense):
        ends = bounds(edge.weight, low, high)
    else:
        up, down = _signed(edge, 1), _signed(edge, -1)
        ends = up.product(low) + down.product(high), up.product(high) + down.product(low)
    return ends[0] * 2.0**edge.exponent, ends[1] * 2.0**edge.exponent


def _signed(edge: Conv | Tap, sign: int) -> Conv | Tap:
    """Return an edge with its positive (1) or negative (-1) weights only."""
    if isinstance(edge, Tap):
        return replace(edge, sign=edge.sign * (edge.sign * sign > 0))
    return replace(edge, weight=edge.weight * (edge.weight * sign > 0))
