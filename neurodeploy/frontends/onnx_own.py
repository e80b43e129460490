"""Read ONNX files that neurodeploy wrote, back to the identical graph.

Nodes are recognised by domain and name before anything is optimised or inlined; every function in
the file must have the body that `graph.forms.onnx` gives it, every constant must be read by a
node, and whatever else stands in the file is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.frontends.onnx_file import (
    STANDARD_DOMAINS,
    array,
    canonical,
    function,
    kind_of,
)
from neurodeploy.graph import rules
from neurodeploy.graph.forms.onnx import (
    BITS,
    DOMAIN,
    DOMAIN_VERSION,
    GRIDS,
    PROGRAM_DOMAIN,
    SCALARS,
    STANDARD,
    Form,
    forms,
    type_of,
)
from neurodeploy.graph.forms.sheet import OPSET, Function
from neurodeploy.graph.ir import Concat, Graph, Input, Node, Op
from neurodeploy.graph.record import are_peaks

DOMAINS = (DOMAIN, PROGRAM_DOMAIN)
_SPELLINGS = {"Add": "Sum"}  # what tools may make of a standard operator of ours
_FIX = "a file with functions of neurodeploy holds nothing else; give the model as .pt"


def is_own(model: Any) -> bool:
    """Whether neurodeploy wrote the file that a ModelProto comes from."""
    return any(item.domain in DOMAINS for item in model.opset_import)


def graph_of(model: Any, path: Path) -> Graph:
    """Return the graph in a ModelProto, read from `path`.

    Raises InputError E101 (another version, damaged constants), E104 (every node that is not
    known, with its type), E105 (constants that are not finite), E107 (wiring), E108 (a function or
    constant that would be ignored).
    """
    _versions(model, path)
    _recognised(model, path)
    _functions_unchanged(model, path)
    return rules.check(_Reader(model, path).graph())


def _versions(model: Any, path: Path) -> None:
    opsets = {item.domain: item.version for item in model.opset_import}
    if PROGRAM_DOMAIN in opsets:
        raise InputError(
            "E104",
            f"{path.name} is an exported integer program, not a trained network",
            where=str(path),
            fix="run it with onnxruntime, or use the folder that `neurodeploy compile` wrote",
        )
    found = opsets.get(DOMAIN, DOMAIN_VERSION)
    if found != DOMAIN_VERSION:
        raise InputError(
            "E101",
            f"{path.name} has version {found} of the format; this release reads {DOMAIN_VERSION}",
            where=str(path),
            fix="install the release that wrote it, or export the model again",
        )


def _recognised(model: Any, path: Path) -> None:
    """Raise one E104 naming everything in the file that is not known."""
    unknown = [
        f"{node.name or ', '.join(node.output)!r} ({kind_of(node)})"
        for node in model.graph.node
        if not known(node)
    ]
    unknown += [
        f"function {item.name!r} of domain {item.domain!r}"
        for item in model.functions
        if item.domain != DOMAIN or item.name not in forms()
    ]
    parts = ("sparse_initializer", "quantization_annotation")
    unknown += [f"graph.{name}" for name in parts if len(getattr(model.graph, name))]
    unknown += ["training_info"] if len(model.training_info) else []
    if unknown:
        what = f"{len(unknown)} nodes are not supported: {', '.join(unknown)}"
        raise InputError("E104", what, where=str(path), fix=_FIX)


def known(node: Any) -> bool:
    """Whether an operator is one that neurodeploy writes."""
    if node.domain in STANDARD_DOMAINS:
        return node.op_type in STANDARD or node.op_type in _SPELLINGS or _is_constant(node)
    return node.domain == DOMAIN and node.op_type in forms() and not node.overload


def _is_constant(node: Any) -> bool:
    """Whether a node is a tensor that a tool has moved out of the initializers."""
    names = [item.name for item in node.attribute]
    return (node.domain, node.op_type, names) == ("", "Constant", ["value"])


def _functions_unchanged(model: Any, path: Path) -> None:
    """Raise E108 for every function that is missing or not as it is written."""
    problems: list[NeurodeployError] = []
    found = {item.name: item for item in model.functions}
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    for name in sorted(used | set(found)):
        expected = canonical(forms()[name].function)
        if name not in found:
            problems.append(_edited(f"the function {name!r} is missing", path))
            continue
        opsets = [(item.domain, item.version) for item in found[name].opset_import]
        if opsets != [("", OPSET)]:
            problems.append(_edited(f"the function {name!r} has operator sets {opsets}", path))
        elif (actual := canonical(function(found[name]))) != expected:
            detail = _difference(actual, expected)
            problems.append(_edited(f"the function {name!r} was edited: {detail}", path))
    if problems:
        raise together(problems)


def _edited(what: str, path: Path) -> InputError:
    fix = "export the model again: a function means what this release writes, and nothing else"
    return InputError("E108", what, where=str(path), fix=fix)


def _difference(actual: Function, expected: Function) -> str:
    """Say where two functions first differ."""
    for mine, theirs in zip(expected.calls, actual.calls, strict=False):
        if mine != theirs:
            return f"{theirs.type} {', '.join(theirs.outputs)} should be {mine.type}" + (
                "" if mine.type != theirs.type else " with other inputs or attributes"
            )
    if len(actual.calls) != len(expected.calls):
        return f"{len(actual.calls)} operators instead of {len(expected.calls)}"
    return f"inputs {list(actual.inputs)}, outputs {list(actual.outputs)}"


def _are_bits(value: Any) -> bool:
    return type(value) is int and value > 0


class _Reader:
    """One file: its constants, which of them were read, and the problems found so far."""

    def __init__(self, model: Any, path: Path) -> None:
        self.model, self.where = model.graph, str(path)
        self.nodes = [node for node in self.model.node if not _is_constant(node)]
        tensors = {item.name: item for item in self.model.initializer}
        tensors |= {n.output[0]: n.attribute[0].t for n in self.model.node if _is_constant(n)}
        self.constants = {name: array(tensor, self.where) for name, tensor in tensors.items()}
        self.metadata = {item.key: item.value for item in model.metadata_props}
        self.used: set[str] = set()
        self.problems: list[NeurodeployError] = []
        self.producers: dict[str, str] = {}

    def graph(self) -> Graph:
        width = self._interface()
        for node in self.nodes:
            for value in node.output:
                if value in self.producers or value in self.constants:
                    self._refuse("E101", f"two nodes compute {value!r}", node.name)
                self.producers[value] = node.name
        nodes = [made for node in self.nodes for made in self._node(node, width)]
        for name in sorted(set(self.constants) - self.used):
            what = f"no node reads the constant {name!r}"
            self._refuse("E108", what, "", "remove it, or export the model again")
        output = self.producers.get(self.model.output[0].name)
        if output is None:
            self._refuse("E101", "no node computes the output", "")
        if self.problems:
            raise together(self.problems)
        grids = {name: tuple(peaks) for name, peaks in self._recorded(GRIDS, are_peaks).items()}
        return Graph(tuple(nodes), str(output), bits=self._recorded(BITS, _are_bits), grids=grids)

    def _recorded(self, key: str, good: Callable[[Any], bool]) -> dict[str, Any]:
        """Return what the metadata records by node."""
        try:
            found = json.loads(self.metadata.get(key, "{}"))
            if all(map(good, found.values())):
                return dict(found)
        except (json.JSONDecodeError, AttributeError):
            pass
        what = f"the metadata {key!r} does not say whole numbers by name"
        raise InputError("E101", what, where=self.where, fix="export the model again")

    def _interface(self) -> int:
        """Return the width of the one input; refuse files with other inputs and outputs."""
        inputs = [item for item in self.model.input if item.name not in self.constants]
        if len(inputs) != 1 or len(self.model.output) != 1:
            what = f"{len(inputs)} inputs and {len(self.model.output)} outputs, not one of each"
            raise InputError("E104", what, where=self.where, fix=_FIX)
        axes = inputs[0].type.tensor_type.shape.dim
        width = axes[-1].dim_value if len(axes) == 3 else 0
        if width < 1:
            what = f"the input {inputs[0].name!r} is not [T, B, channels] with a known last axis"
            raise InputError("E101", what, where=self.where, fix="export the model again")
        self.input = inputs[0].name
        self.dtype = {1: "float32", 11: "float64"}.get(inputs[0].type.tensor_type.elem_type, "")
        return int(width)

    def _node(self, node: Any, width: int) -> list[Node]:
        """Return the node, or nothing if there is a problem with it."""
        before = len(self.problems)
        standard = node.domain in STANDARD_DOMAINS
        sources = list(node.input) if standard else list(node.input[:1])
        op = self._standard(node) if standard else self._own(node, forms()[node.op_type], width)
        reads = [self.producers.get(name) for name in sources]
        if isinstance(op, Input):
            reads = []
        for name, found in zip(sources, reads, strict=False):
            if found is None:
                self._refuse("E104", f"it reads {name!r}, which no node computes", node.name)
        if op is None or len(self.problems) > before:
            return []
        return [Node(node.name, op, tuple(str(name) for name in reads))]

    def _standard(self, node: Any) -> Op | None:
        op, attributes = STANDARD[_SPELLINGS.get(node.op_type, node.op_type)]
        found = {item.name: int(item.i) for item in node.attribute}
        if found not in (attributes, {"axis": 2} if op is Concat else attributes):
            self._refuse("E104", f"{node.op_type} with attributes {found}", node.name)
        return op()

    def _own(self, node: Any, form: Form, width: int) -> Op | None:
        if node.attribute or len(node.output) != 1:
            self._refuse("E108", f"{node.op_type} has attributes or several outputs", node.name)
        if len(node.input) != 1 + len(form.parameters):
            what = f"{node.op_type} has {len(node.input)} inputs, not {1 + len(form.parameters)}"
            self._refuse("E101", what, node.name)
            return None
        if form.op is Input and node.input[0] != self.input:
            self._refuse("E107", "an Input reads another node", node.name)
        before = len(self.problems)
        rows = zip(node.input[1:], form.parameters, strict=True)
        values = {row[0]: self._constant(name, row, node.name) for name, row in rows}
        if len(self.problems) > before:
            return None
        try:
            return form.build(values, width)
        except InputError as error:
            error.where = f'node "{node.name}"'
            self.problems.append(error)
            return None

    def _constant(self, name: str, row: tuple[str, str, str | None], node: str) -> Any:
        if name not in self.constants:
            self._refuse("E104", f"its {row[0]} is {name!r}, not a constant of the file", node)
            return None
        self.used.add(name)
        value = self.constants[name]
        if value.dtype.name != type_of(row[0], self.dtype):
            self._refuse("E101", f"its {row[0]} has type {value.dtype}", node)
        elif row[1] in SCALARS and value.shape != ():
            self._refuse("E107", f"its {row[0]} has shape {value.shape}, not ()", node)
        elif not np.all(np.isfinite(value)):
            bad = np.count_nonzero(~np.isfinite(value))
            fix = "train again, or restore an earlier checkpoint"
            self._refuse("E105", f"{row[0]} has {bad} NaN or infinite values", node, fix)
        return value.astype(np.float64) if value.dtype.kind == "f" else value

    def _refuse(self, code: str, what: str, node: str, fix: str = "export the model again") -> None:
        where = f'node "{node}" in {self.where}' if node else self.where
        self.problems.append(InputError(code, what, where=where, fix=fix))
