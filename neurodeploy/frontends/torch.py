"""From trained torch modules to graphs.

`trace` follows `forward` with torch.fx. It knows the modules of `neurodeploy.nn`, torch.nn.Linear,
LayerNorm, GELU, ReLU, GLU, LSTM, Dropout and Identity and the neurons of other frameworks
(`frameworks`) as nodes, looks into every other module, and understands sums, products,
concatenation of channels, and mean, sum and last over time.
Everything it does not know is reported at once, each with its path.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx

from neurodeploy import nn
from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.frontends import (
    frameworks,
    torch_export,
    torch_foreign,
    torch_lstm,
    torch_maps,
    torch_vectors,
)
from neurodeploy.frontends.torch_fx import LEAVES, Order, follow
from neurodeploy.frontends.torch_layout import Layout, Layouts, after, flat, shown
from neurodeploy.frontends.torch_modules import module_op
from neurodeploy.frontends.torch_operations import operation
from neurodeploy.graph import rules
from neurodeploy.graph.ir import (
    Graph,
    Input,
    Neurons,
    Node,
    Op,
    Reduce,
)

_REFUSED = "refused"


def trace(module: Any, example: Any = None) -> Graph:
    """Return the graph of a trained module, or torch.export program, that takes x [T, B, C].

    example: one such x, which also tells the width where the module does not. Constants are
    those the module computes with, in its own precision. Raises InputError E104 naming every
    layer and operation that is not known, E105 for NaN or infinite weights.
    """
    if isinstance(module, torch.export.ExportedProgram):
        module = torch_export.module_of(module)
    return rules.check(Tracer(module, example).graph())


class Tracer:
    """One trace: nodes so far, and the problems met. owned: as of `module_op`."""

    def __init__(self, module: torch.nn.Module, example: Any, *, owned: bool = False) -> None:
        self.module, self.owned = module, owned
        self.example = () if example is None else tuple(int(n) for n in np.shape(example))
        self.shape = self.example[2:]
        self.width = int(np.prod(self.shape)) if self.shape else None
        self.tokens = False
        self.kind = next((p.dtype for p in module.parameters()), torch.float32)
        self.problems: list[NeurodeployError] = []
        self.nodes: list[Node] = []
        self.names: dict[fx.Node, str] = {}
        self.widths: dict[str, int] = {}
        self.taken: set[str] = set()
        self.layouts = Layouts()
        self.parts: dict[fx.Node, Any] = {}  #: what stands for a tuple, or for a part of one
        self.foreign = torch_foreign.Foreign(self)

    def graph(self) -> Graph:
        """Return the graph; raises InputError with all problems."""
        is_neuron = isinstance(self.module, LEAVES) or frameworks.foreign(self.module)
        root = torch.nn.Sequential(self.module) if is_neuron else self.module
        self.module = root
        traced, order = follow(root, self.example)
        self._input_width(traced)
        output = ""
        for item in traced.nodes:
            if item.op == "placeholder":
                if not self.nodes:
                    self._input(item, order)
                elif self.foreign.starts(item):
                    continue
                else:
                    self.refuse(f"input {item.name!r}", "a second input")
            elif item.op == "output":
                output = self._output(item)
            elif item.op != "get_attr" or not self.foreign.starts(item):
                self._visit(item)
        if self.problems:
            raise together(self.problems)
        return Graph(tuple(self.nodes), output)

    def _input(self, item: fx.Node, order: Order | None) -> None:
        op = Input(self.width or 0, spiking=self.tokens, tokens=self.tokens)
        layout = torch_foreign.input_layout(self.module, self.shape or (op.width,), order)
        if isinstance(layout, str):
            self.refuse("the input", layout, "use layers of one order")
            layout = flat(op.width)
        self.layouts.of[item] = layout
        self.names[item] = self.add("input", op, [])

    def _input_width(self, traced: fx.Graph) -> None:
        """Find the width of the input from the first layer that has one.

        Torch's layers over maps have none: what comes behind them says nothing of the input.
        """
        unknown = False
        for item in traced.nodes:
            if item.op == "call_module":
                module = self.module.get_submodule(str(item.target))
                if isinstance(module, nn.Embedding):
                    self.tokens, self.width = True, module.num_embeddings
                elif self.width is None and not unknown:
                    self.width = _input_width(module)
                    unknown = torch_maps.needs_layout(item, module)
        if self.width is None:
            raise InputError(
                "E106", "the width of the input is not known", fix="give an example [T, B, C]"
            )

    def _output(self, item: fx.Node) -> str:
        value = self.foreign.output(item.args[0])
        if not isinstance(value, fx.Node) or (value not in self.names and not self.problems):
            self.refuse("the output", "a model that does not return one tensor")
            return ""
        return self.names.get(value, "")

    def _visit(self, item: fx.Node) -> None:
        if self.foreign.part(item) or self.foreign.step(item):
            return
        path = str(item.target)
        module = self.module.get_submodule(path) if item.op == "call_module" else None
        module = None if module is None else frameworks.plain(module)
        if self.layouts.reads(item) or self._follows(item, module) or self._view(item, module):
            return
        if module is None:
            self._operation(item)
        elif not self.foreign.leaf(item, module, path):
            self._module(item, module, path)

    def _follows(self, item: fx.Node, module: torch.nn.Module | None) -> bool:
        """Whether nothing can be said of `item`, as what it reads was refused."""
        refused = any(self.names.get(source) == _REFUSED for source in item.all_input_nodes)
        if refused and (item.target is operator.getitem or torch_maps.needs_layout(item, module)):
            self.stand_in(item)
            return True
        return False

    def _view(self, item: fx.Node, module: torch.nn.Module | None) -> bool:
        """Whether `item` only lays a value out anew; if so, it is followed or refused."""
        layout = self.layouts.view(item, module)
        if isinstance(layout, str):
            fix = "take T and B from x.shape: y.reshape(T * B, C, H, W), y.reshape(T, B, -1)"
            self.refuse(_shown(item, module), layout, fix)
            self.stand_in(item)
        elif layout is not None:
            self._same(item, item.all_input_nodes[0], layout)
        return layout is not None

    def _same(self, item: fx.Node, source: fx.Node, layout: Layout | None = None) -> None:
        """Let `item` be what `source` is, laid out so."""
        self.names[item] = self.names[source]
        self.layouts.of[item] = layout or self.layouts.of[source]

    def _module(self, item: fx.Node, module: torch.nn.Module, path: str) -> None:
        source = item.args[0]
        assert isinstance(source, fx.Node)
        if _is_identity(module):
            self._same(item, source)
            return
        if (wrong := self._misplaced(module, self.names[source])) is not None:
            self.refuse(_shown(item, module), *wrong)
            self.stand_in(item)
            return
        width = self.widths[self.names[source]]
        if isinstance(module, nn.GSU):
            self.names[item] = torch_vectors.gsu(module, path, self.names[source], self.add)
            self.layouts.of[item] = flat(width)
            return
        if isinstance(module, torch.nn.LSTM):
            self._lstm(item, module, path, self.names[source])
            return
        op = module_op(module, width, self.kind, self.owned)
        op = op or torch_vectors.module_op(module, width, self.kind)
        op = op or self._maps(item, module)
        if op is not None:
            self._emit(item, path, op, [source])
        elif item not in self.names:
            self.refuse(_shown(item, module), "a layer that is not known")
            self.stand_in(item)

    def _maps(self, item: fx.Node, module: torch.nn.Module | None) -> Op | None:
        """Return the operation over maps that `item` is; None if it is none, or was refused."""
        source = item.args[0] if item.args else None
        if not isinstance(source, fx.Node) or not torch_maps.needs_layout(item, module):
            return None
        try:
            return torch_maps.op_of(item, module, self.layouts.of[source])
        except InputError as error:
            for each in (error, *error.others):
                self.refuse(_shown(item, module), each.what, each.fix)
            self.stand_in(item)
            return None

    def _lstm(self, item: fx.Node, module: torch.nn.LSTM, path: str, source: str) -> None:
        """Add an LSTM: one of ours returns its outputs, torch's (outputs, (h_n, c_n))."""
        wrong = torch_lstm.unsupported(module)
        if len(item.args) > 1 or item.kwargs:
            wrong = "an LSTM that is given a state", "let it start at rest"
        if wrong is not None:
            self.refuse(_shown(item, module), *wrong)
            self.stand_in(item)
            return
        outputs, finals = torch_lstm.layers(module, path, source, self.add)
        self._name(item, outputs)
        if not isinstance(module, nn.LSTM):
            self.parts[item] = outputs, (finals, "the cells of an LSTM")

    def _part(self, item: fx.Node, whole: Any, index: Any) -> None:
        """Name a part of what an LSTM returns: outputs, or the last of them for a layer."""
        if not item.users:  # unpacked, but not used
            return
        try:
            part = whole[index]
        except (TypeError, IndexError):
            part = f"{index!r} of an LSTM"
        if isinstance(part, tuple):
            self.parts[item] = part
        elif isinstance(part, str) and part in self.taken:
            self._name(item, part)
        elif isinstance(part, torch_lstm.Final) and not part.reverse:
            width = self.widths[part.name]
            op = Reduce("last", np.zeros(width))
            self.names[item] = self.add(f"{part.name}.last", op, [part.name])
            self.layouts.of[item] = after(op, [flat(width)], width) or flat(width)
        else:
            backwards = isinstance(part, torch_lstm.Final)
            what = "the last output of a layer that runs backwards" if backwards else part
            self.refuse(f"{_place(item)}{item.name}", what, "use the outputs of all steps")
            self.stand_in(item)

    def _name(self, item: fx.Node, name: str) -> None:
        """Let `item` be the sequence of node `name`."""
        self.names[item] = name
        self.layouts.of[item] = flat(self.widths[name])

    def _misplaced(self, module: torch.nn.Module, source: str) -> tuple[str, str] | None:
        """Return what is wrong with a layer where it stands, and the fix; None if nothing is."""
        op = next((node.op for node in self.nodes if node.name == source), None)
        if isinstance(module, nn.Embedding) and not isinstance(op, Input):
            return "an embedding of something else than the input", "put it first"
        if isinstance(op, Input) and op.tokens and not isinstance(module, nn.Embedding):
            return "it reads token ids", "read them by one Embedding"
        if isinstance(module, nn.Readout) and module.kind == "rate":
            spikes = isinstance(op, Neurons) and op.model.spiking and op.amplitude == 1
            if not spikes and op is not None:
                fix = 'put it behind spiking neurons without amplitude, or use "mean"'
                return "a spike rate of what is not plain spikes", fix
        return None

    def _operation(self, item: fx.Node) -> None:
        if item.target is operator.getitem and item.args[0] in self.parts:
            self._part(item, self.parts[item.args[0]], item.args[1])  # type: ignore[index]
            return
        place = _place(item)
        source = item.all_input_nodes[0] if item.all_input_nodes else None
        layout = self.layouts.of.get(source) if source is not None else None
        if layout is not None and (pooled := torch_maps.over_positions(item, layout)) is not None:
            self.names[item] = self.add(f"{place}pool", pooled[0], [self.names[source]])  # type: ignore[index]
            self.layouts.of[item] = pooled[1]
            return
        if (op := self._maps(item, None)) is not None:
            self._emit(item, f"{place}pool", op, [source])  # type: ignore[list-item]
            return
        if item in self.names:
            return
        found = operation(item, self.layouts, self.widths, self.names, self.kind)
        if found is None:
            self.refuse(f"{place}{_shown(item)}", f"an operation that is not known: {item.op}")
            self.stand_in(item)
            return
        op, inputs = found
        if op is None:
            self._same(item, inputs[0])
            return
        self._emit(item, f"{place}{type(op).__name__.lower()}", op, inputs)

    def _emit(self, item: fx.Node, name: str, op: Op, inputs: list[fx.Node]) -> None:
        """Append `op`; refuse it where it cannot read values as they are laid out."""
        self.names[item] = self.add(name, op, [self.names[source] for source in inputs])
        width = self.widths[self.names[item]]
        known = [self.layouts.of[source] for source in inputs if source in self.layouts.of]
        layout = after(op, known, width) if known else flat(width)
        self.layouts.of[item] = layout or flat(width)
        if layout is None:
            what = f"it reads {', '.join(map(shown, known))}"
            fix = "bring all to [T, B, channels]: y.reshape(T, B, -1), with T and B of x.shape"
            self.refuse(name, what, fix)

    def add(self, name: str, op: Op, inputs: list[str]) -> str:
        """Append a node that reads nodes by name; return its own name, made unique."""
        unique, count = name, 1
        while unique in self.taken:
            unique, count = f"{name}_{count}", count + 1
        self.taken.add(unique)
        self.nodes.append(Node(unique, op, tuple(inputs)))
        self.widths[unique] = op.width_of([self.widths[name] for name in inputs])
        return unique

    def stand_in(self, item: fx.Node) -> None:
        """Let what reads a refused node be looked at too, so that all problems are reported."""
        self.names[item] = _REFUSED
        self.widths[_REFUSED] = 1

    def refuse(self, where: str, what: str, fix: str = "") -> None:
        """Note a problem."""
        hint = fix or "use layers of neurodeploy.nn, torch.nn.Linear, +, *, cat, mean, sum, x[-1]"
        self.problems.append(InputError("E104", f"{where}: {what}", fix=hint))


def _shown(item: fx.Node, module: torch.nn.Module | None = None) -> str:
    """Return what a user calls a module or an operation."""
    if module is not None:
        return f"{item.target} ({type(module).__name__})"
    return str(getattr(item.target, "__name__", item.target))


def _place(item: fx.Node) -> str:
    """Return the path of the module that an operation stands in, with a dot behind it."""
    stack = item.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return f"{paths[-1]}." if paths else ""


def _is_identity(module: torch.nn.Module) -> bool:
    steps = isinstance(module, nn.Readout) and module.kind == "steps"
    return steps or isinstance(module, torch.nn.Identity | torch.nn.Dropout)


def _input_width(module: torch.nn.Module) -> int | None:
    for name in ("input_size", "width", "in_features", "linear_features"):
        value = getattr(module, name, None)
        if isinstance(value, int) or (isinstance(value, torch.Tensor) and not value.dim()):
            return int(value)
    return None
