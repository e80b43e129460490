"""A graph as plain data: what a dump, a checkpoint or a file's metadata can hold.

    record   dict of str, int, float, bool, list and dict; JSON writes it without loss
    arrays   dict of float64 arrays; the record names them, as "node:field" or "node:field.key"

What an operation does not have (`recurrent`, `tokens`) is left out. Reading is strict: every key
must be known, every array used, and the graph must obey its rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph import rules
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import (
    Add,
    Affine,
    Array,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Op,
    Population,
    Range,
    Reduce,
    Surrogate,
)
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.graph.nonlinear import (
    Gelu,
    Glu,
    LayerNorm,
    Lstm,
    Product,
    Quantize,
    Relu,
    Rescale,
    Ternary,
)
from neurodeploy.neurons import SPECS

FORMAT, VERSION = "neurodeploy.graph", 1

OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(Input, Linear, Affine, BatchNorm, Neurons, Surrogate, Population, Add, Concat, Reduce),
        *(LayerNorm, Gelu, Relu, Rescale, Quantize, Glu, Lstm, Product, Ternary, Conv),
        *(Pool, Delay),
    )
}

Record = dict[str, Any]
_OPTIONAL = Array | None  # a field that is left out where it is None
_NUMBERS = tuple[int, ...]
_UNLESS_SET = ("tokens",)  # fields that are left out where they are False


def to_record(graph: Graph) -> tuple[Record, dict[str, Array]]:
    """Return `graph` as plain data and arrays; `from_record` gives the identical graph back."""
    arrays: dict[str, Array] = {}
    nodes = [
        {
            "name": node.name,
            "op": type(node.op).__name__,
            "inputs": list(node.inputs),
            "fields": _plain(node.op, node.name, arrays),
        }
        for node in graph
    ]
    ranges = {k: _plain(seen, f"{k}:range", arrays) for k, seen in graph.ranges.items()}
    record = {
        "format": FORMAT,
        "version": VERSION,
        "output": graph.output,
        "nodes": nodes,
        "ranges": ranges,
        "calibration": graph.calibration,
    }
    if graph.bits:
        record["bits"] = dict(graph.bits)
    if graph.grids:
        record["grids"] = {name: list(peaks) for name, peaks in graph.grids.items()}
    return record, arrays


def _plain(item: Op | Range, name: str, arrays: dict[str, Array]) -> Record:
    prefix = f"{name}." if isinstance(item, Range) else f"{name}:"
    hints = get_type_hints(type(item))
    return {
        field.name: _value(
            getattr(item, field.name), hints[field.name], prefix + field.name, arrays
        )
        for field in fields(item)
        if getattr(item, field.name) is not None
        and not (field.name in _UNLESS_SET and not getattr(item, field.name))
    }


def _value(value: Any, hint: Any, key: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {"array": key}
    if isinstance(value, Mapping):
        return {k: _value(v, None, f"{key}.{k}", arrays) for k, v in value.items()}
    if hint == _NUMBERS:
        return [int(each) for each in value]
    return hint(value) if hint in (int, float, bool, str) else value


def from_record(record: Any, arrays: Mapping[str, Any], where: str = "record") -> Graph:
    """Return the graph that `record` and `arrays` describe; `where` names them in errors.

    Raises, all at once, InputError E101 (not such a record; a key, type or array that is wrong,
    missing or unused), E107 (an unknown operation, neuron model, option or wiring) and E105 (a
    parameter that is not finite or outside its range).
    """
    return _Reader(arrays, where).graph(record)


class _Reader:
    """The arrays used and the problems found so far."""

    def __init__(self, arrays: Mapping[str, Any], where: str) -> None:
        self.arrays, self.where = arrays, where
        self.used: set[str] = set()
        self.problems: list[NeurodeployError] = []

    def graph(self, record: Any) -> Graph:
        head = ("format", "version", "output", "nodes", "ranges", "calibration", "bits", "grids")
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise self._bad(f"not a record of format {FORMAT!r}", "")
        if record.get("version") != VERSION:
            version = record.get("version")
            raise self._bad(f"the record has version {version!r}, not {VERSION}", "")
        record = {"bits": {}, "grids": {}, **record}
        self._keys(record, head, "")
        shapes = {"output": str, "calibration": str, "nodes": list, "ranges": dict, "bits": dict}
        shapes["grids"] = dict
        for key, kind in shapes.items():
            if not isinstance(record.get(key), kind):
                self.problems.append(self._bad(f"{key!r} is not a {kind.__name__}", ""))
        self._stop()
        if not all(type(bits) is int and bits > 0 for bits in record["bits"].values()):
            self.problems.append(self._bad("'bits' are not whole numbers above 0", ""))
        if not all(map(are_peaks, record["grids"].values())):
            self.problems.append(self._bad("'grids' are not lists of whole numbers from 0 up", ""))
            record["grids"] = {}
        nodes = [node for item in record["nodes"] for node in self._node(item)]
        ranges = {k: r for k, item in record["ranges"].items() for r in self._range(k, item)}
        for key in sorted(set(self.arrays) - self.used):
            self.problems.append(self._bad(f"array {key!r} belongs to no node", ""))
        self._stop()
        more = ranges, record["calibration"], record["bits"]
        grids = {name: tuple(peaks) for name, peaks in record["grids"].items()}
        graph = Graph(tuple(nodes), record["output"], *more, grids)
        return rules.check(graph)

    def _node(self, item: Any) -> Iterator[Node]:
        keys = ("name", "op", "inputs", "fields")
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(item.get("fields"), dict):
            self.problems.append(self._bad("a node has no name or no fields", repr(item)[:60]))
            return
        self._keys(item, keys, name)
        inputs = item.get("inputs")
        if not isinstance(inputs, list) or not all(isinstance(i, str) for i in inputs):
            self.problems.append(self._bad("inputs are not a list of names", name))
            return
        op = item.get("op")
        if not isinstance(op, str) or op not in OPS:
            self._report("E107", f"unknown operation {op!r}", name, f"known: {', '.join(OPS)}")
            return
        before = len(self.problems)
        values = self._fields(OPS[op], item["fields"], name)
        if len(self.problems) == before:
            self._model(op, values, name)
        if len(self.problems) == before:
            try:
                yield Node(name, OPS[op](**values), tuple(item["inputs"]))
            except InputError as error:
                error.where = error.where or f'node "{name}"'
                self.problems.append(error)

    def _range(self, name: str, item: Any) -> Iterator[Range]:
        before = len(self.problems)
        if not isinstance(item, dict):
            self.problems.append(self._bad("a range is not a dict", name))
            return
        values = self._fields(Range, item, name)
        if len(self.problems) == before:
            yield Range(**values)

    def _fields(self, cls: type[Any], given: Mapping[str, Any], name: str) -> dict[str, Any]:
        hints = get_type_hints(cls)
        optional = {key for key, hint in hints.items() if hint == _OPTIONAL or key in _UNLESS_SET}
        absent = optional - set(given)
        self._keys(given, tuple(i.name for i in fields(cls) if i.name not in absent), name)
        return {
            key: self._read(hints[key], value, f"{name}:{key}")
            for key, value in given.items()
            if key in hints
        }

    def _read(self, hint: Any, value: Any, key: str) -> Any:
        if hint in (Array, _OPTIONAL):
            return self._array(value, key)
        if hint == Mapping[str, Array] and isinstance(value, dict):
            return {k: self._array(v, f"{key}.{k}") for k, v in value.items()}
        if hint == Mapping[str, Any] and isinstance(value, dict):
            return dict(value)
        listed = hint == _NUMBERS and isinstance(value, list)
        if listed and all(type(each) is int for each in value):
            return tuple(value)
        if hint is float and type(value) is float:
            if not np.isfinite(value):
                self._report("E105", f"{key} is not a finite number", _owner(key), "")
            return value
        if type(value) is not hint:
            self.problems.append(self._bad(f"{key} has the wrong type", _owner(key)))
        return value

    def _array(self, value: Any, key: str) -> Any:
        stored = value.get("array") if isinstance(value, dict) and set(value) == {"array"} else None
        array = self.arrays.get(stored) if isinstance(stored, str) else None
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            self.problems.append(self._bad(f"{key} is not an array of floats", _owner(key)))
            return np.zeros(1)
        self.used.add(str(stored))
        return array.astype(np.float64)

    def _model(self, op: str, values: Mapping[str, Any], name: str) -> None:
        """Check the neuron model, its options and the names of its coefficients."""
        if op not in ("Neurons", "Surrogate", "Population"):
            return
        spec = SPECS.get(values["spec"])
        if spec is None:
            known = f"known: {', '.join(SPECS)}"
            self._report("E107", f"unknown neuron model {values['spec']!r}", name, known)
            return
        choices = {k: list(v) for k, v in spec.choices.items()}
        chosen = values["options"]
        if set(chosen) != set(choices) or any(chosen[k] not in v for k, v in choices.items()):
            self._report("E107", f"{spec.name} has no options {chosen}", name, f"use {choices}")
        if op == "Population" and set(values["coefs"]) != set(spec.coefs._fields):
            what = f"{spec.name} has coefficients {spec.coefs._fields}"
            self._report("E107", what, name, "write the graph again")

    def _keys(self, given: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
        for key in sorted(set(given) ^ set(known), key=str):
            what = "unknown" if key in given else "missing"
            self.problems.append(self._bad(f"{what} key {key!r}", name))

    def _bad(self, what: str, name: str) -> InputError:
        where = f'node "{name}" in {self.where}' if name else self.where
        return InputError("E101", what, where=where, fix="write the file again")

    def _report(self, code: str, what: str, name: str, fix: str) -> None:
        where = f'node "{name}" in {self.where}'
        self.problems.append(InputError(code, what, where=where, fix=fix))

    def _stop(self) -> None:
        if self.problems:
            raise together(self.problems)


def are_peaks(value: Any) -> bool:
    """Whether plain data is the greatest whole numbers of the rows of a grid (`Graph.grids`)."""
    return isinstance(value, list) and all(type(peak) is int and peak >= 0 for peak in value)


def _owner(key: str) -> str:
    return key.partition(":")[0]
