"""The report is one page that says what the run did, under which prices, and what it leaves out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import escape
from support.networks import inputs_for, sdtcm

import neurodeploy as nd
from neurodeploy.errors import InputError
from neurodeploy.reports.energy import energy
from neurodeploy.reports.format import joules
from neurodeploy.reports.html import html
from neurodeploy.targets import prices


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(0)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph)
    program = nd.compile(graph, nd.target("asic45"), calibration=x, verify=True, name="a <b> net")
    return nd.simulate(program, x)


class Checker(HTMLParser):
    """Collect what a page would load, and check that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_loads_nothing(run):
    checker = Checker()
    checker.feed(html(run.program, [run], prices=("horowitz45", "paper45")))
    assert checker.open == []
    assert checker.loads == []
    assert "a <b> net on plain 45 nm digital design" in "".join(checker.text)


def test_every_joule_stands_with_its_table_scope_and_sources(run):
    page = html(run.program, [run], prices=("horowitz45", "paper45"))
    for name in ("horowitz45", "paper45"):
        table = prices(name)
        priced = energy(run, table)
        assert f"Energy under {name}: {joules(priced.total_pj)}" in page
        assert all(f"<td>{varied.ends}</td>" in page for varied in priced.varied)
        for ann in priced.beside:
            assert f"{ann.name} {joules(ann.total_pj)}" in page
        assert table.scope.split(",")[0] in page
        assert all(escape(source.split(",")[0]) in page for source in table.sources.values())
    paper = energy(run, mode="paper")
    assert f"Energy as the papers count: {joules(paper.total_pj)}" in page
    for item in run.program.target.not_modelled:
        assert item in page


def test_bars_add_up_to_their_rows(run):
    page = html(run.program, [run])
    widths = [float(w) for w in re.findall(r"\); width: ([\d.]+)%", page)]
    assert max(widths) <= 95
    rows = re.findall(r'<td class="bar">(.*?)</td>', page)
    totals = [sum(float(w) for w in re.findall(r"width: ([\d.]+)%", row)) for row in rows]
    assert max(totals) == pytest.approx(95, abs=0.1)


def test_a_timed_run_of_no_samples_is_a_page_too(run):
    x = np.zeros((5, 0, run.program.source.width))
    timed = nd.simulate(run.program, x, timing=True)
    page = html(run.program, [timed])
    assert "0.0 cycles" in page


def test_inputs_that_were_clipped_are_on_the_page(run):
    x = np.full((5, 2, run.program.source.width), 1e6)
    clipped = nd.simulate(run.program, x)
    assert clipped.clipped_inputs == x.size
    assert f"{x.size} inputs were clipped" in html(run.program, [clipped])
    assert "were clipped" not in html(run.program, [run])


def test_a_target_without_prices_shows_no_joules():
    rng = np.random.default_rng(1)
    graph = sdtcm(rng)
    x = inputs_for(rng, graph)
    program = nd.compile(graph, nd.target("loihi2"), calibration=x)
    page = html(program, [nd.simulate(program, x)])
    assert "Not modelled: no price table applies to this target" in page
    assert not re.search(r"\d [mun]?J<", page)


def test_a_report_is_written_whole_or_not_at_all(run, tmp_path):
    nd.report(run.program, [run], tmp_path / "r.html", labels=np.zeros(run.samples, int))
    assert "accuracy" in (tmp_path / "r.html").read_text()
    other = nd.compile(nd.trace(nd.nn.LI(3)), nd.target("asic45"))
    with pytest.raises(InputError, match="of another program"):
        nd.report(other, [run], tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()
    with pytest.raises(InputError, match="at least one run"):
        nd.report(run.program, [], tmp_path / "none.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        nd.report(run.program, [run], tmp_path / "file" / "r.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "r.html"]
