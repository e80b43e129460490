"""Programs from sizes alone: the structure that a network is compiled to, without its weights.

A sketch has what counting, placing and pricing read: widths, edges, bits, neuron models, modes. Its
weights and constants are one number each, seen through arrays of the right shape that take no
memory; it cannot be run. Coefficients stand in plain words, where a slow decay may turn out to need
a shift of its own, and a subtraction. `tests/conformance/test_analytic.py` holds every family's
sketch against what the compiler makes of the trainable network of the same sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, log2
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.neurons import SPECS
from neurodeploy.passes.align_delays import AlignDelays
from neurodeploy.passes.place import Place
from neurodeploy.program.ir import (
    Ints,
    Population,
    Program,
    ProgramNode,
    Readout,
    Source,
    Stream,
    Vector,
    edges,
)
from neurodeploy.program.synapses import Dense, Edge, Tap
from neurodeploy.program.vector import KINDS
from neurodeploy.targets import Target

INPUTS = ("values", "spikes", "tokens")
_WEIGHT = 2  #: any that multiplies: 0, 1 and -1 do not
_GAIN = 3  #: any that is no power of two, and so costs a multiply


class Sketch:
    """A program in the making, on a target, with weights of so many bits."""

    def __init__(self, target: Target, name: str, weight_bits: int = 8) -> None:
        """Begin; raises InputError E105 for weights that the target does not have."""
        if not 2 <= weight_bits <= (most := target.numbers.weight_bits):
            what = f"{weight_bits}-bit weights are outside what {target.name} has"
            raise InputError("E105", what, fix=f"weight_bits between 2 and {most}")
        self.target, self.name, self.weight_bits = target, name, weight_bits
        self.nodes: dict[str, ProgramNode] = {}

    def source(self, width: int, kind: str) -> str:
        """Add the input: "spikes", "tokens" (one-hot) or "values"; raises InputError E105."""
        if kind not in INPUTS:
            raise InputError("E105", f"no inputs {kind!r}", fix=f"one of {', '.join(INPUTS)}")
        high = 1 if kind in ("spikes", "tokens") else 2**self.target.numbers.input_bits - 1
        node = Source(
            name="input", width=width, low=0, high=high, unit=1.0, tokens=kind == "tokens"
        )
        return self._add(node)

    def dense(self, source: str, width: int, *, ternary: bool = False) -> Dense:
        """Return a Linear from a node to `width` values; ternary: weights of -1, 0 and 1."""
        weight = _constant(1 if ternary else _WEIGHT, width, self.nodes[source].width)
        bits = 2 if ternary else self.weight_bits
        return Dense(source=source, weight=weight, weight_bits=bits)

    def tap(self, source: str) -> Tap:
        """Return an edge that brings a node's values one to one."""
        return Tap(source=source, sign=_constant(1, self.nodes[source].width))

    def stream(self, name: str, *into: Edge) -> str:
        """Add a graded sum."""
        width = self._width(into[0])
        return self._add(Stream(name=name, width=width, edges=into, unit=np.ones(width)))

    def neurons(
        self,
        name: str,
        spec: str,
        *into: Edge,
        options: Mapping[str, Any] | None = None,
        modes: int = 1,
        steps: int = 0,
        bias: bool = True,
        recurrent: bool = False,
        reverse: bool = False,
    ) -> str:
        """Add neurons of a model; steps: rows of its tables, if it reads any."""
        model, width, numbers = SPECS[spec], self._width(into[0]), self.target.numbers
        tables = model.traced(chosen := model.options(**(options or {}))).tables
        coefs = {}
        for key in model.coefs._fields:
            rows = {True: (steps if key in tables else 0,)}.get(key in model.tables, ())
            lead = (modes,) if key in model.modal else rows
            coefs[key] = _constant(1, *lead, width)
        own = (self._loop(name, width),) if recurrent else ()
        node = Population(
            name=name,
            width=width,
            edges=(*into, *own),
            spec=spec,
            options=chosen,
            coefs=coefs,
            shift=_constant(0, width),
            bias=_constant(int(bias), width),
            state_bits=numbers.state_bits,
            coef_frac=numbers.coef_bits - 1,
            unit=np.ones(width),
            reverse=reverse,
        )
        return self._add(node)

    def _loop(self, name: str, width: int) -> Dense:
        weight = _constant(_WEIGHT, width, width)
        return Dense(source=name, weight=weight, weight_bits=self.weight_bits)

    def vector(
        self,
        name: str,
        kind: str,
        *operands: Edge,
        scaled: Sequence[bool],
        offset: Sequence[bool] = (),
        recurrent: bool = False,
    ) -> str:
        """Add a vector operation, one edge an operand, and one more from itself if recurrent.

        scaled: which operands, and last whether the result, are multiplied by a gain that is no
        power of two; offset: which operands have one.
        """
        width, count = self._width(operands[0]), len(operands)
        gains = [_constant(_GAIN if flag else 1, width) for flag in scaled]
        present = (*offset, *(False,) * (count - len(offset)))
        loops = tuple(self._loop(name, width) for _ in operands) if recurrent else ()
        params = {key: np.zeros((), np.int64) for key in KINDS[kind].params}
        if "state_bits" in params:
            params["state_bits"] = np.array(self.target.numbers.state_bits)
        ternary = kind.startswith("ternary")
        node = Vector(
            name=name,
            width=width,
            edges=(*operands, *loops),
            operands=(*range(count), *range(count if recurrent else 0)),
            kind=kind,
            gain=np.array(gains[:-1]),
            shift=np.zeros((count, width), np.int64),
            offset=np.array([_constant(int(flag), width) for flag in present]),
            limit=np.zeros(count, np.int64),
            params=params,
            out_gain=gains[-1],
            out_shift=_constant(0, width),
            low=-1 if ternary else -(2**15) + 1,
            high=1 if ternary else 2**15 - 1,
            unit=np.ones(width),
        )
        return self._add(node)

    def program(self, source: str, classes: int | None) -> Program:
        """Return the placed program; the host makes `classes` values of node `source`."""
        width = self.nodes[source].width
        rows = classes if classes is not None else width
        head = Readout(
            source=source,
            kind="last",
            unit=np.ones(rows),
            offset=np.zeros(rows),
            weight=None if classes is None else _constant(_WEIGHT, classes, width),
        )
        program = Program(
            name=self.name,
            target=self.target,
            numbers=replace(self.target.numbers, weight_bits=self.weight_bits),
            nodes=tuple(self._registers(node) for node in self.nodes.values()),
            readout=head,
        )
        for late in (AlignDelays(self.target), Place(self.target)):
            program = late(program)
        return program

    def _registers(self, node: ProgramNode) -> ProgramNode:
        """Make registers narrower whose values are summed: the sum must fit a current."""
        if not isinstance(node, Population) or node.model.spiking:
            return node
        room = min(self.target.numbers.message_bits, self.target.numbers.current_bits)
        heard = [
            room - ceil(log2(len(edges(reader))))
            for reader in self.nodes.values()
            if not isinstance(reader, Vector)
            and any(isinstance(e, Tap) and e.source == node.name for e in edges(reader))
        ]
        return replace(node, state_bits=min((node.state_bits, *heard)))

    def _width(self, edge: Edge) -> int:
        return len(edge.sign if isinstance(edge, Tap) else edge.weight)

    def _add(self, node: ProgramNode) -> str:
        if node.width < 1:
            what = f"the width of {node.name} is {node.width}"
            raise InputError("E105", what, fix="give sizes of at least 1")
        self.nodes[node.name] = node
        return node.name


def _constant(value: int, *shape: int) -> Ints:
    """Return an array of one value, which takes no memory."""
    return np.broadcast_to(np.int64(value), shape)
