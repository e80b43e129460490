"""What a search over bits tries: each candidate compiled, placed, run and priced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.backends.simulator import simulate
from neurodeploy.errors import InputError
from neurodeploy.graph import rules
from neurodeploy.graph.ir import Array, Graph, Population
from neurodeploy.graph.weights import Weighted
from neurodeploy.neurons import Kind
from neurodeploy.passes.bits import Bits, coefficient_bits, recurrent_name, table_name, weight_bits
from neurodeploy.passes.calibrate import Calibrate
from neurodeploy.passes.lowerable import Lowerable
from neurodeploy.passes.pipeline import fold, lower
from neurodeploy.program.limits import core_loads
from neurodeploy.program.run import Run
from neurodeploy.reports.energy import energy
from neurodeploy.targets import Prices, Target
from neurodeploy.targets import prices as price_table
from neurodeploy.tuning.search import Knob, Point


@dataclass(frozen=True, eq=False)
class Candidates:
    """A folded, calibrated graph, and the data that its programs are judged by."""

    graph: Graph
    target: Target
    x: Any
    labels: Any
    weights: dict[str, int]  #: bits at the start, by Linear
    coefficients: dict[str, int]  #: bits at the start, by population
    prices: Prices | None

    @classmethod
    def of(
        cls,
        graph: Graph,
        target: Target,
        x: Any,
        y: Any,
        calibration: Array,
        bits: Bits,
        coef_bits: Bits,
        prices: Prices | None,
    ) -> Candidates:
        """Fold and calibrate `graph`; raises InputError E105, E106."""
        if y is None:
            raise InputError("E106", "the data has no labels", fix="give y [B], class indices")
        folded = rules.check(fold(graph))
        lowered = Lowerable()(folded)
        return cls(
            Calibrate(calibration, "data")(folded),
            target,
            x,
            np.asarray(y),
            weight_bits(lowered, target, bits),
            coefficient_bits(lowered, target, coef_bits),
            prices or (price_table(target.prices) if target.prices else None),
        )

    @property
    def start(self) -> dict[str, int]:
        """The bits of every knob at the start."""
        return self.weights | self.coefficients

    def knobs(self) -> tuple[Knob, ...]:
        """Return what can be turned, in the order of the graph."""
        sizes: dict[str, int] = {}
        for node in Lowerable()(self.graph):
            if isinstance(node.op, Weighted):
                sizes[node.name] = node.op.stored.size
            if isinstance(node.op, Population):
                tables = node.op.model.tables
                own = [k for k, kind in node.op.model.kinds.items() if kind is Kind.UNIT]
                plain = [key for key in own if key not in tables]
                sizes[node.name] = sum(np.size(node.op.coefs[key]) for key in plain)
                for key in tables & node.op.coefs.keys():
                    sizes[table_name(node.name, key)] = np.size(node.op.coefs[key])
            again = getattr(node.op, "recurrent", None)
            if again is not None:
                sizes[recurrent_name(node.name)] = again.size
        kinds = (("weights", self.weights), ("coefficients", self.coefficients))
        return tuple(
            Knob(name=name, what=what, count=sizes[name]) for what, own in kinds for name in own
        )

    def point(self, bits: Any) -> Point:
        """Compile, run and price one candidate; raises FitError if it does not compile."""
        program = lower(
            self.graph,
            self.target,
            bits={name: bits[name] for name in self.weights} or None,
            coef_bits={name: bits[name] for name in self.coefficients} or None,
        )
        run = simulate(program, self.x, traffic=self.prices is not None)
        loads = core_loads(program).values()
        accuracy = run.accuracy(self.labels)  # and the labels are those of its classes
        return Point(
            bits=dict(bits),
            accuracy=accuracy,
            loss=cross_entropy(run, self.labels),
            memory_kib=sum(load.total_bits for load in loads) / 8192,
            energy_pj=None if self.prices is None else energy(run, self.prices).total_pj,
        )


def cross_entropy(run: Run, labels: Any) -> float:
    """Return the mean cross-entropy of the outputs, summed over steps if there are many [nat]."""
    scores = run.outputs if run.outputs.ndim == 2 else run.outputs.sum(axis=0)
    shifted = scores - scores.max(axis=1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log[np.arange(len(labels)), labels].mean())
