"""The compiler: passes in order, checked between, and on request verified on data.

Graph rules hold before and after every pass. With `verify`, the float interpreter runs before and
after each graph pass on the calibration data: every membrane may move by the pass's tolerance,
and no spike may flip unless its membrane was within that tolerance of the threshold. What
quantization itself changes is measured the same way, and reported, by running the integer program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neurodeploy.graph import rules
from neurodeploy.graph.ir import Array, Graph
from neurodeploy.passes.align_delays import AlignDelays
from neurodeploy.passes.base import GraphPass
from neurodeploy.passes.bits import Bits
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.drop_surrogate import DropSurrogate, agreement
from neurodeploy.passes.fold_amplitude import FoldAmplitude
from neurodeploy.passes.fold_batchnorm import FoldBatchNorm
from neurodeploy.passes.fold_dynamics import FoldDynamics
from neurodeploy.passes.fold_pooling import FoldPooling
from neurodeploy.passes.place import Place, PlaceBy, place_by
from neurodeploy.passes.quantize import Quantize
from neurodeploy.passes.verify import Verdict, compare_graphs
from neurodeploy.program import limits
from neurodeploy.program.ir import Program
from neurodeploy.targets import Target

PASSES = (
    "drop-surrogate",
    "fold-pooling",
    "fold-batchnorm",
    "fold-dynamics",
    "fold-amplitude",
    "calibrate",
    "quantize",
    "align-delays",
    "place",
)

Watch = Callable[[str, Graph | Program], None]


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program, the folded graph it was made from, and what verification found per pass."""

    program: Program
    graph: Graph
    verdicts: dict[str, Verdict] = field(default_factory=dict)


def folds() -> tuple[GraphPass, ...]:
    """Return the passes that fold training-only constants away."""
    return DropSurrogate(), FoldPooling(), FoldBatchNorm(), FoldDynamics(), FoldAmplitude()


def fold(graph: Graph) -> Graph:
    """Return `graph` with everything folded that training alone needed."""
    for step in folds():
        graph = rules.check(step(graph))
    return graph


def compile_graph(
    graph: Graph,
    target: Target,
    *,
    calibration: Array | None = None,
    origin: str = "",
    name: str = "network",
    bits: Bits = None,
    coef_bits: Bits = None,
    verify: bool = False,
    place: str = "naive",
    seed: int = 0,
    watch: Watch = lambda name, stage: None,
) -> Compiled:
    """Compile `graph` for `target`; see the module's docstring.

    calibration: x [T, B, C], or None for bounds. bits: weight bits, of all Linears or by name
    (`bits.py`); what is left open are those the graph records, else 8 (or the target's widest, if
    that is less). coef_bits: likewise, of dimensionless coefficients, by neurons. place: one of
    `place.PLACES`, repeatable by seed. watch(pass name, result) is called after each pass.
    Raises InputError (bad graph or data), FitError (all limits at once), MismatchError E401.
    """
    rules.check(graph)
    verdicts: dict[str, Verdict] = {}
    sample = _sample(calibration)
    agreed = {} if sample is None else agreement(graph, sample)
    origin = origin or ("bounds" if calibration is None else "data")
    for step in (*folds(), Calibrate(calibration, origin)):
        after = rules.check(step(graph))
        moved = after is not graph and step.tolerance is not None
        if verify and sample is not None and moved:
            verdicts[step.name] = compare_graphs(graph, after, sample, step)
        graph = after
        watch(step.name, graph)
    how: Any = {"placer": place_by(target, place, calibration, seed), "watch": watch}
    program = lower(graph, target, bits=bits, coef_bits=coef_bits, name=name, **how)
    if agreed:
        program = replace(program, notes={**program.notes, "surrogates": agreed})
    return Compiled(program, graph, verdicts)


def lower(
    graph: Graph,
    target: Target,
    *,
    bits: Bits = None,
    coef_bits: Bits = None,
    name: str = "network",
    placer: Place | PlaceBy | None = None,
    watch: Watch = lambda name, stage: None,
) -> Program:
    """Return the placed program of a folded, calibrated graph; arguments and errors as above."""
    program = replace(Quantize(target, bits, coef_bits)(graph), name=name)
    watch("quantize", program)
    for late in (AlignDelays(target), placer or Place(target)):
        program = late(program)
        watch(late.name, program)
    return limits.check(program, target)


def _sample(calibration: Array | None, most: int = 16) -> Array | None:
    return None if calibration is None else np.asarray(calibration)[:, :most]


def notes(compiled: Compiled) -> dict[str, Any]:
    """Return what the compiler has to say about a compilation, as plain data."""
    verdicts = {name: verdict.record() for name, verdict in compiled.verdicts.items()}
    return {**compiled.program.notes, "verified": verdicts}
