"""What a search over bits found: as plain data, as text, and as a plot (SVG, by hand)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from xml.sax.saxutils import escape

from neurodeploy.reports.format import joules, percent, table
from neurodeploy.tuning.search import Point, Search

_WIDTH, _HEIGHT, _EDGE = 640, 400, 60


def search_record(found: Search) -> dict[str, Any]:
    """Return a search as plain data."""
    return {
        "start": asdict(found.start),
        "chosen": asdict(found.chosen),
        "cost": found.cost(found.chosen),
        "drop": found.drop,
        "knobs": [asdict(knob) for knob in found.knobs],
        "points": [asdict(point) for point in found.points],
        "front": [found.points.index(point) for point in found.front()],
    }


def search_text(found: Search) -> str:
    """Return a search as two tables: each knob, and start and choice."""
    start, chosen = found.start, found.chosen
    rows = [
        (
            knob.name,
            knob.what,
            knob.count,
            "-" if knob.sensitivity is None else f"{knob.sensitivity:+.4f}",
            start.bits[knob.name],
            chosen.bits[knob.name],
        )
        for knob in found.knobs
    ]
    head = ("layer", "what", "count", "one notch costs", "bits before", "after")
    points = [("start", *_cells(start)), ("chosen", *_cells(chosen))]
    return "\n".join(
        [
            table(head, rows),
            "",
            table(("program", "accuracy", "loss", "memory", "energy"), points),
            "",
            f"{percent(1 - found.cost(chosen))} cheaper, within {percent(found.drop)} of accuracy;"
            f" {len(found.points)} programs were run",
        ]
    )


def _cells(point: Point) -> tuple[str, ...]:
    energy = "-" if point.energy_pj is None else joules(point.energy_pj)
    memory = f"{point.memory_kib:.4g} KiB"
    return percent(point.accuracy), f"{point.loss:.4f}", memory, energy


def search_svg(found: Search, title: str) -> str:
    """Return accuracy over cost of all programs that were run, with those no other beats joined."""
    costs = [found.cost(point) for point in found.points]
    scores = [100 * point.accuracy for point in found.points]
    x, y = _axis(costs, _EDGE, _WIDTH - 20), _axis(scores, _HEIGHT - _EDGE, 30)
    front = [(x(found.cost(p)), y(100 * p.accuracy)) for p in found.front()]
    dots = [_dot(x(c), y(s), 3, "#999") for c, s in zip(costs, scores, strict=True)]
    dots += [_dot(a, b, 4, "#1f77b4") for a, b in front]
    for point, name, colour in (
        (found.start, "start", "#d62728"),
        (found.chosen, "chosen", "#2ca02c"),
    ):
        at = x(found.cost(point)), y(100 * point.accuracy)
        dots += [_dot(*at, 6, colour), _text(at[0] - 8, at[1] - 8, name, "end")]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in front)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
            ' font-family="sans-serif" font-size="12">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            _text(_WIDTH / 2, 18, title, "middle"),
            *_frame(costs, scores, x, y),
            f'<polyline points="{line}" fill="none" stroke="#1f77b4"/>',
            *dots,
            "</svg>\n",
        ]
    )


def _axis(values: list[float], low: float, high: float) -> Any:
    """Return the map from values to positions, with a margin on both sides."""
    least, most = min(values), max(values)
    span = (most - least) or 1.0
    return lambda value: low + (high - low) * (0.04 + 0.92 * (value - least) / span)


def _frame(costs: list[float], scores: list[float], x: Any, y: Any) -> list[str]:
    """Return the axes with the values at their ends and in the middle."""
    foot, right = _HEIGHT - _EDGE, _WIDTH - 20
    marks = [
        f'<path d="M{_EDGE},30 V{foot} H{right}" fill="none" stroke="black"/>',
        _text((_EDGE + right) / 2, _HEIGHT - 15, "cost, share of the start", "middle"),
        f'<g transform="rotate(-90 14 {foot / 2:.0f})">'
        + _text(14, foot / 2, "accuracy [%]", "middle")
        + "</g>",
    ]
    for value in _ticks(costs):
        marks.append(_text(x(value), foot + 18, f"{value:.2f}", "middle"))
    for value in _ticks(scores):
        marks.append(_text(_EDGE - 8, y(value) + 4, f"{value:.1f}", "end"))
    return marks


def _ticks(values: list[float]) -> list[float]:
    least, most = min(values), max(values)
    return [least] if least == most else [least, (least + most) / 2, most]


def _dot(x: float, y: float, size: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
