"""Integer programs as ONNX files: equal to the reference bit for bit, at every range's ends."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.networks import TABLE_STEPS, chain, inputs_for, sdtcm

from neurodeploy.arith import OVERFLOWS, ROUNDINGS
from neurodeploy.backends.onnx.graph import write as write_graph
from neurodeploy.backends.onnx.program import write
from neurodeploy.errors import NeurodeployError
from neurodeploy.graph.interpret import interpret
from neurodeploy.neurons import SPECS
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.ir import Population, Program, Readout, Source, Stream
from neurodeploy.program.reference import execute, read, to_integers
from neurodeploy.program.synapses import Dense, Tap
from neurodeploy.targets import target

VARIANTS = [(spec, options) for spec in SPECS.values() for options in spec.variants()]


def ran(program, x, path):
    """Run the file in stock onnxruntime; return every output by name."""
    write(program, path)
    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(None, {"input": x}), strict=True))


def equal(program, x, path):
    """Assert that the file does what the reference does; return the reference's execution."""
    found = ran(program, x, path)
    done = execute(program, to_integers(program.source, x)[0])
    whole, real = read(program.readout, done.values[program.readout.source])
    np.testing.assert_array_equal(found.pop("output_integers"), whole)
    np.testing.assert_array_equal(found.pop("output"), real)
    for node in program.populations:
        sent = "spikes" if node.model.spiking else "membrane"
        np.testing.assert_array_equal(found.pop(f"{node.name}/{sent}"), done.values[node.name])
        states = node.model.parts(node.model.state, done.states[node.name], node.modes)
        for name, state in zip(node.model.state._fields, states, strict=True):
            np.testing.assert_array_equal(found.pop(f"{node.name}/final_{name}"), state)
    assert not found
    return done


def population(rng, name, width, edges, spec="prf", options=None, **more):
    """Neurons with random integer constants, shifts of both signs, and 12 fractional bits."""
    model = SPECS[spec]
    options = options or model.options()
    read = model.traced(options).tables

    def integers(key, top):
        rows = (TABLE_STEPS if key in read else 0,) if key in model.tables else ()
        return rng.integers(-top, top + 1, (*rows, width))

    coefs = {
        key: rng.integers(-4096, 4097, (3, width))
        if key in model.modal
        else integers(key, 4096 if model.kinds[key].dimensionless else 2000)
        for key in model.coefs._fields
    }
    if "threshold" in coefs and options.get("reset") == "hard_next":  # else some never come back
        coefs["threshold"] = np.abs(coefs["threshold"]) + 2000
    defaults = {
        "shift": rng.integers(-6, 7, width),
        "bias": rng.integers(-900, 900, width),
        "state_bits": 16,
        "coef_frac": 12,
        "unit": np.ones(width),
    }
    return Population(
        name=name,
        width=width,
        edges=tuple(edges),
        spec=spec,
        options=options,
        coefs=coefs,
        **{**defaults, **more},
    )


def program(nodes, readout, **numbers):
    chip = target("asic45")
    chosen = replace(chip.numbers, **numbers)
    return Program(name="p", target=chip, numbers=chosen, nodes=tuple(nodes), readout=readout)


def last(source, width, rng, **more):
    unit, offset = rng.uniform(0.1, 1, width), rng.normal(size=width)
    return Readout(source=source, kind="last", unit=unit, offset=offset, **more)


@pytest.mark.parametrize(("spec", "options"), VARIANTS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_every_neuron_under_every_rounding_and_overflow(
    spec, options, rounding, overflow, tmp_path
):
    rng = np.random.default_rng(len(spec.name))
    width = 6
    source = Source(name="input", width=width, low=-1000, high=1000, unit=0.01)
    tap = Tap(source="input", sign=np.array([1, -1, 1, -1, 1, 0]), exponent=3)
    reverse = overflow == "wrap"
    neurons = population(rng, "output", width, [tap], spec.name, options, reverse=reverse)
    made = program(
        [source, neurons], last("output", width, rng), rounding=rounding, overflow=overflow
    )
    x = rng.normal(size=(60, 3, width)) * 8
    done = equal(made, x, tmp_path / "p.onnx")
    assert done.overflows["output"] > 0
    if spec.spiking:
        assert 0 < np.mean(done.values["output"] > 0) < 1


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_shifts_of_negative_and_positive_currents_round_like_the_program(rounding, tmp_path):
    rng = np.random.default_rng(0)
    values = np.arange(-40, 41).astype(float)
    x = np.stack([values, values[::-1]], axis=1)[:, None, :]
    for shift in (-7, -5, -1, 0, 1, 9):
        source = Source(name="x", width=2, low=-100, high=100, unit=1.0)
        tap = Tap(source="x", sign=np.array([1, -1]))
        more = {"shift": np.full(2, shift), "bias": np.array([3, -3])}
        neurons = population(rng, "v", 2, [tap], "li", {"leak": True}, **more)
        made = program([source, neurons], last("v", 2, rng), rounding=rounding)
        equal(made, x, tmp_path / "p.onnx")


@pytest.mark.parametrize("bits", [24, 32])
def test_registers_saturate_at_numbers_beyond_32_bits(bits, tmp_path):
    """onnxruntime's Min, Max and Clip get these wrong where the upper halves are equal."""
    rng = np.random.default_rng(0)
    source = Source(name="x", width=8, low=-(2**22), high=2**22, unit=1.0)
    tap = Tap(source="x", sign=np.ones(8, int), exponent=7)
    more = {"shift": np.arange(8) + 2, "bias": np.zeros(8, int), "state_bits": bits}
    made = program(
        [source, population(rng, "v", 8, [tap], "li", {"leak": True}, **more)],
        last("v", 8, rng),
        state_bits=bits,
    )
    x = np.exp2(rng.uniform(0, 22, (200, 4, 8))) * rng.choice([-1, 1], (200, 4, 8))
    assert equal(made, x, tmp_path / "p.onnx").overflows["v"] > 100


def everything(rng, *, source):
    """A program with every kind of edge: delays, exponents, streams, graded and reverse neurons."""
    c = source.width

    def dense(name, out, inside, top=127, **more):
        weight = rng.integers(-top, top + 1, (out, inside))
        return Dense(source=name, weight=weight, weight_bits=16, **more)

    nodes = [
        source,
        population(rng, "a", 5, [dense("x", 5, c, delay=1)], latency=1),
        Stream(
            name="s",
            width=4,
            edges=(
                dense("x", 4, c, top=3000, exponent=2, delay=2),
                dense("a", 4, 5, exponent=3, delay=1),
            ),
            unit=np.ones(4),
            latency=2,
        ),
        population(
            rng,
            "b",
            4,
            [Tap(source="s", sign=np.array([1, -1, 0, 1]), delay=1)],
            "lif",
            SPECS["lif"].options(reset="soft"),
            reverse=True,
            latency=3,
        ),
        population(rng, "m", 4, [Tap(source="s", sign=np.ones(4, int), delay=1)], "li", latency=3),
        Stream(
            name="t",
            width=4,
            edges=(
                Tap(source="s", sign=np.ones(4, int), exponent=1, delay=2),
                dense("b", 4, 4, top=30000, delay=1),
                dense("m", 4, 4, top=5, delay=1),
            ),
            unit=np.ones(4),
            latency=4,
        ),
        population(
            rng,
            "d",
            3,
            [dense("t", 3, 4, top=3), dense("a", 3, 5)],
            "spatial",
            SPECS["spatial"].options(compare=">"),
            latency=5,
        ),
    ]
    return nodes


@pytest.mark.parametrize("kind", ["spikes", "graded"])
@pytest.mark.parametrize("ends", ["a", "t", "m", "d"])
@pytest.mark.parametrize("form", ["last", "steps", "mean", "weight"])
def test_every_edge_and_readout(kind, ends, form, tmp_path):
    rng = np.random.default_rng(11)
    low, high, unit = (0, 1, 1.0) if kind == "spikes" else (-128, 127, 0.37)
    source = Source(name="x", width=3, low=low, high=high, unit=unit)
    nodes = everything(rng, source=source)
    width = next(node.width for node in nodes if node.name == ends)
    out = 2 if form == "weight" else width
    weight = rng.integers(-30000, 30000, (out, width)) if form == "weight" else None
    readout = Readout(
        source=ends,
        kind="steps" if form == "steps" else "last",
        unit=rng.uniform(1e-6, 1, out),
        offset=rng.normal(size=out),
        weight=weight,
        mean=form == "mean",
    )
    x = (
        (rng.random((33, 4, 3)) < 0.4) * 1.0
        if kind == "spikes"
        else rng.normal(size=(33, 4, 3)) * 25
    )
    done = equal(program(nodes, readout), x, tmp_path / "p.onnx")
    assert 0 < done.values["a"].mean() < 1


def test_inputs_are_rounded_to_even_and_clipped_like_the_program(tmp_path):
    rng = np.random.default_rng(0)
    source = Source(name="x", width=1, low=-4, high=3, unit=0.1)
    readout = Readout(source="x", kind="steps", unit=np.array([0.1]), offset=np.zeros(1))
    x = np.concatenate([np.arange(-80, 80) * 0.05 * 0.1 * 10, rng.normal(size=200)])
    x = np.concatenate([x, [1e9, -1e9, 0.25, 0.35, -0.25]])[:, None, None]
    equal(program([source], readout), x, tmp_path / "p.onnx")


@pytest.mark.parametrize(("chip", "bidirectional"), [("asic45", True), ("loihi2", False)])
@pytest.mark.parametrize("readout", ["mean", "sum", "last", "steps"])
def test_compiled_networks_with_free_length_and_batch(chip, bidirectional, readout, tmp_path):
    rng = np.random.default_rng(2)
    graph = sdtcm(rng, width=12, outer=True, bidirectional=bidirectional, readout=readout)
    x = inputs_for(rng, graph, steps=60, samples=6)
    made = compile_graph(graph, target(chip), calibration=x).program
    for part in (x, x[:1], x[:17, :2]):
        equal(made, part, tmp_path / "p.onnx")


def test_the_file_is_valid_named_and_integer_throughout(tmp_path):
    rng = np.random.default_rng(0)
    layers = [("prf", {}), ("lif", {"reset": "soft"}), ("spatial", {})]
    graph = chain(rng, layers, spiking=True, readout="sum")
    x = inputs_for(rng, graph)
    made = compile_graph(graph, target("loihi2"), calibration=x).program
    path = tmp_path / "p.onnx"
    write(made, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert {item.domain: item.version for item in model.opset_import} == {
        "": 21,
        "neurodeploy.program": 1,
    }
    names = [node.name for node in model.graph.node]
    assert {node.name for node in made.populations} <= set(names)
    assert len(names) == len(set(names))
    assert [item.name for item in model.graph.output][:2] == ["output", "output_integers"]
    kinds = {item.name: item.data_type for item in model.graph.initializer}
    real = {name for name, kind in kinds.items() if kind == onnx.TensorProto.DOUBLE}
    assert all(name.startswith(("input/", "readout/")) for name in real)
    products = [node.op_type for node in model.graph.node if node.op_type.startswith("MatMul")]
    assert set(products) == {"MatMulInteger", "MatMul"} or set(products) == {"MatMulInteger"}


def test_bytes_are_the_same_every_time(tmp_path):
    rng = np.random.default_rng(0)
    graph = chain(rng, [("prf", {})])
    made = compile_graph(graph, target("loihi2"), calibration=inputs_for(rng, graph)).program
    for name in ("a.onnx", "b.onnx"):
        write(made, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_an_unwritable_place_leaves_nothing(tmp_path):
    rng = np.random.default_rng(0)
    source = Source(name="x", width=1, low=0, high=1, unit=1.0)
    made = program([source], last("x", 1, rng))
    (tmp_path / "file").write_text("")
    with pytest.raises(NeurodeployError) as caught:
        write(made, tmp_path / "file" / "p.onnx")
    assert caught.value.code == "E110"


def test_it_runs_where_nothing_but_onnxruntime_is_installed(tmp_path):
    """In an interpreter without site-packages, but for links to numpy and onnxruntime."""
    rng = np.random.default_rng(0)
    graph = chain(rng, [("prf", {}), ("lif", {})], readout="mean")
    x = inputs_for(rng, graph)
    made = compile_graph(graph, target("loihi2"), calibration=x).program
    write(made, tmp_path / "p.onnx")
    write_graph(graph, tmp_path / "g.onnx")
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "only").mkdir()
    home = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs", "onnxruntime"):
        if (home / name).exists():
            (tmp_path / "only" / name).symlink_to(home / name)
    script = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from importlib.util import find_spec\n"
        "assert not any(find_spec(name) for name in ('neurodeploy', 'onnx', 'torch'))\n"
        "import numpy, onnxruntime\n"
        "x = numpy.load('x.npy')\n"
        "for name in 'pg':\n"
        "    session = onnxruntime.InferenceSession(name + '.onnx')\n"
        "    numpy.save(name + '.npy', session.run(['output'], {'input': x})[0])\n"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "only")]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    done = execute(made, to_integers(made.source, x)[0])
    expected = read(made.readout, done.values[made.readout.source])[1]
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected)
    np.testing.assert_allclose(np.load(tmp_path / "g.npy"), interpret(graph, x), rtol=1e-9)


def test_each_changed_constant_changes_the_file(tmp_path):
    """No number of a program is left out of its file."""
    rng = np.random.default_rng(4)
    source = Source(name="x", width=2, low=-50, high=50, unit=0.5)
    nodes = everything(rng, source=source)
    made = program(nodes, last("d", 3, rng, weight=rng.integers(-9, 9, (3, 3))))
    write(made, tmp_path / "p.onnx")
    before = (tmp_path / "p.onnx").read_bytes()
    fields = ("shift", "bias", "edges", "coefs", "state_bits", "reverse", "low", "unit")
    for node, field in itertools.product(nodes, fields):
        if not hasattr(node, field) or (field == "unit" and node is not source):
            continue
        other = replace(made, nodes=tuple(bumped(n, field) if n is node else n for n in nodes))
        write(other, tmp_path / "q.onnx")
        assert (tmp_path / "q.onnx").read_bytes() != before, (node.name, field)


def bumped(node, field):
    value = getattr(node, field)
    if field == "edges":
        first = value[0]
        key = "weight" if isinstance(first, Dense) else "sign"
        return replace(node, edges=(replace(first, **{key: -getattr(first, key)}), *value[1:]))
    if field == "coefs":
        return replace(node, coefs={k: v + 1 for k, v in value.items()})
    return replace(node, **{field: not value if isinstance(value, bool) else value + 1})
