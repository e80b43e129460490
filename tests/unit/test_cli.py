"""The command line as a user meets it: streams, exit codes, JSON, and every way to get it wrong."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import neurodeploy as nd
from neurodeploy.cli import main
from neurodeploy.cli.compile import PASSES
from neurodeploy.passes import pipeline


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def ok(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def compiled(tiny, tmp_path_factory):
    place = tmp_path_factory.mktemp("compiled") / "out"
    ok("compile", tiny / "model.pt", "--target", "asic45", "-o", place)
    return place


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from neurodeploy.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "print([m for m in ('torch', 'onnx', 'numba', 'lava', 'numpy', 'nir') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_module_runs_like_the_command():
    command = [sys.executable, "-m", "neurodeploy", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("neurodeploy, version ")


def test_the_public_names_are_pinned():
    assert set(nd.__all__) == {
        *("Comparison", "Graph", "NeurodeployError", "Program", "Run", "Session", "Target"),
        *("compare", "compile", "emit", "export", "interpret", "load", "nn", "report", "save"),
        *("search",),
        *("simulate", "sweep", "target", "trace", "tune"),
    }
    for name in nd.__all__:
        assert getattr(nd, name) is not None
    assert dir(nd) == sorted(nd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'compil'"):
        nd.compil  # noqa: B018


def test_the_passes_on_offer_are_those_that_run():
    assert PASSES == pipeline.PASSES


def test_compile_writes_to_a_folder_named_after_model_and_target(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ok("compile", tiny / "model.pt", "--target", "loihi2")
    assert "wrote model.loihi2" in result.stdout
    assert "the example in the checkpoint (8 samples)" in result.stdout
    assert result.stderr == ""
    assert (tmp_path / "model.loihi2" / "manifest.json").is_file()
    assert (tmp_path / "model.loihi2" / "lava" / "run.py").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["model.loihi2"]


def test_compile_uses_the_data_it_is_given(tiny, tmp_path):
    args = ("compile", tiny / "model.pt", "--target", "asic45", "-o", tmp_path / "out")
    result = ok(*args, "--calibrate", tiny / "data.npz", "--verify", "--bits", 6)
    assert "data.npz (8 samples)" in result.stdout
    assert "6 bits" in result.stdout
    for name in ("fold-batchnorm", "fold-dynamics", "fold-amplitude"):
        assert name in result.stdout


def test_compile_without_data_says_so(tiny, tmp_path):
    model = nd.nn.load(tiny / "model.pt")
    nd.save(model, tmp_path / "bare.pt")
    args = ("compile", tmp_path / "bare.pt", "--target", "asic45", "-o", tmp_path / "out")
    result = ok(*args)
    assert "bounds" in result.stdout
    assert "give --calibrate" in result.stderr
    assert run(*args, "--verify").exit_code == 2


@pytest.mark.parametrize("name", PASSES)
def test_dump_after_writes_the_stage(tiny, tmp_path, name):
    place = tmp_path / "out"
    args = ("compile", tiny / "model.pt", "--target", "asic45", "--dump-after", name)
    ok(*args, "-o", place)
    text = (place / f"after-{name}.txt").read_text()
    assert "blocks.0.tn" in text
    dry = ok(*args, "--dry-run")
    assert text.strip() in dry.stdout


def test_a_dry_run_writes_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ok("compile", tiny / "model.pt", "--target", "asic45", "--dry-run")
    assert "nothing written" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_compiling_twice_gives_the_same_bytes(tiny, tmp_path):
    for name in "ab":
        ok("compile", tiny / "model.pt", "--target", "loihi2", "-o", tmp_path / name)
    files = [sorted(p for p in (tmp_path / n).rglob("*") if p.is_file()) for n in "ab"]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]
    assert len(files[0]) > 20


def test_simulate_shows_accuracy_counts_and_the_table_of_the_joules(tiny, compiled, tmp_path):
    result = ok("simulate", compiled, "--input", tiny / "data.npz", "-o", tmp_path / "run.npz")
    for part in ("accuracy", "blocks.0.tn", "table horowitz45", "scope:", "not modelled:"):
        assert part in result.stdout
    with np.load(tmp_path / "run.npz") as file:
        assert file["outputs"].shape == (8, 3)
        assert set(np.unique(file["spikes/blocks.0.tn"])) == {0, 1}
        assert file["spikes/blocks.0.sn"].shape == (30, 8, 6)


def test_the_energies_of_simulate_are_those_of_all_that_has_any(tiny, compiled):
    run = json.loads(ok("simulate", compiled, "--input", tiny / "data.npz", "--json").stdout)["run"]
    text = ok("simulate", compiled, "--input", tiny / "data.npz").stdout
    shown = text.partition("\n\n")[2].partition("\n\n")[0].splitlines()[1:]
    names = [line.partition("  ")[0] for line in shown]
    assert names == list(run["energy"]["layers"])
    assert "classifier, on the host" in names
    units = {"pJ": 1, "nJ": 1e3, "uJ": 1e6}
    ends = [line.split()[-2:] for line in shown]
    total = sum(float(number) * units[unit] for number, unit in ends)
    assert total == pytest.approx(run["energy"]["total_pj"], rel=1e-3)


def test_simulate_steps_as_it_runs_and_times_steps(tiny, compiled, monkeypatch):
    args = ("simulate", compiled, "--input", tiny / "data.npz", "--stepping")
    assert "steps of one sample, the same outputs: p50 " in ok(*args).stdout
    found = json.loads(ok(*args, "--json").stdout)["stepping"]
    assert found["steps"] > 0
    assert 0 < found["p50_s"] <= found["p90_s"] <= found["p99_s"] <= found["max_s"]
    monkeypatch.setattr("numpy.array_equal", lambda a, b: False)
    result = run(*args)
    assert (result.exit_code, "error[E402]" in result.output) == (5, True)


def test_simulate_in_json_is_complete(tiny, compiled):
    args = ("simulate", compiled, "--input", tiny / "data.npz", "--json", "--prices", "paper45")
    record = json.loads(ok(*args).stdout)
    assert (record["version"], record["command"], record["ok"]) == (1, "simulate", True)
    energy = record["run"]["energy"]
    assert energy["table"] == "paper45"
    assert energy["total_pj"] == pytest.approx(sum(energy["by_cause"].values()))
    layers = {layer["name"]: layer for layer in record["run"]["layers"]}
    assert layers["blocks.0.tn"]["rate"] > 0


def test_loihi_has_no_joules_until_a_table_is_named(tiny, tmp_path):
    ok("compile", tiny / "model.pt", "--target", "loihi2", "-o", tmp_path / "out")
    args = ("simulate", tmp_path / "out", "--input", tiny / "data.npz")
    assert "not modelled for this target; name a table with --prices" in ok(*args).stdout
    assert json.loads(ok(*args, "--json").stdout)["run"]["energy"] is None
    assert "table paper45" in ok(*args, "--prices", "paper45").stdout


def test_timing_shows_cycles_and_seconds(tiny, compiled, tmp_path):
    args = ("simulate", compiled, "--input", tiny / "data.npz")
    shown = ok(*args, "--timing").stdout
    for part in ("time per inference:", "cycles at 500 MHz", "scope: cycle-level", "barrier"):
        assert part in shown
    record = json.loads(ok(*args, "--timing", "--json").stdout)["run"]
    timing = record["timing"]
    each = timing["cycles_per_inference"]
    assert sum(timing["steps"]["cycles"]) == pytest.approx(each)
    assert len(timing["steps"]["critical_core"]) == record["samples"]
    assert sum(timing["by_stage"].values()) == pytest.approx(each)
    assert sum(phase["cycles"] for phase in timing["phases"]) == pytest.approx(each)
    assert timing["latency_s"] == pytest.approx(each / timing["machine"]["clock_hz"])
    assert json.loads(ok(*args, "--json").stdout)["run"]["timing"] is None
    page = tmp_path / "page.html"
    ok("report", compiled, "--input", tiny / "data.npz", "-o", page, "--timing")
    assert f"{each:,.1f} cycles" in page.read_text()
    assert "busiest cores" in page.read_text()


def test_an_asynchronous_chip_cannot_be_timed(tiny, tmp_path):
    ok("compile", tiny / "model.pt", "--target", "loihi2", "-o", tmp_path / "out")
    result = run("simulate", tmp_path / "out", "--input", tiny / "data.npz", "--timing")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "error[E304]: loihi2 does not say how long its steps take" in result.stderr
    assert "fix: compile for a target with a [cycles] table: asic45" in result.stderr


def test_compare_names_the_first_divergence(tiny, tmp_path):
    args = ("compile", tiny / "model.pt", "--target", "asic45", "--bits", 3, "-o", tmp_path / "out")
    ok(*args)
    args = ("compare", tiny / "model.pt", tmp_path / "out", "--input", tiny / "data.npz")
    text = ok(*args).stdout
    assert "accuracy: float 100 %" in text
    assert "first divergence: sample" in text
    record = json.loads(ok(*args, "--json").stdout)
    assert record["first"]["layer"].startswith("blocks.0.")
    assert record["accuracy_float"] == 1


def test_a_target_of_ones_own_travels_with_the_program(tiny, tmp_path):
    text = (nd.target("asic45").name, "mychip")
    source = __import__("neurodeploy.targets.find", fromlist=["_shipped"])._shipped()
    toml = (source / "asic45.toml").read_text().replace(f'name = "{text[0]}"', 'name = "mychip"')
    (tmp_path / "chip.toml").write_text(toml)
    place = tmp_path / "out"
    ok("compile", tiny / "model.pt", "--target", tmp_path / "chip.toml", "-o", place)
    (tmp_path / "chip.toml").unlink()
    record = json.loads(ok("inspect", place, "--json").stdout)
    assert record["program"]["target"] == "mychip"


def test_inspect_shows_models_and_programs(tiny, compiled):
    text = ok("inspect", tiny / "model.pt").stdout
    assert "theta = " in text
    assert "[rad / model time]" in text
    assert "synapses" in ok("inspect", compiled).stdout
    record = json.loads(ok("inspect", tiny / "model.pt", "--json").stdout)
    nodes = {node["name"]: node for node in record["nodes"]}
    assert nodes["input"] == {
        **{"name": "input", "operation": "Input", "width": 2, "reads": [], "constants": {}}
    }
    linear = next(node for node in record["nodes"] if node["operation"] == "Linear")
    assert linear["constants"]["weight"]["shape"][0] == linear["width"]
    theta = next(n["constants"]["theta"] for n in record["nodes"] if n["operation"] == "Neurons")
    assert theta["unit"] == "rad / model time"
    assert theta["least"] <= theta["greatest"]


def test_lists_show_what_there_is():
    assert "loihi2" in ok("targets").stdout
    assert "not modelled: energy per operation" in ok("targets", "loihi2").stdout
    shown = ok("targets", "horowitz45").stdout
    assert "dram_64b = 1950 pJ (1300 to 2600)    # literature convention: Horowitz" in shown
    assert "synapse_op = 3.5 ns    # simulated: Davies" in ok("targets", "loihi1").stdout
    assert "4 mul, 3 add, 1 cmp" in ok("neurons").stdout
    assert {t["name"] for t in json.loads(ok("targets", "--json").stdout)["targets"]} >= {"asic45"}
    names = {n["name"] for n in json.loads(ok("neurons", "--json").stdout)["neurons"]}
    assert names >= {"prf", "lif", "spatial", "li"}


def test_doctor_says_what_works_and_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setenv("NEURODEPLOY_LAVA_ENV", str(tmp_path / "none"))
    text = ok("doctor").stdout
    assert "numba" in text
    assert "Lava         missing; type: neurodeploy doctor --install-lava" in text
    assert json.loads(ok("doctor", "--json").stdout)["lava"] is None


@pytest.mark.parametrize("ending", ["nir", "onnx"])
def test_export_and_compile_again(tiny, tmp_path, ending):
    path = tmp_path / f"model.{ending}"
    assert f"wrote {path}" in ok("export", tiny / "model.pt", "-o", path).stdout
    args = ("--target", "asic45", "--calibrate", tiny / "data.npz", "-o", tmp_path / "out")
    ok("compile", path, *args)
    again = json.loads(
        ok("simulate", tmp_path / "out", "--input", tiny / "data.npz", "--json").stdout
    )
    ok("compile", tiny / "model.pt", *args)
    first = json.loads(
        ok("simulate", tmp_path / "out", "--input", tiny / "data.npz", "--json").stdout
    )
    assert again["run"]["accuracy"] == first["run"]["accuracy"] > 0.5


def write(path, data):
    path.write_bytes(data)
    return path


def state_dict(path):
    import torch

    torch.save(nd.nn.LIF(3).state_dict() | {"w": torch.zeros(2)}, path)
    return path


def pickled(path):
    import torch

    torch.save(torch.nn.Linear(2, 2), path)
    return path


def poisoned(tiny, path, value):
    model = nd.nn.load(tiny / "model.pt")
    model.encoder.weight.data[0, 0] = value
    nd.save(model, path)
    return path


def data(path, **arrays):
    np.savez(path, **arrays)
    return path


COMPILE = ("--target", "asic45", "-o", "{out}")

# what is typed, the exit code, the error's code, and what it says
MISTAKES = {
    "missing model": (lambda t, p: ("compile", p / "no.pt", *COMPILE), 3, "E101", "does not exist"),
    "folder as model": (lambda t, p: ("compile", p, *COMPILE), 3, "E101", "not a model file"),
    "wrong ending": (
        lambda t, p: ("compile", write(p / "m.txt", b"x"), *COMPILE),
        3,
        "E101",
        "not a model file",
    ),
    "truncated model": (
        lambda t, p: (
            "compile",
            write(p / "m.pt", (t / "model.pt").read_bytes()[:900]),
            *COMPILE,
        ),
        3,
        "E101",
        "truncated",
    ),
    "empty model": (
        lambda t, p: ("compile", write(p / "m.pt", b""), *COMPILE),
        3,
        "E101",
        "truncated",
    ),
    "pickled module": (
        lambda t, p: ("compile", pickled(p / "m.pt"), *COMPILE),
        3,
        "E102",
        "pickled",
    ),
    "bare pickle": (
        lambda t, p: ("compile", write(p / "m.pt", pickle.dumps(complex)), *COMPILE),
        3,
        "E102",
        "pickled",
    ),
    "state dict": (
        lambda t, p: ("compile", state_dict(p / "m.pt"), *COMPILE),
        3,
        "E103",
        "without an architecture",
    ),
    "NaN weight": (
        lambda t, p: ("compile", poisoned(t, p / "m.pt", float("nan")), *COMPILE),
        3,
        "E105",
        "encoder.weight",
    ),
    "infinite weight": (
        lambda t, p: ("compile", poisoned(t, p / "m.pt", float("inf")), *COMPILE),
        3,
        "E105",
        "encoder.weight",
    ),
    "unknown target": (
        lambda t, p: ("compile", t / "model.pt", "--target", "loihi3", "-o", "{out}"),
        3,
        "E201",
        "did you mean 'loihi2'?",
    ),
    "missing target file": (
        lambda t, p: ("compile", t / "model.pt", "--target", p / "no.toml", "-o", "{out}"),
        3,
        "E101",
        "cannot read no.toml",
    ),
    "narrow calibration": (
        lambda t, p: (
            "compile",
            t / "model.pt",
            *COMPILE,
            "--calibrate",
            data(p / "d.npz", x=np.zeros((5, 2, 3))),
        ),
        3,
        "E106",
        "[T, B, 2]",
    ),
    "missing calibration": (
        lambda t, p: ("compile", t / "model.pt", *COMPILE, "--calibrate", p / "no.npz"),
        3,
        "E101",
        "no such file",
    ),
    "too many bits": (
        lambda t, p: ("compile", t / "model.pt", "--target", "loihi2", "-o", "{out}", "--bits", 12),
        3,
        "E105",
        "12-bit weights",
    ),
    "output is a file": (
        lambda t, p: (
            "compile",
            t / "model.pt",
            "--target",
            "asic45",
            "-o",
            write(p / "file", b"x"),
        ),
        3,
        "E110",
        "not an earlier output",
    ),
    "output below a file": (
        lambda t, p: (
            "compile",
            t / "model.pt",
            "--target",
            "asic45",
            "-o",
            write(p / "file", b"x") / "out",
        ),
        3,
        "E110",
        "cannot write",
    ),
    "no program": (
        lambda t, p: ("simulate", p, "--input", t / "data.npz"),
        3,
        "E101",
        "no program in",
    ),
    "export to nowhere": (
        lambda t, p: ("export", t / "model.pt", "-o", p / "m.tflite"),
        3,
        "E108",
        "cannot be written as .tflite",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_clear_error_and_leaves_nothing(tiny, tmp_path, mistake):
    make, exit_code, code, says = MISTAKES[mistake]
    args = [str(arg).format(out=tmp_path / "out") for arg in make(tiny, tmp_path)]
    before = sorted(tmp_path.rglob("*"))
    result = run(*args)
    assert result.exit_code == exit_code, result.output
    assert f"error[{code}]" in result.stderr
    assert says in result.stderr
    assert "  fix: " in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before
    record = json.loads(run(*args, "--json").stdout)
    assert (record["ok"], record["errors"][0]["code"]) == (False, code)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((5, 2, 3))}, "[T, B, 2]"),
        ({"x": np.zeros((5, 2))}, "x has shape (5, 2)"),
        ({"x": np.zeros((5, 2, 2)), "y": np.zeros(3, int)}, "y has shape (3,)"),
        ({"x": np.full((5, 2, 2), np.inf)}, "NaN or infinite"),
    ],
)
def test_input_that_does_not_fit_is_named(tiny, compiled, tmp_path, arrays, says):
    path = data(tmp_path / "d.npz", **arrays)
    for args in (
        ("simulate", compiled, "--input", path, "-o", tmp_path / "run.npz"),
        ("compare", tiny / "model.pt", compiled, "--input", path),
    ):
        result = run(*args)
        assert (result.exit_code, result.stdout) == (3, "")
        assert "error[E106]" in result.stderr
        assert says in result.stderr
    assert not (tmp_path / "run.npz").exists()


def test_a_network_that_does_not_fit_exits_4(tiny, tmp_path):
    from neurodeploy.targets.find import _shipped

    text = (_shipped() / "loihi2.toml").read_text()
    small = text.replace("cores = 128", "cores = 1").replace("neurons = 8192", "neurons = 4")
    (tmp_path / "small.toml").write_text(small)
    args = (
        "compile",
        tiny / "model.pt",
        "--target",
        tmp_path / "small.toml",
        "-o",
        tmp_path / "out",
    )
    result = run(*args)
    assert result.exit_code == 4
    assert "error[E301]" in result.stderr
    assert not (tmp_path / "out").exists()


def test_every_unknown_layer_is_named_with_its_path(tmp_path):
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.conv = torch.nn.Linear(2, 3), torch.nn.Conv1d(3, 3, 1)
            self.inner = torch.nn.Sequential(torch.nn.SiLU(), nd.nn.LIF(3))

        def forward(self, x):
            return torch.tanh(self.conv(self.inner(self.a(x))))

    with pytest.raises(nd.NeurodeployError) as caught:
        nd.trace(Net())
    found = [record["what"] for record in caught.value.records()]
    assert [what.split(":")[0] for what in found] == ["inner.0 (SiLU)", "conv (Conv1d)", "tanh"]
    assert {record["code"] for record in caught.value.records()} == {"E104"}


def test_usage_errors_exit_2(tiny):
    for args in (
        ("compile", tiny / "model.pt"),
        ("compile", tiny / "model.pt", "--target", "asic45", "--bits", 1),
        ("hil", "check", "x"),
        ("nonsense",),
    ):
        assert run(*args).exit_code == 2


def test_a_broken_pipe_is_no_error(tiny):
    command = f"{sys.executable} -m neurodeploy inspect --full {tiny / 'model.pt'} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("model: ")
    assert done.stderr == ""


def test_an_interrupt_is_no_bug_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("neurodeploy.program.io.write", stop)
    result = run("compile", tiny / "model.pt", "--target", "asic45", "-o", tmp_path / "out")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bug_of_ours_shows_its_traceback(tiny, monkeypatch):
    monkeypatch.setattr("neurodeploy.frontends.read_model", lambda path, reading: 1 / 0)
    result = run("inspect", tiny / "model.pt")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)
