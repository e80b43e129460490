"""What `neurodeploy simulate --stepping` does: a run once more, a step at a time, and how long."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurodeploy.backends.simulator import Latency
    from neurodeploy.program.run import Run

MOST = 10_000  # steps, unless a sample has more


def step_through(run: Run, x: Any) -> Latency:
    """Step through samples of x [T, B, C], one after another; return how long steps took.

    As many as have `MOST` steps together, one at least. Raises MismatchError E402 unless each
    answers as in `run`; FitError E303 if a layer runs backwards.
    """
    import numpy as np

    from neurodeploy.backends.simulator import Session
    from neurodeploy.errors import MismatchError

    session, data = Session(run.program), np.asarray(x)
    each = run.program.readout.kind == "steps"
    for sample in range(min(run.samples, max(1, MOST // run.steps))):
        session.reset()
        answers = [session.step(row[sample]).integers for row in data]
        found = np.stack(answers) if each else answers[-1]
        if not np.array_equal(found, run.integers[:, sample] if each else run.integers[sample]):
            fix = "report it with the program and the data"
            raise MismatchError("E402", "stepping gives other outputs than the run", fix=fix)
    return session.latency


def latency_text(found: Latency) -> str:
    """Return the percentiles as a line."""
    from neurodeploy.reports.format import seconds

    ends = {"p50": found.p50_s, "p90": found.p90_s, "p99": found.p99_s, "max": found.max_s}
    shown = ", ".join(f"{name} {seconds(value)}" for name, value in ends.items())
    return f"\nstepping: {found.steps:,} steps of one sample, the same outputs: {shown}"


def latency_record(found: Latency | None) -> dict[str, Any]:
    """Return the percentiles as plain data, if there are any."""
    return {} if found is None else {"stepping": asdict(found)}
