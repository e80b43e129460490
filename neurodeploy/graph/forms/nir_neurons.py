r"""How neurons stand in a NIR file, as stock primitives: the table in `forms.nir`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.graph.forms import nir_maps
from neurodeploy.graph.forms.nir_net import Builder, Net, Part, Shape
from neurodeploy.graph.ir import Array, Neurons, Population
from neurodeploy.neurons.spec import GE

STEP_S = 1e-4
SYNAPSE = "synapse"
Coefs = Mapping[str, Array]
Options = Mapping[str, Any]


def with_metadata(form: Part, metadata: Mapping[str, Any]) -> Part:
    """Return a primitive with metadata."""
    return Part(form.type, form.fields, metadata, form.own)


def scale(factor: Array) -> Part:
    """Return what multiplies each channel."""
    return Part("Scale", {"scale": factor})


def affine(gain: Array, bias: Array, shape: Shape) -> Part:
    """Return what multiplies values of `shape` and adds to them: a Scale, if nothing is added."""
    if np.all(bias == 0):
        return scale(gain.reshape(shape))
    if len(shape) > 1:
        return nir_maps.affine(gain, bias, shape)
    return Part("Affine", {"weight": np.diag(gain), "bias": bias})


def driven(builder: Builder, gain: Array, bias: Array) -> str:
    """Add what makes the neurons' drive of the input; return its name."""
    if np.all(gain == 1) and np.all(bias == 0):
        return "input"
    return builder.add("drive", affine(gain, bias, builder.shape), "input")


def closed(builder: Builder, output: str, metadata: Mapping[str, Any]) -> Part | Net:
    """Return what was built: the one primitive, if it is one, else a graph in the graph."""
    inner = [part for name, part in builder.parts.items() if name != "input"]
    if len(inner) == 1 and isinstance(inner[0], Part) and builder.edges == [("input", output)]:
        return with_metadata(inner[0], metadata)
    return builder.net(output, builder.shape, metadata)


def neurons(op: Neurons | Population, shape: Shape, metadata: Mapping[str, Any]) -> Part | Net:
    """Return neurons as one primitive, or as a graph; InputError E108 if they are neither."""
    spec, builder = op.model, Builder(shape)
    if not has_form(op.spec, op.options):
        fix = f"export .onnx, or --nir extension; NIR forms exist for {', '.join(_MODELS)}"
        reset = f" with reset {op.options['reset']}" if op.spec in _MODELS else ""
        raise InputError("E108", f"{op.spec}{reset} has no form in NIR", fix=fix)
    if isinstance(op, Neurons):
        coefs, gain = spec.fold(spec.params(**op.params), op.options, np), op.gain
    else:
        coefs, gain = spec.coefs(**op.coefs), op.sign
    drive = driven(builder, gain, op.bias)
    values = {
        k: np.array(np.broadcast_to(v, op.bias.shape)).reshape(shape)
        for k, v in coefs._asdict().items()
    }
    output = _MODELS[op.spec](builder, values, op.options, drive)
    if op.recurrent is not None:
        _feed_back(builder, op, values, drive, output)
    return closed(builder, output, metadata)


def _feed_back(
    builder: Builder, op: Neurons | Population, coefs: Coefs, drive: str, output: str
) -> None:
    """Add recurrent weights from `output` to whatever reads `drive`."""
    assert op.recurrent is not None
    part = builder.parts[output]
    if not op.model.state._fields:
        what = f"{op.spec} has no state: its loop would have no step before"
        raise InputError("E108", what, fix="export .onnx")
    if SYNAPSE in builder.parts:
        what = f"{op.spec} with a loop: within it, the membrane would read a current of the past"
        raise InputError("E108", what, fix="export .onnx, or --nir extension")
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


def leaky(builder: Builder, name: str, decay: Array, *sources: str) -> str:
    """Add v[t] = decay v[t-1] + sum of sources; return its name."""
    lost = 1 - decay
    if np.all(lost != 0):
        fields = {"tau": STEP_S / lost, "r": 1 / lost, "v_leak": np.zeros_like(decay)}
        return builder.add(name, Part("LI", fields), *sources)
    name = builder.add(name, Part("I", {"r": np.full_like(decay, 1 / STEP_S)}), *sources)
    if np.any(lost != 0):
        loss = builder.add(f"{name}_loss", scale(-lost), name)
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
    re = leaky(builder, "re", coefs["c"], drive)
    im = leaky(builder, "im", coefs["c"])
    to_im = builder.add("re_to_im", scale(coefs["d"]), re)
    to_re = builder.add("im_to_re", scale(-coefs["d"]), im)
    builder.edges += [(to_im, im), (to_re, re)]
    return _threshold(builder, coefs, options, re)


def _lif(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    if options["reset"] == "hard":
        return _lif_hard(builder, coefs, options, drive)
    v = leaky(builder, "v", coefs["beta"], drive)
    spikes = _threshold(builder, coefs, options, v)
    if options["reset"] != "none":
        _silent_at_rest("lif", coefs["threshold"])
        amount = coefs["reset"] * (coefs["beta"] if options["reset"] == "soft" else 1.0)
        reset = builder.add("reset", scale(-amount), spikes)
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


def _cubalif(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    """Write a CubaLIF, whose membrane reads the current of the same step, or what it is made of."""
    decays = (coefs["alpha"], coefs["beta"])
    if options["reset"] == "hard" and all(np.all(decay < 1) for decay in decays):
        lost_syn, lost = (1 - decay for decay in decays)
        fields = {
            "tau_syn": STEP_S / lost_syn,
            "tau_mem": STEP_S / lost,
            "r": 1 / lost,
            "w_in": 1 / lost_syn,
            "v_leak": np.zeros_like(lost),
            "v_threshold": _level(coefs, options),
            "v_reset": coefs["reset"],
        }
        return builder.add("cubalif", Part("CubaLIF", fields), drive)
    current = leaky(builder, SYNAPSE, coefs["alpha"], drive)
    return _lif(builder, coefs, options, current)


def _spatial(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    return _threshold(builder, coefs, options, drive)


def _li(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:  # noqa: ARG001
    return leaky(builder, "v", coefs["beta"], drive)


def _compartments(builder: Builder, coefs: Coefs, options: Options, drive: str) -> str:
    beta1, beta2, soma = coefs["beta1"], coefs["beta2"], coefs["reset"]
    alpha1, alpha2 = (coefs.get(key, np.ones_like(beta1)) for key in ("alpha1", "alpha2"))
    dendrite = coefs["gamma"]
    if options["coupling"] == "reset":
        dendrite, soma = alpha1 * dendrite + beta1 * soma, alpha2 * soma
    _silent_at_rest("two compartments", coefs["threshold"])
    d = leaky(builder, "d", alpha1, drive)
    s = leaky(builder, "s", alpha2, builder.add("drive_to_s", scale(beta2), drive))
    spikes = _threshold(builder, coefs, options, s)
    for source, target, factor in (
        (s, d, beta1),
        (spikes, d, -dendrite),
        (d, s, beta2 * alpha1),
        (s, s, beta2 * beta1),
        (spikes, s, -(beta2 * dendrite + soma)),
    ):
        name = builder.add(f"{source}_to_{target}", scale(factor), source)
        builder.edges.append((name, target))
    return spikes


_MODELS: dict[str, Callable[[Builder, Coefs, Options, str], str]] = {
    "prf": _prf,
    "lif": _lif,
    "cubalif": _cubalif,
    "spatial": _spatial,
    "li": _li,
    "tclif": _compartments,
    "two_compartment": _compartments,
}


def has_form(spec: str, options: Options) -> bool:
    """Whether NIR's primitives can express a neuron model with these options."""
    return spec in _MODELS and options.get("reset") not in ("hard_next", "soft_doubled")
