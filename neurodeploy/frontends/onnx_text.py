"""An ONNX file as it stands there: for `inspect`, which shows also what is no graph.

Constants, and the nodes of type Constant, stand with the nodes that read them, under the names that
the operator's definition has for its inputs. What a file says about quantization is among them:
scales and zero points are inputs of quantizers, annotations of values stand with the node that
computes the value. Shapes are those that the file states or ONNX infers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.frontends import Reading, child, onnx_net, onnx_own, require
from neurodeploy.frontends.contents import field
from neurodeploy.frontends.onnx import LIMITS
from neurodeploy.frontends.onnx_file import STANDARD_DOMAINS, array, kind_of, load
from neurodeploy.frontends.onnx_quant import INPUTS
from neurodeploy.graph.forms.onnx import PROGRAM_DOMAIN

_MOST = 16  #: numbers of an attribute that are shown one by one


def described(path: Path, reading: Reading) -> dict[str, Any]:
    """Return a file as plain data (`contents`), with `inputs`, `outputs` and `opsets`.

    Raises InputError E101 as `onnx.read` does where the file is damaged; ToolError E601 without
    onnx.
    """
    require("onnx", "onnx")
    how = {"allow_external_data": reading.allow_external_data, "budget": LIMITS.budget}
    file, _ = child.call(parsed, path, LIMITS, **how)
    return dict(file)


def parsed(
    path: Path, *, allow_external_data: bool, budget: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a file as plain data; runs in the child."""
    model = _inferred(load(path, allow_external_data=allow_external_data, budget=budget))
    file = _File(model, str(path))
    bodies = [
        (f"{item.name}/", item) for item in model.functions if item.domain not in onnx_own.DOMAINS
    ]
    nodes = [*file.nodes(model.graph, "", {})]
    nodes += [row for at, body in bodies for row in file.nodes(body, at, {})]
    made_of = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in made_of]
    ends = {"inputs": _shapes(inputs), "outputs": _shapes(model.graph.output)}
    opsets = {item.domain or "ai.onnx": item.version for item in model.opset_import}
    about = {"name": path.name, "writer": _writer(model)}
    return {**about, **ends, "opsets": opsets, "nodes": nodes}, {}


def _writer(model: Any) -> str:
    if onnx_own.is_own(model):
        return "neurodeploy"
    return f"{model.producer_name} {model.producer_version}".strip() or "unknown"


def _shapes(values: Any) -> dict[str, dict[str, Any]]:
    """Return shape and dtype of values, by name; None where a file does not say."""
    from onnx import helper

    found: dict[str, dict[str, Any]] = {}
    for value in values:
        tensor = value.type.tensor_type
        axes = [axis.dim_param or axis.dim_value or "?" for axis in tensor.shape.dim]
        try:
            dtype = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except (KeyError, ValueError):  # a type that is not known
            dtype = None
        shape = axes if tensor.HasField("shape") else None
        found[value.name] = {"shape": shape, "dtype": dtype}
    return found


def _inferred(model: Any) -> Any:
    """Return the model with the shapes that ONNX infers; as it is, where that fails."""
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # the onnx package raises many kinds for malformed models
        return model


@dataclass(frozen=True)
class _Scope:
    """What names of values mean in a graph: constants, shapes, annotations."""

    constants: Mapping[str, Any]
    shapes: Mapping[str, Any]
    annotations: Mapping[str, Any]
    computed: frozenset[str]  #: by nodes of the graph


class _File:
    """One file: what its operators call their inputs, and whether they are known."""

    def __init__(self, model: Any, where: str) -> None:
        self.where, self.own = where, onnx_own.is_own(model)
        self.functions = {(item.domain, item.name): list(item.input) for item in model.functions}
        self.opsets = {item.domain: item.version for item in model.opset_import}

    def nodes(self, graph: Any, at: str, outer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the nodes of a graph or function, those of graphs in it behind their node.

        outer: the constants around it.
        """
        scope = self._scope(graph, outer)
        made = set(scope.constants)  #: constants, and what is made of them alone
        for node in graph.node:
            if _constant(node) is not None:
                continue
            name = at + (node.name or ", ".join(node.output))
            constant = all(not each or each in made for each in node.input)
            made.update(node.output if constant else ())
            yield self._row(node, name, self._known(node, constant), scope)
            for item in node.attribute:
                for body in [*([item.g] if item.HasField("g") else []), *item.graphs]:
                    yield from self.nodes(body, f"{name}/", scope.constants)

    def _known(self, node: Any, constant: bool) -> bool:
        if PROGRAM_DOMAIN in self.opsets:
            return True
        return onnx_own.known(node) if self.own else onnx_net.known(node, constant=constant)

    def _scope(self, graph: Any, outer: Mapping[str, Any]) -> _Scope:
        constants = dict(outer)
        for item in getattr(graph, "initializer", ()):
            constants[item.name] = array(item, self.where)
        for node in graph.node:
            value = _constant(node)
            if value is not None:
                constants[node.output[0]] = array(value, self.where)
        values = getattr(graph, "value_info", ())
        notes = {
            item.tensor_name: {each.key: each.value for each in item.quant_parameter_tensor_names}
            for item in getattr(graph, "quantization_annotation", ())
        }
        ends = [item for item in graph.output if not isinstance(item, str)]
        computed = frozenset(each for node in graph.node for each in node.output)
        return _Scope(constants, _shapes([*values, *ends]), notes, computed - set(constants))

    def _row(self, node: Any, name: str, is_known: bool, scope: _Scope) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        names = dict(enumerate(self._names(node)))
        for i, value in enumerate(node.input):
            key = names.get(i, f"input {i}")
            if value in scope.constants:
                fields[key] = {**field(scope.constants[value]), "constant": value}
        for item in node.attribute:
            fields[item.name] = self._attribute(item)
        here = [each for each in node.input if each not in scope.computed]
        for value in (*here, *node.output):
            for key, tensor in scope.annotations.get(value, {}).items():
                held = scope.constants.get(tensor)
                told = field(tensor) if held is None else {**field(held), "constant": tensor}
                fields[f"annotation of {value}: {key}"] = told
        nothing = {"shape": None, "dtype": None}
        return {
            "name": name,
            "type": kind_of(node),
            "known": is_known,
            "reads": [each for each in node.input if each and each not in scope.constants],
            "sends": {each: scope.shapes.get(each, nothing) for each in node.output if each},
            "fields": fields,
        }

    def _names(self, node: Any) -> list[str]:
        """Return what an operator calls its inputs, as far as it names them."""
        from onnx import defs

        if (node.domain, node.op_type) in self.functions:
            return self.functions[node.domain, node.op_type]
        if node.op_type in INPUTS:
            return list(INPUTS[node.op_type])
        try:
            version = self.opsets.get(node.domain, 1)
            found = defs.get_schema(node.op_type, version, node.domain).inputs
        except defs.SchemaError:
            return []
        variadic = defs.OpSchema.FormalParameterOption.Variadic
        return [item.name for item in found if item.option != variadic]

    def _attribute(self, item: Any) -> dict[str, Any]:
        from onnx import helper

        if item.HasField("t"):
            return field(array(item.t, self.where))
        if item.HasField("g") or item.graphs:
            return field("a graph")
        try:
            value = helper.get_attribute_value(item)
        except ValueError:
            return field("not readable")
        if isinstance(value, bytes):
            return field(value.decode("utf-8", "replace"))
        if isinstance(value, int | float):
            return field(value)
        if item.ints or item.floats:
            return field(list(value) if len(value) <= _MOST else np.asarray(value))
        return field(f"{type(item).AttributeType.Name(item.type).lower()}")


def _constant(node: Any) -> Any:
    """Return the tensor that a node of type Constant is; None of any other."""
    if node.op_type != "Constant" or node.domain not in STANDARD_DOMAINS or not node.output:
        return None
    return next((item.t for item in node.attribute if item.HasField("t")), None)
