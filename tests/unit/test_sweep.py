"""Sweeps: real workers in other processes, one of them killed; what stops goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from support.networks import chain, inputs_for, sdtcm

import neurodeploy as nd
from neurodeploy.backends.simulator import simulate
from neurodeploy.cli import main
from neurodeploy.designs import Point, Row, Study, cluster, grid, work
from neurodeploy.designs import run as designs_run
from neurodeploy.designs.results import Results
from neurodeploy.errors import InputError, ToolError
from neurodeploy.frontends import Model
from neurodeploy.program.limits import core_loads
from neurodeploy.program.memory import Footprint
from neurodeploy.reports.energy import energy
from neurodeploy.reports.sweep import sweep_text
from neurodeploy.targets import prices

DASK = (sys.executable, "-m", "dask")


@pytest.fixture(scope="module")
def networks():
    rng = np.random.default_rng(5)
    graph, other = sdtcm(rng), chain(rng, [("lif", {"reset": "soft"})], inputs=2, outputs=3)
    x = inputs_for(rng, graph, steps=30, samples=23)
    return {"sdtcm": graph, "chain": other}, x, rng.integers(0, 3, 23)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Yield the address of a real scheduler with two workers, each a process of its own."""
    home = tmp_path_factory.mktemp("cluster")
    file = home / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": home}
    place = ("--host", "127.0.0.1")
    started = [
        subprocess.Popen(
            [
                *DASK,
                "scheduler",
                *place,
                "--port",
                "0",
                "--dashboard-address",
                "127.0.0.1:0",
                "--scheduler-file",
                file,
            ],
            **quiet,
        )
    ]
    try:
        while not file.exists() or not file.read_text().endswith("}"):
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        worker = [*DASK, "worker", address, *place, "--nthreads", "1", "--no-dashboard"]
        started += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(20)


CHOICES = {"targets": ["asic45", "loihi2"], "bits": [8, {"*": 5, "encoder": 3}, 16]}


def sweep(networks, scheduler, **how):
    models, x, y = networks
    choices = {**CHOICES, "calibration": x[:, :6], "chunk": 5, "scheduler": scheduler, **how}
    return nd.sweep(models, choices.pop("targets"), x, y, **choices)


@pytest.fixture(scope="module")
def rows(networks, scheduler):
    return sweep(networks, scheduler)


def test_a_row_is_what_one_process_finds(networks, rows):
    models, x, y = networks
    assert len(rows) == 12
    for row in rows:
        if row.error is not None:
            continue
        bits = {"8": 8, "5,encoder=3": {"*": 5, "encoder": 3}, "16": 16}[row.bits]
        target = nd.target(row.target)
        program = nd.compile(models[row.model], target, calibration=x[:, :6], bits=bits)
        run = nd.simulate(program, x, timing=target.cycles is not None)
        assert (row.samples, row.steps) == (23, 30)
        assert row.accuracy == pytest.approx(run.accuracy(y), abs=1e-12)
        assert row.spikes == sum(node.spikes for node in run.nodes) / 23
        assert row.synaptic_adds == sum(e.operations for e in run.edges if e.kind == "add") / 23
        assert row.synaptic_macs == sum(e.operations for e in run.edges if e.kind == "mac") / 23
        loads = core_loads(program)
        assert row.memory_kib == sum(loads.values(), start=Footprint()).total_bits / 8192
        assert row.cores == len(loads)
        if row.target == "asic45":
            assert row.energy_pj == pytest.approx(energy(run, prices("horowitz45")).total_pj)
            assert row.cycles == run.cycles.total / 23
            assert row.latency_s == pytest.approx(run.cycles.latency_s)
        else:
            assert (row.energy_pj, row.prices, row.cycles, row.latency_s) == (None,) * 4


def test_routing_is_priced_where_the_table_has_it(networks, scheduler):
    models, x, _ = networks
    table = prices("loihi1")
    (row,) = sweep(
        ({"sdtcm": models["sdtcm"]}, x, None), scheduler, targets=["asic45"], bits=[8], prices=table
    )
    program = nd.compile(models["sdtcm"], nd.target("asic45"), calibration=x[:, :6], bits=8)
    found = energy(simulate(program, x, traffic=True), table)
    assert found.by_cause()["routing"] > 0
    assert row.energy_pj == pytest.approx(found.total_pj)
    assert row.not_priced == ", ".join(found.not_priced)
    assert "routing" not in row.not_priced


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_prices_that_any_chunk_lacks_are_named(networks, order):
    """One whose samples send no packets lacks no price of routing; the row is of all chunks."""
    models, x, _ = networks
    program = nd.compile(models["chain"], nd.target("asic45"), calibration=x)
    whole = work.measured(program, (x, None), prices("horowitz45"), False, "k", (0, 23))
    assert whole.facts["not_priced"] == ["routing", "static power"]
    lacking = (["static power"], ["routing", "static power"], ["classifier, on the host"])
    parts = [
        replace(whole, first=i, last=i + 1, facts={**whole.facts, "not_priced": lacking[i]})
        for i in order
    ]
    (point,) = grid(["a"], ["asic45"], ["8"], [""], ["naive"], 0)
    found = work.row(point, parts)
    assert found.not_priced == "classifier, on the host, routing, static power"
    none = [replace(p, facts={**p.facts, "prices": None, "not_priced": []}) for p in parts]
    assert work.row(point, none).not_priced is None


def test_designs_that_do_not_compile_are_rows_with_their_error(rows):
    failed = {(row.model, row.target, row.bits): row for row in rows if row.error is not None}
    assert {key for key, row in failed.items() if row.error == "E105"} == {
        ("sdtcm", "loihi2", "16"),
        ("chain", "loihi2", "16"),
        ("chain", "loihi2", "5,encoder=3"),
        ("chain", "asic45", "5,encoder=3"),
    }
    assert len(failed) == 4
    for row in failed.values():
        assert "fix:" in row.message
        assert row.accuracy is None


def test_what_does_not_fit_is_a_row_too(networks, scheduler):
    small = nd.target("asic45")
    small = replace(small, name="small", core=replace(small.core, weight_kib=0, neurons=2))
    (row,) = sweep(
        ({"a": networks[0]["chain"]}, *networks[1:]), scheduler, targets=[small], bits=[8]
    )
    assert row.error == "E301"
    assert "Needs" in row.message
    labelless = nd.sweep({"a": networks[0]["chain"]}, ["loihi2"], networks[1], scheduler=scheduler)
    assert labelless[0].accuracy is None
    assert labelless[0].samples == 23


def test_a_killed_worker_loses_nothing(networks, scheduler, rows):
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        before = client.run(os.getpid)
        assert len(before) == 2

        def kill(done, total):
            if done == 6:  # of 60: both workers have work
                busy = client.processing()
                address = max(busy, key=lambda at: len(busy[at]))
                assert busy[address]
                os.kill(before[address], signal.SIGKILL)

        found = sweep(networks, scheduler, chunk=5, progress=kill)
        assert found == rows
        client.wait_for_workers(2, timeout=60)  # its nanny starts another
        after = client.run(os.getpid)
    assert len(set(before.values()) & set(after.values())) == 1


class StoppedError(Exception):
    """Stands for whatever ends a sweep."""


def stop_after(chunks):
    def progress(done, total):
        if done == chunks:
            raise StoppedError

    return progress


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_sweep_that_stopped_goes_on(networks, scheduler, rows, tmp_path, name):
    path = tmp_path / name
    with pytest.raises(StoppedError):
        sweep(networks, scheduler, output=path, progress=stop_after(13))
    journal = tmp_path / f"{name}.parts"
    lines = journal.read_text().splitlines()
    assert len(lines) == 13
    journal.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40])  # cut off, without an end
    torn = json.loads(lines[-1])["key"]
    known = 13 if torn in Results(path).rows else 12  # a row that is complete needs no parts
    steps = []
    found = sweep(networks, scheduler, output=path, progress=lambda done, total: steps.append(done))
    assert found == rows
    assert steps == list(range(known, 61))
    assert not journal.exists()
    assert set(Results(path).all()) == set(rows)
    # nothing is left to do: no cluster is needed
    assert sweep(networks, "tcp://127.0.0.1:1", output=path) == rows


def test_the_same_design_under_several_names_is_a_row_for_each(networks, scheduler, tmp_path):
    models, x, y = networks
    path = tmp_path / "new" / "rows.jsonl"  # the folder is made
    how = {"chunk": 64, "scheduler": scheduler, "output": path}
    graph = models["chain"]
    first = nd.sweep({"a": graph, "b": graph}, ["loihi2"], x, y, **how)
    assert [row.model for row in first] == ["a", "b"]
    assert first[0].key == first[1].key
    # a file that was renamed since: nothing is computed, and the row has the name asked for
    how["scheduler"] = "tcp://127.0.0.1:1"
    (again,) = nd.sweep({"renamed": graph}, ["loihi2"], x, y, **how)
    assert again == replace(first[0], model="renamed")
    assert {row.model for row in Results(path).all()} == {"a", "b", "renamed"}


def test_a_part_written_behind_a_torn_line_is_found_again(networks, scheduler, tmp_path):
    path = tmp_path / "rows.jsonl"
    (tmp_path / "rows.jsonl.parts").write_text('{"key": "torn')
    with pytest.raises(StoppedError):
        sweep(networks, scheduler, output=path, progress=stop_after(3))
    assert len(Results(path).parts) == 3


def test_other_chunks_give_the_same_numbers(networks, scheduler, rows):
    for row, other in zip(rows, sweep(networks, scheduler, chunk=64), strict=True):
        known, again = asdict(row), asdict(other)
        for key in ("energy_pj", "latency_s"):
            assert known.pop(key) == pytest.approx(again.pop(key))
        assert known == again


def test_a_key_changes_with_all_that_decides(networks):
    models, x, y = networks
    target = nd.target("loihi2")
    point = Point(model="m", target="t", bits="", coef_bits="", place="naive", seed=0)

    def key(model=models["sdtcm"], example=x, target=target, x=x, y=y, **how):
        named = {k: how.pop(k) for k in ("place", "seed", "bits", "coef_bits") if k in how}
        study = Study(
            models={"m": Model(model, example, "m")}, targets={"t": target}, x=x, y=y, **how
        )
        return study.key(replace(point, **named))

    other = {
        "model": models["chain"],
        "example": x[:, :3],
        "target": replace(target, cycles=nd.target("asic45").cycles),
        "x": x + 1,
        "y": y + 1,
        "prices": prices("horowitz45"),
        "timing": False,
        **{"place": "balanced", "seed": 1, "bits": "4", "coef_bits": "9"},
    }
    keys = [key(), key(y=None), key(example=None)] + [key(**{k: v}) for k, v in other.items()]
    assert key() == key(x=x.copy())
    assert len(set(keys)) == len(keys)


def test_a_key_changes_with_the_version(networks, monkeypatch):
    models, x, y = networks
    study = Study(
        models={"m": Model(models["chain"], None, "m")},
        targets={"t": nd.target("loihi2")},
        x=x,
        y=y,
    )
    (point,) = grid(["m"], ["t"], [""], [""], ["naive"], 0)
    before = study.key(point)
    monkeypatch.setattr("neurodeploy.designs.points.version", lambda name: "99")
    assert study.key(point) != before


def test_a_grid_has_every_combination_once():
    points = grid(["a", "b"], ["t"], ["8", "4", "8"], [""], ["naive"], 3)
    assert [(p.model, p.bits, p.seed) for p in points] == [
        *(("a", "8", 3), ("a", "4", 3)),
        *(("b", "8", 3), ("b", "4", 3)),
    ]


def refused(networks, code, says, **how):
    how = {"scheduler": "tcp://127.0.0.1:1", **how}
    with pytest.raises((InputError, ToolError), match=says) as caught:
        sweep(networks, how.pop("scheduler"), **how)
    assert caught.value.code == code
    assert caught.value.fix


def test_files_that_are_no_results_are_left_alone(networks, tmp_path):
    refused(networks, "E110", "no file for results", output=tmp_path / "rows.csv")
    (tmp_path / "file").write_text("")  # said before anything is computed
    refused(networks, "E110", "cannot write", output=tmp_path / "file" / "rows.jsonl")
    for name in ("rows.jsonl", "rows.parquet"):
        (tmp_path / name).write_text('{"mine": 1}\n')
        refused(networks, "E101", "not what this version", output=tmp_path / name)
        assert (tmp_path / name).read_text() == '{"mine": 1}\n'


def test_bits_and_data_are_checked_at_once(networks):
    refused(networks, "E105", "2 bits are the least", bits=[1])
    for wrong in ({"chunk": 0}, {"chunk": -1}, {"chunk": 2.5}, {"workers": 0}, {"workers": -1}):
        refused(networks, "E105", "is ", **wrong)
    models, x, y = networks
    refused((models, x[0], y), "E106", "the data have shape", calibration=x)
    refused((models, x, y[:3]), "E106", "labels of shape", calibration=x)


def test_without_a_scheduler_or_packages_the_fix_is_named(networks, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "_ANSWER_S", 0.3)
    refused(networks, "E605", "no scheduler answers")
    refused(networks, "E605", "no scheduler answers", scheduler="tcp://[::1]:1")
    refused(networks, "E605", "no address", scheduler="somewhere")
    refused(networks, "E605", "no address", scheduler="http://127.0.0.1:8787")  # its dashboard's
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(networks, "E601", "'distributed' is not installed")
    refused(networks, "E601", "'pyarrow' is not installed", output=tmp_path / "rows.parquet")


def test_a_scheduler_without_workers_is_named(networks, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "_WORKER_S", 0.5)
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty:
        refused(networks, "E605", "has no workers", scheduler=empty.scheduler_address)


def test_workers_of_another_version_are_named(networks, scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "version", lambda name: "99")
    refused(networks, "E605", "this is 99", scheduler=scheduler)


def test_workers_without_the_package_are_named():
    packages = {"packages": {"neurodeploy": cluster.version("neurodeploy")}}
    found = {"scheduler": packages, "workers": {"tcp://b": {"packages": {"neurodeploy": None}}}}
    client = SimpleNamespace(
        wait_for_workers=lambda count, timeout: None, get_versions=lambda packages: found
    )
    with pytest.raises(ToolError, match="tcp://b has no neurodeploy"):
        cluster._check(client, "tcp://a:1")


def test_what_goes_wrong_on_workers_is_told_apart():
    from distributed import KilledWorker

    def judge(status, error=None):
        designs_run._judge(status, SimpleNamespace(exception=lambda: error))

    judge("error", KilledWorker("task", None, 3))  # the others go on
    with pytest.raises(ToolError, match="the scheduler has gone"):
        judge("cancelled")
    with pytest.raises(ToolError, match="cannot run tasks"):
        judge("error", ModuleNotFoundError("no neurodeploy"))
    with pytest.raises(ZeroDivisionError):
        judge("error", ZeroDivisionError())


@pytest.mark.parametrize("way", ["closed", "cancelled"])
def test_a_scheduler_that_goes_while_it_answers_is_told_too(way, monkeypatch):
    from concurrent.futures import CancelledError

    import distributed
    from distributed.comm import CommClosedError

    class Future:
        status = "finished"

        def result(self):
            raise {"closed": CommClosedError, "cancelled": CancelledError}[way]("Stream is closed")

    future, dropped = Future(), []
    client = SimpleNamespace(loop=None, cancel=dropped.extend)
    monkeypatch.setattr(distributed, "as_completed", lambda futures, **how: iter(futures))
    monkeypatch.setattr(designs_run, "_submitted", lambda *args: {future: None})
    with pytest.raises(ToolError, match="the scheduler has gone") as caught:
        list(designs_run._computed(client, None, ()))
    assert caught.value.code == "E605"
    assert dropped == [future]


def test_text_shows_what_varies_and_what_failed(rows):
    text = sweep_text([asdict(row) for row in rows])
    head, *lines = text.splitlines()
    assert head.split()[:3] == ["model", "target", "bits"]
    assert "place" not in head
    assert len([line for line in lines if line.startswith(("sdtcm", "chain"))]) == 12
    assert "all with coef bits default, place naive" in text
    assert "each on 23 samples of 30 steps" in text
    assert "on asic45: table horowitz45" in text
    assert "2 of 12 designs: error[E105]: 16-bit weights" in text
    point = Point(model="a", target="t", bits="", coef_bits="", place="naive", seed=0)
    failed = Row(**asdict(point), key="k", version="1", error="E301", message="error[E301]: big")
    assert "E301" in sweep_text([asdict(failed)]).splitlines()[1]


def command(tiny, *args):
    return [str(a) for a in ("sweep", tiny / "model.pt", "--data", tiny / "data.npz", *args)]


def test_the_command_runs_on_this_machine_and_leaves_a_file(tiny, tmp_path):
    out = tmp_path / "rows.jsonl"
    args = ("--target", "loihi2", "--bits", "4", "--bits", "8,encoder=6", "--workers", 1, "-o", out)
    done = CliRunner().invoke(main, command(tiny, *args, "--chunk", 3, "--json"))
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    assert (body["output"], body["failed"]) == (str(out), 0)
    assert [row["bits"] for row in body["rows"]] == ["4", "8,encoder=6"]
    assert [json.loads(line) for line in out.read_text().splitlines()] == body["rows"]
    again = CliRunner().invoke(main, command(tiny, *args))
    assert again.exit_code == 0
    assert f"wrote {out}" in again.stdout
    assert "8,encoder=6" in again.stdout


def test_the_command_says_how_a_stopped_sweep_goes_on(tiny, tmp_path, monkeypatch):
    def stopped(*args, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr("neurodeploy.api.sweep", stopped)
    out = tmp_path / "rows.jsonl"
    done = CliRunner().invoke(main, command(tiny, "--target", "loihi2", "-o", out))
    assert done.exit_code == 130
    assert f"the same command goes on from {out}" in done.stderr


def test_the_command_refuses_what_makes_no_sense(tiny):
    args = ("--target", "loihi2", "--workers", 2, "--scheduler", "tcp://127.0.0.1:1")
    assert CliRunner().invoke(main, command(tiny, *args)).exit_code == 2
    unknown = CliRunner().invoke(main, command(tiny, "--target", "loihi3"))
    assert unknown.exit_code == 3
    assert "did you mean" in unknown.stderr
