"""Energy, in two modes that are never mixed: `physical` and `paper`.

    physical   what the program does, priced under a table: `physical.py` says what is counted
    paper      what the spiking literature counts, at its own prices: `paper.py`

An operation whose price a table does not have is not priced, and named in `not_priced`; it is
never zero. Beside the spiking network stand the same ones without spikes: a quantized and a
floating-point ANN. `low_pj` and `high_pj` are what the physical energy could be under other
assumptions about the machine (`VARIED`), each of which is also varied alone.
"""

from neurodeploy.reports.energy.bill import (
    MODES,
    VARIED,
    Beside,
    Energy,
    LayerEnergy,
    Varied,
    energy,
    spread,
)
from neurodeploy.reports.energy.book import CAUSES
from neurodeploy.reports.energy.counts import ARITHMETIC, Counts, of_program, of_run, operations

__all__ = [
    "ARITHMETIC",
    "CAUSES",
    "MODES",
    "VARIED",
    "Beside",
    "Counts",
    "Energy",
    "LayerEnergy",
    "Varied",
    "energy",
    "of_program",
    "of_run",
    "operations",
    "spread",
]
