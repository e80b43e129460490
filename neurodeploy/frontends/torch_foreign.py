"""Layers of other frameworks in a trace: where they stand, and the states they pass around.

A network of theirs is called on one step of all samples, or on a sequence in an order of its own;
the graph is the same: [T, B, channels], from rest. What a call returns behind its output are
states: they may be handed on and be returned, but not computed with. A membrane that never resets
is a value too.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import fx
from torch.fx._symbolic_trace import _assert_is_none

from neurodeploy.frontends import frameworks
from neurodeploy.frontends.frameworks import HEADS, Layer
from neurodeploy.frontends.torch_layout import Axis, Layout, Layouts, heads, shown, sizes
from neurodeploy.frontends.torch_loop import step_of, steps_of
from neurodeploy.graph.ir import Op, Reduce


class Trace(Protocol):
    """What this needs of a trace."""

    module: torch.nn.Module
    layouts: Layouts
    names: dict[fx.Node, str]
    widths: dict[str, int]

    def add(self, name: str, op: Op, inputs: list[str]) -> str:
        """Append a node; return its name."""

    def refuse(self, where: str, what: str, fix: str = "") -> None:
        """Note a problem."""

    def stand_in(self, item: fx.Node) -> None:
        """Go on behind what was refused."""


class State(NamedTuple):
    """A value that a call returns behind its output, or part of one."""

    path: str  #: of the layer
    source: str  #: the node that the layer reads
    position: int
    whole: bool  #: not an attribute of it


def axes_of(root: torch.nn.Module) -> dict[str, list[str]]:
    """Return what stands in front of the channels, each with the layers that are called so."""
    found: dict[str, list[str]] = {}
    for path, module in root.named_modules():
        if (kind := frameworks.kind(module)) is not None:
            name = f"{path or 'the network'} ({type(module).__name__})"
            found.setdefault(kind.axes(module), []).append(name)
    return found


def input_layout(
    root: torch.nn.Module, shape: tuple[int, ...], order: tuple[str, ...] | None = None
) -> Layout | str:
    """Return how a network's input is laid out, shape that of a step; or why it is not known.

    order: what stands in front of the channels, where the network's own loop says it.
    """
    found = axes_of(root)
    if len(found) > 1:
        each = "; ".join(f"{axes}: {', '.join(names)}" for axes, names in found.items())
        return f"its layers take sequences in more than one order: {each}"
    order = order or (HEADS[next(iter(found))] if found else ("T", "B"))
    return (*(Axis(letters, 1) for letters in order), *(Axis("", size) for size in shape))


def defaults(module: torch.nn.Module) -> dict[str, None]:
    """Return the arguments of a forward that are None unless given: they are left so."""
    import inspect

    given = list(inspect.signature(module.forward).parameters.values())[1:]
    return {each.name: None for each in given if each.default is None}


class Foreign:
    """The layers of other frameworks met in one trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.layers: dict[fx.Node, Layer] = {}
        self.states: dict[fx.Node, State] = {}
        self.started: dict[str, int] = {}  #: how often each layer was called

    def leaf(self, item: fx.Node, module: torch.nn.Module, path: str) -> bool:
        """Whether `item` calls a layer of another framework; if so, it is read or refused."""
        if not frameworks.foreign(module):
            return False
        try:
            self._read(item, module, path)
        except frameworks.RefusedError as error:
            for reason in error.reasons:
                self.trace.refuse(f"{path} ({type(module).__name__})", reason.what, reason.fix)
            self.trace.stand_in(item)
            if (layout := self.trace.layouts.of.get(item.args[0])) is not None:  # type: ignore[arg-type]
                self.trace.layouts.of[item] = layout  # so that what reads it is looked at too
        return True

    def _read(self, item: fx.Node, module: torch.nn.Module, path: str) -> None:
        kind = frameworks.kind(module)
        if kind is None:
            package = type(module).__module__.split(".", 1)[0]
            what = f"a layer of {package} that is not known, or changed by a class of one's own"
            raise frameworks.RefusedError(frameworks.Wrong(what, frameworks.names()))
        source: Any = item.args[0]
        layout = self.trace.layouts.of.get(source)
        if layout is None:  # behind what was refused
            self.trace.stand_in(item)
            return
        wanted = HEADS[axes := kind.axes(module)]
        wrong = list(self._called(item, module, path))
        if tuple(axis.letters for axis in heads(layout)) != wanted:
            what = f"it is called on {shown(layout)}, and takes {axes}"
            wrong.append(frameworks.Wrong(what, "call it so"))
        try:
            layer = kind.read(module, sizes(layout))
        except frameworks.RefusedError as error:
            raise frameworks.RefusedError(*wrong, *error.reasons) from None
        wrong += [*self._again(item, path, layer), *self._onwards(item, layer)]
        if wrong:
            raise frameworks.RefusedError(*wrong)
        self.layers[item] = layer
        self.states[item] = State(path, self.trace.names[source], 0, True)
        self._emit(item, path, layer.ops, layout)

    def _called(
        self, item: fx.Node, module: torch.nn.Module, path: str
    ) -> Iterator[frameworks.Wrong]:
        """Yield what is wrong with a call: a state other than that at rest, or hooks."""
        given = [*item.args[1:], *item.kwargs.values()]
        wrong = [each for each in given if not self._rest(each)]
        if wrong:
            what = f"it is given {', '.join(map(str, wrong))} as its state"
            fix = "call it once a step, on states that the network is given"
            yield frameworks.Wrong(what, fix)
        self.started[path] = self.started.get(path, 0) + 1
        if module._forward_hooks or module._forward_pre_hooks:
            yield frameworks.Wrong("hooks, which may change what it computes", "remove them")

    def _again(self, item: fx.Node, path: str, layer: Layer) -> Iterator[frameworks.Wrong]:
        """Yield what is wrong where a layer goes on from the state of a call before."""
        given = [*item.args[1:], *item.kwargs.values()]
        explicit = bool(given) and all(isinstance(each, fx.Node) for each in given)
        if self.started[path] > 1 and layer.keeps and not explicit:
            what = (
                f"it is called {self.started[path]} times, and keeps its state from one to the next"
            )
            yield frameworks.Wrong(what, "use a layer of its own in each place")

    def _onwards(self, item: fx.Node, layer: Layer) -> Iterator[frameworks.Wrong]:
        """Yield what is wrong with the states that a loop over time gives a layer."""
        handed = item.meta.get("handed")
        if handed is None or handed == tuple(range(layer.returns))[-len(handed) :]:
            return
        if handed:
            what = f"step 2 is given {handed} of what step 1 returned, None: something else"
            yield frameworks.Wrong(what, "give it the states as it returned them, in their order")
        elif not layer.keeps:
            what = "each step starts anew, without the state of the step before"
            yield frameworks.Wrong(what, "give it the state that it returned")

    def _rest(self, value: Any) -> bool:
        """Whether a state is none, one that the network is given, or zeros."""
        if value is None:
            return True
        if isinstance(value, fx.Node) and value.op == "get_attr":
            tensor = operator.attrgetter(str(value.target))(self.trace.module)
            return isinstance(tensor, torch.Tensor) and not bool(torch.any(tensor))
        return isinstance(value, fx.Node) and value.op == "placeholder"

    def _emit(
        self, item: fx.Node, path: str, ops: tuple[tuple[str, Op], ...], layout: Layout
    ) -> None:
        """Append operations one after another; `item` is the last."""
        trace = self.trace
        name = self.states[item].source if item in self.states else ""
        for suffix, op in ops:
            name = trace.add(f"{path}.{suffix}" if suffix else path, op, [name])
        trace.names[item] = name
        width = trace.widths[name]
        if width != int(np.prod(sizes(layout))):
            layout = (*heads(layout), Axis("", width))
        if isinstance(ops[-1][1], Reduce):
            layout = tuple(axis for axis in layout if axis.letters != "T")
        trace.layouts.of[item] = layout

    def part(self, item: fx.Node) -> bool:
        """Whether `item` takes a part of what a layer returned, or is nothing: then it is done."""
        source: Any = item.args[0] if item.args else None
        if item.target is _assert_is_none:  # what `defaults` are
            return True
        if item.target not in (operator.getitem, getattr) or source not in self.states:
            return False
        state, at = self.states[source], item.args[1]
        layer = self.layers.get(source)
        if layer is None:
            self.states[item] = state._replace(whole=False)
        elif not layer.returns:
            return False  # a part of the output itself
        elif at in (0, -layer.returns):
            self._same(item, source)
        else:
            position = int(str(at)) % layer.returns
            self.states[item] = state._replace(position=position)
            self._membrane(item, layer, source)
        if item in self.states and item not in self.trace.names and self._computed_with(item):
            fix = "read its output; or the membrane of one that never resets (snnTorch)"
            self.trace.refuse(f"{state.path}", "its state is computed with", fix)
            self.trace.stand_in(item)
        return True

    def _same(self, item: fx.Node, source: fx.Node) -> None:
        self.trace.names[item] = self.trace.names[source]
        self.trace.layouts.of[item] = self.trace.layouts.of[source]

    def _membrane(self, item: fx.Node, layer: Layer, source: fx.Node) -> None:
        """Append the integrator that a membrane without reset is, where something reads it."""
        state = self.states[item]
        if layer.membrane is None or layer.membrane[0] != state.position:
            return
        if self._computed_with(item):
            ops = (("membrane", layer.membrane[1]),)
            self._emit(item, state.path, ops, self.trace.layouts.of[source])

    def _computed_with(self, item: fx.Node) -> bool:
        """Whether a state is read as a value: not handed on, and not returned behind others."""
        return any(not self._hands_on(user, item) for user in item.users)

    def _hands_on(self, user: fx.Node, item: fx.Node) -> bool:
        if steps_of in (user.target, item.target) and user.op != "output":
            return not self._computed_with(user)
        if user.op == "output":
            return user.args[0] is not item and next(_flat(user.args[0])) is not item
        if user.target in (operator.getitem, getattr):
            return True
        return user.op == "call_module" and bool(user.args) and user.args[0] is not item

    def step(self, item: fx.Node) -> bool:
        """Whether `item` stands between a sequence and its steps: then it is followed."""
        if item.target not in (step_of, steps_of):
            return False
        trace, source = self.trace, item.args[0]
        assert isinstance(source, fx.Node)
        layout = trace.layouts.of.get(source)
        if source in self.states and source not in trace.names:
            self.states[item] = self.states[source]
        elif layout is None:  # behind what was refused
            trace.stand_in(item)
        else:
            trace.names[item] = trace.names[source]
            trace.layouts.of[item] = self._stepped(item, layout)
        return True

    def _stepped(self, item: fx.Node, layout: Layout) -> Layout:
        """Return the layout of one step, or of the sequence of all."""
        if item.target is step_of:
            return tuple(axis for axis in layout if axis != ("T", 1))
        dim = int(item.args[1]) % (len(layout) + 1)  # type: ignore[arg-type]
        if dim > len(heads(layout)):
            what = f"steps of {shown(layout)} are stacked as axis {dim}"
            self.trace.refuse("the stack", what, "torch.stack(steps, dim=0)")
        return (*layout[:dim], Axis("T", 1), *layout[dim:])

    def output(self, value: Any) -> Any:
        """Return the first of what a network returns, if only states stand behind it."""
        values = list(_flat(value))
        behind = [each for each in values[1:] if each is not None]
        if len(values) > 1 and all(self._is_state(each) for each in behind):
            return values[0]
        return value

    def _is_state(self, value: Any) -> bool:
        if not isinstance(value, fx.Node):
            return False
        start = value.op == "placeholder" and value not in self.trace.names  # and not the input
        return value in self.states or start

    def starts(self, item: fx.Node) -> bool:
        """Whether a second input is only the state that layers start from."""
        return all(
            user.target is _assert_is_none or self._hands_on(user, item) for user in item.users
        )


def _flat(value: Any) -> Iterator[Any]:
    """Yield what is in nested tuples and lists, in order."""
    if isinstance(value, tuple | list):
        for each in value:
            yield from _flat(each)
    else:
        yield value
