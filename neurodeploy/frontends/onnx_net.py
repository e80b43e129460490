"""Read a plain ONNX network of standard operators into a graph.

Nodes are read in order, each by the reader of its operator (`onnx_ops`); nodes on constants are
computed. A MatMul or Linear whose only reader adds a constant takes it as its bias. Which axes of
the input are steps, samples and channels follows from the network where only one layout can be
read, or where all give the same graph; else it must be stated. A layout without T describes one
step: a graph applies it to every step, and one image or row is a sequence of one step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.frontends import LAYOUTS
from neurodeploy.frontends.onnx_axes import Axes
from neurodeploy.frontends.onnx_file import STANDARD_DOMAINS, array, kind_of
from neurodeploy.frontends.onnx_ops import FIXES, READERS
from neurodeploy.frontends.onnx_quant import DOMAINS, QONNX, VIEWS, peaks
from neurodeploy.frontends.onnx_values import Call, Const, Refused, Seq
from neurodeploy.graph import rules
from neurodeploy.graph.ir import Graph, Input, Linear, Node, Op, identical

_FOLDED = {
    *("Add", "Sub", "Mul", "Div", "Neg", "Sqrt", "Pow", "Cast", "Concat", "Gather", "Slice"),
    *("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Shape", "Reciprocal", "Exp"),
}
_FOLD_MOST = 2**27  # elements of what is computed from constants


def graph_of(model: Any, path: Path, layout: str | None) -> Graph:
    """Return the graph of a plain network in a ModelProto, read from `path`.

    layout: one of LAYOUTS, or None. Raises InputError E104 naming every node that cannot be read,
    with its operator and a fix; E107 where the layout is open, or has another number of axes; E101
    for damaged constants; E105 for constants that are not finite.
    """
    inputs = _inputs(model, path)
    axes = [axis.dim_value or None for axis in inputs.type.tensor_type.shape.dim]
    known = [name for name in LAYOUTS if len(name) == len(axes)]
    if layout is not None and layout not in known:
        what = f"the input {inputs.name!r} has {len(axes)} axes, not {layout}"
        raise InputError("E107", what, where=str(path), fix=f"use one of {', '.join(known)}")
    found: dict[str, Graph] = {}
    errors: list[NeurodeployError] = []
    for name in [layout] if layout is not None else known:
        try:
            found[name] = rules.check(_Net(model, path, name, axes, inputs.name).graph())
        except InputError as error:
            errors.append(error)
    if not found:
        none = _axes_unknown(inputs.name, len(axes), path)
        nearest = min(errors, key=lambda e: (e.code == "E107", len(e.records())), default=none)
        raise nearest
    first, *others = found.values()
    if not all(identical(first, other) for other in others):
        what = f"the axes of the input {inputs.name!r} may be {' or '.join(found)}"
        fix = f"state them: --layout {next(iter(found))}"
        raise InputError("E107", what, where=str(path), fix=fix)
    return first


def known(node: Any, *, constant: bool) -> bool:
    """Whether an operator has a reader, or is computed, as it reads what is `constant` alone."""
    readers = {"Constant", *READERS, *(_FOLDED if constant else ())}
    found = QONNX if node.domain in DOMAINS else readers
    return _in_known_domain(node) and node.op_type in found


def _require_known(node: Any, values: Sequence[Any]) -> None:
    """Raise Refused for an operator without a reader, whether or not what it reads is there."""
    if not _in_known_domain(node):
        raise Refused("an operator of another domain", "use standard operators of ONNX")
    if not known(node, constant=bool(values) and all(isinstance(v, Const) for v in values)):
        fix = FIXES.get(node.op_type, f"known operators: {', '.join(sorted(READERS))}")
        raise Refused("an operator that has no place in a graph", fix)


def _in_known_domain(node: Any) -> bool:
    own = node.domain in DOMAINS and node.op_type in QONNX
    return (node.domain in STANDARD_DOMAINS or own) and not node.overload


def _axes_unknown(name: str, count: int, path: Path) -> InputError:
    what = f"the input {name!r} has {count} axes"
    return InputError("E107", what, where=str(path), fix=f"known layouts: {', '.join(LAYOUTS)}")


def _inputs(model: Any, path: Path) -> Any:
    """Return the one input; refuse what a graph has no place for."""
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    problems = []
    if len(inputs) != 1 or len(model.graph.output) != 1:
        problems.append(f"{len(inputs)} inputs and {len(model.graph.output)} outputs")
    problems += [f"function {item.name!r}" for item in model.functions]
    problems += ["sparse constants"] if model.graph.sparse_initializer else []
    problems += ["training information"] if model.training_info else []
    if problems:
        what = f"a network with {', '.join(problems)}"
        fix = "export one network with one input and one output, of standard operators"
        raise InputError("E104", what, where=str(path), fix=fix)
    return inputs[0]


class _Net:
    """One reading of a file, with one layout: nodes so far, values by name, problems."""

    def __init__(self, model: Any, path: Path, layout: str, dims: Sequence[Any], name: str) -> None:
        self.model, self.path, self.where = model, path, str(path)
        self.nodes: list[Node] = []
        self.problems: list[NeurodeployError] = []
        self.values: dict[str, Any] = {
            item.name: Const(array(item, self.where)) for item in model.graph.initializer
        }
        self.readers: dict[str, int] = {model.graph.output[0].name: 1}
        for node in model.graph.node:
            for value in node.input:
                self.readers[value] = self.readers.get(value, 0) + 1
        axes = self._input(layout, dims, name)
        self.fixed = {str(a): n for a, n in zip(layout, dims, strict=True) if a in "TB" and n}
        width = int(np.prod([axis for axis in axes if isinstance(axis, int)]))
        self.values[name] = Seq(self._add("input", Input(width), ()), axes)
        self.bits: dict[str, int] = {}
        self.grids: dict[str, tuple[int, ...]] = {}
        self.linear: dict[str, str] = {}  #: Linear nodes that one addition alone may read, by value

    def _input(self, layout: str, dims: Sequence[Any], name: str) -> Axes:
        axes = tuple(a if a in "TB" else n for a, n in zip(layout, dims, strict=True))
        if any(axis is None for axis in axes):
            what = f"as {layout}, the input {name!r} has channels of unknown number"
            fix = "export it with fixed sizes for all axes but steps and samples"
            raise InputError("E107", what, where=self.where, fix=fix)
        return axes

    def graph(self) -> Graph:
        for node in self.model.graph.node:
            self._read(node)
        output = self.values.get(self.model.graph.output[0].name)
        if not self.problems and not isinstance(output, Seq):
            what = "the output is not computed from the input"
            self.problems.append(InputError("E104", what, where=self.where, fix="export it again"))
        if self.problems:
            raise together(self.problems)
        assert isinstance(output, Seq)
        nodes = self._reachable(output.name)
        names = {node.name for node in nodes}
        bits = {name: value for name, value in self.bits.items() if name in names}
        grids = {name: value for name, value in self.grids.items() if name in names}
        return Graph(nodes, output.name, bits=bits, grids=grids)

    def _reachable(self, output: str) -> tuple[Node, ...]:
        """Return the nodes that the output depends on."""
        needed = {output}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return tuple(n for n in self.nodes if n.name in needed or isinstance(n.op, Input))

    def _read(self, node: Any) -> None:
        values = [self.values.get(name) if name else None for name in node.input]
        missing = [n for n, v in zip(node.input, values, strict=True) if n and v is None]
        results: tuple[Any, ...] = ()
        try:
            _require_known(node, values)
            if not missing:
                found = self._result(node, values)
                results = found if isinstance(found, tuple) else (found,)
            elif any(name not in self.readers for name in missing):
                raise Refused(f"it reads {missing}, which no node computes", "export it again")
        except Refused as error:
            self._refuse(node, error.what, error.fix)
        except (InputError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            self._refuse(node, f"it is malformed: {error}", "export the model again")
        self.values.update(zip(node.output, results, strict=False))

    def _refuse(self, node: Any, what: str, fix: str) -> None:
        name = node.name or ", ".join(node.output)
        where = f'node "{name}" in {self.where}'
        self.problems.append(
            InputError("E104", f"{name!r} ({kind_of(node)}): {what}", where=where, fix=fix)
        )

    def _result(self, node: Any, values: list[Any]) -> Any:
        attributes = {item.name: _plain(item, self.where) for item in node.attribute}
        if node.op_type == "Constant":
            return Const(_constant(attributes))
        if values and all(isinstance(v, Const) for v in values) and node.op_type in _FOLDED:
            return _folded(node, values)
        readers = QONNX if node.domain in DOMAINS else READERS
        if (biased := self._biased(node, values)) is not None:
            return biased
        call = Call(
            type=node.op_type,
            name=node.name,
            inputs=tuple(values),
            attributes=attributes,
            outputs=len(node.output),
            used=max((i + 1 for i, n in enumerate(node.output) if n in self.readers), default=0),
            add=lambda suffix, op, sources: self._add(_name(node) + suffix, op, sources),
            fixed=self.fixed,
        )
        grid, result = peaks(call), readers[node.op_type](call)
        if grid is not None:
            self.grids[result.name], self.bits[result.name] = grid
        if node.op_type in ("MatMul", "Gemm") and self.readers.get(node.output[0]) == 1:
            self.linear[node.output[0]] = result.name
        return result

    def _biased(self, node: Any, values: list[Any]) -> Seq | None:
        """Let the Linear that an addition of a constant reads alone take it as its bias."""
        linears = [name for name in node.input if name in self.linear]
        others = [value for value in values if isinstance(value, Const)]
        if node.op_type != "Add" or len(linears) != 1 or len(others) != 1:
            return None
        seq = self.values[linears[0]]
        index = next(i for i, made in enumerate(self.nodes) if made.name == seq.name)
        op = self.nodes[index].op
        assert isinstance(op, Linear)
        extra = np.asarray(others[0].array, np.float64).reshape(-1)
        if extra.size not in (1, len(op.bias)):
            return None
        self.nodes[index] = replace(self.nodes[index], op=Linear(op.weight, op.bias + extra))
        return Seq(seq.name, seq.axes)

    def _add(self, name: str, op: Op, inputs: Sequence[str]) -> str:
        taken = {node.name for node in self.nodes}
        unique, count = name, 1
        while unique in taken:
            unique, count = f"{name}_{count}", count + 1
        self.nodes.append(Node(unique, op, tuple(inputs)))
        return unique


def _name(node: Any) -> str:
    """Return the name of a node, or of what it computes, as a graph allows it."""
    text = re.sub(r"[^A-Za-z0-9_]+", ".", node.name or node.output[0]).strip(".")
    return text or "node"


def _plain(item: Any, where: str) -> Any:
    """Return an attribute as plain data."""
    kinds = type(item)
    if item.type == kinds.TENSOR:
        return array(item.t, where)
    if item.type == kinds.STRING:
        return item.s.decode("utf-8", "replace")
    if item.type == kinds.STRINGS:
        return [text.decode("utf-8", "replace") for text in item.strings]
    fields: dict[Any, str] = {
        kinds.INT: "i",
        kinds.FLOAT: "f",
        kinds.INTS: "ints",
        kinds.FLOATS: "floats",
    }
    if item.type not in fields or item.ref_attr_name:
        raise Refused(
            f"an attribute {item.name!r} of a type that has no place here", "leave it out"
        )
    value = getattr(item, fields[item.type])
    return value if isinstance(value, int | float) else list(value)


def _constant(attributes: dict[str, Any]) -> Any:
    (value,) = attributes.values()
    return np.asarray(value)


def _folded(node: Any, values: list[Const]) -> Const:
    """Compute a node on constants, as the onnx package defines it."""
    from onnx.reference import ReferenceEvaluator

    sizes = [int(np.size(value.array)) for value in values]
    if sum(sizes) > _FOLD_MOST:
        raise Refused("it computes with too large constants", "fold constants before exporting")
    names = [name for name in node.input if name]
    feed = {name: value.array for name, value in zip(names, values, strict=True)}
    results: Any = ReferenceEvaluator(node).run(None, feed)
    array, grid = np.asarray(results[0]), values[0].grid
    if grid is None or node.op_type not in VIEWS or array.dtype.kind != "f":
        return Const(array)
    seen = _folded(node, [Const(grid.whole.astype(np.float64)), *values[1:]])
    return Const(array, grid=replace(grid, whole=seen.array.astype(np.int64)))
