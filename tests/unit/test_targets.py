from __future__ import annotations

import pytest

from neurodeploy.errors import InputError
from neurodeploy.neurons import SPECS
from neurodeploy.program.vector import KINDS
from neurodeploy.targets import price_names, prices, target, target_names
from neurodeploy.targets.find import _shipped
from neurodeploy.targets.prices import GRADES, meaning
from neurodeploy.targets.schema import WORDS

LOIHI = (_shipped() / "loihi2.toml").read_text()
ASIC = (_shipped() / "asic45.toml").read_text()
PAPER = (_shipped() / "prices" / "paper45.toml").read_text()


@pytest.mark.parametrize("name", target_names())
def test_every_shipped_target_has_a_source_for_every_number(name):
    chip = target(name)
    assert chip.name == name
    parts = [chip.chip, chip.core, chip.numbers, chip.timing, *filter(None, [chip.cycles])]
    for table, part in zip(("chip", "core", "numbers", "timing", "cycles"), parts, strict=False):
        for key, value in vars(part).items():
            assert value is None or len(chip.sources[f"{table}.{key}"]) > 10


@pytest.mark.parametrize("name", price_names())
def test_every_price_has_a_source(name):
    table = prices(name)
    assert table.name == name
    assert {f"time_ns.{key}" for key in table.time_ns} | set(table.energy_pj) == set(table.sources)
    for key, value in table.energy_pj.items():
        assert meaning(key)
        assert len(table.sources[key]) > 10
        assert table.grade_of(key) in GRADES
        low, high = table.range_pj(key)
        assert low <= value <= high


def test_the_figures_of_horowitz():
    """ISSCC 2014, Fig. 1.1.9."""
    table = prices("horowitz45").energy_pj
    adds = [table[f"add_{width}"] for width in ("int8", "int32", "fp16", "fp32")]
    muls = [table[f"mul_{width}"] for width in ("int8", "int32", "fp16", "fp32")]
    assert (adds, muls) == ([0.03, 0.1, 0.4, 0.9], [0.2, 3.1, 1.1, 3.7])
    assert [table[f"sram_{kib}kib_64b"] for kib in (8, 32, 1024)] == [10, 20, 100]
    assert prices("horowitz45").range_pj("dram_64b") == (1300, 2600)


def test_the_figures_of_loihi():
    """Davies et al. 2018, Table 2: simulated before there was silicon."""
    table = prices("loihi1")
    assert table.grade == "simulated"
    assert list(table.energy_pj.values()) == [23.6, 81, 52, 1.7, 3.0, 4.0]
    assert list(table.time_ns.values()) == [3.5, 8.4, 5.3, 4.1, 6.5]


def test_the_literatures_convention():
    """E_AC 0.9 pJ and E_MAC 4.6 pJ, a MAC being a multiply and an add."""
    table = prices("paper45").energy_pj
    assert table["synapse_add"] == 0.9
    assert table["synapse_mac"] == pytest.approx(table["neuron_mul"] + table["neuron_add"]) == 4.6


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("cores = 128", "cores = ", "E202", "not valid TOML"),
        ("state_bits = 24", "", "E202", "missing key 'numbers.state_bits'"),
        ("neurons = 8192", "neurons = 8192\nneuron = 1", "E202", "unknown key 'core.neuron'"),
        ("neurons = 8192", 'neurons = "many"', "E202", "core.neurons is 'many'"),
        ('"chip.cores" = "Intel', '"chip.core" = "Intel', "E202", "chip.cores has no source"),
        ('rounding = "toward_zero"', 'rounding = "up"', "E202", "numbers.rounding is unknown"),
        ('title = "Intel', 'titel = "Intel', "E202", "unknown key 'titel'"),
        ("streaming = true", "streaming = 3", "E202", "timing.streaming is 3"),
        ("neurons = 8192", "neurons = -5", "E202", "core.neurons is -5"),
        ("cores = 128", "cores = 0", "E202", "chip.cores is 0"),
        ("weight_bits = 8", "weight_bits = 0", "E202", "numbers.weight_bits is 0"),
        ("state_bits = 24", "state_bits = 1", "E202", "numbers.state_bits is 1"),
        ("input_bits = 8", "input_bits = 0", "E202", "numbers.input_bits is 0"),
        ("input_bits = 8", "input_bits = 1", "E202", "numbers.input_bits is 1"),
        ("weight_bits = 8", "weight_bits = 17", "E202", "numbers.weight_bits is 17"),
        ("state_bits = 24", "state_bits = 33", "E202", "numbers.state_bits is 33"),
        ("coef_bits = 13", "coef_bits = 33", "E202", "numbers.coef_bits is 33"),
        ("shift_max = 15", "shift_max = -17", "E202", "numbers.shift_max is -17"),
        ("synapse_delay = 1", "synapse_delay = -1", "E202", "timing.synapse_delay is -1"),
        ("max_delay = 63", "max_delay = 0", "E202", "timing.max_delay is 0"),
        ('"mul", "add"', '"mul", "ad"', "E202", "words is unknown: 'ad'"),
        ('words = ["mul", "add"', 'words = "mul"#', "E202", "words is 'mul'"),
        ('words = ["mul", "add"', "words = [1]#", "E202", "words is [1]"),
        ('words = ["mul", "add"', "words = []#", "E202", "words is empty"),
        ('words = ["mul", "add"', "#", "E202", "missing key 'words'"),
        ('bundle = "lava"', 'bundle = "larva"', "E202", "bundle is unknown: 'larva'"),
        ('bundle = "lava"', "bundle = 3", "E202", "bundle is 3"),
        ('bundle = "lava"', "prices = true", "E202", "prices is True"),
        ('bundle = "lava"', 'prices = "paper54"', "E201", "unknown price table 'paper54'"),
        ("not_modelled = [", 'not_modelled = "heat"\nwhat = [', "E202", "not_modelled is 'heat'"),
        ("cores = 128", "cores = true", "E202", "chip.cores is True"),
        ("cores = 128", "cores = 128\ncores = 128", "E202", "not valid TOML"),
        ("cores = 128", "cores = 128.0", "E202", "chip.cores is 128.0"),
        ("[timing]", "[timings]", "E202", "missing key 'timing.max_delay'"),
        ('"chip.cores" = "', '"chip.cores" = "" #', "E202", "chip.cores has no source"),
        ('"chip.cores" = "', '"chip.cores" = 3 #', "E202", "chip.cores has no source"),
        ("[sources]", '[sources]\n"chip.core" = "me"', "E202", "'chip.core' is of nothing"),
        ("message_bits = 24", "message_bits = 33", "E202", "numbers.message_bits is 33"),
        ("current_bits = 32", "current_bits = 48", "E202", "numbers.current_bits is 48"),
        ("readout_bits = 16", "readout_bits = 64", "E202", "numbers.readout_bits is 64"),
    ],
)
def test_a_bad_target_file_is_named_and_explained(tmp_path, old, new, code, says):
    assert old in LOIHI
    path = tmp_path / "chip.toml"
    path.write_text(LOIHI.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        target(str(path))
    assert (caught.value.code, caught.value.where) == (code, str(path))
    assert says in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("synapse_add = 0.9", "synapse_add = 0.0", "energy_pj.synapse_add is 0.0"),
        ("synapse_add = 0.9", "synapse_sum = 0.9", "unknown key 'energy_pj.synapse_sum'"),
        ('neuron_mul = "Horowitz', 'neuron_mull = "Horowitz', "neuron_mul has no source"),
        ("grade =", "grad =", "unknown key 'grad'"),
        ('"literature convention"', '"guessed"', "grade 'guessed' is unknown"),
        ("[sources]", "[ranges_pj]\nneuron_add = [1, 2]\n[sources]", "is [1, 2] around 0.9"),
        ("[sources]", "[ranges_pj]\nneuron_add = 2\n[sources]", "ranges_pj.neuron_add is 2"),
        ("[sources]", "[ranges_pj]\ndram_64b = [1, 2]\n[sources]", "dram_64b is of no price"),
        ("[sources]", "[power_w]\nfan = 1\n[sources]", "unknown key 'power_w.fan'"),
        ("[sources]", "[power_w]\nchip = 1\n[sources]", "power_w.chip has no source"),
        ("[sources]", "[time_ns]\nhop_z = 1\n[sources]", "unknown key 'time_ns.hop_z'"),
        ("[sources]", "[grades]\nmul_int8 = 'simulated'\n[sources]", "grades.mul_int8 is of no"),
        ("synapse_add = 0.9", "synapse_add = inf", "energy_pj.synapse_add is inf"),
        ("synapse_add = 0.9", "synapse_add = true", "energy_pj.synapse_add is True"),
        ("[energy_pj]", "[energy]", "unknown key 'energy'"),
        ("[sources]", "[sources]\nmul_int8 = 'me'", "the source 'mul_int8' is of nothing"),
        ("[sources]", "[grades]\nneuron_add = 'new'\n[sources]", "grade 'new' is unknown"),
    ],
)
def test_a_bad_price_table_is_named_and_explained(tmp_path, old, new, says):
    assert old in PAPER
    path = tmp_path / "prices.toml"
    path.write_text(PAPER.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        prices(str(path))
    assert caught.value.code == "E202"
    assert says in caught.value.what


def test_unknown_names_come_with_a_suggestion():
    with pytest.raises(InputError) as caught:
        target("loihi")
    assert caught.value.code == "E201"
    assert "did you mean 'loihi2'?" in caught.value.fix
    with pytest.raises(InputError, match="unknown price table 'paper'"):
        prices("paper")


FILE = "name = 'x'\ntitle = 'x'\nwords = ['mul']\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing key 'chip.cores'"),
        (FILE + "chip = 3", "chip is 3"),
        (FILE + "[[chip]]\ncores = 3", "chip is [{'cores': 3}]"),
        ("sources = 'me'\n" + LOIHI.partition("[sources]")[0], "sources is 'me'"),
        ("cycles = 3\n" + LOIHI, "cycles is 3"),
        ("mesh = []\n" + LOIHI, "mesh is []"),
        (ASIC.replace("[cycles]", "[mesh]\nx = 8\ny = 8\n[cycles]"), "[mesh] beside [cycles]"),
    ],
)
def test_what_is_no_table_is_named_and_explained(tmp_path, text, says):
    path = tmp_path / "chip.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        target(str(path))
    assert (caught.value.code, caught.value.where) == ("E202", str(path))
    assert says in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("old", "new", "near"),
    [
        ('"mul", "add"', '"mull", "add"', "mul"),
        ('bundle = "lava"', 'prices = "horowitz54"', "horowitz45"),
        ('bundle = "lava"', 'bundle = "larva"', "lava"),
        ('title = "Intel', 'titel = "Intel', "title"),
        ('rounding = "toward_zero"', 'rounding = "towards_zero"', "toward_zero"),
        ("[sources]", '[sources]\n"chip.core" = "me"', "chip.cores"),
    ],
)
def test_the_nearest_name_is_suggested(tmp_path, old, new, near):
    assert old in LOIHI
    path = tmp_path / "chip.toml"
    path.write_text(LOIHI.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        target(str(path))
    assert f"did you mean {near!r}?" in caught.value.fix


def test_a_bad_price_table_is_found_with_the_target_that_names_it(tmp_path):
    table, path = tmp_path / "prices.toml", tmp_path / "chip.toml"
    path.write_text(f"prices = {str(table)!r}\n{LOIHI}")
    with pytest.raises(InputError) as caught:
        target(str(path))
    assert (caught.value.code, caught.value.where) == ("E101", str(table))
    table.write_text(PAPER.replace("synapse_add = 0.9", "synapse_add = 0"))
    with pytest.raises(InputError, match=r"energy_pj\.synapse_add is 0"):
        target(str(path))
    table.write_text(PAPER)
    assert target(str(path)).prices == str(table)


def test_the_words_are_those_of_the_neurons_and_vector_operations():
    steps = [spec.traced(how).words for spec in SPECS.values() for how in spec.variants()]
    assert frozenset().union(*steps, KINDS) == set(WORDS)


def test_a_missing_file_is_unreadable():
    with pytest.raises(InputError, match=r"cannot read nowhere\.toml") as caught:
        target("nowhere.toml")
    assert caught.value.code == "E101"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("mesh_x = 8", "mesh_x = 9", "cycles: a mesh of 9 x 8 routers for 64 cores"),
        ("lanes = 4", "lanes = 0", "cycles.lanes is 0"),
        ("synapse_fill = 3", "synapse_fill = -1", "cycles.synapse_fill is -1"),
        ("hop_cycles = 1", "hop_cycles = 1.5", "cycles.hop_cycles is 1.5"),
        ("hop_cycles = 1", "hop_cycles = 1000001", "cycles.hop_cycles is 1000001"),
        ("neuron_fill = 4", "neuron_fill = 1000001", "cycles.neuron_fill is 1000001"),
        ("lanes = 4", "lanes = 2147483648", "cycles.lanes is 2147483648"),
        ("hop_cycles = 1", "", "missing key 'cycles.hop_cycles'"),
        ("hop_cycles = 1", "hop_cycles = 1\nqueues = 2", "cycles.queues has no source"),
        ('"cycles.lanes" =', '"cycles.lane" =', "cycles.lanes has no source"),
    ],
)
def test_a_bad_machine_is_named_and_explained(tmp_path, old, new, says):
    assert old in ASIC
    path = tmp_path / "chip.toml"
    path.write_text(ASIC.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        target(str(path))
    assert (caught.value.code, caught.value.where) == ("E202", str(path))
    assert says in caught.value.what
    assert caught.value.fix


def test_several_chips_say_how_they_are_joined(tmp_path):
    path = tmp_path / "chips.toml"
    figures = {"chips_x": 3, "chips_y": 2}
    path.write_text(_with_cycles(figures))
    with pytest.raises(InputError, match="nothing says how 6 chips are joined"):
        target(str(path))
    path.write_text(_with_cycles(figures | {"chip_hop_cycles": 20, "chip_flit_cycles": 4}))
    board = target(str(path))
    assert board.cores == 6 * 64
    assert board.cycles.router(64) == (8, 0)  # the first core of the second chip
    assert board.cycles.router(3 * 64 + 9) == (1, 9)
    assert board.cycles.barrier == 16 + 3 * 20


def test_a_mesh_says_where_cores_are_without_saying_how_long_steps_take(tmp_path):
    path = tmp_path / "chip.toml"
    sources = "\n".join(f'"mesh.{key}" = "chosen here"' for key in ("x", "y", "cores"))
    text = LOIHI.replace("[sources]", f"[mesh]\nx = 8\ny = 4\ncores = 4\n[sources]\n{sources}", 1)
    path.write_text(text)
    chip = target(str(path))
    assert (chip.cycles, chip.cores) == (None, 128)
    assert [chip.grid.router(core) for core in (0, 3, 4, 35, 127)] == [
        (0, 0),
        (0, 0),
        (1, 0),
        (0, 1),
        (7, 3),
    ]
    path.write_text(text.replace("x = 8", "x = 9"))
    with pytest.raises(InputError, match="a mesh of 9 x 4 routers for 128 cores"):
        target(str(path))


def _with_cycles(figures):
    """Return the shipped target with more figures of its machine."""
    lines = "\n".join(f"{key} = {value}" for key, value in figures.items())
    sources = "\n".join(f'"cycles.{key}" = "chosen here"' for key in figures)
    text = ASIC.replace("[cycles]", f"[cycles]\n{lines}", 1)
    return text.replace("[sources]", f"[sources]\n{sources}", 1)
