"""The published energies: which come out, by what recipe, and which do not."""

from __future__ import annotations

import pytest

from neurodeploy.errors import InputError
from neurodeploy.reports.analytic import FAMILIES, expected, lstm, s4d, sdtcm, spiking_mlp
from neurodeploy.reports.analytic.architecture import (
    Architecture,
    architecture,
    architecture_names,
)
from neurodeploy.reports.analytic.tables import TABLES, paper_table
from neurodeploy.reports.analytic.text import table_lines, table_record
from neurodeploy.reports.energy import energy
from neurodeploy.targets import target

ASIC = target("asic45")

REPRODUCED = {
    "tclif-table2": {"LSTM": 2834.7, "LIF": 23.8, "LSTM-LIF": 28.2},
    "celif-table4": {"LIF": 24.1},
    "prf-table3": {
        "ours, listops": 0.075,
        "ours, text": 0.298,
        "ours, retrieval": 0.211,
        "ours, image": 0.187,
        "ours, pathfinder": 0.067,
        "ours, average": 0.168,
        "S4, average": 11.748,
    },
    "prf-table11": {
        "listops": 3.53,
        "text": 4.32,
        "retrieval": 1.48,
        "image": 3.47,
        "pathfinder": 3.29,
    },
    "spikingssm-wikitext": {
        "MAC [G]": 275.2,
        "energy of MACs [J]": 1.265,
        "AC [G]": 72.66,
        "energy of ACs [mJ]": 65.40,
    },
}


def rows(name):
    return [(row.label, row) for row in paper_table(name).rows]


@pytest.mark.parametrize("name", sorted(REPRODUCED))
def test_what_is_reproducible_is_reproduced_to_half_a_percent(name):
    found = {}
    for label, row in rows(name):
        if row.printed is not None:
            found.setdefault(label, row)
    for label, printed in REPRODUCED[name].items():
        assert found[label].printed == printed
        assert abs(found[label].difference) < 0.005, label


def test_the_figures_to_their_last_digit():
    ours = [row.computed for _, row in rows("tclif-table2")]
    assert [round(value, 2) for value in ours] == [2834.78, 23.89, 28.22, 24.14, 28.42]
    (lif, low, high, *unknown) = [row.computed for _, row in rows("celif-table4")]
    assert [round(value, 2) for value in (lif, low, high)] == [24.1, 12.49, 12.93]
    assert unknown == [None, None]
    layers = [round(row.computed, 3) for _, row in rows("prf-layers")]
    assert layers == [0.077, 0.319, 0.218, 0.344, 0.127]
    means = [round(row.computed, 2) for label, row in rows("prf-table11") if "true" in label]
    assert means == [3.97, 5.05, 1.73, 4.05, 3.84]


def test_the_recipes_by_hand():
    """The sums of the papers, written out, without the machinery."""
    sizes, rates = (1, 64, 256, 256, 10), (0.294, 0.146, 0.030)
    acs = macs = 0.0
    for i, (n, rate) in enumerate(zip(sizes[1:4], rates, strict=True)):
        acs += rate * n * ((n if i < 2 else 0) + 2 + sizes[i + 2])
        macs += 2 * n
    by_hand = 0.9 * acs + 4.6 * (macs + 2 * 10)
    (_, _, (_, tclif), *_) = rows("tclif-table2")
    assert tclif.computed * 1e3 == pytest.approx(by_hand)
    macs = sum(4 * m * n + 17 * n for m, n in ((1, 64), (64, 256), (256, 256)))
    assert rows("tclif-table2")[0][1].computed * 1e3 == pytest.approx(
        4.6 * (macs + 4 * 64 * 64 + 4 * 256 * 256)
    )
    d, length, depth, rate = 128, 2048, 8, 0.0353
    step = 5 * d * 4.6 + 3 * d * 0.9 + 2 * (rate * d * d + d) * 0.9
    assert rows("prf-table3")[0][1].computed * 1e9 == pytest.approx(depth * length * step)
    dense = 16 * 8192 * 1024 * 2048
    assert rows("spikingssm-wikitext")[0][1].computed * 1e9 == pytest.approx(dense)


def test_what_is_not_reproducible_says_why():
    for name in TABLES:
        for _, row in rows(name):
            assert len(row.recipe) > 5
            assert row.computed is not None or "not published" in row.recipe


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables_as_text_and_data(name):
    found = paper_table(name)
    lines = "\n".join(table_lines(found))
    assert found.source in lines
    assert all(row.label in lines and row.recipe in lines for row in found.rows)
    record = table_record(found)
    assert [row["difference"] for row in record["rows"]] == [row.difference for row in found.rows]


def test_an_unknown_table_is_named():
    with pytest.raises(InputError, match="unknown paper table 'table9'") as caught:
        paper_table("table9")
    assert caught.value.code == "E201"
    assert "tclif-table2" in caught.value.fix


# architectures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", architecture_names())
def test_every_shipped_architecture_has_sources_and_counts(name):
    found = architecture(name)
    assert found.name == name
    assert found.family in FAMILIES
    assert len(found.sources["sizes"]) > 30
    assert not found.rates or len(found.sources["rates"]) > 30
    rates = None if found.rates or found.family in ("lstm", "gsu") else {"*": 0.1}
    counts = found.counts(ASIC, rates=rates, steps=3)
    for mode in ("paper", "physical"):
        assert energy(counts, mode=mode).total_pj > 0


OWN = """
name = "own"
title = "my own"
family = "sdtcm"
steps = 7
[sizes]
inputs = 2
width = 3
blocks = 1
classes = 2
[rates]
"*" = 0.25
"*.sn" = 0.5
"""


def test_an_architecture_of_ones_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    counts = architecture(str(path)).counts(ASIC)
    how = {"inputs": 2, "width": 3, "blocks": 1, "classes": 2}
    rates = {"blocks.0.tn": 0.25, "blocks.0.sn": 0.5}
    assert counts == expected(sdtcm(ASIC, **how), rates, steps=7)
    spikes = {node.name: node.spikes for node in counts.nodes if node.spikes}
    assert spikes == {"blocks.0.tn": 0.25 * 3 * 7, "blocks.0.sn": 0.5 * 3 * 7}
    longer = architecture(str(path)).counts(ASIC, rates={"*": 1.0}, steps=14, width=6)
    assert next(n.spikes for n in longer.nodes if n.name == "blocks.0.tn") == 6 * 14


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ('"sdtcm"', '"transformer"', "E202", "family 'transformer' is unknown"),
        ("steps = 7", "steps = 0", "E202", "steps is 0"),
        ("steps = 7", "", "E202", "missing key 'steps'"),
        ("width = 3", "widht = 3", "E105", "sdtcm has no size 'widht'"),
        ("width = 3\n", "", "E105", "sdtcm needs the sizes width"),
        ("width = 3", "width = 0", "E105", "width is 0"),
        ("width = 3", "width = true", "E105", "width is True"),
        ("width = 3", 'width = "3"', "E105", "width is '3'"),
        ("width = 3", "width = 3\nbidirectional = 1", "E105", "bidirectional is 1"),
        ("width = 3", "width = 3\nweight_bits = 99", "E105", "99-bit weights are outside"),
        ('"*" = 0.25', '"*.tn" = 1.25', "E105", "the rate of '*.tn' is 1.25"),
        ('"*" = 0.25\n', "", "E105", "no rates of blocks.0.tn"),
        ('"*.sn"', '"*.sm"', "E105", "a rate of '*.sm', which is no node"),
    ],
)
def test_a_bad_architecture_is_named_and_explained(tmp_path, old, new, code, says):
    assert old in OWN
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        architecture(str(path)).counts(ASIC)
    assert caught.value.code == code
    assert says in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"sizes": [2, -3, 4]}, "sizes is [2, -3, 4]"),
        ({"sizes": [2, 3, "a"]}, "sizes is [2, 3, 'a']"),
        ({"inputs": "spike"}, "no inputs 'spike'"),
        ({"readout": "last"}, "no readout 'last'"),
        ({"recurrent": "yes"}, "recurrent is 'yes'"),
        ({"options": {"reset": "slow"}}, "no reset 'slow' of lif"),
        ({"options": {"rest": "soft"}}, "no rest 'soft' of lif"),
    ],
)
def test_sizes_that_mean_nothing_are_named(sizes, says):
    own = Architecture(
        name="own", title="own", family="spiking_mlp", steps=3, sizes={"sizes": [2, 3, 4]}
    )
    how = {"rates": {"*": 0.5}}
    assert own.counts(ASIC, **how, inputs="spikes", recurrent=[True], options={"reset": "hard"})
    with pytest.raises(InputError) as caught:
        own.counts(ASIC, **how, **sizes)
    assert (caught.value.code, bool(caught.value.fix)) == ("E105", True)
    assert says in caught.value.what


@pytest.mark.parametrize("how", [{"steps": 0}, {"steps": 2.5}, {"steps": 2, "samples": 0}], ids=str)
def test_no_steps_or_samples_are_refused(how):
    program = spiking_mlp(target("asic45"), sizes=[2, 3, 2])
    with pytest.raises(InputError, match="is ") as caught:
        expected(program, {"*": 0.1}, **how)
    assert (caught.value.code, bool(caught.value.fix)) == ("E105", True)
    with pytest.raises(InputError, match=r"the width of layers\.0\.neuron is 0"):
        spiking_mlp(target("asic45"), sizes=[2, 0, 2])


def test_half_a_mode_is_none():
    with pytest.raises(InputError, match="a state of 1"):
        s4d(ASIC, inputs=1, width=2, blocks=1, classes=2, state=1)


def test_an_unknown_architecture_comes_with_a_suggestion():
    with pytest.raises(InputError, match="unknown architecture 'tclif'") as caught:
        architecture("tclif")
    assert "did you mean 'tclif-smnist'?" in caught.value.fix


def test_layers_and_their_loops_are_as_many():
    with pytest.raises(InputError, match="1 recurrent for 2 layers"):
        lstm(ASIC, sizes=(1, 2, 3), recurrent=(True,))
    for wrong in ({"sizes": [3, 2]}, {"sizes": [3, 2, 1], "recurrent": [True, True]}):
        with pytest.raises(InputError, match="E105"):
            FAMILIES["spiking_mlp"](ASIC, **wrong)
    with pytest.raises(InputError, match="no neuron 'gru'"):
        FAMILIES["spiking_mlp"](ASIC, sizes=[1, 2, 3], neuron="gru")
