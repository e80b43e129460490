"""NIR files of other tools, to a graph: by the profile of the tool and what the user states.

Weights, maps and thresholds mean one thing. What has a time constant does not: NIR has no step
length, and does not say how tools discretise, compare and reset (`nir_profiles`, `nir_tools`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.frontends.nir_cells import EXACT, Cell
from neurodeploy.frontends.nir_loops import feedback, late
from neurodeploy.frontends.nir_maps import READERS, Shape, View, made
from neurodeploy.frontends.nir_profiles import NEURONS, PROFILES, Profile, Seen, candidates, steps
from neurodeploy.frontends.nir_stated import STATEMENTS, Stated, option
from neurodeploy.frontends.nir_wiring import Wiring, wiring
from neurodeploy.graph import rules
from neurodeploy.graph.forms.nir import OWNER, is_own
from neurodeploy.graph.forms.nir_net import Net, Part
from neurodeploy.graph.ir import Add, Affine, Array, Graph, Input, Neurons, Node, Op

ENDS = ("Input", "Output")
_FIX = "correct the file, or give the model as .pt"
KNOWN = (*ENDS, *READERS, *NEURONS, "NIRGraph")


def check_types(found: Net, path: Path) -> None:
    """Raise one InputError E104 naming every node of a type that NIR does not have."""
    ours = OWNER in found.metadata
    unknown = [
        f"{name!r} ({kind})"
        for name, kind in _types(found, "")
        if kind not in KNOWN and not (ours and is_own(kind))
    ]
    if unknown:
        raise InputError(
            "E104",
            f"{len(unknown)} nodes are not supported: {', '.join(unknown)}",
            where=str(path),
            fix=f"supported: {', '.join(KNOWN)}",
        )


def _types(found: Net, at: str) -> Iterator[tuple[str, str]]:
    for name, part in found.parts.items():
        yield f"{at}{name}", part.type if isinstance(part, Part) else "NIRGraph"
        if isinstance(part, Net):
            yield from _types(part, f"{at}{name}/")


def graph(found: Net, path: Path, source: str | None, stated: Stated) -> Graph:
    """Return the graph of a file without our metadata, written by the tool `source`.

    Raises, all at once, InputError E104 (nodes that are not supported), E108 (what the file leaves
    open and nobody stated, nodes that are not what the tool writes), E101 (statements without
    use), E105, E107.
    """
    wired = wiring(found, path)
    seen = _seen(wired)
    profile = profile_of(seen, source, path)
    reader = _Reader(wired, path, profile, stated, _step(profile, seen))
    made = reader.graph()
    problems = [*reader.problems, *stated.problems(path, profile.name if profile else "")]
    if problems:
        raise together(problems)
    assert made is not None
    return rules.check(made)


def _seen(wired: Wiring) -> list[Seen]:
    return [
        Seen(part.type, _numbers(part), name in wired.loops)
        for name, part in wired.parts.items()
        if part.type in NEURONS
    ]


def _numbers(part: Part) -> dict[str, Any]:
    return {k: v for k, v in part.fields.items() if isinstance(v, np.ndarray)}


def guess(found: Net, path: Path) -> list[str]:
    """Return the tools that may have written a file; none if it has no neurons."""
    seen = _seen(wiring(found, path))
    return candidates(seen) if seen else []


def profile_of(seen: Sequence[Seen], source: str | None, path: Path) -> Profile | None:
    """Return the profile of a file with these neurons; None if it has none, and needs none.

    Raises InputError E108 if `source` is not stated and the neurons do not tell, E101 for a source
    that is not known, or has no meaning.
    """
    if source is not None and source not in PROFILES:
        what, fix = f"no tool is called {source!r}", f"--source {' | '.join(PROFILES)}"
        raise InputError("E101", what, where=str(path), fix=fix)
    if not seen:
        if source is not None:
            what = "--source has no meaning in this file: nothing in it depends on the tool"
            raise InputError("E101", what, where=str(path), fix="leave it out")
        return None
    fitting = candidates(seen) if source is None else [source]
    if len(fitting) == 1:
        return PROFILES[fitting[0]]
    kinds = ", ".join(sorted({item.type for item in seen}))
    which = f"it may be of {' or '.join(fitting)}" if fitting else "it is like none of them"
    raise InputError(
        "E108",
        f"the file does not say which tool wrote it ({which}), and so neither the step length of"
        f" its neurons ({kinds}), nor how they are discretised, compare and reset",
        where=str(path),
        fix=f"state --source {' | '.join(PROFILES)}",
    )


def _step(profile: Profile | None, seen: Sequence[Seen]) -> float | None:
    """Return the step length that the neurons give away, in seconds.

    Only what a person would choose counts, a number of one digit: an edited time constant gives
    away something else.
    """
    given = [] if profile is None else steps(profile, seen)
    found = {float(f"{step:.0e}") for step in given}
    one = len(found) == 1 and np.allclose(given, next(iter(found)), rtol=EXACT, atol=0)
    return found.pop() if one else None


class _Reader:
    """Nodes in execution order, sums made explicit; and what was wrong with them."""

    def __init__(
        self,
        wired: Wiring,
        path: Path,
        profile: Profile | None,
        stated: Stated,
        step_s: float | None,
    ) -> None:
        self.wired, self.path, self.profile = wired, path, profile
        self.stated, self.step_s = stated, step_s
        self.problems: list[NeurodeployError] = []
        self.nodes: list[Node] = []
        self.source: dict[str, str] = {}  # the graph's node that has the values of a file's node
        self.shapes: dict[str, Shape] = {}
        self.taken: set[str] = set()

    def graph(self) -> Graph | None:
        """Return the graph, or None if there are problems."""
        ends = [self._only(kind) for kind in ENDS]
        if self.problems:
            return None
        start, end = ends
        attempts: list[list[NeurodeployError]] = []
        for shape in self._shapes(start):
            self.problems, self.nodes, self.source = [], [], {}
            self.shapes, self.taken = {}, set(self.wired.parts)
            found = self._attempt(start, end, shape)
            if found is not None and not self.problems:
                return found
            attempts.append(self.problems)
        self.problems = min(attempts, key=lambda found: sum(e.code == "E107" for e in found))
        return None

    def _only(self, kind: str) -> str:
        names = [name for name, part in self.wired.parts.items() if part.type == kind]
        if len(names) != 1:
            what = f"{len(names)} {kind.lower()}s, not one: {', '.join(names) or 'none'}"
            self.problems.append(self._refuse("E107", what))
        return names[0] if names else ""

    def _shapes(self, start: str) -> list[Shape]:
        """Return what the input's shape may be: some tools write batch and time in front."""
        part = self.wired.parts[start]
        value = np.asarray(part.fields.get("shape", part.fields.get("input_type", ())))
        if value.ndim != 1 or (value.size and value.dtype.kind not in "iu") or np.any(value < 1):
            raise self._refuse("E101", f"its shape is {value.tolist()}", start)
        whole = tuple(int(n) for n in value)
        if not whole:
            return [self._missing_shape(start)]
        shapes = [whole[i:] for i in range(min(len(whole), 3))]
        if self.profile is not None and self.profile.batched and len(shapes) > 1:
            shapes[:2] = reversed(shapes[:2])
        return shapes

    def _missing_shape(self, start: str) -> Shape:
        """Return the input's shape as its readers have it."""
        for name, sources in self.wired.reads.items():
            fields = self.wired.parts[name].fields
            if start in sources and "weight" in fields:
                weight = np.asarray(fields["weight"])
                if weight.ndim == 2:
                    return (weight.shape[1],)
                size = np.asarray(fields.get("input_shape", ()), np.int64).ravel()
                groups = int(np.asarray(fields.get("groups", 1)))
                if size.size:
                    return (weight.shape[1] * groups, *map(int, size))
            if start in sources and self.wired.parts[name].type in NEURONS:
                return tuple(
                    np.asarray(next(iter(_numbers(self.wired.parts[name]).values()))).shape
                )
        raise self._refuse("E108", "no shape, and what reads it does not tell", start)

    def _attempt(self, start: str, end: str, shape: Shape) -> Graph | None:
        for name in self.wired.order:
            if any(source not in self.shapes for source in self.wired.reads[name]):
                continue  # what it reads is wrong already
            try:
                if name == start:
                    self._emit(name, Input(int(np.prod(shape))), ())
                    self.source[name], self.shapes[name] = name, shape
                elif name != end:
                    self._node(name)
            except InputError as error:
                self._keep(error, name)
        read = self.wired.reads[end]
        if not read:
            self.problems.append(self._refuse("E107", "nothing leads to it", end))
        if self.problems:
            return None
        try:
            last, _ = self._summed(end, read)
        except InputError as error:
            self._keep(error, end)
            return None
        return Graph(tuple(self._needed(last)), last)

    def _keep(self, error: InputError, name: str) -> None:
        for each in (error, *error.others):
            inside = f" in {self.path}"
            each.where = (each.where or f'node "{name}"').removesuffix(inside) + inside
        self.problems.append(error)

    def _node(self, name: str) -> None:
        part = self.wired.parts[name]
        read = self.wired.reads[name]
        if not read:
            raise self._refuse("E107", "nothing leads to it", name)
        source, shape = self._summed(name, read)
        if part.type in NEURONS:
            # whatever is wrong with them, others can be looked at
            self.shapes[name], self.source[name] = shape, source
            source, ops = self._cells(name, part, source, shape)
        else:
            ops, self.shapes[name] = made(name, part, shape, lambda: self._length(name))
        for i, op in enumerate(ops):
            last = i == len(ops) - 1
            key = name if last else self._fresh(f"{name}.{_WORDS.get(type(op), 'synapse')}")
            source = self._emit(key, op, (source,))
        self.source[name] = source

    def _length(self, name: str) -> float:
        """Return the length of a step in the unit that the tool has for delays."""
        if self.profile is None:
            told = self.stated.told("dt", name)
            if told is None:
                what = "its delay is a time, and nothing in the file says how long a step is"
                fix = f"state {option('dt')} {STATEMENTS['dt'].words}"
                raise self._refuse("E108", what, name, fix)
            return float(told)
        if self.profile.delay_step is not None:
            return self.profile.delay_step
        how = (self.stated, self.profile.defaults, self.step_s)
        return Cell(name, "Delay", {}, frozenset(), False, *how).dt()

    def _emit(self, name: str, op: Op, inputs: tuple[str, ...]) -> str:
        self.nodes.append(Node(name, op, inputs))
        return name

    def _fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def _summed(self, name: str, read: Sequence[str]) -> tuple[str, Shape]:
        """Return the graph's node with the sum of what is read, and its shape."""
        shapes = {self.shapes[source] for source in read}
        if len({int(np.prod(shape)) for shape in shapes}) > 1:
            raise self._refuse("E107", f"it adds values of shapes {sorted(shapes)}", name)
        shape = max((self.shapes[source] for source in read), key=len)
        sources = [self.source[source] for source in read]
        if len(sources) == 1:
            return sources[0], shape
        return self._emit(self._fresh(f"{name}.sum"), Add(), tuple(sources)), shape

    def _cells(self, name: str, part: Part, source: str, shape: Shape) -> tuple[str, list[Op]]:
        """Return neurons as operations, and what they read."""
        view = View(name, part.type, part.fields)
        fields = {
            key: view.spread(key, shape)
            for key in sorted(set(part.fields) & set(_FIELDS[part.type]))
        }
        view.done()
        missing = set(_FIELDS[part.type]) - set(fields) - {"v_reset", "w_in"}
        if missing:
            raise view.refuse("E101", f"{part.type} has no numbers {', '.join(sorted(missing))}")
        looped = name in self.wired.loops
        assert self.profile is not None
        recover = self.profile.cells.get(part.type)
        if recover is None:
            what = f"{self.profile.name} does not write {part.type}"
            raise view.refuse("E108", what, "state another --source")
        narrow = frozenset(k for k in fields if np.asarray(part.fields[k]).dtype == np.float32)
        cell = Cell(
            name,
            part.type,
            fields,
            narrow,
            looped,
            self.stated,
            self.profile.defaults,
            self.step_s,
        )
        with np.errstate(all="ignore"):  # what is not finite is refused by name afterwards
            ops = recover(cell)
        if not looped:
            return source, ops
        if len(ops) > 1 or not isinstance(ops[0], Neurons):
            what = "neurons that hear themselves, of two nodes here"
            raise view.refuse("E108", what, "give the model as .pt")
        weight, bias = feedback(self.wired, name, shape)
        op = replace(ops[0], recurrent=ops[0].gain[:, None] * weight)
        if not np.any(bias):
            return source, [op]
        if self._always(name):
            return source, [replace(op, bias=op.bias + op.gain * bias)]
        return self._late(name, source, bias), [op]

    def _always(self, name: str) -> bool:
        """Whether the bias of a loop counts at the first step, too."""
        assert self.profile is not None
        usual = self.profile.feedback_bias
        told = self.stated.told("feedback_bias", name)
        if told is None and usual is None:
            told = self.stated.ask("feedback_bias", name, self.profile.defaults["feedback_bias"])
        return (told or usual) == "always"

    def _late(self, name: str, source: str, bias: Array) -> str:
        """Return the sum of `source` and of `bias` from the second step on."""
        last, width = self.nodes[0].name, self.nodes[0].op.width_of(())
        for word, op in late(bias, width):
            last = self._emit(self._fresh(f"{name}.{word}"), op, (last,))
        return self._emit(self._fresh(f"{name}.drive"), Add(), (source, last))

    def _needed(self, last: str) -> list[Node]:
        """Return the nodes that the output depends on: those of loops alone are in weights."""
        needed = {last, self.nodes[0].name}
        for node in reversed(self.nodes):
            needed |= set(node.inputs) if node.name in needed else set()
        inside = {name for loop in self.wired.loops.values() for name in loop}
        return [node for node in self.nodes if node.name in needed or node.name not in inside]

    def _refuse(self, code: str, what: str, name: str = "", fix: str = _FIX) -> InputError:
        where = f'node "{name}" in {self.path}' if name else str(self.path)
        return InputError(code, what, where=where, fix=fix)


_WORDS: dict[type[Op], str] = {Affine: "offset"}
_FIELDS = {
    "I": ("r",),
    "IF": ("r", "v_threshold", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
}
