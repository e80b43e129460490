"""Numbers and tables as readable text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_UNITS = ((1e12, "J"), (1e9, "mJ"), (1e6, "uJ"), (1e3, "nJ"), (1.0, "pJ"))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return an aligned table; the first column to the left, the others to the right."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def joules(value_pj: float) -> str:
    """Return an energy with a readable unit."""
    for size, unit in _UNITS:
        if abs(value_pj) >= size:
            return f"{value_pj / size:.4g} {unit}"
    return f"{value_pj:.3g} pJ"


def count(value: float) -> str:
    """Return a count with a readable size."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def percent(share: float | None) -> str:
    """Return a share as percent, or a dash."""
    return "-" if share is None else f"{100 * share:.4g} %"


def seconds(value: float) -> str:
    """Return a time with a readable unit."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value * 1e9:.4g} ns"


def width(layer: dict[str, Any]) -> str:
    """Return a layer's width, and the maps that it is made of."""
    maps = layer["maps"]
    return f"{layer['width']}" + (f" = {' x '.join(map(str, maps))}" if maps else "")


def weights(data: dict[str, Any]) -> str:
    """Return how many synapses there are, and in how many weights if some share one."""
    shared = f" in {data['weights']:,} weights" if data["weights"] < data["synapses"] else ""
    return f"{data['synapses']:,} synapses{shared}"


def coefficients(layer: dict[str, Any]) -> str:
    """Return the bits of the words of coefficients, and whether each has a shift of its own."""
    words = layer["words"].values()
    if not words:
        return "-"
    least, most = (pick(word["bits"] for word in words) for pick in (min, max))
    bits = f"{most}" if least == most else f"{least} .. {most}"
    return f"{bits} scaled" if any(word["form"] == "scaled" for word in words) else bits


def errors(layer: dict[str, Any], what: str) -> str:
    """Return the largest error of a layer's channels, and the median."""
    if f"{what}_error_max" not in layer:
        return "-"
    most, middle = (100 * layer[f"{what}_error_{which}"] for which in ("max", "median"))
    return f"{most:.2g}, {middle:.2g} %"
