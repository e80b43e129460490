r"""How a graph stands in a NIR file: stock primitives, and what they cannot say in the metadata.

A NIR file describes differential equations without a step length. Here it is read with the step
`STEP_S`, by synchronous Euler: within a loop every primitive sees the values of the step before
(zero at first), outside loops those of the same step; so with r = tau / dt

    LI   v[t] = v[t-1] + dt/tau (v_leak - v[t-1] + r x[t])  =  k v[t-1] + x[t],   tau = dt / (1 - k)

    cubalif   reset hard: CubaLIF;  else LI, and LIF as below
    prf       re = LI(x - d im), im = LI(d re), spikes = Threshold(re), with k = c
    lif       reset hard: LIF;  none: Threshold(LI(x));  soft: v = LI(x - beta reset s) and
              s = Threshold(v);  soft_after_decay: the same without beta
    tclif, two_compartment    d = LI(x + beta1 s - g spike), where g is gamma, or, with the coupling
              "reset", alpha1 gamma + beta1 v_th; s the same with beta2 d[t], its terms written
              out, for a loop knows d[t-1] only; spike = Threshold(s)
    spatial   Threshold
    li        LI
    Linear    Affine, or Linear without bias         Affine  Scale, or a diagonal Affine
    Add       whatever reads it reads its terms      Concat  the same, behind one Linear per part
    Delay     Delay, its steps times STEP_S
    Conv      Conv1d, Conv2d;  Pool  SumPool2d, AvgPool2d;  a Flatten behind maps (`nir_maps`)
    Reduce    sum: I;  mean, last: nothing, or an Affine; the reader is to reduce over time

What only passes on is no node, since most tools know no Scale; it is a Scale by 1 where the output
or two readings of one node need one.

Recurrent weights are a Linear from the output to what the drive enters: a loop, whose integrators
see the spikes of the step before. A threshold without an integrator has no step before.

Three tiers: `stock` has one primitive per node; `composite`, graphs in the graph, too; `extension`,
for whatever has no such form, also nodes of types of our own, which other readers do not know.

A decay of 1 makes an I of an LI, and an IF of a LIF. NIR fires where v > threshold; a model that
fires at >= has the next smaller threshold, which is the same. The numbers of a Linear are its
primitive's, and those of a Conv that stands there as it is; every other constant of the graph
stands in the metadata, from which the primitives are derived, and which `digest` binds them to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, together
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.forms import nir_maps
from neurodeploy.graph.forms.nir_net import Builder, Net, Part, Shape, digest
from neurodeploy.graph.forms.nir_neurons import (
    STEP_S,
    affine,
    closed,
    driven,
    leaky,
    neurons,
    scale,
    with_metadata,
)
from neurodeploy.graph.ir import (
    Add,
    Affine,
    Array,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Population,
    Reduce,
)
from neurodeploy.graph.maps import Conv, Pool
from neurodeploy.graph.nonlinear import VectorOp
from neurodeploy.graph.record import to_record

TIERS = ("stock", "composite", "extension")
OWNER = "neurodeploy"  #: the key of all metadata written here
ABOUT = (
    "Euler steps of dt seconds, synchronous within loops, all states zero at first;"
    " see neurodeploy/graph/forms/nir.py"
)


def keys(nodes: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the name in the file of every graph node, given (name, operation) of each."""
    names = {name for name, _ in nodes}
    found = {}
    for name, op in nodes:
        key = name
        while op != "Input" and (key in ("input", "output") or (key != name and key in names)):
            key += "_"
        found[name] = "input" if op == "Input" else key
    return found


def net(graph: Graph, tier: str = "composite", own: nir_maps.Own = frozenset()) -> Net:
    """Return the NIR form of a graph without BatchNorm and amplitudes, of one of TIERS.

    own: the nodes that are of types of our own; in the tier `extension` those, too, that need it.
    Raises InputError E108 naming every node that the tier cannot express.
    """
    record, arrays = to_record(graph)
    while True:
        writer = _Writer(graph, arrays, own)
        problems = writer.write(stock=tier == "stock")
        more = {name for name, error in problems.items() if error.code == "E108"}
        if tier != "extension" or not more:
            break
        own |= more
    if problems:
        raise together(list(problems.values()))
    metadata: dict[str, Any] = {
        "graph": json.dumps(record, allow_nan=False),
        "dt": repr(STEP_S),
        "readout": _readout(graph),
        "about": ABOUT,
    }
    if own:
        metadata["tier"] = "extension"
    if writer.passed:
        metadata["passed"] = writer.passed
    (name,), shape = writer.gives[graph.output], writer.shapes[graph.output]
    form = writer.builder.net(name, shape, {OWNER: metadata})
    return Net(form.parts, form.edges, {OWNER: {**metadata, "digest": digest(form, form)}})


def _readout(graph: Graph) -> str:
    """Say what to make of the output over time: mean, last (step) or (all) steps."""
    needed = {graph.output}
    for node in reversed(graph.nodes):
        needed |= set(node.inputs) if node.name in needed else set()
    kinds = [node.op.kind for node in graph if isinstance(node.op, Reduce) and node.name in needed]
    return {"sum": "last"}.get(kinds[0], kinds[0]) if kinds else "steps"


def _metadata(node: Node, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return the constants of a node that its primitives do not hold as they are."""
    if isinstance(node.op, Linear):
        return {}
    prefix = f"{node.name}:"
    own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    if isinstance(node.op, Neurons | Population):
        options = json.dumps(dict(node.op.options), sort_keys=True)
        return {OWNER: {"model": node.op.spec, "options": options, **own}}
    return {OWNER: own} if own else {}


def is_own(kind: str) -> bool:
    """Whether a node's type is one of neurodeploy's, which other readers do not know."""
    return kind.startswith(f"{OWNER}.")


class _Writer:
    """The file's graph so far, and the shapes of what its nodes give."""

    def __init__(self, graph: Graph, arrays: Mapping[str, Array], own: nir_maps.Own) -> None:
        self.graph, self.arrays, self.own = graph, arrays, own
        self.names = keys([(node.name, type(node.op).__name__) for node in graph])
        self.shapes = nir_maps.shapes(graph, own)
        self.builder = Builder(self.shapes[graph.input.name], list(self.names.values()))
        self.gives = {graph.input.name: ["input"]}  #: the parts whose sum is what a node gives
        self.passed: dict[str, Mapping[str, Any]] = {}  #: constants of nodes that are no parts
        self.views: dict[tuple[str, Shape], str] = {}

    def write(self, *, stock: bool) -> dict[str, InputError]:
        """Add all nodes; return what was wrong, by node."""
        problems: dict[str, InputError] = {}
        for node in self.graph:
            if not isinstance(node.op, Input):
                self.gives[node.name] = [self.names[node.name]]
                try:
                    self._node(node, stock=stock)
                except InputError as error:
                    error.where = f'node "{node.name}"'
                    problems[node.name] = error
        return problems

    def _node(self, node: Node, *, stock: bool) -> None:
        """Add the form of one node, under its own name."""
        name, metadata = self.names[node.name], _metadata(node, self.arrays)
        read = self._sources(node)
        if isinstance(node.op, Concat):
            read = [[part] for part in self._embedded(name, read, node)]
        sources = [source for each in read for source in each]
        if self._only_passes(node, sources):
            self.gives[node.name] = sources
            if metadata:
                self.passed[node.name] = metadata[OWNER]
            return
        form = self._form(node, metadata)
        if stock and isinstance(form, Net):
            what = f"{type(node.op).__name__} is no one primitive of NIR"
            raise InputError("E108", what, fix="--nir composite, for readers of graphs in graphs")
        self.builder.add(name, form, *self._distinct(name, sources, node), fresh=False)

    def _only_passes(self, node: Node, sources: list[str]) -> bool:
        """Whether readers of a node can read its sources in its place."""
        op = node.op
        plain = isinstance(op, Reduce) and op.kind != "sum" and _zero(op.bias)
        if not plain and not isinstance(op, Add | Concat):
            return False
        one = len(sources) == 1 or node.name != self.graph.output
        heard = any(reader.name in self.own for reader in self.graph.readers(node.name))
        return one and not heard and len(set(sources)) == len(sources)

    def _sources(self, node: Node) -> list[list[str]]:
        """Return the parts whose sums a node reads, in the shapes in which it does."""
        read = [self.shapes[source] for source in node.inputs]
        want = nir_maps.wanted(node, read, self.shapes[node.name], self.own)
        return [self._view(*each) for each in zip(node.inputs, read, want, strict=True)]

    def _view(self, source: str, have: Shape, want: Shape) -> list[str]:
        if have == want:
            return self.gives[source]
        if (source, want) not in self.views:
            part, name = nir_maps.flatten(have, want), f"{self.names[source]}.flat"
            self.views[source, want] = self.builder.add(name, part, *self.gives[source])
        return [self.views[source, want]]

    def _form(self, node: Node, metadata: Mapping[str, Any]) -> Part | Net:
        """Return a node as primitives of NIR."""
        if node.name in self.own:
            return self._own(node, metadata)
        if isinstance(node.op, Add | Concat):
            return scale(np.ones(self.shapes[node.name]))
        return _alone(node, self.shapes[node.name], metadata)

    def _own(self, node: Node, metadata: Mapping[str, Any]) -> Part:
        """Return a node of a type of our own, with its shapes; all else stands in the metadata."""
        op, widths = node.op, self.graph.widths
        kind = op.spec if isinstance(op, Neurons | Population) else type(op).__name__
        ends = {"input_shape": node.inputs[0], "output_shape": node.name}
        shapes = {key: np.array([widths[name]], np.int64) for key, name in ends.items()}
        return Part(f"{OWNER}.{kind}", shapes, metadata)

    def _distinct(self, name: str, sources: list[str], node: Node) -> list[str]:
        """Return sources without repetition: NIR has one edge at most between two nodes."""
        read = [self.shapes[source] for source in node.inputs]
        shape = nir_maps.wanted(node, read, self.shapes[node.name], self.own)[0]
        found: list[str] = []
        for source in sources:
            if source in found:
                again = scale(np.ones(shape))
                found.append(self.builder.add(f"{name}.again", again, source))
            else:
                found.append(source)
        return found

    def _embedded(self, name: str, read: list[list[str]], node: Node) -> list[str]:
        """Return what puts each source in its place among all channels, or all maps."""
        shape, found, first = self.shapes[node.name], [], 0
        for i, (sources, inside) in enumerate(zip(read, node.inputs, strict=True)):
            if len(shape) > 1:
                part = nir_maps.part_of(self.shapes[inside], first, shape[0])
                count = self.shapes[inside][0]
            else:
                count = self.graph.widths[inside]
                part = Part("Linear", {"weight": np.eye(shape[0], count, k=-first)})
            first += count
            found.append(self.builder.add(f"{name}.part{i}", part, *sources))
        return found


def _alone(node: Node, shape: Shape, metadata: Mapping[str, Any]) -> Part | Net:
    """Return a node that reads one other, as primitives of NIR."""
    op = node.op
    if isinstance(op, Linear):
        return _linear(op)
    if isinstance(op, Conv):
        return nir_maps.conv(op, metadata)
    if isinstance(op, Pool):
        return nir_maps.pool(op, metadata)
    if isinstance(op, Affine):
        return with_metadata(affine(op.gain, op.bias, shape), metadata)
    if isinstance(op, Reduce):
        return _reduce(op, shape, metadata)
    if isinstance(op, Neurons | Population):
        if op.reverse:
            what = "NIR has no neurons that run backwards in time"
            raise InputError("E108", what, fix="export .onnx, or --nir extension")
        return neurons(op, shape, metadata)
    if isinstance(op, Delay):
        return Part("Delay", {"delay": (op.steps * STEP_S).reshape(shape)}, metadata)
    if isinstance(op, VectorOp):
        what = f"{type(op).__name__} has no form in NIR"
        raise InputError("E108", what, fix="export .onnx, or --nir extension")
    raise InputError("E107", f"{type(op).__name__} is not folded", fix="fold the graph first")


def _zero(value: Array) -> bool:
    """Whether all bits are zero: -0.0 is kept where it can be."""
    return not any(value.tobytes())


def _linear(op: Linear) -> Part:
    if _zero(op.bias):
        return Part("Linear", {"weight": op.weight}, own=("weight",))
    return Part("Affine", {"weight": op.weight, "bias": op.bias}, own=("weight", "bias"))


def _reduce(op: Reduce, shape: Shape, metadata: Mapping[str, Any]) -> Part | Net:
    ones = np.ones(op.bias.shape)
    if op.kind != "sum":
        return with_metadata(affine(ones, op.bias, shape), metadata)
    builder = Builder(shape)
    drive = driven(builder, ones, op.bias)
    return closed(builder, leaky(builder, "sum", np.ones(shape), drive), metadata)
