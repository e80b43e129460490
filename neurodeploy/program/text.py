"""A program as text, one node and edge a line: for `--dump-after`."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.program.ir import Population, Program, ProgramNode, Source, Vector, edges
from neurodeploy.program.synapses import Conv, Dense, Edge, Tap


def program_text(program: Program) -> str:
    """Return `program` as text, with every constant."""
    lines = [f"target {program.target.name}, {program.numbers}"]
    for node in program:
        lines += _node(node)
    readout = program.readout
    lines.append(f"readout {readout.kind} of {readout.source}, mean {readout.mean}")
    if readout.weight is not None:
        lines.append(f"    weight = {_array(readout.weight)}")
    lines.append(f"    unit = {_array(readout.unit)}")
    lines.append(f"    offset = {_array(readout.offset)}")
    lines += [f"core {s.core}: {s.node}[{s.first}:{s.last}]" for s in program.placement]
    return "\n".join(lines)


def _node(node: ProgramNode) -> list[str]:
    if isinstance(node, Source):
        return [
            f"{node.name}: source [{node.width}] in [{node.low}, {node.high}] of {node.unit:.9g}"
        ]
    if isinstance(node, Vector):
        return _vector(node)
    kind = f"{node.spec} {dict(node.options)}" if isinstance(node, Population) else "stream"
    lines = [f"{node.name}: {kind} [{node.width}], latency {node.latency}"]
    lines += [line for edge in edges(node) for line in _edge(edge)]
    if isinstance(node, Population):
        arrays = {**node.coefs, "shift": node.shift, "bias": node.bias}
        lines += [f"    {name} = {_array(value)}" for name, value in arrays.items()]
    return [*lines, f"    unit = {_array(node.unit)}"]


def _vector(node: Vector) -> list[str]:
    ends = f"sends {node.low} to {node.high}, latency {node.latency}"
    ends += ", reverse" if node.reverse else ""
    lines = [f"{node.name}: {node.kind} [{node.width}], {ends}"]
    for edge, operand in zip(node.edges, node.operands, strict=True):
        lines += [f"    operand {operand}", *_edge(edge)]
    names = ("gain", "shift", "offset", "limit", "out_gain", "out_shift")
    arrays = {**{name: getattr(node, name) for name in names}, **node.params}
    lines += [f"    {name} = {_array(np.asarray(value))}" for name, value in arrays.items()]
    return [*lines, f"    unit = {_array(node.unit)}"]


def _edge(edge: Edge) -> list[str]:
    kind, values = "tap", edge.sign if isinstance(edge, Tap) else edge.weight
    if isinstance(edge, Dense):
        kind = f"dense of {edge.weight_bits} bits"
    if isinstance(edge, Conv):
        names = ("shape", "stride", "padding", "dilation", "groups")
        settings = ", ".join(f"{name} {getattr(edge, name)}" for name in names)
        kind = f"conv of {edge.weight_bits} bits, {settings},"
    head = f"    <- {edge.source}: {kind} << {edge.exponent}, delay {edge.delay}"
    return [head, f"       {_array(values)}"]


def _array(value: Any) -> str:
    return np.array2string(value, threshold=value.size + 1, max_line_width=100)
