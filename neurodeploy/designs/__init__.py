"""Design sweeps: every point of a table of choices, compiled and run on a whole data set.

A point p chooses model, target, bits and placement. Its program runs chunk after chunk of the
samples, wherever there is room; what it did there, c(p, k), is summed over the chunks k,

    row(p) = sum over k of c(p, k),  divided by the samples

so a row depends neither on who computed what nor on what was lost and computed again.
"""

from neurodeploy.designs.points import Point, Row, Study, grid
from neurodeploy.designs.run import Progress, sweep

__all__ = ["Point", "Progress", "Row", "Study", "grid", "sweep"]
