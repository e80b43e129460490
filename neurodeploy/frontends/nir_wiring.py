"""How the nodes of a NIR file hang together: graphs in graphs, sums, loops, and an order.

A file's order means nothing: whatever reads several nodes reads them in order of their names. A
loop is one node with neurons that hears itself through weights; the value on its way back is that
of the step before, 0 at first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from neurodeploy.errors import InputError
from neurodeploy.frontends.nir_profiles import NEURONS
from neurodeploy.graph.forms.nir_net import Net, Part

Edges = dict[str, list[str]]


@dataclass(frozen=True, eq=False)
class Wiring:
    """Primitives by name, what each reads, and, by neurons that hear themselves, their loop.

    reads: without what comes back in a loop. loops: the nodes of each loop but the neurons, in
    order; those that lead back to the neurons are `back`.
    """

    parts: Mapping[str, Part]
    reads: Mapping[str, list[str]]
    order: tuple[str, ...]
    loops: Mapping[str, tuple[str, ...]]
    back: Mapping[str, tuple[str, ...]]


def wiring(found: Net, path: Path) -> Wiring:
    """Return the wiring of a file. Raises InputError E107 and E108."""
    parts, edges = _flat(found, path, "")
    reads = _reads(parts, edges, path)
    names = _renamed(parts)
    parts = {names[name]: part for name, part in parts.items()}
    reads = {names[name]: sorted(names[s] for s in found) for name, found in reads.items()}
    loops, back = {}, {}
    for members in list(_cycles(reads)):
        neurons = [name for name in members if parts[name].type in NEURONS]
        if len(neurons) != 1:
            raise _ambiguous(members, neurons, path)
        (hub,) = neurons
        back[hub] = tuple(name for name in reads[hub] if name in members)
        reads[hub] = [name for name in reads[hub] if name not in members]
        inner = {name: [s for s in reads[name] if s in members] for name in members}
        loops[hub] = tuple(name for name in _order(inner, path) if name != hub)
        for name in loops[hub]:
            if set(reads[name]) - set(members):
                what = f"{name!r} adds what comes from outside to what comes back to {hub!r}"
                raise _bad("E108", what, path, "give what comes from outside its own weights")
    return Wiring(parts, reads, tuple(_order(reads, path)), loops, back)


def _flat(found: Net, path: Path, at: str) -> tuple[dict[str, Part], list[tuple[str, str]]]:
    """Return the primitives of a graph and of those in it, with dots in names, and all edges.

    The Input and Output of a graph in a graph are where its edges end.
    """
    parts: dict[str, Part] = {}
    edges: list[tuple[str, str]] = []
    enters: dict[str, str] = {}
    leaves: dict[str, str] = {}
    for name, part in sorted(found.parts.items()):
        if isinstance(part, Part):
            parts[f"{at}{name}"] = part
            continue
        inner, more = _flat(part, path, f"{at}{name}.")
        ends = {
            kind: [n for n, p in part.parts.items() if isinstance(p, Part) and p.type == kind]
            for kind in ("Input", "Output")
        }
        for kind, place in (("Input", enters), ("Output", leaves)):
            if len(ends[kind]) != 1:
                what = f"graph {at + name!r} has {len(ends[kind])} {kind} nodes, not one"
                raise _bad("E107", what, path)
            place[name] = f"{at}{name}.{ends[kind][0]}"
        parts |= {key: _passing(item) for key, item in inner.items()}
        edges += more
    edges += [
        (leaves.get(source, f"{at}{source}"), enters.get(target, f"{at}{target}"))
        for source, target in found.edges
    ]
    return parts, edges


def _passing(part: Part) -> Part:
    """Return an inner Input or Output as a node that passes on."""
    return Part("Pass", {}) if part.type in ("Input", "Output") else part


def _reads(
    parts: Mapping[str, Part], edges: list[tuple[str, str]], path: Path
) -> dict[str, list[str]]:
    reads: dict[str, list[str]] = {name: [] for name in parts}
    for source, target in edges:
        if source in reads[target]:
            what = f"the edge from {source!r} to {target!r} stands there twice"
            raise _bad("E107", what, path)
        if parts[source].type == "Output" or parts[target].type == "Input":
            what = f"an edge from {source!r} to {target!r} leads out of an Output or into an Input"
            raise _bad("E107", what, path)
        reads[target].append(source)
    return reads


def _renamed(parts: Mapping[str, Part]) -> dict[str, str]:
    """Return a name for each node that a graph can have, the same where it can."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(parts):
        plain = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9_.]", "_", name)).strip(".") or "node"
        while plain in taken:
            plain += "_"
        taken.add(plain)
        found[name] = plain
    return found


def _cycles(reads: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Yield the nodes of each knot of loops: those that reach each other (Tarjan)."""
    at: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: dict[str, None] = {}  # a stack that knows what is in it
    for root in reads:
        work = [(root, iter(reads[root]))] if root not in at else []
        while work:
            name, rest = work[-1]
            if name not in at:
                at[name] = low[name] = len(at)
                open_[name] = None
            after = next(rest, None)
            if after is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == at[name]:
                    members = [open_.popitem()[0]]
                    while members[-1] != name:
                        members.append(open_.popitem()[0])
                    if len(members) > 1 or name in reads[name]:
                        yield sorted(members)
            elif after not in at:
                work.append((after, iter(reads[after])))
            elif after in open_:
                low[name] = min(low[name], at[after])


def _order(reads: Mapping[str, list[str]], path: Path) -> list[str]:
    """Return the nodes so that each comes after what it reads, in order of their names else."""
    sorter = TopologicalSorter(reads)
    try:
        sorter.prepare()
    except CycleError as error:
        raise _bad("E107", f"a loop among {', '.join(sorted(set(error.args[1])))}", path) from error
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        sorter.done(*ready)
        order += ready
    return order


def _ambiguous(members: list[str], neurons: list[str], path: Path) -> InputError:
    names = ", ".join(members)
    if not neurons:
        return _bad("E107", f"a loop among {names} without neurons", path)
    what = (
        f"a loop among {names} with several nodes of neurons, {', '.join(neurons)}: the file does"
        " not say on which connection a step passes"
    )
    return _bad("E108", what, path, "give the model as .pt")


def _bad(code: str, what: str, path: Path, fix: str = "") -> InputError:
    fix = fix or "correct the file, or give the model as .pt"
    return InputError(code, what, where=str(path), fix=fix)
