"""Bits of each Linear and of each neuron's coefficients: how they are chosen, what they change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.networks import inputs_for, sdtcm

from neurodeploy.backends.simulator import simulate
from neurodeploy.errors import InputError
from neurodeploy.graph.record import from_record, to_record
from neurodeploy.passes.bits import parse
from neurodeploy.passes.pipeline import compile_graph, fold
from neurodeploy.program import io
from neurodeploy.program.ir import edges
from neurodeploy.program.memory import footprint
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.synapses import Dense
from neurodeploy.program.words import SHIFT_BITS, Word
from neurodeploy.reports.records import program_record
from neurodeploy.reports.text import program_text
from neurodeploy.targets import target


@pytest.fixture
def network():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    return graph, inputs_for(rng, graph)


def compiled(graph, x, chip="asic45", **how):
    return compile_graph(graph, target(chip), calibration=x, **how).program


def dense(program):
    """Return the Dense edges by the node they lead to and the one they come from."""
    return {
        (node.name, edge.source): edge
        for node in program
        for edge in edges(node)
        if isinstance(edge, Dense)
    }


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("4", {"*": 4}),
        ("8,a.b=4", {"*": 8, "a.b": 4}),
        (" a=4 , b.*=2", {"a": 4, "b.*": 2}),
        ("a=4,8,a=3", {"*": 8, "a": 3}),
    ],
)
def test_a_choice_is_a_number_or_names(text, rules):
    assert parse(text) == rules
    assert list(parse(text)) == list(rules)


@pytest.mark.parametrize("text", ["", "x", "4,", "=4", "a=", "a=b", "-4", "4.5", "a 4"])
def test_other_texts_are_no_choice(text):
    with pytest.raises(ValueError, match="neither a number nor NAME=NUMBER"):
        parse(text)


def test_each_linear_has_its_bits_where_streams_share_a_unit(network):
    """Weights of different width use theirs fully, add up exactly, and are what limits say."""
    graph, x = network
    choice = {"*": 8, "blocks.0.linear1": 4, "blocks.1.*": 5, "blocks.1.linear2": 6}
    program = compiled(graph, x, bits=choice)
    found = {edge.source: edge for edge in dense(program).values()}
    expected = {
        **{"input": 8, "blocks.0.tn": 4, "blocks.0.sn": 8},
        **{"blocks.1.tn": 5, "blocks.1.sn": 6},
    }
    assert {name: edge.weight_bits for name, edge in found.items()} == expected
    for edge in found.values():
        top = 2 ** (edge.weight_bits - 1) - 1
        assert top / 8 < np.abs(edge.weight).max() <= top
    assert len({edge.exponent for edge in found.values()}) > 1
    assert program.numbers.weight_bits == 8
    whole, _ = to_integers(program.source, x)
    done, names = execute(program, whole), [node.name for node in program]
    run = simulate(program, x, record=names)
    for name in names:
        np.testing.assert_array_equal(run.values[name], done.values[name])
    fine = compiled(graph, x, bits=16)
    for node in fine:
        if node.name in ("blocks.0.add", "blocks.1.add_1"):  # streams: the same values, coarser
            exact = simulate(fine, x, record=[node.name]).values[node.name][0] * node.unit
            coarse = run.values[node.name][0] * program[node.name].unit
            assert np.corrcoef(exact.ravel(), coarse.ravel())[0, 1] > 0.8


def test_equal_bits_by_name_and_by_number_are_one_program(network, tmp_path):
    graph, x = network
    digests = []
    for i, choice in enumerate((5, {"*": 5}, {"encoder": 5, "blocks.*": 5})):
        (tmp_path / str(i)).mkdir()
        digests.append(io.write(compiled(graph, x, bits=choice), tmp_path / str(i)))
    assert len(set(digests)) == 1


def test_bits_are_stored_counted_and_shown(network, tmp_path):
    graph, x = network
    choice = {"encoder": 8, "blocks.0.linear1": 4}
    program = compiled(graph, x, bits=choice, coef_bits={"blocks.0.tn": 9})
    io.write(program, tmp_path)
    again = io.read(tmp_path)
    assert [e.weight_bits for e in dense(again).values()] == [8, 4, 8, 8, 8]
    assert again["blocks.0.tn"].words == dict.fromkeys("cd", Word(bits=9, form="scaled"))
    wide = compiled(graph, x)
    for name, fewer in (
        ("blocks.0.add", (7 * 4, 0)),
        ("blocks.0.tn", (0, 2 * (16 - 9 - SHIFT_BITS))),
    ):
        few, many = (footprint(which, name, 0, 1) for which in (program, wide))
        assert (many.weight_bits - few.weight_bits, many.state_bits - few.state_bits) == fewer
    counts = simulate(program, x).edges
    assert {c.weight_bits for c in counts if c.source == "blocks.0.tn"} == {4}
    layers = {layer["name"]: layer for layer in program_record(program)["layers"]}
    assert layers["blocks.0.add"]["weight_bits"] == [None, 4]
    assert layers["blocks.0.tn"]["words"]["c"] == {"bits": 9, "form": "scaled"}
    assert "of 4 to 8 bits" in program_text(program)
    assert "of 8 bits" in program_text(wide)


def test_fewer_coefficient_bits_are_the_same_arithmetic_with_zeros_behind(network):
    graph, x = network
    chip = target("asic45")
    fixed = replace(chip.numbers, coef_frac=chip.numbers.coef_bits - 1)  # no shifts
    for numbers in (chip.numbers, fixed):
        own = replace(chip, numbers=numbers)
        program = compile_graph(graph, own, calibration=x, coef_bits={"*": 10}).program
        wide = compile_graph(graph, own, calibration=x).program["blocks.0.tn"]
        node = program["blocks.0.tn"]
        assert node.coef_frac == numbers.coef_frac
        for name in "cd":
            assert node.word(name).form == ("plain" if numbers is fixed else "scaled")
            assert np.all(node.coefs[name] % 2 ** (node.coef_frac - 9) == 0) == (numbers is fixed)
            error = np.abs(
                node.coefs[name] / 2.0**node.coef_frac - wide.coefs[name] / 2.0**wide.coef_frac
            )
            assert 0 < error.max() < 2.0**-9


def test_what_a_graph_records_is_the_default(network):
    graph, x = network
    graph = replace(fold(graph), bits={"blocks.0.linear1": 4, "encoder": 12, "blocks.0.tn": 9})
    again = from_record(*to_record(graph))
    assert again.bits == graph.bits
    program = compiled(again, x, "loihi2")
    assert [e.weight_bits for e in dense(program).values()] == [8, 4, 8, 8, 8]  # 12 is too wide
    assert program["blocks.0.tn"].word("c").bits == 9
    told = compiled(again, x, bits={"encoder": 6}, coef_bits=8)
    assert [e.weight_bits for e in dense(told).values()] == [6, 4, 8, 8, 8]
    assert told["blocks.0.tn"].word("c").bits == 8
    assert {e.weight_bits for e in dense(compiled(again, x, bits=7)).values()} == {7}


@pytest.mark.parametrize("bits", [{"encoder": "4"}, {"encoder": 0}, {"encoder": True}, [4]])
def test_a_record_with_other_bits_is_refused(network, bits):
    record, arrays = to_record(network[0])
    with pytest.raises(InputError, match="'bits'"):
        from_record({**record, "bits": bits}, arrays)


ROWS = [
    ({"bits": 1}, "1-bit weights are outside", "--bits between 2 and 16", ""),
    ({"bits": {"encoder": 17}}, "17-bit weights", "between 2 and 16", '"encoder"'),
    ({"bits": {"encode": 4}}, "--bits names 'encode'", "encoder, blocks.0.linear1", ""),
    ({"bits": {"classifier": 4}}, "--bits names 'classifier'", "encoder", ""),
    ({"coef_bits": 17}, "17-bit coefficients", "--coef-bits between 2 and 16", ""),
    ({"coef_bits": {"blocks.0.sn": 4}}, "--coef-bits names", "blocks.0.tn", ""),
]


@pytest.mark.parametrize(("how", "says", "fix", "where"), ROWS)
def test_bits_that_are_not_there_are_refused(network, how, says, fix, where):
    graph, x = network
    with pytest.raises(InputError) as caught:
        compiled(graph, x, **how)
    (record,) = caught.value.records()
    assert record["code"] == "E105"
    assert says in record["what"]
    assert fix in record["fix"]
    assert where in record["where"]


def test_all_wrong_bits_are_reported_at_once(network):
    graph, x = network
    with pytest.raises(InputError) as caught:
        compiled(graph, x, bits={"a": 4, "b": 40})
    assert len(caught.value.records()) == 3
