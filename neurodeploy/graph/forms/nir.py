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
    Add       Scale by 1, read by fan-in             Concat  the same, behind one Linear per part
    Delay     Delay, its steps times STEP_S
    Reduce    sum: I;  mean, last: a node that passes on, for the reader to reduce over time

Recurrent weights are a Linear from the output to what the drive enters: a loop, whose integrators
see the spikes of the step before. A threshold without an integrator has no step before.

Three tiers: `stock` has one primitive per node; `composite`, graphs in the graph, too; `extension`,
for whatever has no such form, also nodes of types of our own, which other readers do not know.

A decay of 1 makes an I of an LI, and an IF of a LIF. NIR fires where v > threshold; a model that
fires at >= has the next smaller threshold, which is the same. The numbers of a Linear are its
primitive's; every other constant of the graph stands in the metadata, from which the primitives
are derived, and which `digest` binds them to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.forms.nir_net import Builder, Net, Part, digest
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
from neurodeploy.graph.maps import Maps
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


def net(graph: Graph, tier: str = "composite") -> Net:
    """Return the NIR form of a graph without BatchNorm and amplitudes, of one of TIERS.

    Raises InputError E108 naming every node that the tier cannot express.
    """
    names = keys([(node.name, type(node.op).__name__) for node in graph])
    record, arrays = to_record(graph)
    builder = Builder(graph.widths[graph.input.name], list(names.values()))
    problems: list[NeurodeployError] = []
    for node in graph:
        if not isinstance(node.op, Input):
            try:
                _node(builder, graph, node, names, _metadata(node, arrays), tier)
            except InputError as error:
                error.where = f'node "{node.name}"'
                problems.append(error)
    if problems:
        raise together(problems)
    metadata = {
        "graph": json.dumps(record, allow_nan=False),
        "dt": repr(STEP_S),
        "readout": _readout(graph),
        "about": ABOUT,
    }
    if any(isinstance(part, Part) and is_own(part.type) for part in builder.parts.values()):
        metadata["tier"] = "extension"
    width = graph.widths[graph.output]
    form = builder.net(names[graph.output], width, {OWNER: metadata})
    return Net(form.parts, form.edges, {OWNER: {**metadata, "digest": digest(form, form)}})


def _reversed(node: Node) -> bool:
    return isinstance(node.op, Neurons | Population) and node.op.reverse


def _readout(graph: Graph) -> str:
    """Say what to make of the output over time: mean, last (step) or (all) steps."""
    kinds = [node.op.kind for node in graph if isinstance(node.op, Reduce)]
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


def _node(
    builder: Builder,
    graph: Graph,
    node: Node,
    names: Mapping[str, str],
    metadata: Mapping[str, Any],
    tier: str,
) -> None:
    """Add the form of one node, under its own name, to the file's graph."""
    name, sources = names[node.name], [names[source] for source in node.inputs]
    form: Part | Net
    try:
        form, sources = _form(builder, graph, node, name, sources, metadata)
    except InputError as error:
        if tier != "extension" or error.code != "E108":
            raise
        width = graph.widths[node.inputs[0]]
        form, sources = _own(graph, node, metadata), _distinct(builder, name, sources, width)
    if tier == "stock" and isinstance(form, Net):
        what = f"{type(node.op).__name__} is no one primitive of NIR"
        raise InputError("E108", what, fix="--nir composite, for readers of graphs in graphs")
    builder.add(name, form, *sources, fresh=False)


def is_own(kind: str) -> bool:
    """Whether a node's type is one of neurodeploy's, which other readers do not know."""
    return kind.startswith(f"{OWNER}.")


def _own(graph: Graph, node: Node, metadata: Mapping[str, Any]) -> Part:
    """Return a node of a type of our own, with its shapes; all else stands in the metadata."""
    op = node.op
    kind = op.spec if isinstance(op, Neurons | Population) else type(op).__name__
    widths = {"input_shape": node.inputs[0], "output_shape": node.name}
    shapes = {key: np.array([graph.widths[name]], np.int64) for key, name in widths.items()}
    return Part(f"{OWNER}.{kind}", shapes, metadata)


def _form(
    builder: Builder,
    graph: Graph,
    node: Node,
    name: str,
    sources: list[str],
    metadata: Mapping[str, Any],
) -> tuple[Part | Net, list[str]]:
    """Return a node as primitives of NIR, and what they read."""
    op, width = node.op, graph.widths[node.name]
    form: Part | Net
    if isinstance(op, Linear):
        form = _linear(op)
    elif isinstance(op, Affine):
        form = with_metadata(affine(op.gain, op.bias), metadata)
    elif isinstance(op, Add):
        form = scale(np.ones(width))
        sources = _distinct(builder, name, sources, width)
    elif isinstance(op, Concat):
        form = scale(np.ones(width))
        sources = _embedded(builder, name, sources, [graph.widths[i] for i in node.inputs])
    elif isinstance(op, Reduce):
        form = _reduce(op, width, metadata)
    elif _reversed(node):
        what, fix = (
            "NIR has no neurons that run backwards in time",
            "export .onnx, or --nir extension",
        )
        raise InputError("E108", what, fix=fix)
    elif isinstance(op, Neurons | Population):
        form = neurons(op, width, metadata)
    elif isinstance(op, Delay):
        form = Part("Delay", {"delay": op.steps * STEP_S}, metadata)
    elif isinstance(op, VectorOp | Maps):
        what = f"{type(op).__name__} has no form in NIR"
        raise InputError("E108", what, fix="export .onnx, or --nir extension")
    else:
        raise InputError("E107", f"{type(op).__name__} is not folded", fix="fold the graph first")
    return form, sources


def _zero(value: Array) -> bool:
    """Whether all bits are zero: -0.0 is kept where it can be."""
    return not any(value.tobytes())


def _linear(op: Linear) -> Part:
    if _zero(op.bias):
        return Part("Linear", {"weight": op.weight}, own=("weight",))
    return Part("Affine", {"weight": op.weight, "bias": op.bias}, own=("weight", "bias"))


def _distinct(builder: Builder, name: str, sources: list[str], width: int) -> list[str]:
    """Return sources without repetition: NIR has one edge at most between two nodes."""
    found: list[str] = []
    for source in sources:
        again = source in found
        again_name = f"{name}.again"
        found.append(builder.add(again_name, scale(np.ones(width)), source) if again else source)
    return found


def _embedded(builder: Builder, name: str, sources: list[str], widths: list[int]) -> list[str]:
    """Return one Linear per source, each of which puts it in its place among all channels."""
    ends = np.cumsum(widths)
    found = []
    for i, (source, width) in enumerate(zip(sources, widths, strict=True)):
        matrix = np.eye(int(ends[-1]), width, k=-int(ends[i] - width))
        part = Part("Linear", {"weight": matrix})
        found.append(builder.add(f"{name}.part{i}", part, source))
    return found


def _reduce(op: Reduce, width: int, metadata: Mapping[str, Any]) -> Part | Net:
    if op.kind != "sum":
        return with_metadata(affine(np.ones(width), op.bias), metadata)
    builder = Builder(width)
    drive = driven(builder, np.ones(width), op.bias)
    return closed(builder, leaky(builder, "sum", np.ones(width), drive), width, metadata)
