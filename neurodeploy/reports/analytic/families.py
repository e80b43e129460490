"""The network families of the papers, as programs without weights (`sketch.py`).

Nodes are called as the compiler calls those of the trainable network of the same sizes (in
`neurodeploy.nn`), so that rates which a run measured can be put in by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neurodeploy.errors import InputError
from neurodeploy.neurons import SPECS
from neurodeploy.program.ir import Program
from neurodeploy.reports.analytic.sketch import Sketch
from neurodeploy.targets import Target


def spiking_mlp(
    target: Target,
    *,
    sizes: Sequence[int],
    neuron: str = "lif",
    recurrent: bool | Sequence[bool] = False,
    inputs: str = "values",
    readout: str = "sum",
    options: Mapping[str, Any] | None = None,
    steps: int = 0,
    weight_bits: int = 8,
) -> Program:
    """Layers of neurons, and a classifier at every step: `nn.SpikingMLP`, `nn.CELIFNet`.

    sizes: inputs, hidden widths, classes. recurrent: of every hidden layer but the last, or of
    each. inputs: "values", "spikes", "tokens". readout: "sum" or "mean". steps: the rows of a
    neuron's table, if it has one. Raises InputError E105.
    """
    hidden = len(sizes) - 2
    loops = list(recurrent) if isinstance(recurrent, Sequence) else [recurrent] * hidden
    loops = [*loops[:-1], False] if isinstance(recurrent, bool) else loops
    _require(hidden >= 1, f"sizes are {list(sizes)}", "give inputs, hidden widths, classes")
    _require(len(loops) == hidden, f"recurrent is {recurrent}", f"give one for each of {hidden}")
    _require(neuron in SPECS, f"no neuron {neuron!r}", f"one of {', '.join(SPECS)}")
    for key, value in (options or {}).items():
        choices = SPECS[neuron].choices
        what, fix = f"no {key} {value!r} of {neuron}", f"choose from {dict(choices)}"
        _require(value in choices.get(key, ()), what, fix)
    known = ("sum", "mean")
    _require(readout in known, f"no readout {readout!r}", f"one of {', '.join(known)}")
    net = Sketch(target, neuron, weight_bits)
    last = net.source(sizes[0], inputs)
    for i, (width, loop) in enumerate(zip(sizes[1:-1], loops, strict=True)):
        into = net.dense(last, width)
        how: Any = {"options": options, "steps": steps, "recurrent": bool(loop)}
        last = net.neurons(f"layers.{i}.neuron", neuron, into, **how)
    summed = net.dense(last, sizes[-1])
    net.neurons("readout", "li", summed, options={"leak": False}, bias=readout == "sum")
    return net.program("readout", None if readout == "sum" else sizes[-1])


def relu_mlp(target: Target, *, sizes: Sequence[int], weight_bits: int = 8) -> Program:
    """Linears with ReLU between them, at every step, and a sum over time."""
    _require(len(sizes) > 2, f"sizes are {list(sizes)}", "give inputs, hidden widths, classes")
    net = Sketch(target, "relu", weight_bits)
    last = net.source(sizes[0], "values")
    for i, width in enumerate(sizes[1:-1]):
        into = net.dense(last, width)
        last = net.vector(f"layers.{i}", "relu", into, scaled=(True, False), offset=(True,))
    net.neurons("readout", "li", net.dense(last, sizes[-1]), options={"leak": False})
    return net.program("readout", None)


def sdtcm(
    target: Target,
    *,
    inputs: int,
    width: int,
    blocks: int,
    classes: int,
    bidirectional: bool = False,
    tokens: int | None = None,
    weight_bits: int = 8,
) -> Program:
    """PRF and spatial neurons around a membrane stream: `nn.SDTCM` without an outer residual."""
    net = Sketch(target, "sdtcm", weight_bits)
    source = net.source(tokens or inputs, "tokens" if tokens else "values")
    u = net.stream("encoder", net.dense(source, width))
    for i in range(blocks):
        name = f"blocks.{i}"
        mixed = [net.neurons(f"{name}.tn", "prf", net.tap(u))]
        if bidirectional:
            mixed.append(net.neurons(f"{name}.tn_reverse", "prf", net.tap(u), reverse=True))
        x = net.stream(f"{name}.add", net.tap(u), *(net.dense(s, width) for s in mixed))
        sn = net.neurons(f"{name}.sn", "spatial", net.tap(x))
        u = net.stream(f"{name}.add_1", net.tap(x), net.dense(sn, width))
    net.neurons("readout", "li", net.tap(u), options={"leak": False}, bias=False)
    return net.program("readout", classes)


def spiking_ssm(
    target: Target,
    *,
    inputs: int,
    width: int,
    blocks: int,
    classes: int,
    state: int = 64,
    bidirectional: bool = False,
    residual: bool = True,
    tokens: int | None = None,
    weight_bits: int = 8,
) -> Program:
    """State spaces, LIF neurons, GLU: `nn.SpikingSSM`."""
    spikes = ("lif", "lif", {"reset": "hard"})
    how = (inputs, width, blocks, classes, state, bidirectional, residual, tokens)
    return _gated(Sketch(target, "spiking_ssm", weight_bits), spikes, *how)


def binary_s4d(
    target: Target,
    *,
    inputs: int,
    width: int,
    blocks: int,
    classes: int,
    state: int = 64,
    bidirectional: bool = False,
    residual: bool = True,
    tokens: int | None = None,
    weight_bits: int = 8,
) -> Program:
    """State spaces, a threshold, GLU: `nn.BinaryS4D`."""
    spikes = ("spikes", "spatial", {"compare": ">"})
    how = (inputs, width, blocks, classes, state, bidirectional, residual, tokens)
    return _gated(Sketch(target, "binary_s4d", weight_bits), spikes, *how)


def _gated(
    net: Sketch,
    spikes: tuple[str, str, dict[str, Any]],
    inputs: int,
    width: int,
    blocks: int,
    classes: int,
    state: int,
    bidirectional: bool,
    residual: bool,
    tokens: int | None,
) -> Program:
    last, into = _encoder(net, inputs, width, tokens, residual)
    for i in range(blocks):
        name, (what, spec, options) = f"blocks.{i}", spikes
        y = _state_space(net, name, "ssm", into, state, bidirectional)
        s = net.neurons(f"{name}.{what}", spec, net.tap(y), options=options, bias=False)
        both = net.dense(s, width), net.dense(s, width)
        gains = (True, True, False)
        m = net.vector(f"{name}.gate", "glu", *both, scaled=gains, offset=(True, True))
        if residual:
            add = f"{name}.add_1" if bidirectional else f"{name}.add"
            last = net.stream(add, net.tap(last), net.tap(m))
        into = net.tap(last if residual else m)
    net.neurons("readout", "li", into, options={"leak": False}, bias=False)
    return net.program("readout", classes)


def _encoder(
    net: Sketch, inputs: int, width: int, tokens: int | None, residual: bool
) -> tuple[str, Any]:
    """Return the encoder's stream and the edge from it; without residual there is no stream."""
    source = net.source(tokens or inputs, "tokens" if tokens else "values")
    if not residual:
        return source, net.dense(source, width)
    u = net.stream("encoder", net.dense(source, width))
    return u, net.tap(u)


def _state_space(
    net: Sketch, name: str, what: str, into: Any, state: int, bidirectional: bool
) -> str:
    """Add diagonal state spaces of `state` / 2 modes, in both directions if asked for."""
    _require(state >= 2, f"a state of {state}", "give 2 or more, 2 for each mode")
    y = net.neurons(f"{name}.{what}", "s4d", into, modes=state // 2)
    if not bidirectional:
        return y
    back: Any = {"modes": state // 2, "reverse": True}
    if what == "ssm":
        back["options"] = {"skip": False}
    z = net.neurons(f"{name}.{what}_reverse", "s4d", into, **back)
    return net.stream(f"{name}.add", net.tap(y), net.tap(z))


def gsu(
    target: Target,
    *,
    inputs: int,
    width: int,
    blocks: int,
    classes: int,
    state: int = 64,
    bidirectional: bool = False,
    residual: bool = False,
    weight_bits: int = 8,
) -> Program:
    """State spaces mixed by gated spiking units: `nn.GSUNetwork`."""
    net = Sketch(target, "gsu", weight_bits)
    last, into = _encoder(net, inputs, width, None, residual)
    for i in range(blocks):
        name = f"blocks.{i}"
        y = _state_space(net, name, "s4d", into, state, bidirectional)
        x = net.vector(f"{y}.rescaled", "rescale", net.tap(y), scaled=(True, False))
        t = net.vector(f"{name}.gsu.ternary", "ternary_step", net.tap(x), scaled=(False, False))
        both = net.dense(t, width), net.dense(x, width, ternary=True)
        gains = (False, True, False)
        m = net.vector(f"{name}.gsu", "product", *both, scaled=gains, offset=(True, True))
        n = net.vector(f"{name}.layer_norm", "layernorm", net.tap(m), scaled=(False, False))
        g = net.vector(f"{name}.gelu", "gelu", net.tap(n), scaled=(True, False), offset=(True,))
        if residual:
            add = f"{name}.add_1" if bidirectional else f"{name}.add"
            last = net.stream(add, net.tap(last), net.tap(g))
        into = net.tap(last if residual else g)
    net.neurons("readout", "li", into, options={"leak": False}, bias=False)
    return net.program("readout", classes)


def s4d(
    target: Target,
    *,
    inputs: int,
    width: int,
    blocks: int,
    classes: int,
    state: int = 64,
    weight_bits: int = 8,
) -> Program:
    """State spaces, GELU, a Linear and GLU around a stream, without spikes."""
    net = Sketch(target, "s4d", weight_bits)
    u, into = _encoder(net, inputs, width, None, True)
    for i in range(blocks):
        name = f"blocks.{i}"
        y = _state_space(net, name, "s4d", into, state, False)
        g = net.vector(f"{name}.gelu", "gelu", net.tap(y), scaled=(True, False))
        both, gains = (net.dense(g, width), net.dense(g, width)), (True, True, False)
        m = net.vector(f"{name}.glu", "glu", *both, scaled=gains, offset=(True, True))
        u = net.stream(f"{name}.add", net.tap(u), net.tap(m))
        into = net.tap(u)
    net.neurons("readout", "li", into, options={"leak": False}, bias=False)
    return net.program("readout", classes)


def lstm(
    target: Target,
    *,
    sizes: Sequence[int],
    recurrent: bool | Sequence[bool] = True,
    classes: int | None = None,
    weight_bits: int = 8,
) -> Program:
    """LSTM layers, `nn.LSTM`; with `classes`, a mean over time and a classifier.

    sizes: inputs, and the width of each layer. recurrent: of all layers, or of each. Raises
    InputError E105.
    """
    layers = len(sizes) - 1
    loops = list(recurrent) if isinstance(recurrent, Sequence) else [recurrent] * layers
    _require(layers >= 1, f"sizes are {list(sizes)}", "give inputs, and the width of each layer")
    _require(len(loops) == layers, f"{len(loops)} recurrent for {layers} layers", "give one each")
    net = Sketch(target, "lstm", weight_bits)
    last = net.source(sizes[0], "values")
    for i, (width, loop) in enumerate(zip(sizes[1:], loops, strict=True)):
        gates = [net.dense(last, width) for _ in range(4)]
        how: Any = {"scaled": (True,) * 5, "offset": (True,) * 4, "recurrent": bool(loop)}
        last = net.vector(f"layers.{i}", "lstm", *gates, **how)
    if classes is not None:
        into = net.tap(last)
        last = net.neurons("readout", "li", into, options={"leak": False}, bias=False)
    return net.program(last, classes)


FAMILIES: dict[str, Callable[..., Program]] = {
    function.__name__: function
    for function in (spiking_mlp, sdtcm, spiking_ssm, binary_s4d, gsu, s4d, relu_mlp, lstm)
}


def _require(holds: bool, what: str, fix: str) -> None:
    if not holds:
        raise InputError("E105", what, fix=fix)
