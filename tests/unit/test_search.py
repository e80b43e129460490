"""The search over bits: what it tries, what it may choose, how it is shown."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from support.networks import chain, inputs_for

import neurodeploy as nd
from neurodeploy.backends.simulator import simulate
from neurodeploy.cli import main
from neurodeploy.errors import FitError
from neurodeploy.reports.energy import energy
from neurodeploy.reports.format import percent
from neurodeploy.reports.search import search_record, search_svg, search_text
from neurodeploy.reports.search_page import search_html
from neurodeploy.targets import prices
from neurodeploy.tuning.search import Knob, Point, search

KNOBS = (
    Knob(name="a", what="weights", count=100),
    Knob(name="b", what="weights", count=10),
    Knob(name="n", what="coefficients", count=20),
)
START = {"a": 8, "b": 8, "n": 12}
NEEDED = {"a": 4, "b": 7, "n": 8}  # below these bits, accuracy goes


def judged(bits, *, impossible=0):
    """A made-up network: each bit too few costs 0.1 of accuracy; memory is what the bits take."""
    if bits["n"] < impossible:
        raise FitError("E302", "a decay rounds to 1.0")
    short = sum(max(NEEDED[name] - count, 0) for name, count in bits.items())
    away = sum(
        (START[name] - count) * share
        for (name, count), share in zip(bits.items(), (1, 5, 2), strict=True)
    )
    memory = sum(knob.count * bits[knob.name] for knob in KNOBS) / 8192
    return Point(
        bits=bits, accuracy=0.9 - 0.1 * short, loss=0.01 * away, memory_kib=memory, energy_pj=None
    )


def test_every_knob_goes_as_far_as_the_accuracy_holds():
    found = search(KNOBS, START, judged, drop=0.0)
    assert found.chosen.bits == NEEDED
    assert [knob.name for knob in found.knobs] == ["a", "n", "b"]
    assert found.start.bits == START
    assert found.points[0] == found.start
    assert found == search(KNOBS, START, judged, drop=0.0)
    runs = [tuple(point.bits.values()) for point in found.points]
    assert len(set(runs)) == len(runs)  # nothing is run twice


def test_a_tolerated_drop_is_used_and_no_further_notch_fits():
    found = search(KNOBS, START, judged, drop=0.2)
    assert found.chosen.accuracy == pytest.approx(0.7)
    assert found.chosen.memory_kib < search(KNOBS, START, judged, drop=0.1).chosen.memory_kib
    for knob in KNOBS:
        fewer = {**found.chosen.bits, knob.name: found.chosen.bits[knob.name] - 1}
        assert judged(fewer).accuracy < 0.9 - 0.2 - 1e-9


def test_bits_that_do_not_compile_are_left_alone():
    found = search(KNOBS, START, lambda bits: judged(bits, impossible=11), drop=0.0)
    assert found.chosen.bits == {**NEEDED, "n": 12}
    assert next(knob for knob in found.knobs if knob.name == "n").sensitivity is None


def test_energy_counts_as_much_as_memory():
    def priced(bits):
        point = judged(bits)
        return Point(**{**vars(point), "energy_pj": float(bits["b"])})

    found = search(KNOBS, START, priced, drop=0.0)
    shares = found.chosen.memory_kib / found.start.memory_kib, 7 / 8
    assert found.cost(found.chosen) == pytest.approx(sum(shares) / 2)


def test_the_front_has_what_nothing_beats():
    found = search(KNOBS, START, judged, drop=0.3)
    front = found.front()
    assert found.chosen in front
    for point in front:
        better = [p for p in found.points if p.accuracy > point.accuracy]
        assert all(found.cost(p) > found.cost(point) for p in better)
    accuracies = [point.accuracy for point in front]
    assert accuracies == sorted(set(accuracies))


def test_reports_show_every_knob_and_point():
    found = search(KNOBS, START, judged, drop=0.1)
    text = search_text(found)
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["a", "n", "b"]
    assert f"{len(found.points)} programs were run" in text
    record = json.loads(json.dumps(search_record(found)))
    assert record["chosen"]["bits"] == dict(found.chosen.bits)
    assert [record["points"][i] for i in record["front"]][-1]["accuracy"] == 0.9
    root = ElementTree.fromstring(search_svg(found, "a < b"))
    circles = [item for item in root if item.tag.endswith("circle")]
    assert len(circles) == len(found.points) + len(found.front()) + 2
    for circle in circles:
        assert 60 <= float(circle.get("cx")) <= 640
        assert 0 <= float(circle.get("cy")) <= 340


def test_the_page_has_every_layer_and_the_front_and_needs_nothing_else():
    found = search(KNOBS, START, judged, drop=0.1)
    text = search_html(found, "a < b")
    root = ElementTree.fromstring(text.removeprefix("<!doctype html>\n"))
    assert root.findtext("./body/h1") == "a < b"
    layers, front = root.findall("./body/div/table")
    assert [row.findtext("td") for row in layers.findall("tr")[1:]] == ["a", "n", "b"]
    shown = [row.findtext("td") for row in front.findall("tr")[1:]]
    assert shown == [percent(point.accuracy) for point in (*found.front(), found.start)]
    (marked,) = front.findall("tr[@class='chosen']")
    after = [str(found.chosen.bits[knob.name]) for knob in found.knobs]
    assert [cell.text for cell in marked.findall("td")][-3:] == after
    assert root.find("./body/{http://www.w3.org/2000/svg}svg") is not None
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_tables_are_searched_too():
    rng = np.random.default_rng(0)
    graph = chain(rng, [("celif", {"context": "v_te"})])
    x = inputs_for(rng, graph, steps=20, samples=40)
    y = nd.interpret(graph, x).argmax(1)
    small, found = nd.search(graph, nd.target("asic45"), x, y, drop=5)
    table = next(knob for knob in found.knobs if knob.name == "0.neurons.factor")
    assert (table.what, table.count) == ("coefficients", graph["0.neurons"].op.params["te"].size)
    assert small.bits["0.neurons.factor"] < found.start.bits["0.neurons.factor"] == 16
    memory = found.chosen.memory_kib / found.start.memory_kib
    assert memory < 0.6  # most of it is the table


def test_routing_counts_where_the_table_has_it():
    rng = np.random.default_rng(2)
    graph, target = chain(rng, [("lif", {})]), nd.target("asic45")
    x = inputs_for(rng, graph, steps=20, samples=12)
    y, table = nd.interpret(graph, x).argmax(1), prices("loihi1")
    small, found = nd.search(graph, target, x, y, drop=50, prices=table)
    run = simulate(nd.compile(small, target, calibration=x), x, traffic=True)
    priced = energy(run, table)
    assert priced.by_cause()["routing"] > 0
    assert found.chosen.energy_pj == pytest.approx(priced.total_pj)


def test_the_command_writes_what_it_found(tiny, tmp_path):
    out, plot, page = (tmp_path / name for name in ("small.pt", "plot.svg", "page.html"))
    args = ["search", tiny / "model.pt", "--data", tiny / "data.npz", "--drop", 30, "-o", out]
    done = CliRunner().invoke(
        main,
        list(map(str, [*args, "--target", "asic45", "--plot", plot, "--html", page, "--json"])),
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["search"]
    start, chosen = found["start"], found["chosen"]
    memory, energy = (chosen[key] / start[key] for key in ("memory_kib", "energy_pj"))
    assert memory < 0.9
    assert found["cost"] == pytest.approx((memory + energy) / 2)
    assert found["cost"] < 1
    assert "<h1>model on asic45</h1>" in page.read_text()
    assert chosen["accuracy"] >= start["accuracy"] - 0.3
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    graph = nd.load(out)
    assert dict(graph.bits) == found["chosen"]["bits"]
    with np.load(tiny / "data.npz") as data:
        program = nd.compile(graph, nd.target("asic45"), calibration=data["x"])
        accuracy = nd.simulate(program, data["x"]).accuracy(data["y"])
    assert accuracy == found["chosen"]["accuracy"]


@pytest.mark.parametrize(
    ("y", "says"), [(None, "no labels"), (np.array([0, 1, 7]), "class indices from 0 to 2")]
)
def test_data_without_fitting_labels_is_refused(tiny, tmp_path, y, says):
    arrays = {"x": np.zeros((4, 3, 2))} | ({} if y is None else {"y": y})
    np.savez(tmp_path / "data.npz", **arrays)
    args = ("search", tiny / "model.pt", "--target", "loihi2", "--data", tmp_path / "data.npz")
    result = CliRunner().invoke(main, list(map(str, args)))
    assert result.exit_code == 3
    assert "error[E106]" in result.stderr
    assert says in result.stderr
