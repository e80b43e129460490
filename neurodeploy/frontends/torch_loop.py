"""Loops over time, unrolled, folded to one step.

A trace has every step one after another: calls of the same layers, each on the state that it
returned in the step before. `fold` gives every value the step that it is of, and lets the values
that are computed alike in every step be one. What is left is one step, between `step_of`, which
takes the steps of a sequence, and `steps_of`, which lays steps beside one another. Stacks, sums and
means over steps, and what stands behind the loop and reads the last step, are on the sequence.
A step that differs from the first is refused, with what differs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch
from torch import fx

from neurodeploy.errors import InputError
from neurodeploy.frontends.torch_calls import Call, calls, cells
from neurodeploy.frontends.torch_shapes import Shapes, index_of, letters_of, name_of

_SUMS = (operator.add, operator.iadd, torch.add)
_SIZED = ("reshape", "view", "flatten", "unflatten", "unsqueeze", "squeeze")
_FIX = "let every step do the same, each layer once, on the states of the step before"


def step_of(x: Any) -> Any:  # noqa: ARG001
    """Stand for each step of a sequence."""
    raise AssertionError("a folded network is read, not run")


def steps_of(x: Any, dim: int) -> Any:  # noqa: ARG001
    """Stand for the sequence of the values of each step, its steps the axis `dim`."""
    raise AssertionError("a folded network is read, not run")


class Value(NamedTuple):
    """What a value of the unrolled trace is in the folded one."""

    node: fx.Node
    step: int | None = None  #: from 1; None: not of one step
    through: int = 0  #: of a sum: the steps up to this


def fold(traced: fx.Graph, root: torch.nn.Module, shapes: Shapes) -> fx.Graph:
    """Return an unrolled trace as the graph of one step; raises InputError E104."""
    return _Fold(traced, root, shapes).graph()


class _Fold:
    def __init__(self, traced: fx.Graph, root: torch.nn.Module, shapes: Shapes) -> None:
        self.traced, self.root, self.shapes = traced, root, shapes
        self.calls = calls(traced, cells(root))
        self.count = max(call.step for call in self.calls.values())
        self.new = fx.Graph()
        self.of: dict[fx.Node, Value] = {}
        self.known: dict[Any, fx.Node] = {}  #: what is computed, by what it is
        self.seen: dict[fx.Node, set[int]] = {}  #: the steps of what is computed in steps
        self.first: dict[fx.Node, fx.Node] = {}  #: where in the trace it is computed first
        self.stacks: dict[fx.Node, int] = {}  #: sequences of steps, and the axis of these
        self.same = not any(letters_of(n) == "T" for n in shapes.of(next(iter(traced.nodes))) or ())
        self.behind: set[fx.Node] = set()  #: what is computed from sequences of steps

    def graph(self) -> fx.Graph:
        """Return the folded graph."""
        ends = {call.chain: (item, call.step) for item, call in self.calls.items()}
        for item, step in ends.values():
            if step != self.count:
                self.refuse(item, f"it is called {step} times, and another layer {self.count}")
        for item in self.traced.nodes:
            if item.op == "output":
                self.new.output(self.returned(item, item.args[0]))
            else:
                self.of[item] = self.value(item)
        for node in reversed(list(self.new.nodes)):
            if not node.users and node.op not in ("placeholder", "output"):
                self.new.erase_node(node)
                self.seen.pop(node, None)
        for node, steps in self.seen.items():
            missing = next((k for k in range(1, self.count + 1) if k not in steps), None)
            if missing is not None:
                self.refuse(self.first[node], f"it is in step {min(steps)}, not in step {missing}")
        return self.new

    def value(self, item: fx.Node) -> Value:
        """Return what `item` is in the folded graph."""
        if item in self.calls:
            return self.cell(item, self.calls[item])
        if name_of(item) in ("setitem", "__setitem__"):
            self.refuse(item, "it writes into a tensor", "append to a list, and torch.stack it")
        for find in (self.taken, self.stacked, self.summed):
            if (found := find(item)) is not None:
                return found
        return self.alike(item)

    def cell(self, item: fx.Node, call: Call) -> Value:
        """Return the call of a layer: at step 1 it is new, later it must be the same again."""
        k, source = call.step, self.read(item)
        if source is None or source.through or source.step not in (None, k):
            self.refuse(item, f"its call {k} reads {self.shown(source)}")
        if k == 1:
            (x, *_), _ = self.arguments(item, 1)
            states = [None if self.zero(each) else each for each in item.args[1:]]
            named = {key: each for key, each in item.kwargs.items() if not self.zero(each)}
            given = fx.map_arg((states, named), lambda each: self.of[each].node)
            node = self.known[call.chain] = self.add(item, ((x, *given[0]), given[1]))
        node = self.known[call.chain]
        if node.args[0] is not source.node:
            now, before = self.shown(source), self.shown(Value(node.args[0], 1))  # type: ignore[arg-type]
            self.refuse(item, f"its call {k} reads {now}, and the first {before}")
        if k > 1 and node.meta.setdefault("handed", call.handed) != call.handed:
            self.refuse(item, f"its call {k} is given another state than the second")
        self.seen.setdefault(node, set()).add(k)
        return Value(node, k)

    def taken(self, item: fx.Node) -> Value | None:
        """Return a step that `item` takes from a sequence, or the sequence it takes apart."""
        source = self.read(item)
        if source is None or source.step is not None:
            return None
        if name_of(item) == "unbind" and letters_of((self.shapes.of(item) or [0])[0]) == "T":
            return source
        at = index_of(item)
        stack = at is not None and self.stacks.get(source.node) == at[0]
        if at is None or not (stack or self.shapes.indexed(item) == "T"):
            return None
        node = self.once(item, (step_of, source.node), step_of, (source.node,))
        step = at[1] + 1
        if step > 1 and node not in self.seen:
            self.refuse(item, f"it takes step {step} of {self.shown(source)} first")
        self.seen.setdefault(node, set()).add(step)
        return Value(node, step)

    def stacked(self, item: fx.Node) -> Value | None:
        """Return a sequence where `item` stacks the values of all steps, or joins [1, ...]."""
        name, parts = name_of(item), item.args[0] if item.args else None
        if name not in ("stack", "cat", "concat") or not isinstance(parts, list | tuple):
            return None
        values = [self.of[each] for each in parts if isinstance(each, fx.Node)]
        if len(values) < len(parts) or len({each.step for each in values}) == 1 < self.count:
            return None
        dim: Any = item.kwargs.get("dim", item.args[1] if len(item.args) > 1 else 0)
        if name != "stack":
            values = [self.one(item, value, dim) for value in values]
        return self.sequence(item, values, dim)

    def one(self, item: fx.Node, value: Value, dim: int) -> Value:
        """Return the value whose axis `dim`, of size 1, a concatenation is over."""
        node = value.node
        if name_of(node) != "unsqueeze" or node.args[1:] != (dim,):
            self.refuse(item, "it concatenates steps", "append them to a list, and torch.stack it")
        return value._replace(node=node.args[0])  # type: ignore[arg-type]

    def sequence(self, item: fx.Node, values: list[Value], dim: int) -> Value:
        """Return the sequence of the values of steps 1, 2, and so on."""
        steps = [value.step for value in values]
        if steps != list(range(1, self.count + 1)) or any(value.through for value in values):
            self.refuse(item, f"it stacks {self.several(values)}, not every step in order")
        if len({value.node for value in values}) > 1:
            self.refuse(item, f"it stacks different values: {self.several(values)}")
        node = self.once(item, (steps_of, values[0].node, dim), steps_of, (values[0].node, dim))
        self.stacks[node] = dim
        self.behind.add(node)
        return Value(node)

    def summed(self, item: fx.Node) -> Value | None:
        """Return a sum that goes on over the steps, and its mean behind them."""
        if item.op == "call_function" and item.target is operator.truediv:
            return self.mean(item)
        if item.target not in _SUMS or item.kwargs or len(item.args) != 2:
            return None
        nodes = [each for each in item.args if not self.zero(each)]
        terms = [self.of[each] for each in nodes if isinstance(each, fx.Node)]
        if len(terms) < len(nodes) or not terms:
            return None
        if len(terms) == 1:
            return terms[0]
        a, b = sorted(terms, key=lambda value: value.step or 0)
        k, before = b.step or 0, a.through or a.step or 0
        if a.node is not b.node or not before or k != before + 1:
            return None
        whole = k == self.count
        return Value(self.total(item, "sum", b.node)) if whole else Value(b.node, None, k)

    def total(self, item: fx.Node, kind: str, node: fx.Node) -> fx.Node:
        """Return the sum or mean over all steps of a value."""
        steps = self.once(item, (steps_of, node, 0), steps_of, (node, 0))
        self.stacks[steps] = 0
        made = self.once(item, (kind, node), getattr(torch, kind), (steps, 0))
        self.behind |= {steps, made}
        return made

    def mean(self, item: fx.Node) -> Value | None:
        """Return the mean that a sum over all steps, divided by their number, is."""
        source, by = self.read(item), item.args[1]
        if source is None or name_of(source.node) != "sum" or by != self.count:
            return None
        steps, dims = source.node.args[0], [*source.node.args[1:], *source.node.kwargs.values()]
        if not isinstance(steps, fx.Node) or dims != [self.stacks.get(steps)]:
            return None
        return Value(self.total(item, "mean", steps.args[0]))  # type: ignore[arg-type]

    def read(self, item: fx.Node) -> Value | None:
        """Return the first value that `item` reads."""
        first = item.args[0] if item.args else None
        return self.of[first] if isinstance(first, fx.Node) else None

    def zero(self, value: Any) -> bool:
        """Whether a value is 0 in all places."""
        if isinstance(value, fx.Node) and name_of(value) in ("zeros_like", "new_zeros"):
            return True
        if isinstance(value, fx.Node) and value.op == "get_attr":
            value = operator.attrgetter(str(value.target))(self.root)
            return isinstance(value, torch.Tensor) and not bool(torch.any(value))
        return isinstance(value, int | float) and value == 0

    def alike(self, item: fx.Node) -> Value:
        """Return what is computed from values of one step, from none, or behind the last."""
        values = [self.of[each] for each in item.all_input_nodes]
        steps = {value.step for value in values if value.step is not None}
        if len(steps) > 1 or any(value.through for value in values):
            self.refuse(item, f"it reads {self.several(values)}")
        if steps and any(value.node in self.behind for value in values) and steps != {self.count}:
            self.refuse(item, f"it reads {self.several(values)} and what is behind the loop")
        self.unsized(item)
        if not steps:
            return Value(self.fresh(item, None))
        k = steps.pop()
        key = self.key(item, self.arguments(item, k))
        if k == 1 or key in self.known:
            node = self.fresh(item, 1)
            self.seen.setdefault(node, set()).add(k)
            return Value(node, k)
        if k < self.count:
            self.refuse(item, f"it is in step {k}, not in step 1")
        return Value(self.fresh(item, None))

    def unsized(self, item: fx.Node) -> None:
        """Refuse what computes with the number of steps or samples, except to lay values out."""
        counts = {letters_of(each) for each in (*item.args, *item.kwargs.values())} - {""}
        if counts and name_of(item) not in _SIZED:
            what = {"T": "steps", "B": "samples"}.get(min(counts), "steps and samples")
            self.refuse(item, f"it computes with the number of {what}", "use .mean(0) over a stack")

    def arguments(self, item: fx.Node, step: int | None) -> tuple[Any, Any]:
        """Return arguments in the folded graph; behind the loop, of the last step."""
        values = [self.of[each] for each in item.all_input_nodes]
        behind = any(v.node in self.behind or v.step is not None for v in values)

        def mapped(each: fx.Node) -> fx.Node:
            value = self.of[each]
            again = self.same and each.op != "get_attr" and value.node not in self.behind
            late = step is None and behind and (again or value.step is not None)
            return self.last(each, value) if late else value.node

        args: Any = fx.map_arg(item.args, mapped)
        return args, fx.map_arg(item.kwargs, mapped)

    def last(self, item: fx.Node, value: Value) -> fx.Node:
        """Return the last step of a value."""
        steps = self.once(item, (steps_of, value.node, 0), steps_of, (value.node, 0))
        node = self.once(item, ("last", value.node), operator.getitem, (steps, -1))
        self.behind |= {steps, node}
        return node

    def fresh(self, item: fx.Node, step: int | None) -> fx.Node:
        """Return a call, or what it calls again with the same arguments."""
        arguments = self.arguments(item, step)
        key = self.key(item, arguments)
        if key not in self.known:
            self.known[key] = self.add(item, arguments)
        node = self.known[key]
        if step is None and any(source in self.behind for source in node.all_input_nodes):
            self.behind.add(node)
        return node

    @staticmethod
    def key(item: fx.Node, arguments: tuple[Any, Any]) -> Any:
        return item.op, str(item.target), str(arguments)

    def once(
        self, item: fx.Node, key: Any, target: Callable[..., Any], args: tuple[Any, ...]
    ) -> fx.Node:
        """Return the one call of a function that `key` stands for."""
        if key not in self.known:
            node = self.known[key] = self.new.call_function(target, args)
            node.meta, self.first[node] = dict(item.meta), item
        return self.known[key]

    def add(self, item: fx.Node, arguments: tuple[Any, Any]) -> fx.Node:
        """Append a node of the trace with other arguments."""
        node = self.new.node_copy(item, lambda each: self.of[each].node)
        node.args, node.kwargs = arguments
        self.first[node] = item
        return node

    def returned(self, item: fx.Node, value: Any) -> Any:
        """Return what the network returns: sequences, and of values of steps the last."""
        if isinstance(value, fx.Node):
            found = self.of[value]
            if found.through or found.step not in (None, self.count):
                self.refuse(item, f"the network returns {self.shown(found)}")
            return found.node if found.step is None else self.last(value, found)
        if isinstance(value, tuple | list):
            parts = [self.of[each] for each in value if isinstance(each, fx.Node)]
            if [part.step for part in parts] == list(range(1, len(value) + 1)) != [1]:
                return self.sequence(item, parts, 0).node
            return type(value)(self.returned(item, each) for each in value)
        return value

    def shown(self, value: Value | None) -> str:
        """Return what a user calls a value."""
        if value is None:
            return "a constant"
        name = _shown(self.first.get(value.node, value.node))
        if value.through:
            return f"{name} summed up to step {value.through}"
        return name if value.step is None else f"{name} of step {value.step}"

    def several(self, values: list[Value]) -> str:
        """Return what a user calls several values."""
        each = list(dict.fromkeys(map(self.shown, values)))
        return ", ".join(each if len(each) < 5 else [*each[:2], "...", each[-1]])

    def refuse(self, item: fx.Node, what: str, fix: str = _FIX) -> NoReturn:
        """Raise InputError E104 about a part of the loop."""
        raise InputError("E104", f"{_shown(item)}: {what}, in the loop over time", fix=fix)


def _shown(item: fx.Node) -> str:
    if item.op == "call_module":
        return str(item.target)
    stack = item.meta.get("nn_module_stack") or {}
    path = next((path for path, _ in reversed(stack.values()) if path), "")
    inner = item.args[0] if name_of(item) == "getitem" else None
    if isinstance(inner, fx.Node) and inner.op == "call_module":
        return str(inner.target)
    name = item.name if item.op == "placeholder" else name_of(item)
    return f"{path}.{name}" if path else name
