"""Which populations are lava's own LIF, and what Lava cannot hold."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hil import lava_programs as programs
from support.networks import inputs_for, sdtcm

from neurodeploy.backends.lava import bundle
from neurodeploy.backends.lava.mapping import check, map_population, worklist
from neurodeploy.errors import FitError, InputError
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.synapses import Dense
from neurodeploy.targets import target


def changed(program, name, **values):
    """Return the program with one node changed."""
    nodes = tuple(replace(n, **values) if n.name == name else n for n in program)
    return replace(program, nodes=nodes)


def coef(node, name, value):
    return {"coefs": {**node.coefs, name: np.asarray(value)}}


def first(values, other):
    """Return the values with another first one."""
    return np.concatenate([[other], values[1:]])


def lif(**values):
    return changed(programs.stock(), "lif0", **values)


NODE = programs.stock()["lif0"]
LIMIT = NODE.coefs["threshold"]
WHY = {
    "not hard": {"options": {"reset": "none", "compare": ">"}},
    "not to 0": coef(NODE, "reset", first(NODE.coefs["reset"], 64)),
    "24-bit": {"state_bits": 20},
    "decays differ": coef(NODE, "beta", first(NODE.coefs["beta"], 9)),
    "outside 1/4096 to 1": coef(NODE, "beta", np.zeros(5, int)),
    "shifts are not all 6": {"shift": first(NODE.shift, 7)},
    "thresholds differ": coef(NODE, "threshold", first(LIMIT, 64)),
    "not a multiple of 64": coef(NODE, "threshold", LIMIT + 1),
    "outside 17 bits": coef(NODE, "threshold", np.full(5, 64 * 2**17)),
    "13-bit": {"bias": first(NODE.bias, 4097)},
    "wrap": {
        "edges": (replace(NODE.edges[0], exponent=4),),
    },
}


@pytest.mark.parametrize(("reason", "values"), WHY.items(), ids=WHY)
def test_one_broken_condition_and_it_is_our_own_process(reason, values):
    program = lif(**values)
    mapped = map_population(program, program["lif0"])
    assert mapped.stock is None
    assert [reason in why for why in mapped.why] == [True]


def test_what_holds_every_condition_is_stock():
    program = programs.stock()
    mapped = map_population(program, program["lif0"])
    assert mapped.why == ()
    assert (mapped.stock.du, mapped.stock.dv, mapped.stock.vth) == (4095, 4096 - 3700, 1500)
    bias = mapped.stock.bias_mant << mapped.stock.bias_exp
    assert np.array_equal(bias, program["lif0"].bias)
    assert np.all(np.abs(mapped.stock.bias_mant) <= 4096)


@pytest.mark.parametrize("bias", [0, 1, -1, 4095, -4096, 4095 * 128, -4096 * 128, 8190])
def test_biases_that_thirteen_and_three_bits_hold(bias):
    mapped = map_population(lif(bias=np.full(5, bias)), lif(bias=np.full(5, bias))["lif0"])
    assert np.all(mapped.stock.bias_mant << mapped.stock.bias_exp == bias)
    assert np.all((mapped.stock.bias_mant >= -4096) & (mapped.stock.bias_mant <= 4095))
    assert np.all((mapped.stock.bias_exp >= 0) & (mapped.stock.bias_exp <= 7))


@pytest.mark.parametrize("bias", [4096 * 128, 4097, -4097, 4095 * 128 + 1])
def test_biases_that_they_do_not(bias):
    program = lif(bias=np.full(5, bias))
    assert "13-bit" in map_population(program, program["lif0"]).why[0]


def test_at_least_a_threshold_is_above_one_less():
    program = programs.stock()
    assert program["lif1"].options["compare"] == ">="
    assert map_population(program, program["lif1"]).stock.vth == 300
    same = changed(program, "lif1", **coef(program["lif1"], "threshold", np.full(4, 64 * 300)))
    assert map_population(same, same["lif1"]).stock is None


def test_other_models_have_no_stock_process():
    program = programs.zoo()
    assert map_population(program, program["0.prf"]).why == ("prf has no stock process",)


def compiled(name, **shape):
    rng = np.random.default_rng(0)
    graph = sdtcm(rng, **shape)
    return compile_graph(graph, target(name), calibration=inputs_for(rng, graph)).program


def test_a_program_without_synapse_delays_is_refused(tmp_path):
    with pytest.raises(FitError) as caught:
        bundle.write(compiled("asic45"), tmp_path)
    assert caught.value.code == "E301"
    assert "at least one time step" in caught.value.what
    assert "--target loihi2" in caught.value.fix
    assert not list(tmp_path.iterdir())


def edge_of(program, name, **values):
    edges = program[name].edges
    return changed(program, name, edges=(replace(edges[0], **values), *edges[1:]))


def broken():
    program = programs.zoo()
    wide = np.full(program["0.prf"].edges[0].weight.shape, 128)
    program = edge_of(program, "0.prf", weight=wide)
    program = edge_of(program, "1.prf", exponent=-1)
    program = edge_of(program, "full", exponent=20)
    return changed(program, "3.lif", reverse=True)


def test_everything_that_lava_cannot_hold_is_said_at_once():
    with pytest.raises(FitError) as caught:
        check(broken())
    found = {(r["code"], r["what"].split(";")[0]): r for r in caught.value.records()}
    assert set(found) == {
        ("E301", "Lava's synapses hold 8-bit weights"),
        ("E301", "a weight exponent is at least 0"),
        ("E301", "a sum in Lava has 32 bits"),
        ("E303", "Lava runs forwards in time only"),
    }
    assert all(r["where"] and r["fix"] for r in found.values())
    assert '"full"' in found["E301", "a sum in Lava has 32 bits"]["where"]


def test_doubled_weights_count_against_the_sum():
    """Dense adds up twice the weights; half of what fits the result must not wrap on the way."""
    rng = np.random.default_rng(0)
    wide = programs.source(width=40_000)
    weight = np.full((1, 40_000), 127)
    program = programs.assembled(
        [wide, programs.stream("s", 1, Dense(source="x", weight=weight, weight_bits=8))]
    )
    assert weight.sum() * 127 < 2**31 < 2 * weight.sum() * 127 * 2
    check(program)
    wider = programs.source(width=70_000)
    edge = programs.dense(rng, wider, 1)
    edge = replace(edge, weight=np.full((1, 70_000), 127))
    assert edge.weight.sum() * 127 < 2**31 < 2 * edge.weight.sum() * 127
    with pytest.raises(FitError):
        check(programs.assembled([wider, programs.stream("s", 1, edge)]))


def test_the_work_list_covers_every_part():
    program = programs.stock()
    rows = {row["node"]: row for row in worklist(program)}
    assert len(rows) == len(program.nodes) + sum(len(n.edges) for n in program.nodes[1:])
    assert rows["x"]["state"] == "host"
    assert (rows["lif0"]["process"], rows["lif0"]["state"]) == ("LIFReset", "stock")
    assert (rows["soft"]["process"], rows["soft"]["state"]) == ("Population", "microcode")
    assert "reset is soft" in rows["soft"]["why"]
    assert rows["x to lif0"]["state"] == "stock"


def test_the_same_program_gives_the_same_bytes(tmp_path):
    program = programs.zoo()
    x = programs.real(program, programs.integers(program, 10, 2))
    one, two = (bundle.write(program, tmp_path / name, x) for name in "ab")
    files = [
        {path.relative_to(home): path.read_bytes() for path in home.rglob("*") if path.is_file()}
        for home in (one, two)
    ]
    assert files[0] == files[1]
    other = bundle.write(program, tmp_path / "c", x / 2)
    assert (other / "golden.npz").read_bytes() != (one / "golden.npz").read_bytes()


def test_a_bundle_carries_the_code_as_it_is_and_the_digest_of_every_file(tmp_path):
    home = bundle.write(programs.small(), tmp_path)
    package = bundle.TEMPLATE.parents[2]
    for name in ("arith.py", "neurons/prf.py", "neurons/spec.py"):
        assert (home / "neurodeploy" / name).read_bytes() == (package / name).read_bytes()
    for path in bundle.TEMPLATE.rglob("*.py"):
        copied = home / path.relative_to(bundle.TEMPLATE)
        assert copied.read_bytes() == path.read_bytes()
    manifest = json.loads((home / "manifest.json").read_text())
    files = {p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()}
    assert set(manifest["digests"]) == files - {"manifest.json"}
    assert not [name for name in files if "__pycache__" in name]
    readme = (home / "README.md").read_text()
    assert "not been proven" in readme
    assert "| prf | population | 1 |" in readme


def test_golden_inputs_must_fit_the_program(tmp_path):
    for wrong in (np.zeros((3, 1, 2)), np.zeros((3, 1)), np.full((3, 1, 1), np.nan)):
        with pytest.raises(InputError) as caught:
            bundle.write(programs.small(), tmp_path, wrong)
        assert caught.value.code == "E106"
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_found_in_its_program_folder_or_by_itself(tmp_path):
    home = bundle.write(programs.small(), tmp_path)
    assert bundle.locate(tmp_path) == bundle.locate(home) == home
    with pytest.raises(InputError) as caught:
        bundle.locate(tmp_path / "nowhere")
    assert caught.value.code == "E101"
    (home / "manifest.json").write_text("{")
    with pytest.raises(InputError) as caught:
        bundle.locate(tmp_path)
    assert caught.value.code == "E109"
    (home / "manifest.json").write_text('{"format": "neurodeploy.lava", "version": 999}')
    with pytest.raises(InputError) as caught:
        bundle.locate(tmp_path)
    assert caught.value.code == "E101"
