"""The law over fields: a change in any changes what an ONNX file computes, or is refused.

Every operation and every neuron model, trained and folded, is exported as it is and once for each
change of each of its fields, and both files are run in stock onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

import numpy as np
import onnxruntime
import pytest
from support import inline
from support.networks import distinct, params
from support.ort import doubles

from neurodeploy.backends.onnx import graph as onnx_out
from neurodeploy.errors import InputError
from neurodeploy.frontends import child
from neurodeploy.frontends import onnx as onnx_in
from neurodeploy.graph.delay import Delay
from neurodeploy.graph.interpret import run
from neurodeploy.graph.ir import (
    REDUCTIONS,
    Add,
    Affine,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Linear,
    Neurons,
    Node,
    Population,
    Reduce,
    identical,
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
from neurodeploy.graph.record import OPS
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import fold

N, STEPS, SAMPLES = 4, 16, 64
WORDS = {"form": GELUS, "kind": (*REDUCTIONS, *POOLINGS)}
# What says how values are meant, and computes nothing: it must come back from the file.
CARRIED = {"spiking", "tokens", "unit"}

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.uniform(-1, 1, shape)


def positive(*shape):
    return RNG.uniform(0.3, 1.5, shape)


CASES = {  # operations without a model; several where a field counts in some only
    "Input": [Input(N)],
    "Linear": [Linear(numbers(3, N), numbers(3))],
    "Affine": [Affine(numbers(N), numbers(N))],
    "BatchNorm": [BatchNorm(positive(N), numbers(N), numbers(N), positive(N), 0.1)],
    "Add": [Add()],
    "Concat": [Concat()],
    "Reduce": [Reduce(kind, numbers(N)) for kind in REDUCTIONS],
    "LayerNorm": [LayerNorm(positive(N), numbers(N), 0.1)],
    "Gelu": [Gelu(form) for form in GELUS],
    "Relu": [Relu()],
    "Rescale": [Rescale()],
    "Quantize": [Quantize(0.25, -2, 3)],
    "Glu": [Glu()],
    "Lstm": [Lstm(numbers(N, N // 4), reverse) for reverse in (False, True)],
    "Delay": [Delay(np.arange(N) % 3.0)],
    "Product": [Product()],
    "Ternary": [Ternary(True, 0.5), Ternary(False, 0.5)],
    "Conv": [
        Conv(numbers(2, 1, 2), numbers(2), (2, 2), (1,), (1, 0), (1,), 2),
        Conv(numbers(2, 1, 2, 2), numbers(2), (1, 2, 2), (1, 1), (1, 1, 0, 0), (1, 1), 1),
    ],
    "Pool": [
        *(Pool(kind, (2, 2), (2,), (1,), (1, 0), True) for kind in POOLINGS),
        Pool("avg", (1, 2, 2), (2, 1), (1, 1), (1, 0, 0, 0), False),
    ],
}
NEURONS = [
    pytest.param(name, options, folded, id="-".join(map(str, (name, *options.values(), folded))))
    for name, options in distinct()
    for folded in ("trained", "folded")
]


def graph_of(op):
    """Return a graph of `op` alone, behind what it reads."""
    if isinstance(op, Input):
        return Graph(
            (Node("x", op), Node("y", Affine(np.ones(op.width), np.ones(op.width)), ("x",))), "y"
        )
    other = Node("other", Affine(numbers(N), numbers(N)), ("x",))
    several = isinstance(op, Add | Concat | Product)
    reads = ("x", "other") if several else ("x",)
    nodes = (Node("x", Input(N)), *([other] if several else []), Node("y", op, reads))
    return Graph(nodes, "y")


def neurons(name, options, folded):
    """Return a graph of neurons with every parameter in use, or of what folding makes of them."""
    rng, width = np.random.default_rng(1), 2 * N
    values = params(rng, name, width, options)
    op = Neurons(
        spec=name,
        options=options,
        params={k: v[:STEPS] if k in SPECS[name].tables else v for k, v in values.items()},
        gain=rng.uniform(0.5, 2, width),
        bias=rng.uniform(-1, 1, width),
        amplitude=1.5,
        recurrent=rng.uniform(-1, 1, (width, width)) if SPECS[name].state._fields else None,
    )
    graph = Graph((Node("x", Input(width)), Node("y", op, ("x",))), "y")
    return fold(graph) if folded == "folded" else graph


def changes(op) -> Iterator[tuple[str, object]]:
    """Yield (field, operation with a change in that field alone), if it can be made at all."""
    for item in fields(op):
        value = getattr(op, item.name)
        for key, new in others(item.name, value):
            try:
                yield f"{item.name}{key}", replace(op, **{item.name: new})
            except InputError:
                continue  # refused


def others(name, value) -> Iterator[tuple[str, object]]:
    if isinstance(value, np.ndarray):
        new = value.copy()  # all but the first, which alone would be too little
        behind = new.reshape(-1)[1:] if value.size > 1 else new.reshape(-1)
        behind += np.where(behind < 0.5, 0.75 - behind, 0.25 - behind) / 2
        if value.size:
            yield "", new
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, np.ndarray):
                yield from ((f".{key}", {**value, key: new}) for _, new in others(key, inner))
    elif isinstance(value, bool):
        yield "", not value
    elif isinstance(value, int | float):
        new = (value * 1.5,) if isinstance(value, float) else (value + 1, value - 1)
        yield from ((f" {each}", each) for each in new)
    elif isinstance(value, tuple):
        for at in range(len(value)):
            yield f"[{at}]", (*value[:at], value[at] + 1, *value[at + 1 :])
    elif name in WORDS:
        yield from ((f" {word}", word) for word in WORDS[name] if word != value)


def option_changes(op) -> Iterator[tuple[str, object]]:
    """Change each option; what nothing read before, and says nothing, gets a value to be read."""
    held = "params" if isinstance(op, Neurons) else "coefs"
    values = {
        key: np.full_like(value, 0.6) if np.all(value == 0) or np.all(value == 1) else value
        for key, value in getattr(op, held).items()
    }
    for key, choices in SPECS[op.spec].choices.items():
        for choice in choices:
            if choice != op.options[key]:
                options = {**op.options, key: choice}
                yield f"options.{key} {choice}", replace(op, options=options, **{held: values})


def outputs(graph, inputs):
    """Export a graph and run the file; None where it is refused."""
    try:
        data = onnx_out.to_model(graph, "float64").SerializeToString()
    except InputError:
        return None
    plain = onnxruntime.SessionOptions()
    plain.intra_op_num_threads = 1
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, plain)
    return [
        session.run(None, {"input": x})[0] for x in inputs if x.shape[2] == graph.input.op.width
    ]


def same(a, b):
    return len(a) == len(b) and all(map(np.array_equal, a, b))


def stimuli(graph):
    """Return inputs: random, small multiples of 1/8, and a first step at the very threshold."""
    rng, width = np.random.default_rng(2), graph.input.op.width
    shape = (STEPS, SAMPLES, width)
    found = [rng.normal(size=shape) * 2, rng.integers(-16, 17, shape) / 8]
    op = graph["y"].op
    if not isinstance(op, Neurons | Population) or not op.model.spiking:
        return found
    low, high = np.full(width, -16.0), np.full(width, 16.0)
    for _ in range(12):
        tried = low + (high - low) * np.arange(33)[:, None] / 32
        fires = run(graph, tried[None], ["y"])[1]["y"][0] != 0
        first = np.maximum(fires.argmax(axis=0), 1), np.arange(width)
        low, high = tried[first[0] - 1, first[1]], tried[first]
    nearly = high + np.arange(-99, 100)[:, None] * np.spacing(high)
    return [*found, nearly[None]]


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(child, "call", inline.call)


def carried(op):
    """Return the fields that compute nothing here, but must come back from the file."""
    found = set(CARRIED)
    if isinstance(op, Pool) and op.kind != "avg":
        found.add("count_padding")  # of averages
    if isinstance(op, Neurons | Population) and not op.model.state._fields:
        found.add("reverse")  # without state, and not hearing itself
    return found


def ignored(graph, name, given, path):
    """Return the changes of node `name` that make no difference, though nothing refuses them."""
    inputs = stimuli(graph)
    before = outputs(graph, inputs)
    assert before is not None
    found = []
    for field, op in given:
        other = graph.replace(name, op)
        if field.partition(" ")[0] in carried(graph[name].op):
            onnx_out.write(other, path, "float64")
            if identical(onnx_in.read(path), graph):
                found.append(field)
        elif (after := outputs(other, inputs)) is not None and same(before, after):
            found.append(field)
    return found


@pytest.mark.parametrize("name", OPS)
def test_no_field_of_an_operation_is_ignored(name, tmp_path):
    for op in CASES.get(name, []):
        graph = graph_of(op)
        node = "x" if isinstance(op, Input) else "y"
        assert ignored(graph, node, changes(op), tmp_path / "g.onnx") == []


def test_every_operation_is_tried():
    assert set(CASES) | {"Neurons", "Population", "Surrogate"} == set(OPS)


@doubles
@pytest.mark.parametrize(("name", "options", "folded"), NEURONS)
def test_no_field_of_neurons_is_ignored(name, options, folded, tmp_path):
    graph = neurons(name, options, folded)
    op = graph["y"].op
    given = [*changes(op), *option_changes(op), *recurrent_changes(op)]
    assert ignored(graph, "y", given, tmp_path / "g.onnx") == []


def recurrent_changes(op):
    return [
        ("recurrent", replace(op, recurrent=None if op.recurrent is not None else np.eye(2 * N)))
    ]
