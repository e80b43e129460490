r"""How a graph stands in a NIR file: stock primitives, and what they cannot say in the metadata.

A NIR file describes differential equations without a step length. Here it is read with the step
`STEP_S`, by synchronous Euler: within a loop every primitive sees the values of the step before
(zero at first), outside loops those of the same step; so with r = tau / dt

    LI   v[t] = v[t-1] + dt/tau (v_leak - v[t-1] + r x[t])  =  k v[t-1] + x[t],   tau = dt / (1 - k)

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
    Reduce    sum: I;  mean, last: a node that passes on, for the reader to reduce over time

Recurrent weights are a Linear from the output to what the drive enters: a loop, whose integrators
see the spikes of the step before. A threshold without an integrator has no step before.

A decay of 1 makes an I of an LI, and an IF of a LIF. NIR fires where v > threshold; a model that
fires at >= has the next smaller threshold, which is the same. The numbers of a Linear are its
primitive's; every other constant of the graph stands in the metadata, from which the primitives
are derived, and which `digest` binds them to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph.forms.nir_net import Builder, Net, Part, digest
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
    VectorOp,
)
from neurodeploy.graph.maps import Maps
from neurodeploy.graph.record import to_record
from neurodeploy.neurons.spec import GE

STEP_S = 1e-4
OWNER = "neurodeploy"  #: the key of all metadata written here
Coefs = Mapping[str, Array]
Options = Mapping[str, Any]
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


def net(graph: Graph) -> Net:
    """Return the NIR form of a graph without BatchNorm and amplitudes.

    Raises InputError E108 naming every node that NIR's primitives cannot express.
    """
    names = keys([(node.name, type(node.op).__name__) for node in graph])
    record, arrays = to_record(graph)
    builder = Builder(graph.widths[graph.input.name], list(names.values()))
    problems: list[NeurodeployError] = []
    for node in graph:
        if not isinstance(node.op, Input):
            try:
                _node(builder, graph, node, names, _metadata(node, arrays))
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
    if any(_reversed(node) for node in graph):
        metadata["requires"] = "reverse"
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
) -> None:
    """Add the form of one node, under its own name, to the file's graph."""
    op, width = node.op, graph.widths[node.name]
    name, sources = names[node.name], [names[source] for source in node.inputs]
    form: Part | Net
    if isinstance(op, Linear):
        form = _linear(op)
    elif isinstance(op, Affine):
        form = _with(_affine(op.gain, op.bias), metadata)
    elif isinstance(op, Add):
        form = _scale(np.ones(width))
        sources = _distinct(builder, name, sources, width)
    elif isinstance(op, Concat):
        form = _scale(np.ones(width))
        sources = _embedded(builder, name, sources, [graph.widths[i] for i in node.inputs])
    elif isinstance(op, Reduce):
        form = _reduce(op, width, metadata)
    elif isinstance(op, Neurons | Population):
        form = _neurons(op, width, metadata)
    elif isinstance(op, VectorOp | Maps):
        what = f"{type(op).__name__} has no form in NIR"
        raise InputError("E108", what, fix="export .onnx, or train without it")
    else:
        raise InputError("E107", f"{type(op).__name__} is not folded", fix="fold the graph first")
    builder.add(name, form, *sources, fresh=False)


def _with(form: Part, metadata: Mapping[str, Any]) -> Part:
    return Part(form.type, form.fields, metadata, form.own)


def _zero(value: Array) -> bool:
    """Whether all bits are zero: -0.0 is kept where it can be."""
    return not any(value.tobytes())


def _linear(op: Linear) -> Part:
    if _zero(op.bias):
        return Part("Linear", {"weight": op.weight}, own=("weight",))
    return Part("Affine", {"weight": op.weight, "bias": op.bias}, own=("weight", "bias"))


def _scale(factor: Array) -> Part:
    return Part("Scale", {"scale": factor})


def _affine(gain: Array, bias: Array) -> Part:
    if np.all(bias == 0):
        return _scale(gain)
    return Part("Affine", {"weight": np.diag(gain), "bias": bias})


def _distinct(builder: Builder, name: str, sources: list[str], width: int) -> list[str]:
    """Return sources without repetition: NIR has one edge at most between two nodes."""
    found: list[str] = []
    for source in sources:
        again = source in found
        again_name = f"{name}.again"
        found.append(builder.add(again_name, _scale(np.ones(width)), source) if again else source)
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


def _drive(builder: Builder, gain: Array, bias: Array) -> str:
    """Add what makes the neurons' drive of the input; return its name."""
    if np.all(gain == 1) and np.all(bias == 0):
        return "input"
    return builder.add("drive", _affine(gain, bias), "input")


def _closed(builder: Builder, output: str, width: int, metadata: Mapping[str, Any]) -> Part | Net:
    """Return what was built: the one primitive, if it is one, else a graph in the graph."""
    inner = [part for name, part in builder.parts.items() if name != "input"]
    if len(inner) == 1 and isinstance(inner[0], Part) and builder.edges == [("input", output)]:
        return _with(inner[0], metadata)
    return builder.net(output, width, metadata)


def _reduce(op: Reduce, width: int, metadata: Mapping[str, Any]) -> Part | Net:
    if op.kind != "sum":
        return _with(_affine(np.ones(width), op.bias), metadata)
    builder = Builder(width)
    drive = _drive(builder, np.ones(width), op.bias)
    return _closed(builder, _leaky(builder, "sum", np.ones(width), drive), width, metadata)


def _neurons(op: Neurons | Population, width: int, metadata: Mapping[str, Any]) -> Part | Net:
    spec, builder = op.model, Builder(width)
    if not has_form(op.spec, op.options):
        fix = f"export .onnx; NIR forms exist for {', '.join(_MODELS)}"
        reset = f" with reset {op.options['reset']}" if op.spec in _MODELS else ""
        raise InputError("E108", f"{op.spec}{reset} has no form in NIR", fix=fix)
    if isinstance(op, Neurons):
        coefs, gain = spec.fold(spec.params(**op.params), op.options, np), op.gain
    else:
        coefs, gain = spec.coefs(**op.coefs), op.sign
    drive = _drive(builder, gain, op.bias)
    values = {k: np.array(np.broadcast_to(v, width)) for k, v in coefs._asdict().items()}
    output = _MODELS[op.spec](builder, values, op.options, drive)
    if op.recurrent is not None:
        _feed_back(builder, op, values, drive, output)
    return _closed(builder, output, width, metadata)


def _feed_back(
    builder: Builder, op: Neurons | Population, coefs: Coefs, drive: str, output: str
) -> None:
    """Add recurrent weights from `output` to whatever reads `drive`."""
    assert op.recurrent is not None
    part = builder.parts[output]
    if not op.model.state._fields:
        what = f"{op.spec} has no state: its loop would have no step before"
        raise InputError("E108", what, fix="export .onnx")
    if isinstance(part, Part) and part.type == "Threshold":
        _silent_at_rest(op.spec, coefs["threshold"])
    targets = [target for source, target in builder.edges if source == drive]
    weight = builder.add("recurrent", Part("Linear", {"weight": op.recurrent}), output)
    for target in targets:
        part = builder.parts[target]
        if not (isinstance(part, Part) and part.type == "Scale"):
            builder.edges.append((weight, target))
            continue
        # what scales the drive must stay outside of the loop, to know the drive of this step
        copy = builder.add(f"recurrent_{target}", part, weight)
        builder.edges += [(copy, reader) for source, reader in builder.edges if source == target]


def _leaky(builder: Builder, name: str, decay: Array, *sources: str) -> str:
    """Add v[t] = decay v[t-1] + sum of sources; return its name."""
    lost = 1 - decay
    if np.all(lost != 0):
        fields = {"tau": STEP_S / lost, "r": 1 / lost, "v_leak": np.zeros_like(decay)}
        return builder.add(name, Part("LI", fields), *sources)
    name = builder.add(name, Part("I", {"r": np.full_like(decay, 1 / STEP_S)}), *sources)
    if np.any(lost != 0):
        loss = builder.add(f"{name}_loss", _scale(-lost), name)
        builder.edges.append((loss, name))
    return name


def _threshold(builder: Builder, coefs: Coefs, options: Options, source: str) -> str:
    part = Part("Threshold", {"threshold": _level(coefs, options)})
    return builder.add("spikes", part, source)


def _level(coefs: Coefs, options: Options) -> Array:
    """Return the threshold t for which v > t is what the model compares."""
    level = coefs["threshold"]
    return np.nextafter(level, -np.inf) if options["compare"] == GE else level


def _prf(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    re = _leaky(builder, "re", coefs["c"], drive)
    im = _leaky(builder, "im", coefs["c"])
    to_im = builder.add("re_to_im", _scale(coefs["d"]), re)
    to_re = builder.add("im_to_re", _scale(-coefs["d"]), im)
    builder.edges += [(to_im, im), (to_re, re)]
    return _threshold(builder, coefs, options, re)


def _lif(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    if options["reset"] == "hard":
        return _lif_hard(builder, coefs, options, drive)
    v = _leaky(builder, "v", coefs["beta"], drive)
    spikes = _threshold(builder, coefs, options, v)
    if options["reset"] != "none":
        _silent_at_rest("lif", coefs["threshold"])
        amount = coefs["reset"] * (coefs["beta"] if options["reset"] == "soft" else 1.0)
        reset = builder.add("reset", _scale(-amount), spikes)
        builder.edges.append((reset, v))
    return spikes


def _silent_at_rest(spec: str, threshold: Array) -> None:
    """Refuse what a membrane at rest reaches: a loop would bring a spike before the first step."""
    if np.any(threshold <= 0):
        what = f"{spec}: {np.count_nonzero(threshold <= 0)} channels with a loop fire at rest"
        raise InputError("E108", what, fix="export .onnx")


def _lif_hard(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    lost = 1 - coefs["beta"]
    fields = {"v_threshold": _level(coefs, options), "v_reset": coefs["reset"]}
    if np.all(lost == 0):
        fields["r"] = np.full_like(lost, 1 / STEP_S)
        return builder.add("lif", Part("IF", fields), drive)
    if np.any(lost == 0):
        raise InputError(
            "E108",
            f"lif: {np.count_nonzero(lost == 0)} of {lost.size} channels have beta = 1: NIR has"
            " LIF for decaying channels and IF for others, but nothing for both",
            fix="export .onnx, or split the population",
        )
    fields |= {"tau": STEP_S / lost, "r": 1 / lost, "v_leak": np.zeros_like(lost)}
    return builder.add("lif", Part("LIF", fields), drive)


def _spatial(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    return _threshold(builder, coefs, options, drive)


def _li(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:  # noqa: ARG001
    return _leaky(builder, "v", coefs["beta"], drive)


def _compartments(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    beta1, beta2, soma = coefs["beta1"], coefs["beta2"], coefs["reset"]
    alpha1, alpha2 = (coefs.get(key, np.ones_like(beta1)) for key in ("alpha1", "alpha2"))
    dendrite = coefs["gamma"]
    if options["coupling"] == "reset":
        dendrite, soma = alpha1 * dendrite + beta1 * soma, alpha2 * soma
    _silent_at_rest("two compartments", coefs["threshold"])
    d = _leaky(builder, "d", alpha1, drive)
    s = _leaky(builder, "s", alpha2, builder.add("drive_to_s", _scale(beta2), drive))
    spikes = _threshold(builder, coefs, options, s)
    for source, target, factor in (
        (s, d, beta1),
        (spikes, d, -dendrite),
        (d, s, beta2 * alpha1),
        (s, s, beta2 * beta1),
        (spikes, s, -(beta2 * dendrite + soma)),
    ):
        name = builder.add(f"{source}_to_{target}", _scale(factor), source)
        builder.edges.append((name, target))
    return spikes


_MODELS: dict[str, Callable[[Builder, Coefs, Options, str], str]] = {
    "prf": _prf,
    "lif": _lif,
    "spatial": _spatial,
    "li": _li,
    "tclif": _compartments,
    "two_compartment": _compartments,
}


def has_form(spec: str, options: Options) -> bool:
    """Whether NIR's primitives can express a neuron model with these options."""
    return spec in _MODELS and options.get("reset") not in ("hard_next", "soft_doubled")
