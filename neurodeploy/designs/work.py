"""What workers do: compile a point, run its program on a chunk of samples, and count.

Only this runs in other processes. What comes back is plain data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from neurodeploy.backends.simulator import simulate
from neurodeploy.designs.points import Point, Row
from neurodeploy.errors import FitError, InputError
from neurodeploy.frontends import Model
from neurodeploy.passes.bits import parse
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.program.ir import Program
from neurodeploy.program.limits import core_loads
from neurodeploy.program.memory import Footprint
from neurodeploy.program.run import Run
from neurodeploy.reports.energy import energy
from neurodeploy.targets import Prices, Target


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the program of the point `key` did with the samples `first` to `last` (excluded).

    facts: what holds for the program, and the prices that these samples lacked (`not_priced`, a
    list); sums: over these samples, None for what is not known.
    Where the point failed, `error` and `message` say how.
    """

    key: str
    first: int
    last: int
    facts: dict[str, Any]
    sums: dict[str, float | None]
    error: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a point has no program."""

    error: str
    message: str


def handed(*values: Any) -> Any:
    """Return `values`: what several tasks need is a task too, and so survives its worker."""
    return values


def compiled(held: tuple[Model], target: Target, point: Point) -> Program | Failure:
    """Return the program of a point, or why there is none."""
    (model,) = held
    try:
        return compile_graph(
            model.graph,
            target,
            calibration=model.example,
            bits=parse(point.bits) if point.bits else None,
            coef_bits=parse(point.coef_bits) if point.coef_bits else None,
            place=point.place,
            seed=point.seed,
            name=model.name,
        ).program
    except (InputError, FitError) as error:
        return Failure(error.code, str(error))


def measured(
    program: Program | Failure,
    data: tuple[Any, Any],
    prices: Prices | None,
    timing: bool,
    key: str,
    span: tuple[int, int],
) -> Part:
    """Run a program on a chunk (x, y); return what it did there."""
    x, y = data
    own: Any = {"key": key, "first": span[0], "last": span[1]}
    if isinstance(program, Program):
        timed = timing and program.target.cycles is not None
        try:
            run = simulate(program, x, timing=timed, traffic=prices is not None)
            return Part(**own, facts=_facts(run, prices), sums=_sums(run, y, prices))
        except (InputError, FitError) as error:
            program = Failure(error.code, str(error))
    return Part(**own, facts={}, sums={}, **asdict(program))


def _facts(run: Run, prices: Prices | None) -> dict[str, Any]:
    loads = core_loads(run.program).values()
    total = sum(loads, start=Footprint())
    missing = () if prices is None else energy(run, prices).not_priced
    return {
        "steps": run.steps,
        "prices": None if prices is None else prices.name,
        "not_priced": list(missing),
        "memory_kib": total.total_bits / 8192,
        "cores": len(loads),
        "neurons": total.neurons,
        "synapses": total.synapses,
    }


def _sums(run: Run, y: Any, prices: Prices | None) -> dict[str, float | None]:
    def operations(kind: str) -> float:
        return sum(edge.operations for edge in run.edges if edge.kind == kind)

    cycles, each = run.cycles, run.samples
    return {
        "accuracy": None if y is None else round(run.accuracy(y) * each),
        "energy_pj": None if prices is None else energy(run, prices).total_pj * each,
        "cycles": None if cycles is None else cycles.total,
        "latency_s": None if cycles is None else cycles.latency_s * each,
        "spikes": sum(node.spikes for node in run.nodes),
        "synaptic_adds": operations("add"),
        "synaptic_macs": operations("mac"),
        "overflows": sum(node.overflows for node in run.nodes),
        "clipped_inputs": run.clipped_inputs,
    }


def row(point: Point, parts: Sequence[Part]) -> Row:
    """Return what the parts of a point, in the order of the samples, amount to."""
    first = parts[0]
    own: Any = {**asdict(point), "key": first.key, "version": version("neurodeploy")}
    failed = next((part for part in parts if part.error is not None), None)
    if failed is not None:
        return Row(**own, error=failed.error, message=failed.message)
    samples = sum(part.last - part.first for part in parts)
    means: dict[str, Any] = {}
    for name in first.sums:
        values = [part.sums[name] for part in parts]
        known = [value for value in values if value is not None]
        means[name] = math.fsum(known) / samples if len(known) == len(values) else None
    lacking = sorted({name for part in parts for name in part.facts["not_priced"]})
    facts = {**first.facts, "not_priced": ", ".join(lacking) or None}
    return Row(**own, samples=samples, **facts, **means)
