"""`neurodeploy energy`, as a user types it."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

import neurodeploy as nd
from neurodeploy.cli import main


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def ok(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    import numpy as np

    home = tmp_path_factory.mktemp("energy")
    torch.manual_seed(0)
    x = torch.randn(20, 4, 2)
    model = nd.nn.SDTCM(2, 6, 1, 3, theta=(0.0, 40.0)).eval()
    np.savez(home / "data.npz", x=x.numpy(), y=np.zeros(4, int))
    for name in ("asic45", "loihi2"):
        nd.emit(nd.compile(nd.trace(model), nd.target(name), calibration=x), home / name)
    return home


def test_a_program_in_both_modes(compiled):
    args = ("energy", compiled / "asic45", "--input", compiled / "data.npz")
    text = ok(*args)
    for part in (
        "4 samples of 20 steps on plain 45 nm digital design",
        "physical, table horowitz45 (literature convention):",
        "weight memory",
        "if it varies",
        "sums of currents",
        "int8 ANN",
        "not in the table: routing, static power",
        "not modelled:",
        "paper, table paper45",
        "the physical counts under every table",
        "loihi1",
    ):
        assert part in text, part
    record = json.loads(ok(*args, "--json"))
    physical, paper = record["energies"]
    assert (physical["mode"], paper["mode"]) == ("physical", "paper")
    for found in (physical, paper):
        layers = found["layers"].values()
        assert found["total_pj"] == pytest.approx(sum(layer["total_pj"] for layer in layers))
        assert found["total_pj"] == pytest.approx(sum(found["by_cause"].values()))
    assert physical["low_pj"] < physical["total_pj"] < physical["high_pj"]
    assert [found["table"] for found in record["spread"]] == ["horowitz45", "loihi1", "paper45"]
    assert set(record["neurobench"]) == {
        "Footprint",
        "ConnectionSparsity",
        "ActivationSparsity",
        "SynapticOperations",
        "MembraneUpdates",
    }
    assert record["counts"]["packets"][0]["packets"] > 0


def test_one_mode_and_several_tables(compiled):
    args = ("energy", compiled / "asic45", "--input", compiled / "data.npz")
    text = ok(*args, "--mode", "paper")
    assert "paper, table paper45" in text
    assert "horowitz45" not in text
    text = ok(*args, "--mode", "physical", "--prices", "loihi1", "--prices", "horowitz45")
    assert "physical, table loihi1 (simulated):" in text
    assert "physical, table horowitz45" in text
    assert "as the papers" not in text


def test_simulate_and_report_show_the_same_joules(compiled, tmp_path):
    data = ("--input", compiled / "data.npz")
    energies = json.loads(ok("energy", compiled / "asic45", *data, "--json"))["energies"]
    run_ = json.loads(ok("simulate", compiled / "asic45", *data, "--json"))["run"]
    assert [run_["energy"], run_["paper_energy"]] == energies
    text = ok("simulate", compiled / "asic45", *data)
    assert "energy per inference, physical, table horowitz45:" in text
    assert "as the papers count, table paper45:" in text
    assert run_["neurobench"]["MembraneUpdates"] > 0
    page = tmp_path / "page.html"
    written = json.loads(ok("report", compiled / "asic45", *data, "-o", page, "--json"))
    assert written["output"] == str(page)
    assert written["run"] == run_
    assert written["energies"] == energies[:1]
    both = ("--prices", "loihi1", "--prices", "paper45")
    told = json.loads(ok("report", compiled / "asic45", *data, "-o", page, *both, "--json"))
    assert [found["table"] for found in told["energies"]] == ["loihi1", "paper45"]
    assert told["program"]["target"] == "asic45"
    ok("report", compiled / "asic45", *data, "-o", page)
    assert "Energy as the papers count" in page.read_text()


def test_loihi_2_has_counts_and_no_joules_of_its_own(compiled):
    args = ("energy", compiled / "loihi2", "--input", compiled / "data.npz")
    text = ok(*args, "--mode", "physical")
    assert " J" not in text.split("the physical counts")[0]
    assert "physical: not modelled for this target; name a table with --prices" in text
    priced = ok(*args, "--mode", "physical", "--prices", "loihi1")
    assert "routing (loihi2 does not say where its cores are)" in priced


def test_a_network_from_sizes_and_rates(compiled, tmp_path):
    assert "tclif-smnist" in ok("energy", "--model", "list")
    text = ok("energy", "--model", "tclif-smnist", "--steps", 1, "--mode", "paper")
    assert "28.22 nJ per inference" in text
    record = json.loads(ok("energy", "--model", "binary-s4d-smnist", "--rate", "0.2", "--json"))
    assert record["neurobench"] is None
    assert [found["mode"] for found in record["energies"]] == ["physical", "paper"]
    own = tmp_path / "own.toml"
    own.write_text(
        'name = "own"\ntitle = "mine"\nfamily = "relu_mlp"\nsteps = 2\n[sizes]\nsizes = [2, 3, 2]\n'
    )
    text = ok("energy", "--arch", own, "--target", "asic45")
    assert "mine: 2 steps on plain 45 nm digital design, from sizes and rates alone" in text


def test_a_paper_table(compiled):
    assert "prf-table3" in ok("energy", "--paper-table", "list")
    text = ok("energy", "--paper-table", "tclif-table2")
    for part in ("2834.78", "23.8933", "28.2172", "+0.06 %", "arXiv 2307.07231"):
        assert part in text, part
    record = json.loads(ok("energy", "--paper-table", "prf-table3", "--json"))
    assert record["table"]["rows"][0]["difference"] == pytest.approx(-0.0036, abs=1e-4)
    assert len(json.loads(ok("energy", "--paper-table", "list", "--json"))["tables"]) == 7


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((), 2, "give one of DIR, --arch, --model, --paper-table"),
        (("x", "--model", "list"), 2, "give one of DIR"),
        (("x",), 2, "give --input"),
        (("x", "--rate", "0.1"), 2, "--rate, --steps and --target are of --arch and --model"),
        (("x", "--target", "loihi2"), 2, "--rate, --steps and --target are of"),
        (("--paper-table", "list", "--prices", "loihi1"), 2, "not of --paper-table"),
        (("--paper-table", "list", "--mode", "paper"), 2, "not of --paper-table"),
        (("--paper-table", "list", "--steps", "3"), 2, "--rate, --steps and --target are of"),
        (("--model", "lif-smnist", "--timing"), 2, "--input and --timing are of a run"),
        (("--model", "lif-smnist", "--mode", "paper", "--prices", "loihi1"), 2, "physical mode"),
        (("--model", "lif-smnist", "--rate", "much"), 2, "'much' is no number"),
        (("--model", "lif"), 3, "error[E201]: unknown architecture 'lif'"),
        (("--model", "binary-s4d-smnist"), 3, "no rates of blocks.0.spikes"),
        (("--model", "lif-smnist", "--rate", "7"), 3, "the rate of '*' is 7.0"),
        (("--model", "lif-smnist", "--rate", "x=0"), 3, "a rate of 'x', which is no node"),
        (("--paper-table", "x"), 3, "error[E201]: unknown paper table 'x'"),
        (("--arch", "nowhere.toml"), 3, "error[E101]: cannot read nowhere.toml"),
        (("--model", "lif-smnist", "--target", "tpu"), 3, "error[E201]: unknown target 'tpu'"),
        (("--model", "lif-smnist", "--prices", "mine"), 3, "unknown price table 'mine'"),
    ],
)
def test_mistakes_are_explained(args, code, says):
    result = run("energy", *args)
    assert result.exit_code == code
    assert says in result.output
