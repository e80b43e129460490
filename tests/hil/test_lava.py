"""The bundle in real Lava: every spike, graded value and final state is the program's.

The environment is made if it is missing; these tests fail, and never skip, where it cannot be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hil import lava_programs as programs
from support.networks import TABLE_STEPS

from neurodeploy.backends import hardware
from neurodeploy.backends.lava import LavaEnv, check, ensure, run_bundle, write
from neurodeploy.errors import InputError, ToolError
from neurodeploy.program.ir import Population, Source
from neurodeploy.program.reference import execute, read, to_integers

STEPS, SAMPLES = 24, 3

MADE = {
    "sdtcm, pre-norm, outer residual": (programs.trained_like(), STEPS, SAMPLES),
    "sdtcm, post-norm": (programs.trained_like(norm="post", outer=False), STEPS, SAMPLES),
    "every neuron": (programs.zoo(0), STEPS, SAMPLES),
    "every neuron, registers wrap": (programs.zoo(2, overflow="wrap"), STEPS, SAMPLES),
    "recurrent": (programs.recurrent(), STEPS, SAMPLES),
    "spikes come in": (programs.zoo(3, spiking=True), STEPS, SAMPLES),
    "stock LIF": (programs.stock(), STEPS, SAMPLES),
    "narrow weights": (programs.narrow(), STEPS, SAMPLES),
    "convolutions": (programs.convolutions(), STEPS, SAMPLES),
    "convolutions of sequences": (programs.convolutions(3, axes=1, spiking=True), STEPS, SAMPLES),
    "convolution, dilated": (programs.convolution(9, axes=2, spiking=False), STEPS, SAMPLES),
    "convolution, strided": (programs.convolution(4, axes=1, spiking=True), STEPS, SAMPLES),
    "one neuron, one step": (programs.small(), 1, 2),
    "one sample": (programs.small(), STEPS, 1),
}
every_program = pytest.mark.parametrize(("program", "steps", "samples"), MADE.values(), ids=MADE)


@pytest.fixture(scope="session")
def env():
    return ensure(print)


@pytest.fixture
def bundle(tmp_path):
    """A bundle with 2 golden samples of 24 steps, its program, and its golden integers."""
    program = programs.zoo(0)
    x = programs.integers(program, STEPS, 2)
    return write(program, tmp_path, programs.real(program, x)), program, x


def assert_same(program, x, run):
    done = execute(program, x)
    assert set(run.values) == {node.name for node in program}
    assert set(run.states) == {node.name for node in program.populations}
    for name, value in done.values.items():
        assert np.array_equal(run.values[name], value), name
    for name, state in done.states.items():
        assert np.array_equal(run.states[name], state), name
    whole, outputs = read(program.readout, done.values[program.readout.source])
    assert np.array_equal(run.readout, whole)
    assert np.array_equal(run.outputs, outputs)


def test_the_programs_reach_what_they_should():
    done = execute(programs.zoo(0), programs.integers(programs.zoo(0), STEPS, SAMPLES))
    rates = [done.values[p.name].mean() for p in programs.zoo(0).populations if p.model.spiking]
    assert sum(0.02 < rate < 0.98 for rate in rates) >= 8
    assert done.overflows["full"] > 50
    delays = {edge.delay for node in programs.zoo(0).nodes[1:] for edge in node.edges}
    assert delays >= {1, 2, 3, 4}
    loops = programs.recurrent()
    done = execute(loops, programs.integers(loops, STEPS, SAMPLES))
    assert sum(0.02 < done.values[p.name].mean() < 0.98 for p in loops.populations) >= 8
    stock = programs.stock()
    done = execute(stock, programs.integers(stock, STEPS, SAMPLES))
    assert all(0 < done.values[n].mean() < 1 for n in ("lif0", "lif1", "lif2", "soft"))


@every_program
def test_lava_computes_the_program(program, steps, samples, env, tmp_path):
    x = programs.integers(program, steps, samples)
    folder = write(program, tmp_path)
    assert_same(program, x, run_bundle(folder, programs.real(program, x), env=env))


@pytest.mark.parametrize(
    "name",
    ["every neuron", "recurrent", "stock LIF", "sdtcm, pre-norm, outer residual", "convolutions"],
)
def test_lavas_own_runtime_computes_the_program(name, env, tmp_path):
    program, _, samples = MADE[name]
    x = programs.integers(program, 10, samples)
    folder = write(program, tmp_path)
    real = programs.real(program, x)
    assert_same(program, x, run_bundle(folder, real, env=env, runtime=True, timeout_s=300))
    assert not left_in_shared_memory()


def left_in_shared_memory(patience_s=10.0):
    """Return what dead runs left in /dev/shm; runs of tests beside this one may be alive."""
    end = time.monotonic() + patience_s
    while True:
        names = [path.name for path in Path("/dev/shm").glob("nd*_*")]
        left = [name for name in names if not alive(int(name[2 : name.index("_")], 16))]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)


def test_lif_becomes_lavas_own_process(tmp_path):
    manifest = json.loads((write(programs.stock(), tmp_path) / "manifest.json").read_text())
    made = {n["name"]: n["process"] for n in manifest["nodes"] if n["kind"] == "population"}
    assert made == {
        "lif0": "LIFReset",
        "lif1": "LIFReset",
        "lif2": "LIFReset",
        "soft": "Population",
        "out": "Population",
    }


def alone(env, *arguments):
    """Run the environment's Python far from this checkout and its variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [env.python, *arguments]
    return subprocess.run(command, env=clean, cwd="/", capture_output=True, text=True, check=False)


def test_a_copied_bundle_runs_where_there_is_no_neurodeploy(bundle, env, tmp_path):
    folder = shutil.copytree(bundle[0], tmp_path / "elsewhere" / "copy")
    no = alone(env, "-c", "import neurodeploy")
    assert "No module named 'neurodeploy'" in no.stderr
    done = alone(env, folder / "run.py")
    assert done.returncode == 0, done.stderr
    assert "the results are equal" in done.stderr


def test_a_bundle_takes_integers_too(bundle, env, tmp_path):
    folder, program, x = bundle
    made = tmp_path / "out.npz"
    command = [env.python, folder / "run.py", "--input", tmp_path / "in.npz", "--output", made]
    np.savez(tmp_path / "in.npz", integers=x)
    subprocess.run(command, check=True, capture_output=True)
    with np.load(made) as found:
        assert np.array_equal(found["value.000"], x)
        done = execute(program, x)
        assert np.array_equal(found["readout"], read(program.readout, done.values["out"])[0])
    for wrong in (x * 100, x * 0.5):
        np.savez(tmp_path / "in.npz", integers=wrong)
        assert subprocess.run(command, check=False, capture_output=True).returncode == 3


def test_an_unchanged_bundle_agrees(bundle, env):
    folder, program, x = bundle
    verdict = check(folder.parent, env=env)
    done = execute(program, x)
    spiking = [n.name for n in program.populations if n.most == 1]
    graded = [n.name for n in program if not isinstance(n, Source) and n.name not in spiking]
    assert verdict.agrees
    assert verdict.first is None
    assert verdict.compared == {
        "spikes": sum(done.values[n].size for n in spiking),
        "graded": sum(done.values[n].size for n in graded),
        "states": sum(s.size for s in done.states.values()),
    }
    assert check(folder, env=env, samples=1).compared["spikes"] * 2 == verdict.compared["spikes"]


def test_a_bundle_takes_token_ids(env, tmp_path):
    program = programs.tokens()
    ids = np.random.default_rng(0).integers(-1, program.source.width, (STEPS, 2, 1))
    folder = write(program, tmp_path)
    spikes = to_integers(program.source, ids)[0]
    assert_same(program, spikes, run_bundle(folder, ids.astype(float), env=env))


def edit_arrays(folder, file, edit):
    """Change arrays of a bundle and its manifest's digest with them, as if it were written so."""
    with np.load(folder / file) as archive:
        arrays = dict(archive)
    edit(arrays)
    np.savez_compressed(folder / file, **arrays)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["digests"][file]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def put(key, value):
    """Return an edit that replaces one array by another of its shape."""

    def edit(arrays):
        assert arrays[key].shape == value.shape
        arrays[key] = value

    return edit


def index(program, name):
    return [node.name for node in program].index(name)


def first_difference(program, expected, got):
    """The definition, as loops: by sample, step, layer, neuron; then the final states."""
    nodes = [n for n in program if not isinstance(n, Source)]
    steps, samples, _ = expected.values[nodes[0].name].shape
    for sample in range(samples):
        for step in range(steps):
            for node in nodes:
                a, b = (done.values[node.name][step, sample] for done in (expected, got))
                for neuron in np.flatnonzero(a != b):
                    return sample, step, node.name, neuron, a[neuron], b[neuron]
        for node in program.populations:
            a, b = (done.states[node.name][:, sample] for done in (expected, got))
            for row, neuron in np.argwhere(a != b):
                return sample, steps - 1, node.name, neuron, a[row, neuron], b[row, neuron]
    raise AssertionError("the programs do not differ")


def named(verdict):
    first = verdict.first
    return first.sample, first.step, first.layer, first.neuron, first.expected, first.got


def test_a_corrupted_golden_spike_is_named(bundle, env):
    folder, program, _ = bundle
    key = f"value.{index(program, '4.lif'):03d}"

    def flip(arrays):
        arrays[key][17, 1, 0] ^= 1
        flip.expected = int(arrays[key][17, 1, 0])

    edit_arrays(folder, "golden.npz", flip)
    verdict = check(folder, env=env)
    assert not verdict.agrees
    assert verdict.differences == {"spikes": 1, "graded": 0, "states": 0}
    assert verdict.layers["4.lif"] == 1
    assert named(verdict) == (1, 17, "4.lif", 0, flip.expected, 1 - flip.expected)
    text = str(verdict.error())
    assert "error[E402]" in text
    assert 'sample 1, step 17, layer "4.lif", neuron 0' in text
    assert verdict.error().exit_code == 5


def test_a_corrupted_final_state_is_named(bundle, env):
    folder, program, _ = bundle
    key = f"state.{index(program, '0.prf'):03d}"

    def shift(arrays):
        arrays[key] = arrays[key].astype(np.int64)
        arrays[key][1, 0, 2] += 5

    edit_arrays(folder, "golden.npz", shift)
    verdict = check(folder, env=env)
    assert verdict.differences == {"spikes": 0, "graded": 0, "states": 1}
    assert (verdict.first.layer, verdict.first.value, verdict.first.neuron) == ("0.prf", "im", 2)
    assert verdict.first.expected - verdict.first.got == 5


def test_a_changed_weight_is_found_where_it_first_matters(bundle, env):
    folder, program, x = bundle
    node = program["2.lif"]
    edge = node.edges[0]
    weight = edge.weight.copy()
    weight[0, 0] -= 100 if weight[0, 0] > 0 else -100
    key = f"{index(program, '2.lif'):03d}.edge.0"
    edit_arrays(folder, "weights.npz", put(key, weight))
    changed = with_node(
        program, replace(node, edges=(replace(edge, weight=weight), *node.edges[1:]))
    )
    assert_first(program, changed, x, check(folder, env=env))


def test_a_changed_threshold_is_found_where_it_first_matters(bundle, env):
    folder, program, x = bundle
    node = program["4.lif"]
    threshold = np.maximum(node.coefs["threshold"] // 3, 1)
    key = f"{index(program, '4.lif'):03d}.threshold"
    edit_arrays(folder, "weights.npz", put(key, threshold))
    changed = with_node(program, replace(node, coefs={**node.coefs, "threshold": threshold}))
    assert_first(program, changed, x, check(folder, env=env))


def with_node(program, node: Population):
    return replace(program, nodes=tuple(node if n.name == node.name else n for n in program))


def assert_first(program, changed, x, verdict):
    expected, got = execute(program, x), execute(changed, x)
    assert not verdict.agrees
    assert named(verdict) == first_difference(program, expected, got)
    assert sum(verdict.differences.values()) == sum(
        int((expected.values[n.name] != got.values[n.name]).sum()) for n in program
    ) + sum(int((expected.states[n] != got.states[n]).sum()) for n in expected.states)


def test_changed_code_is_no_agreement(bundle, env):
    folder = bundle[0]
    with (folder / "bundle" / "models.py").open("a") as file:
        file.write("# changed\n")
    verdict = check(folder, env=env)
    assert verdict.changed == ("bundle/models.py",)
    assert not any(verdict.differences.values())
    assert not verdict.agrees
    assert "bundle/models.py" in verdict.error().what


def test_a_truncated_file_is_bad_input(bundle, env):
    path = bundle[0] / "golden.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError) as caught:
        check(bundle[0], env=env)
    assert caught.value.code == "E109"


@pytest.mark.parametrize("bad", ["width", "rank", "nan"])
def test_input_that_the_program_does_not_read(bad, bundle, env):
    folder, program, x = bundle
    x = programs.real(program, x)
    wrong = {"width": x[:, :, :1], "rank": x[0], "nan": np.where(x == x[0, 0, 0], np.nan, x)}[bad]
    with pytest.raises(InputError) as caught:
        run_bundle(folder, wrong, env=env)
    assert caught.value.code == "E106"


def test_a_sequence_longer_than_a_table_is_an_input_error_with_both_lengths(bundle, env):
    folder, program, _ = bundle
    x = programs.integers(program, TABLE_STEPS + 1, 1)
    says = f"{TABLE_STEPS + 1} steps; .* has a table of {TABLE_STEPS} steps"
    with pytest.raises(InputError) as caught:
        run_bundle(folder, programs.real(program, x), env=env)
    assert caught.value.code == "E106"
    assert re.search(says, caught.value.where)
    assert_same(program, x[1:], run_bundle(folder, programs.real(program, x[1:]), env=env))


def test_an_exception_in_lavas_runtime_comes_through(bundle, env):
    folder, _, x = bundle
    path = folder / "bundle" / "models.py"
    text = path.read_text().replace(
        "self.s_out.send(self.a_in.recv())", "raise ZeroDivisionError('in a process')"
    )
    path.write_text(text)
    with pytest.raises(ToolError) as caught:
        run_bundle(folder, x, env=env, runtime=True, timeout_s=300)
    assert caught.value.code == "E604"
    assert "ZeroDivisionError: in a process" in caught.value.where
    assert "ended with code" in caught.value.what  # by itself, not when its time was over
    assert not left_in_shared_memory()


def test_a_hanging_run_is_stopped_with_all_its_processes(bundle, tmp_path):
    pids = tmp_path / "pids"
    fake = script(
        tmp_path / "python",
        f"""sleep 600 & echo $! > {pids}; echo $$ >> {pids}
        touch /dev/shm/nd$(printf %x $$)_test; echo so far so good >&2; wait""",
    )
    with pytest.raises(ToolError) as caught:
        check(bundle[0], env=LavaEnv(python=fake, versions={}, patched=False), timeout_s=1)
    assert caught.value.code == "E604"
    assert caught.value.exit_code == 6
    assert "so far so good" in caught.value.where
    assert not [pid for pid in pids.read_text().split() if alive(int(pid))]
    assert not left_in_shared_memory()


def script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def alive(pid):
    """Whether a process runs; one that was killed but not yet reaped by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_without_a_board_it_says_what_is_missing(bundle):
    with pytest.raises(ToolError) as caught:
        hardware.check(bundle[0].parent, on="board")
    assert caught.value.code == "E603"
    assert caught.value.exit_code == 6
    assert "Intel's extension of Lava" in caught.value.what
    assert "NXSDKHOST" in caught.value.what
    assert "--on lava" in caught.value.fix


def test_hil_checks_in_lava(bundle):
    assert hardware.check(bundle[0].parent, on="lava").agrees
