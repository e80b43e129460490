"""How each operation of a graph stands in an ONNX file.

One node of the graph is one node of the file, of the same name. Sums and concatenations are
standard operators; everything else is a model-local function of the domain `neurodeploy` whose
inputs are the operation's own constants, and whose body is standard operators, for neurons around
a `Scan` over time. What is not a number (neuron model, comparator, reset, direction, readout) is
part of the function's name, so it cannot get lost:

    prf_compare_ge(x, input_gain, input_bias, dt, tau, theta, v_th, amplitude)
    lif_folded_reset_soft_compare_gt_reverse(x, input_sign, input_bias, beta, ..., unit, amplitude)
    Linear(x, weight, bias)    BatchNorm(x, gamma, beta, mean, var, eps)    Reduce_mean(x, bias)

All numbers of a file have one type; only eps and level are always float64, and rounded inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from neurodeploy.errors import InputError
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.forms import onnx_maps, onnx_vectors
from neurodeploy.graph.forms.onnx_maps import WHOLE as _OF_MAPS
from neurodeploy.graph.forms.sheet import (
    REAL,
    Echo,
    Function,
    Sheet,
    fold_calls,
    per_mode,
    resting,
    scan,
    step_body,
    step_calls,
    table_rows,
)
from neurodeploy.graph.ir import (
    REDUCTIONS,
    Add,
    Affine,
    BatchNorm,
    Concat,
    Input,
    Linear,
    Neurons,
    Op,
    Population,
    Reduce,
    Surrogate,
)
from neurodeploy.graph.maps import POOLINGS, Conv, Pool
from neurodeploy.graph.nonlinear import (
    GELUS,
    Gelu,
    Glu,
    LayerNorm,
    Lstm,
    Product,
    Quantize,
    Relu,
    Rescale,
    Ternary,
)
from neurodeploy.neurons import SPECS, NeuronSpec, Traced

DOMAIN, DOMAIN_VERSION = "neurodeploy", 1
GRIDS = "neurodeploy.grids"  #: metadata: the grids that weights lie on (`Graph.grids`), in JSON
BITS = "neurodeploy.bits"  #: metadata: the bits that a graph records by node, in JSON
PROGRAM_DOMAIN = "neurodeploy.program"  #: of exported integer programs, which are not read back
STANDARD: dict[str, tuple[type[Op], dict[str, Any]]] = {
    "Sum": (Add, {}),
    "Concat": (Concat, {"axis": -1}),
    "Mul": (Product, {}),
    "Relu": (Relu, {}),
}
ALWAYS_DOUBLE = ("eps", "level")
WHOLE = (*_OF_MAPS, "low", "high")  #: constants of int64
SCALARS = ("amplitude", *ALWAYS_DOUBLE, "scale", "groups", "low", "high")


def type_of(name: str, numbers: str) -> str:
    """Return the type of a constant, in a file whose numbers are `numbers`."""
    if name in WHOLE:
        return "int64"
    return "float64" if name in ALWAYS_DOUBLE else numbers


_INPUTS: dict[Any, str] = {  # by (spiking, tokens); tokens come as one-hot spikes
    (False, False): "Input",
    (True, False): "Input_spiking",
    (True, True): "Input_tokens",
}
_WORDS = {">=": "ge", ">": "gt", True: "true", False: "false"}


@dataclass(frozen=True)
class Form:
    """One kind of operation: its function, and which field each input of it holds.

    settings: fields that the name of the function states. parameters: (input, field, key): the
    input after x holds `op.field`, or `op.field[key]` where there is a key.
    """

    op: type[Op]
    settings: Mapping[str, Any]
    parameters: tuple[tuple[str, str, str | None], ...]
    function: Function

    def constants(self, op: Op) -> dict[str, Any]:
        """Return the constants of `op` by the function's input: arrays, () for scalars.

        They are float64, or int64 where they are whole numbers (`WHOLE`).
        """
        found = {}
        for name, field, key in self.parameters:
            value = getattr(op, field)
            kind = np.int64 if field in WHOLE else np.float64
            found[name] = np.asarray(value if key is None else value[key], kind)
        return found

    def build(self, constants: Mapping[str, Any], width: int) -> Op:
        """Return the operation with these constants; width: of the input, for an Input."""
        values: dict[str, Any] = {k: v for k, v in self.settings.items() if k != "axes"}
        values |= {"width": width} if self.op is Input else {}
        for name, field, key in self.parameters:
            if key is not None:
                values.setdefault(field, {})[key] = constants[name]
            elif field in WHOLE:
                whole = constants[name].tolist()
                values[field] = tuple(whole) if isinstance(whole, list) else whole
            else:
                scalar = field in SCALARS
                values[field] = float(constants[name]) if scalar else constants[name]
        return self.op(**values)


def function_name(op: Op) -> str:
    """Return the name of the function that `op` is written as."""
    if isinstance(op, Input):
        return _INPUTS[op.spiking, op.tokens]
    if isinstance(op, Reduce):
        return f"Reduce_{op.kind}"
    if isinstance(op, Gelu):
        return f"Gelu_{op.form}"
    if isinstance(op, Ternary):
        return f"Ternary_{'step' if op.per_step else 'constant'}"
    if isinstance(op, Lstm):
        return f"Lstm{'_reverse' if op.reverse else ''}"
    if isinstance(op, Conv):
        return f"Conv{len(op.shape) - 1}d"
    if isinstance(op, Pool):
        return _pool_name(len(op.shape) - 1, op.kind, op.count_padding)
    if isinstance(op, Neurons | Population):
        folded = isinstance(op, Population)
        kind = Kind(reverse=op.reverse, recurrent=op.recurrent is not None)
        return neuron_name(op.spec, op.options, kind, folded=folded)
    return type(op).__name__


def _pool_name(axes: int, kind: str, count_padding: bool) -> str:
    return f"Pool{axes}d_{kind}" + ("" if count_padding else "_inside")


@dataclass(frozen=True)
class Kind:
    """How a layer of neurons runs: against time or not, hearing itself or not."""

    reverse: bool = False
    recurrent: bool = False


def neuron_name(spec: str, options: Mapping[str, Any], kind: Kind, *, folded: bool) -> str:
    """Return the name of the function of a neuron model: its name, options and kind of layer."""
    parts = [spec, *(["folded"] if folded else [])]
    for key in SPECS[spec].choices:
        parts += [key, _WORDS.get(options[key], str(options[key]))]
    parts += ["reverse"] if kind.reverse else []
    return "_".join([*parts, *(["recurrent"] if kind.recurrent else [])])


def form_of(op: Op) -> Form | None:
    """Return the form of `op`, or None if a standard operator is one.

    Raises InputError E107 for a neuron model or option that does not exist.
    """
    if any(type(op) is kind for kind, _ in STANDARD.values()):
        return None
    if isinstance(op, Surrogate):
        what = "a surrogate network is for training: ONNX files hold the neurons it stands for"
        raise InputError("E108", what, fix="set sdn = None before tracing, or fold the graph")
    try:
        return forms()[function_name(op)]
    except KeyError as error:
        known = {name: dict(spec.choices) for name, spec in SPECS.items()}
        what = f"{getattr(op, 'spec', op)} has no options {getattr(op, 'options', {})}"
        raise InputError("E107", what, fix=f"known: {known}") from error


@cache
def forms() -> dict[str, Form]:
    """Return every form by the name of its function."""
    found = [
        *(_stateless(Input, {"spiking": s, "tokens": t}, ()) for s, t in _INPUTS),
        _stateless(Linear, {}, ("weight", "bias")),
        _stateless(Affine, {}, ("gain", "bias")),
        _stateless(BatchNorm, {}, ("gamma", "beta", "mean", "var", "eps")),
        *(_stateless(Reduce, {"kind": kind}, ("bias",)) for kind in REDUCTIONS),
        _stateless(LayerNorm, {}, ("gamma", "beta", "eps")),
        *(_stateless(Gelu, {"form": form}, ()) for form in GELUS),
        _stateless(Glu, {}, ()),
        *(_stateless(Lstm, {"reverse": each}, ("recurrent",)) for each in (False, True)),
        _stateless(Rescale, {}, ()),
        _stateless(Delay, {}, ("steps",)),
        _stateless(Quantize, {}, ("scale", "low", "high")),
        *(_stateless(Ternary, {"per_step": each}, ("level",)) for each in (True, False)),
        *(_stateless(Conv, {"axes": axes}, onnx_maps.CONV) for axes in onnx_maps.AXES),
        *(
            _stateless(Pool, {"axes": axes, "kind": kind, "count_padding": count}, onnx_maps.POOL)
            for axes, kind, count in product(onnx_maps.AXES, POOLINGS, (True, False))
        ),
    ]
    for spec in SPECS.values():
        for options in spec.variants():
            for reverse, recurrent in product((False, True), repeat=2):
                kind = Kind(reverse, recurrent)
                found += [make(spec, options, kind) for make in (_trained, _folded)]
    return {form.function.name: form for form in found}


def _stateless(op: type[Op], settings: Mapping[str, Any], parameters: tuple[str, ...]) -> Form:
    sheet = Sheet()
    result = _BODIES[op](sheet, settings)
    names = {
        Input: _INPUTS.get((settings.get("spiking"), settings.get("tokens"))),
        Reduce: f"Reduce_{settings.get('kind')}",
        Gelu: f"Gelu_{settings.get('form')}",
        Ternary: f"Ternary_{'step' if settings.get('per_step') else 'constant'}",
        Lstm: f"Lstm{'_reverse' if settings.get('reverse') else ''}",
        Conv: f"Conv{settings.get('axes')}d",
        Pool: _pool_name(
            *(settings.get(k) for k in ("axes", "kind", "count_padding"))  # type: ignore[arg-type]
        ),
    }
    doc = (op.__doc__ or "").strip()
    name = names.get(op) or op.__name__
    function = Function(name, ("x", *parameters), (result,), tuple(sheet.calls), doc)
    return Form(op, settings, tuple((key, key, None) for key in parameters), function)


def _linear(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    turned = s.put("Transpose", "weight", perm=(1, 0))
    return s.offset(s.put("MatMul", "x", turned), "bias", out="y")


def _affine(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    return s.offset(s.put("Mul", "x", "gain"), "bias", out="y")


def _batchnorm(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    scaled = s.put("Mul", "gamma", s.put("Sub", "x", "mean"))
    size = s.put("Sqrt", s.put("Add", "var", s.put("CastLike", "eps", "x")))
    return s.offset(s.put("Div", scaled, size), "beta", out="y")


def _reduce(s: Sheet, settings: Mapping[str, Any]) -> str:
    biased = s.put("Add", "x", "bias")
    if settings["kind"] == "last":
        return s.put("Gather", biased, s.put("Constant", value_int=-1), axis=0, out="y")
    kind = {"mean": "ReduceMean", "sum": "ReduceSum"}[settings["kind"]]
    axes = s.put("Constant", value_ints=(0,))
    return s.put(kind, biased, axes, keepdims=0, out="y")


def _same(s: Sheet, settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    return s.put("Identity", "x", out="y")


_BODIES = {
    Input: _same,
    Rescale: _same,
    Linear: _linear,
    Affine: _affine,
    BatchNorm: _batchnorm,
    Reduce: _reduce,
    LayerNorm: onnx_vectors.layernorm,
    Gelu: onnx_vectors.gelu,
    Quantize: onnx_vectors.quantize,
    Glu: onnx_vectors.glu,
    Lstm: onnx_vectors.lstm,
    Delay: onnx_vectors.delay,
    Ternary: onnx_vectors.ternary,
    Conv: onnx_maps.conv,
    Pool: onnx_maps.pool,
}


def _trained(spec: NeuronSpec, options: Mapping[str, Any], kind: Kind) -> Form:
    sheet = Sheet()
    drive = _drive(sheet, "input_gain")
    coefs = fold_calls(sheet, spec, options, "x")
    fields = [(name, "params", name) for name in spec.params._fields]
    parameters = (("input_gain", "gain", None), ("input_bias", "bias", None), *fields)
    function = _neuron_function(sheet, spec, options, coefs, drive, kind)
    return _neuron_form(Neurons, function, spec, options, parameters, kind)


def _folded(spec: NeuronSpec, options: Mapping[str, Any], kind: Kind) -> Form:
    sheet = Sheet()
    drive = _drive(sheet, "input_sign")
    coefs = {f"k_{name}": name for name in spec.coefs._fields}
    fields = [(name, "coefs", name) for name in spec.coefs._fields]
    parameters = (
        *(("input_sign", "sign", None), ("input_bias", "bias", None)),
        *(*fields, ("unit", "unit", None)),
    )
    function = _neuron_function(sheet, spec, options, coefs, drive, kind)
    return _neuron_form(Population, function, spec, options, parameters, kind)


def _drive(sheet: Sheet, gain: str) -> str:
    return sheet.offset(sheet.put("Mul", "x", gain), "input_bias", out="drive")


def _neuron_form(
    op: type[Op],
    calls: Sheet,
    spec: NeuronSpec,
    options: Mapping[str, Any],
    parameters: tuple[tuple[str, str, str | None], ...],
    kind: Kind,
) -> Form:
    parameters = (*parameters, ("amplitude", "amplitude", None))
    if kind.recurrent:
        parameters = (*parameters, ("recurrent", "recurrent", None))
    name = neuron_name(spec.name, options, kind, folded=op is Population)
    inputs = ("x", *(row[0] for row in parameters))
    function = Function(name, inputs, ("y",), tuple(calls.calls), spec.source)
    settings = {"spec": spec.name, "options": options, "reverse": kind.reverse}
    return Form(op, settings, parameters, function)


def _neuron_function(
    sheet: Sheet,
    spec: NeuronSpec,
    options: Mapping[str, Any],
    coefs: Mapping[str, str],
    drive: str,
    kind: Kind,
) -> Sheet:
    """Append what turns `drive` [T, B, N] into the output `y`: the step, over time if it has state.

    A spike is worth the amplitude; numbers of spikes and membranes are multiplied by it (inside the
    Scan, for the reason given at `Sheet.offset`).
    """
    step = spec.traced(options)

    def finish(inner: Sheet, out: str) -> str:
        return out if step.most == 1 else inner.put("Mul", out, "amplitude")

    if step.states or kind.recurrent:
        coefs = per_mode(sheet, spec, coefs)
        shape = sheet.put("Shape", drive, start=1)
        start = resting(sheet, step, coefs, drive, shape, heard=kind.recurrent)
        sends = "bool" if step.most == 1 else "number"
        echo = _echo(sheet, step) if kind.recurrent else None
        body = step_body(step, coefs, REAL, finish, sends=sends, echo=echo)
        rows = table_rows(sheet, step, coefs, drive)
        out = scan(sheet, body, start, drive, rows, reverse=kind.reverse)[-1]
    else:
        values = step_calls(sheet, step, {**coefs, "x": drive}, REAL)
        out = finish(sheet, values[step.out])
    if step.most == 1:
        sheet.put("Where", out, "amplitude", sheet.number(0.0, drive), out="y")
    else:
        sheet.put("Identity", out, out="y")
    return sheet


def _echo(outer: Sheet, step: Traced) -> Echo:
    """Return how a step hears the output before, times the recurrent weights."""
    weight = outer.put("Transpose", "recurrent", perm=(1, 0))
    none = outer.number(0.0, "zero")

    def hear(sheet: Sheet, x: str, sent: str) -> str:
        return sheet.put("Sum", x, sheet.put("MatMul", sent, weight))

    def keep(sheet: Sheet, out: str) -> str:
        return sheet.put("Where", out, "amplitude", none) if step.most == 1 else out

    return Echo(hear, keep)
