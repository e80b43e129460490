"""NIR files of other tools, as far as they are unambiguous without being told more.

Affine, Linear, Scale and Threshold mean one thing. Everything with a time constant does not: NIR
has no step length, and does not say how tools discretise, compare and reset. Those are listed with
what would have to be stated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph import rules
from neurodeploy.graph.forms.nir_net import Net, Part
from neurodeploy.graph.ir import Add, Affine, Graph, Input, Linear, Neurons, Node, Op

_STATE = "the step length, how it is discretised and the input gain"
_SPIKE = f"{_STATE}, the comparator, the kind of reset and its order"
AMBIGUOUS = {
    "I": _STATE,
    "LI": _STATE,
    "CubaLI": _STATE,
    "IF": _SPIKE,
    "LIF": _SPIKE,
    "CubaLIF": _SPIKE,
    "Delay": "the step length",
    "NIRGraph": "what it is: it has no metadata of neurodeploy",
}
READ = ("Input", "Output", "Affine", "Linear", "Scale", "Threshold")
NOT_READ = ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten")


def check_types(found: Net, path: Path) -> None:
    """Raise one InputError E104 naming every node of a type that NIR does not have."""
    known = {*AMBIGUOUS, *READ, *NOT_READ}
    unknown = [f"{name!r} ({kind})" for name, kind in _types(found, "") if kind not in known]
    if unknown:
        raise _unknown(unknown, path)


def _types(found: Net, at: str) -> Iterator[tuple[str, str]]:
    for name, part in found.parts.items():
        yield f"{at}{name}", _type(part)
        if isinstance(part, Net):
            yield from _types(part, f"{at}{name}/")


def _type(part: Part | Net) -> str:
    return part.type if isinstance(part, Part) else "NIRGraph"


def _unknown(names: list[str], path: Path) -> InputError:
    return InputError(
        "E104",
        f"{len(names)} nodes are not supported: {', '.join(names)}",
        where=str(path),
        fix=f"supported: {', '.join(READ)}, and the files that neurodeploy writes",
    )


def graph(found: Net, path: Path) -> Graph:
    """Return the graph of a file without our metadata.

    Raises, all at once, InputError E104 (nodes that are not supported), E108 (nodes that do not say
    all that matters), E105, E107.
    """
    problems: list[NeurodeployError] = []
    kinds = {name: _type(part) for name, part in found.parts.items()}
    unknown = [f"{name!r} ({kind})" for name, kind in kinds.items() if kind in NOT_READ]
    if unknown:
        problems.append(_unknown(unknown, path))
    unclear = [f"{name!r} ({kind})" for name, kind in kinds.items() if kind in AMBIGUOUS]
    if unclear:
        missing = dict.fromkeys(AMBIGUOUS[kind] for kind in kinds.values() if kind in AMBIGUOUS)
        problems.append(
            InputError(
                "E108",
                f"{len(unclear)} nodes are ambiguous: {', '.join(unclear)}."
                f" NIR does not state {'; '.join(missing)}",
                where=str(path),
                fix="give the model as .pt, or as a .nir file that neurodeploy wrote",
            )
        )
    if problems:
        raise together(problems)
    return rules.check(_Chain(found, path).graph())


class _Chain:
    """Nodes in execution order, sums made explicit."""

    def __init__(self, found: Net, path: Path) -> None:
        self.found, self.path = found, path
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        reads = self._reads()
        outputs = [name for name, part in self.found.parts.items() if _type(part) == "Output"]
        if len(outputs) != 1:
            raise self._refuse("E107", f"{len(outputs)} outputs, not one", "")
        for name in self._order(reads):
            if name not in outputs:
                self.nodes.append(Node(name, self._op(name), self._inputs(name, reads[name])))
        sources = self._inputs(outputs[0], reads[outputs[0]])
        if len(sources) != 1:
            raise self._refuse("E107", "nothing leads to it", outputs[0])
        return Graph(tuple(self.nodes), sources[0])

    def _reads(self) -> dict[str, list[str]]:
        """Return what each node reads, in order of name, since a file's order means nothing."""
        reads: dict[str, list[str]] = {name: [] for name in self.found.parts}
        for source, target in sorted(self.found.edges):
            if source in reads[target]:
                raise self._refuse("E107", f"the edge from {source!r} stands there twice", target)
            reads[target].append(source)
        return reads

    def _order(self, reads: dict[str, list[str]]) -> list[str]:
        """Return the nodes so that each comes after what it reads."""
        done: list[str] = []
        while len(done) < len(reads):
            ready = [n for n, i in reads.items() if n not in done and set(i) <= set(done)]
            if not ready:
                loop = sorted(set(reads) - set(done))
                raise self._refuse("E107", f"a loop among {', '.join(loop)}", "")
            done += sorted(ready)
        return done

    def _inputs(self, name: str, sources: list[str]) -> tuple[str, ...]:
        if len(sources) < 2:
            return tuple(sources)
        self.nodes.append(Node(f"{name}.sum", Add(), tuple(sources)))
        return (f"{name}.sum",)

    def _op(self, name: str) -> Op:
        part = self.found.parts[name]
        assert isinstance(part, Part)
        if part.type == "Input":
            return Input(self._width(part, name))
        if part.type in ("Affine", "Linear"):
            weight = self._field(part, "weight", name, 2)
            affine = part.type == "Affine"
            bias = self._field(part, "bias", name, 1) if affine else np.zeros(len(weight))
            return Linear(weight, bias)
        if part.type == "Scale":
            gain = self._field(part, "scale", name, 1)
            return Affine(gain, np.zeros_like(gain))
        level = self._field(part, "threshold", name, 1)
        one, zero = np.ones_like(level), np.zeros_like(level)
        return Neurons("spatial", {"compare": ">"}, {"v_th": level}, one, zero)

    def _width(self, part: Part, name: str) -> int:
        shape = np.asarray(part.fields.get("shape", ()))
        if shape.shape != (1,) or shape.dtype.kind not in "iu" or shape[0] < 1:
            what = f"shape {shape.tolist()} does not say which axis holds the channels"
            raise self._refuse("E108", what, name)
        return int(shape[0])

    def _field(self, part: Part, key: str, name: str, axes: int) -> Any:
        value = part.fields.get(key)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise self._refuse("E101", f"{part.type} has no numbers {key!r}", name)
        if value.ndim != axes:
            raise self._refuse("E107", f"{key} has shape {value.shape}, not {axes} axes", name)
        extra = set(part.fields) - {"weight", "bias", "scale", "threshold"}
        if extra:
            raise self._refuse("E108", f"{part.type} has unknown fields {sorted(extra)}", name)
        return value.astype(np.float64)

    def _refuse(self, code: str, what: str, name: str) -> InputError:
        where = f'node "{name}" in {self.path}' if name else str(self.path)
        return InputError(code, what, where=where, fix="correct the file, or give the model as .pt")
