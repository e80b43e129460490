"""A search over bits as one HTML page that needs nothing else: tables, and the plot in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from neurodeploy.reports.format import joules, percent
from neurodeploy.reports.search import search_svg
from neurodeploy.tuning.search import Point, Search

_STYLE = """
:root { --ink: #1c2733; --soft: #5d6b79; --line: #dde3e9; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #9aa7b4; --line: #33404d;
  --paper: #161d24; } }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { color: var(--soft); } svg { max-width: 46rem; width: 100%; border-radius: .4rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
tr.chosen td { font-weight: 600; }
"""


def search_html(found: Search, title: str) -> str:
    """Return the page of a search: what was chosen, each layer, the plot, and all on its front."""
    chosen = found.chosen
    saved = percent(1 - found.cost(chosen))
    lead = (
        f"{saved} cheaper, within {percent(found.drop)} of accuracy; {len(found.points)} programs"
        " were run. The cost is the mean of memory and, where it is priced, energy, each as a share"
        " of the start's."
    )
    names = [knob.name for knob in found.knobs]
    front = [
        (point is chosen, [*_cells(found, point), *_bits(point, names)]) for point in _shown(found)
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>\n<p>{escape(lead)}</p>",
            search_svg(found, "accuracy over cost of every program; the line joins the front"),
            "<h2>Layers, least sensitive first</h2>",
            _table(
                ("layer", "what", "count", "one notch costs [nat]", "bits before", "after"),
                [(False, row) for row in _layers(found)],
            ),
            "<h2>Programs that no other beats, and the start</h2>",
            _table(("accuracy", "loss", "memory", "energy", "cost", *names), front),
            "</body>\n</html>\n",
        ]
    )


def _shown(found: Search) -> list[Point]:
    front = list(found.front())
    return front if found.start in front else [*front, found.start]


def _layers(found: Search) -> Iterable[Sequence[str]]:
    for knob in found.knobs:
        cost = "-" if knob.sensitivity is None else f"{knob.sensitivity:+.4f}"
        before, after = (str(point.bits[knob.name]) for point in (found.start, found.chosen))
        yield knob.name, knob.what, f"{knob.count:,}", cost, before, after


def _cells(found: Search, point: Point) -> list[str]:
    energy = "-" if point.energy_pj is None else joules(point.energy_pj)
    memory, cost = f"{point.memory_kib:.4g} KiB", percent(found.cost(point))
    return [percent(point.accuracy), f"{point.loss:.4f}", memory, energy, cost]


def _bits(point: Point, names: Sequence[str]) -> list[str]:
    return [str(point.bits[name]) for name in names]


def _table(head: Sequence[str], rows: Iterable[tuple[bool, Sequence[str]]]) -> str:
    lines = ["".join(f"<th>{escape(name)}</th>" for name in head)]
    for marked, cells in rows:
        kind = ' class="chosen"' if marked else ""
        lines.append(f"</tr><tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells))
    return f"<div><table><tr>{''.join(lines)}</tr></table></div>"
