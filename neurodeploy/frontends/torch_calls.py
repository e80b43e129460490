"""Calls of layers on one step: which follow one another in a loop over time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import fx

from neurodeploy.frontends import frameworks
from neurodeploy.frontends.torch_shapes import index_of, name_of


class Call(NamedTuple):
    """A call of a layer: which of its sequences it is of, at which step, and its state.

    handed: which of the values that it returned at the step before it is given; None: something
    else.
    """

    chain: tuple[str, int]
    step: int
    handed: tuple[int | None, ...]


def cells(root: torch.nn.Module) -> set[str]:
    """Return the paths of the layers that are called on one step."""
    kinds = ((path, module, frameworks.kind(module)) for path, module in root.named_modules())
    return {path for path, m, kind in kinds if kind and kind.axes(m) == frameworks.STEP}


def loops(traced: fx.Graph, root: torch.nn.Module) -> bool:
    """Whether layers of one step are called again and again, on their own states."""
    known = cells(root)
    heard: dict[fx.Node, set[str]] = {}  #: the layers before each value
    counts: dict[str, int] = {}
    for item in traced.nodes:
        heard[item] = {path for source in item.all_input_nodes for path in heard[source]}
        path = str(item.target)
        if item.op != "call_module" or path not in known:
            continue
        counts[path] = counts.get(path, 0) + 1
        given = _states(item)
        if any(path in heard[each] for each in given):
            return True
        if counts[path] > 1 and not given and path not in heard[item]:
            return True
        heard[item].add(path)
    return False


def _states(item: fx.Node) -> list[fx.Node]:
    """Return what a call gives a layer behind its input, where that is anything."""
    return [each for each in (*item.args[1:], *item.kwargs.values()) if isinstance(each, fx.Node)]


def _handed(value: fx.Node) -> tuple[fx.Node, int | None]:
    """Return the value whose part a state is, and which part: None for all of it."""
    while name_of(value) in ("detach", "clone"):
        value = value.args[0]  # type: ignore[assignment]
    at = index_of(value)
    return (value.args[0], at[1]) if at and at[0] == 0 else (value, None)  # type: ignore[return-value]


def calls(traced: fx.Graph, known: set[str]) -> dict[fx.Node, Call]:
    """Return the step of every call: one more than that of the call whose state it is given.

    A call without a state goes on from the one before, unless its own state is handed on while
    there is another sequence.
    """
    items = [item for item in traced.nodes if item.op == "call_module" and item.target in known]
    found: dict[fx.Node, Call] = {}
    heads: dict[str, list[fx.Node]] = {}  #: the last call of each sequence of a layer
    handing = {_handed(state)[0] for item in items for state in _states(item)}
    for item in items:
        path, given = str(item.target), [_handed(state) for state in _states(item)]
        chains = heads.setdefault(path, [])
        before = next((call for call, _ in given if call in chains), None)
        if before is None and len(chains) == 1 and not given and chains[0] not in handing:
            before = chains[0]
        if before is None:
            found[item] = Call((path, len(chains)), 1, ())
            chains.append(item)
        else:
            last = found[before]
            handed = tuple(at if call is before else None for call, at in given)
            found[item] = Call(last.chain, last.step + 1, handed)
            chains[chains.index(before)] = item
    return found
