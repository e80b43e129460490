"""The public functions, put together from the rooms below.

graph   = load("model.pt")                         or trace(module, example)
y       = interpret(graph, x)                      float64: what the graph means
program = compile(graph, target("loihi2"), calibration=x, bits=8)
run     = simulate(program, x)                     exact integers, and counts
graph   = tune(graph, target("loihi2"), x, y, bits=4)     trained as those integers
graph, found = search(graph, target("loihi2"), x, y)      the cheapest bits per layer
rows    = sweep({"a": graph}, ["loihi2"], x, y, bits=[8, 4])   designs, on many processes
compare(graph, program, x)                         the first divergence, agreement per layer
export(graph, "model.onnx");  emit(program, "build/")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.backends.simulator import simulate
from neurodeploy.errors import InputError
from neurodeploy.frontends import Model, Reading, read_model
from neurodeploy.graph.interpret import interpret
from neurodeploy.graph.ir import Graph, digest
from neurodeploy.passes.bits import Bits
from neurodeploy.passes.bits import text as bits_text
from neurodeploy.passes.pipeline import Watch, compile_graph
from neurodeploy.passes.verify import Verdict
from neurodeploy.program.ir import Program
from neurodeploy.program.run import Run
from neurodeploy.reports.compare import Comparison
from neurodeploy.reports.compare import compare as compare_runs
from neurodeploy.targets import Prices, Target, target
from neurodeploy.tuning.search import Search
from neurodeploy.tuning.search import search as descend

if TYPE_CHECKING:
    from neurodeploy.designs import Row

__all__ = [
    "compare",
    "compile",
    "emit",
    "export",
    "interpret",
    "load",
    "report",
    "save",
    "search",
    "simulate",
    "sweep",
    "target",
    "trace",
    "tune",
]


def load(
    path: str | Path,
    *,
    layout: str | None = None,
    allow_external_data: bool = False,
    source: str | None = None,
    defaults: bool = False,
    dt: float | Mapping[str, float] | None = None,
    reset: str | Mapping[str, str] | None = None,
    reset_delay: bool | Mapping[str, bool] | None = None,
    compare: str | Mapping[str, str] | None = None,
    norm_input: bool | Mapping[str, bool] | None = None,
    spikes: str | Mapping[str, str] | None = None,
    v_min: float | str | Mapping[str, float | str] | None = None,
    tau_syn: float | str | Mapping[str, float | str] | None = None,
    feedback_bias: str | Mapping[str, str] | None = None,
) -> Graph:
    """Return the graph of a model file: .pt (written by `save`), .nir or .onnx.

    layout: the axes of a plain ONNX network's input where the file leaves them open, such as "TBC"
    (`frontends.LAYOUTS`); allow_external_data: whether an ONNX file may keep data in other files,
    below its folder. All others are what a NIR file of another tool does not state, for all neurons
    or by patterns of names, {"*": "zero", "lif1": "none"}: source: the tool, "snntorch", "norse",
    "sinabs", "spikingjelly", "rockpool" or "nir-paper", where the file does not tell; defaults: for
    what nothing else states, the tool's own; dt: seconds of a step; reset: "subtract", "zero" or
    "none"; reset_delay: whether it comes a step later; compare: ">" or ">="; norm_input: whether
    input is scaled by 1 - decay; spikes: "many" or "one" a step; v_min: the least membrane, or
    "none"; tau_syn: steps, or "none"; feedback_bias: whether the bias of a loop's weights counts
    "always", or, "late", from the second step on.
    `neurodeploy.nn.load` reads a .pt back as a trainable module. Raises InputError or ToolError;
    E108 lists all that has to be stated.
    """
    reading = Reading(
        layout=layout,
        allow_external_data=allow_external_data,
        source=source,
        defaults=defaults,
        dt=dt,
        reset=reset,
        reset_delay=reset_delay,
        compare=compare,
        norm_input=norm_input,
        spikes=spikes,
        v_min=v_min,
        tau_syn=tau_syn,
        feedback_bias=feedback_bias,
    )
    return read_model(Path(path), reading).graph


def save(model: Any, path: str | Path, example: Any = None) -> None:
    """Write a torch module, or a graph, as a checkpoint: data only, read back with `load`.

    Modules of `neurodeploy.nn`, and Sequentials of them, can be trained on after `nn.load`; of a
    class of your own the graph is saved, which deploys but cannot be trained on (it can be tuned,
    with `tune`). example: an
    input x [T, B, C], which then serves for calibration. Raises InputError E104 naming every
    layer that is not known, E105, E106, E110.
    """
    from neurodeploy.frontends import torch_checkpoint

    torch_checkpoint.save(model, Path(path), example)


def trace(module: Any, example: Any = None) -> Graph:
    """Return the graph of a torch module whose forward takes x [T, B, C]; raises InputError."""
    from neurodeploy.frontends import torch

    return torch.trace(module, example)


def compile(
    graph: Graph,
    target: Target,
    *,
    calibration: Any = None,
    bits: Bits = None,
    coef_bits: Bits = None,
    verify: bool = False,
    place: str = "naive",
    seed: int = 0,
    origin: str = "",
    name: str = "network",
    watch: Watch = lambda name, stage: None,
) -> Program:
    """Return the integer program of `graph` for `target`.

    calibration: inputs x [T, B, C] that set the scales, else bounds do; bits: of the weights, of
    all or by name of the Linear, {"*": 8, "blocks.0.*": 4}, by default those that tuning recorded
    in the graph, else 8; coef_bits: likewise of the neurons' dimensionless coefficients, by default
    all that the target has; verify: check every pass on the calibration data (the verdicts are in
    `program.notes["verified"]`); place: how nodes are put on cores, "naive", "balanced", "traffic"
    or "cycles" (`passes.place`), repeatable by `seed`; origin: what to call the data in reports;
    name: what to call the program. Raises InputError,
    FitError (all broken limits at once), MismatchError E401.
    """
    compiled = compile_graph(
        graph,
        target,
        calibration=calibration,
        origin=origin,
        name=name,
        bits=bits,
        coef_bits=coef_bits,
        verify=verify,
        place=place,
        seed=seed,
        watch=watch,
    )
    notes = {"model": digest(graph), "verified": _records(compiled.verdicts)}
    return replace(compiled.program, notes={**compiled.program.notes, **notes})


def _records(verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    return {name: verdict.record() for name, verdict in verdicts.items()}


def tune(
    graph: Graph,
    target: Target,
    x: Any,
    y: Any,
    *,
    bits: Bits = None,
    coef_bits: Bits = None,
    calibration: Any = None,
    epochs: int = 3,
    rate: float = 1e-3,
    batch: int = 64,
    seed: int = 0,
    surrogate: str = "arctan",
    steepness: float = 2.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Graph:
    """Return `graph`, folded and fine-tuned as the integers that it becomes on `target`.

    x [T, B, C], y [B]: inputs and class indices to train on. bits, coef_bits: as in `compile`; they
    are recorded in the graph, and `compile` uses them by default. calibration: inputs that set the
    scales, by default the first 64 of x. rate: of Adam, relative to each constant's own size.
    surrogate, steepness: of spikes, as in training. progress(done, total) is called after each
    batch. Raises InputError: E104 naming what tuning does not cover, E105, E106; ToolError E601.
    """
    from neurodeploy.frontends import require

    require("torch", "torch")
    from neurodeploy.tuning.fit import Recipe, fit

    return fit(
        graph,
        target,
        x,
        y,
        calibration=x[:, :64] if calibration is None else calibration,
        bits=bits,
        coef_bits=coef_bits,
        recipe=Recipe(epochs, rate, batch, seed, surrogate, steepness),
        progress=progress,
    )


def search(
    graph: Graph,
    target: Target,
    x: Any,
    y: Any,
    *,
    drop: float = 0.5,
    bits: Bits = None,
    coef_bits: Bits = None,
    calibration: Any = None,
    prices: Prices | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Graph, Search]:
    """Find the cheapest bits per layer; return the folded graph with them, and what was tried.

    x [T, B, C], y [B]: the data that every candidate is run on. drop: percentage points of accuracy
    that may be lost against the start, whose bits are `bits` and `coef_bits` as in `compile`.
    calibration: inputs that set the scales, by default the first 64 of x. prices: a price table for
    the energy, by default the target's; where there is none, memory alone is the cost.
    Raises InputError, FitError.
    """
    from neurodeploy.candidates import Candidates

    if not 0 <= drop <= 100:
        raise InputError("E105", f"drop is {drop}", fix="give percentage points, 0 to 100")
    sample = x[:, :64] if calibration is None else calibration
    made = Candidates.of(graph, target, x, y, sample, bits, coef_bits, prices)
    found = descend(made.knobs(), made.start, made.point, drop=drop / 100, progress=progress)
    return replace(made.graph, ranges={}, calibration="none", bits=dict(found.chosen.bits)), found


def sweep(
    models: Mapping[str, Graph | str | Path],
    targets: Sequence[Target | str],
    x: Any,
    y: Any = None,
    *,
    bits: Sequence[Bits] = (None,),
    coef_bits: Sequence[Bits] = (None,),
    places: Sequence[str] = ("naive",),
    seed: int = 0,
    calibration: Any = None,
    prices: Prices | None = None,
    timing: bool = True,
    chunk: int = 64,
    output: str | Path | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Row, ...]:
    """Compile and run every combination on all of x [T, B, C]; return a row for each.

    models: graphs or model files, by the name they have in rows; targets: targets, or their names
    or .toml files; bits, coef_bits, places: what `compile` takes, several of each. y [B]: labels.
    calibration: inputs that set the scales, by default the example in each model file, else bounds.
    prices: a table for all, by default each target's. timing: count cycles where a target states
    its machine. A row whose point does not compile has the error's code.

    chunk: samples of a task. scheduler: address of a Dask scheduler, by default `workers` processes
    of this machine (then a script needs `if __name__ == "__main__":`). output: a .jsonl or .parquet
    file; what it has is not computed again, and a sweep that was stopped goes on from it.
    progress(chunks done, chunks) is called after each. Raises InputError, ToolError E601, E605.
    """
    from neurodeploy.designs import Study, grid
    from neurodeploy.designs import sweep as run_sweep

    study = Study(
        models={name: _model(model, name, calibration) for name, model in models.items()},
        targets=dict(_named(item) for item in targets),
        x=np.asarray(x),
        y=None if y is None else np.asarray(y),
        prices=prices,
        timing=timing,
    )
    weights, coefs = ([bits_text(each) for each in choices] for choices in (bits, coef_bits))
    points = grid(study.models, study.targets, weights, coefs, places, seed)
    where = None if output is None else Path(output)
    how: Any = {"scheduler": scheduler, "workers": workers, "progress": progress}
    return run_sweep(study, points, chunk=chunk, output=where, **how)


def _model(model: Graph | str | Path, name: str, calibration: Any) -> Model:
    found = Model(model, None, name) if isinstance(model, Graph) else read_model(Path(model))
    return found if calibration is None else replace(found, example=np.asarray(calibration))


def _named(item: Target | str) -> tuple[str, Target]:
    return (item, target(item)) if isinstance(item, str) else (item.name, item)


def compare(
    graph: Graph,
    program: Program,
    x: Any,
    *,
    labels: Any = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Run both on x [T, B, C]; return their agreement and the first divergence.

    labels: class indices [B]. Raises InputError E107 if the program came from another model.
    """
    known = program.notes.get("model")
    if known is not None and known != digest(graph):
        raise InputError(
            "E107",
            "the program was not compiled from this model, or the model has changed since",
            fix="compile the model again",
        )

    def run(part: Any, names: list[str]) -> Any:
        return simulate(program, part, record=names)

    return compare_runs(graph, program, x, run, labels=labels, progress=progress)


def export(stage: Graph | Program, path: str | Path, *, nir: str | None = None) -> None:
    """Write a graph as .nir or .onnx, or a program as .onnx (integers).

    nir: what may stand in a NIR file: "stock", primitives of NIR alone; "composite" (the default),
    graphs of them, too; "extension", also nodes that only neurodeploy reads.
    Raises InputError E108 for what the format cannot carry, E110 if it cannot be written,
    ToolError E601 if a package is missing.
    """
    from neurodeploy.backends.export import write

    write(stage, Path(path), nir_tier=nir)


def emit(program: Program, folder: str | Path, *, backend: str = "program") -> Path:
    """Write a program as a folder: "program" alone, or with a "lava" bundle in it.

    Raises InputError E110 if it cannot be written.
    """
    from neurodeploy.backends.folder import write

    return write(program, Path(folder), bundle=None if backend == "program" else backend)


def report(
    program: Program,
    runs: Sequence[Run],
    path: str | Path,
    *,
    prices: Sequence[str] = (),
    labels: Any = None,
) -> None:
    """Write an HTML page about a program and its runs; raises InputError, ToolError E601.

    prices: names of price tables, the target's own by default; labels: class indices [B].
    """
    from neurodeploy.reports.html import write

    write(program, runs, Path(path), prices=prices, labels=labels)
