"""From trained torch modules to graphs.

`trace` follows `forward` with torch.fx. It knows the modules of `neurodeploy.nn`, torch.nn.Linear,
LayerNorm, GELU, ReLU, GLU, Dropout and Identity as nodes, looks into every other module, and
understands sums, products, concatenation of channels, and mean, sum and last over time.
Everything it does not know is reported at once, each with its path.
"""

from __future__ import annotations

import operator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx

from neurodeploy import nn
from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.frontends import torch_maps, torch_vectors
from neurodeploy.graph import rules
from neurodeploy.graph.ir import (
    Add,
    Affine,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Op,
    Product,
    Reduce,
    Surrogate,
    vector,
)
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.nn.checkpoint import load_with_example, read_content, write_content
from neurodeploy.nn.neurons import Neuron

_LEAVES = (
    *(nn.BatchNorm, nn.Embedding, nn.Readout, nn.Scale, nn.Threshold, Neuron),
    *(torch.nn.Linear, torch.nn.Dropout),
    *torch_maps.LEAVES,
    *torch_vectors.LEAVES,
)
_REFUSED = "refused"
_SUMS = (operator.add, operator.iadd, torch.add)
_PRODUCTS = (operator.mul, operator.imul, torch.mul)


def trace(module: torch.nn.Module, example: Any = None) -> Graph:
    """Return the graph of a trained module whose forward takes x [T, B, C].

    example: one such x, which also tells the width where the module does not. Constants are
    those the module computes with, in its own precision. Raises InputError E104 naming every
    layer and operation that is not known, E105 for NaN or infinite weights.
    """
    graph = _Tracer(module, example).graph()
    return rules.check(graph)


class _Fx(fx.Tracer):
    """Stop at the modules that are nodes, and at torch's own, which cannot be looked into."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        inside = isinstance(m, torch.nn.Sequential | nn.SDTCM | nn.SDTCMBlock)
        return isinstance(m, _LEAVES) or (
            not inside and super().is_leaf_module(m, module_qualified_name)
        )


class _Tracer:
    """One trace: nodes so far, and the problems met."""

    def __init__(self, module: torch.nn.Module, example: Any) -> None:
        self.module = module
        self.width = None if example is None else int(np.shape(example)[-1])
        self.tokens = False
        self.kind = next((p.dtype for p in module.parameters()), torch.float32)
        self.problems: list[NeurodeployError] = []
        self.nodes: list[Node] = []
        self.names: dict[fx.Node, str] = {}
        self.widths: dict[str, int] = {}
        self.taken: set[str] = set()

    def graph(self) -> Graph:
        is_neuron = isinstance(self.module, _LEAVES)
        root = torch.nn.Sequential(self.module) if is_neuron else self.module
        self.module = root
        try:
            traced = _Fx().trace(root)
        except Exception as error:  # torch.fx raises many kinds, all about the module's code
            raise InputError(
                "E104",
                f"{type(self.module).__name__}.forward cannot be followed: {error}",
                fix="use a forward without branches or loops that depend on the data",
            ) from error
        self._input_width(traced)
        output = ""
        for item in traced.nodes:
            if item.op == "placeholder":
                if not self.nodes:
                    op = Input(self.width or 0, spiking=self.tokens, tokens=self.tokens)
                    self._emit(item, "input", op, [])
                elif not item.users:
                    continue
                else:
                    self._refuse(f"input {item.name!r}", "a second input")
            elif item.op == "output":
                output = self._output(item)
            else:
                self._visit(item)
        if self.problems:
            raise together(self.problems)
        return Graph(tuple(self.nodes), output)

    def _input_width(self, traced: fx.Graph) -> None:
        """Find the width of the input from the first layer that has one."""
        for item in traced.nodes:
            if item.op == "call_module":
                module = self.module.get_submodule(str(item.target))
                if isinstance(module, nn.Embedding):
                    self.tokens, self.width = True, module.num_embeddings
                elif self.width is None:
                    self.width = _input_width(module)
        if self.width is None:
            raise InputError(
                "E106", "the width of the input is not known", fix="give an example [T, B, C]"
            )

    def _output(self, item: fx.Node) -> str:
        value = item.args[0]
        if not isinstance(value, fx.Node) or (value not in self.names and not self.problems):
            self._refuse("the output", "a model that does not return one tensor")
            return ""
        return self.names.get(value, "")

    def _visit(self, item: fx.Node) -> None:
        if item.op == "call_module":
            self._module(item, str(item.target))
        else:
            self._operation(item)

    def _module(self, item: fx.Node, path: str) -> None:
        module = self.module.get_submodule(path)
        source = item.args[0]
        assert isinstance(source, fx.Node)
        if _is_identity(module):
            self.names[item] = self.names[source]
            return
        if (wrong := self._misplaced(module, self.names[source])) is not None:
            self._refuse(f"{path} ({type(module).__name__})", *wrong)
            self._stand_in(item)
            return
        if isinstance(module, nn.GSU):
            self.names[item] = torch_vectors.gsu(module, path, self.names[source], self._add)
            return
        width = self.widths[self.names[source]]
        op = _module_op(module, width, self.kind)
        op = op or torch_maps.module_op(module)
        op = op or torch_vectors.module_op(module, width, self.kind)
        if op is None:
            fix = "use neurodeploy.nn.BatchNorm" if "BatchNorm" in type(module).__name__ else ""
            self._refuse(f"{path} ({type(module).__name__})", "a layer that is not known", fix)
            self._stand_in(item)
            return
        self._emit(item, path, op, [source])

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
        found = _operation(item, self.widths, self.names, self.kind)
        if found is None:
            what = getattr(item.target, "__name__", str(item.target))
            follows = any(self.names.get(source) == _REFUSED for source in item.all_input_nodes)
            if not (follows and item.target is operator.getitem):  # of what was refused already
                self._refuse(f"{_place(item)}{what}", f"an operation that is not known: {item.op}")
            self._stand_in(item)
            return
        op, inputs = found
        if op is None:
            self.names[item] = self.names[inputs[0]]
            return
        self._emit(item, f"{_place(item)}{type(op).__name__.lower()}", op, inputs)

    def _emit(self, item: fx.Node, name: str, op: Op, inputs: list[fx.Node]) -> None:
        self.names[item] = self._add(name, op, [self.names[source] for source in inputs])

    def _add(self, name: str, op: Op, inputs: list[str]) -> str:
        """Append a node that reads nodes by name; return its own name, made unique."""
        unique, count = name, 1
        while unique in self.taken:
            unique, count = f"{name}_{count}", count + 1
        self.taken.add(unique)
        self.nodes.append(Node(unique, op, tuple(inputs)))
        self.widths[unique] = op.width_of([self.widths[name] for name in inputs])
        return unique

    def _stand_in(self, item: fx.Node) -> None:
        """Let what reads a refused node be looked at too, so that all problems are reported."""
        self.names[item] = _REFUSED
        self.widths[_REFUSED] = 1

    def _refuse(self, where: str, what: str, fix: str = "") -> None:
        hint = fix or "use layers of neurodeploy.nn, torch.nn.Linear, +, *, cat, mean, sum, x[-1]"
        self.problems.append(InputError("E104", f"{where}: {what}", fix=hint))


def _place(item: fx.Node) -> str:
    """Return the path of the module that an operation stands in, with a dot behind it."""
    stack = item.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return f"{paths[-1]}." if paths else ""


def _is_identity(module: torch.nn.Module) -> bool:
    steps = isinstance(module, nn.Readout) and module.kind == "steps"
    return steps or isinstance(module, torch.nn.Identity | torch.nn.Dropout)


def _input_width(module: torch.nn.Module) -> int | None:
    for name in ("width", "in_features"):
        if isinstance(value := getattr(module, name, None), int):
            return value
    return None


def _array(value: Any) -> Any:
    return np.asarray(value.detach().cpu().numpy(), np.float64)


def _module_op(module: torch.nn.Module, width: int, kind: torch.dtype) -> Op | None:
    if isinstance(module, Neuron):
        return _neurons(module, kind)
    if isinstance(module, nn.BatchNorm):
        return _batchnorm(module)
    if isinstance(module, nn.Embedding):
        return Linear(_array(module.weight).T.copy(), np.zeros(module.embedding_dim))
    if isinstance(module, torch.nn.Linear):
        bias = np.zeros(module.out_features) if module.bias is None else _array(module.bias)
        return Linear(_array(module.weight), bias)
    if isinstance(module, nn.Threshold):
        return Affine(_array(module.gain().to(kind)), np.zeros(width))
    if isinstance(module, nn.Scale):
        return Affine(vector(_rounded(module.gain, kind), width), np.zeros(width))
    if isinstance(module, nn.Readout):
        return Reduce("mean" if module.kind == "rate" else module.kind, np.zeros(width))
    return None


def _batchnorm(module: nn.BatchNorm) -> BatchNorm:
    values = module.weight, module.bias, module.running_mean, module.running_var
    gamma, beta, mean, var = (np.repeat(_array(value), module.positions) for value in values)
    return BatchNorm(gamma, beta, mean, var, float(module.eps))


def _neurons(module: Neuron, kind: torch.dtype) -> Neurons:
    """Return the neurons with constants in the precision of the network's parameters.

    The bias of recurrent weights is one of the neurons: it is there from the first step.
    """
    width, heard = module.width, module.recurrent

    def exact(value: Any) -> Any:
        array = _array(torch.as_tensor(value).to(kind))
        return array if array.ndim == 2 else vector(array, width)  # rows of a table, or modes

    sdn = module.sdn if isinstance(module, nn.SurrogateLIF) else None
    made = Neurons if sdn is None else partial(Surrogate, network=_network(sdn))
    return made(
        spec=module.spec.name,
        options=dict(module.options),
        params={name: exact(value) for name, value in module.params()._asdict().items()},
        gain=np.ones(width),
        bias=np.zeros(width) if heard is None or heard.bias is None else _array(heard.bias),
        amplitude=float(module.alpha().detach().to(kind)),
        reverse=module.reverse,
        recurrent=None if heard is None else _array(heard.weight),
    )


def _network(sdn: nn.SDN) -> dict[str, Any]:
    """Return the arrays of a surrogate dynamic network, as `graph.surrogate` reads them."""
    arrays = {name: _array(value) for name, value in sdn.named_parameters()}
    return {
        "taps": arrays["conv.weight"][:, 0],
        "taps_bias": arrays["conv.bias"],
        "mix": arrays["mix.weight"][:, :, 0],
        "mix_bias": arrays["mix.bias"],
        "out": arrays["out.weight"][0, :, 0],
        "out_bias": arrays["out.bias"],
    }


Found = tuple[Op | None, list[fx.Node]] | None


def _operation(
    item: fx.Node, widths: dict[str, int], names: dict[fx.Node, str], kind: torch.dtype
) -> Found:
    """Return the operation of an fx node and what it reads, or None if it is not known."""
    args, target = item.args, item.target
    if target in _SUMS and not item.kwargs and all(isinstance(a, fx.Node) for a in args):
        return Add(), list(args)  # type: ignore[arg-type]
    if target in _PRODUCTS and not item.kwargs:
        return _product(args, widths, names, kind)
    if (vector_op := torch_vectors.function_op(item)) is not None:
        return vector_op, [args[0]]  # type: ignore[list-item]
    if target in (torch.cat, torch.concat, torch.concatenate):
        parts = list(args[0])  # type: ignore[arg-type]
        dim = item.kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return (Concat(), parts) if dim in (-1, 2) else None
    if target is operator.getitem and args[1] == -1:
        return _reduction("last", args[0], widths, names)
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    if name in ("mean", "sum") and (item.op == "call_method" or target in (torch.mean, torch.sum)):
        dim = item.kwargs.get("dim", args[1] if len(args) > 1 else None)
        extra = {key for key, value in item.kwargs.items() if key != "dim" and value}
        return (
            _reduction(name, args[0], widths, names)
            if dim in (0, (0,), [0]) and not extra
            else None
        )
    if name in ("contiguous", "clone", "detach", "float", "double") and len(args) == 1:
        return None, [args[0]]  # type: ignore[list-item]
    return None


def _rounded(value: float, kind: torch.dtype) -> float:
    """Return a number of the module's code as its arithmetic takes it."""
    return float(torch.tensor(value, dtype=torch.float64).to(kind))


def _product(
    args: Any, widths: dict[str, int], names: dict[fx.Node, str], kind: torch.dtype
) -> Found:
    numbers = [a for a in args if isinstance(a, int | float)]
    nodes = [a for a in args if isinstance(a, fx.Node)]
    if len(nodes) == 2:
        return Product(), nodes
    if len(numbers) != 1 or len(nodes) != 1:
        return None
    width = widths[names[nodes[0]]]
    return Affine(vector(_rounded(numbers[0], kind), width), np.zeros(width)), nodes


def _reduction(kind: str, source: Any, widths: dict[str, int], names: dict[fx.Node, str]) -> Found:
    return Reduce(kind, np.zeros(widths[names[source]])), [source]


def save(module: torch.nn.Module | Graph, path: Path, example: Any = None) -> None:
    """Write a checkpoint: the module, or, where its class is not ours, the graph of it; or a graph.

    example: x [T, B, C], a tensor or an array. Raises InputError E104 naming every layer that is
    not known, E105, E106 (the example), E110.
    """
    sample = None if example is None else torch.as_tensor(example)
    if isinstance(module, Graph):
        _save_graph(module, path, sample)
        return
    try:
        nn.save(module, path, example=sample)
    except InputError as error:
        if error.code != "E104":
            raise
        _save_graph(trace(module, sample), path, sample)


def _save_graph(graph: Graph, path: Path, sample: Any) -> None:
    record, arrays = to_record(graph)
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    write_content({"graph": record, "arrays": tensors}, path, sample)


def read(path: Path) -> tuple[Graph, Any]:
    """Return the graph of a checkpoint written by `neurodeploy.save`, and its example or None.

    Raises the errors of `nn.load` and `trace`.
    """
    content = read_content(path)
    if "graph" in content:
        arrays = {name: value.numpy() for name, value in content["arrays"].items()}
        example = content["example"]
        graph = from_record(content["graph"], arrays, str(path))
        return graph, None if example is None else example.numpy()
    module, example = load_with_example(path)
    data = None if example is None else example.numpy()
    return trace(module, data), data
