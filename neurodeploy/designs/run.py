"""Run a sweep: what is not known yet becomes tasks; what they bring back becomes rows.

Models, chunks of data and programs are tasks too. The scheduler keeps how each is made, so what a
worker held when it died is made again elsewhere, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from neurodeploy.designs.cluster import cluster
from neurodeploy.designs.points import Point, Row, Study
from neurodeploy.designs.results import Results
from neurodeploy.designs.work import Part, compiled, handed, measured, row
from neurodeploy.errors import ToolError, require_counts

Progress = Callable[[int, int], None]
Span = tuple[int, int]


def sweep(
    study: Study,
    points: Sequence[Point],
    *,
    chunk: int,
    output: Path | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Row, ...]:
    """Return the row of each point; rows and chunks that `output` has are not computed again.

    chunk: samples of a task. progress(chunks done, chunks) is called after each. Raises
    InputError E101, E110 (output), E105 (chunk, workers), ToolError E601, E605 (cluster).
    """
    require_counts(chunk=chunk, workers=1 if workers is None else workers)
    results = Results(output)
    todo = _Todo(study, points, study.spans(chunk), results)
    progress(todo.done, todo.total)
    if todo.missing:
        with cluster(scheduler, workers) as client:
            for part in _computed(client, study, todo.missing):
                todo.add(part)
                progress(todo.done, todo.total)
    results.close()
    return todo.rows


class _Todo:
    """What is known of each point, and the chunks that are missing."""

    def __init__(
        self, study: Study, points: Sequence[Point], spans: Sequence[Span], results: Results
    ) -> None:
        self.spans, self.results = spans, results
        self.points = [(study.key(point), point) for point in points]
        self.named: dict[str, list[Point]] = {}  # the same design may have several names
        for key, point in self.points:
            self.named.setdefault(key, []).append(point)
        for key in self.named:
            self._finish(key)
        self.missing = [
            (same[0], key, span)
            for key, same in self.named.items()
            if key not in results.rows
            for span in spans
            if (key, *span) not in results.parts
        ]
        self.total = len(self.named) * len(spans)
        self.done = self.total - len(self.missing)

    def add(self, part: Part) -> None:
        """Note a part; where it was the last of its point, note the row."""
        self.results.add(part)
        self.done += 1
        self._finish(part.key)

    def _finish(self, key: str) -> None:
        """Note the rows of a key if all is known: by its parts, or by a row of another name."""
        done = dict(self.results.rows.get(key, {}))
        parts = [self.results.parts.get((key, *span)) for span in self.spans]
        known = [part for part in parts if part is not None]
        for point in self.named[key]:
            if (point.model, point.target) in done:
                continue
            if done:
                self.results.finish(replace(next(iter(done.values())), **asdict(point)))
            elif len(known) == len(parts):
                self.results.finish(row(point, known))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all points, in their order."""
        rows = self.results.rows
        return tuple(rows[key][point.model, point.target] for key, point in self.points)


def _computed(
    client: Any, study: Study, missing: Sequence[tuple[Point, str, Span]]
) -> Iterator[Part]:
    """Yield the parts that are missing, as they are done.

    Raises ToolError E605, after all others are done, for those that cost several workers their
    life, and at once if the scheduler is lost.
    """
    from distributed import as_completed
    from distributed.comm import CommClosedError

    futures = _submitted(client, study, missing)
    dropped: list[Point] = []
    completed = as_completed(list(futures), loop=client.loop, raise_errors=False)
    try:
        for future in completed:
            status = future.status
            if status == "finished":
                part = future.result()  # computed again if it was lost meanwhile
                del futures[future]
                yield part
            elif status in ("error", "cancelled"):
                _judge(status, future)
                dropped.append(futures.pop(future))
            else:  # lost with its worker: it comes again
                completed.add(future)
    except (CommClosedError, CancelledError) as error:  # in the middle of an answer
        raise _gone() from error
    finally:
        client.cancel(list(futures))
    if dropped:
        raise ToolError(
            "E605",
            f"{len(dropped)} chunks were given up: each time a worker took one, it died",
            where=f"first at {dropped[0]}",
            fix="give workers more memory, or them less to do (--chunk), and sweep again",
        )


def _judge(status: str, future: Any) -> None:
    """Return if a task was given up since it kills workers; else raise what went wrong."""
    from distributed import KilledWorker

    if status == "cancelled":
        raise _gone()
    error = future.exception()
    if isinstance(error, ImportError):
        what = f"a worker cannot run tasks: {error}"
        raise ToolError("E605", what, fix="install neurodeploy there too") from error
    if not isinstance(error, KilledWorker):
        raise error


def _gone() -> ToolError:
    fix = "start it again, and sweep again: what is done is kept"
    return ToolError("E605", "the scheduler has gone", fix=fix)


def _submitted(
    client: Any, study: Study, missing: Sequence[tuple[Point, str, Span]]
) -> dict[Any, Point]:
    """Hand out all tasks; those of one point before those of the next."""
    held: dict[str, Any] = {}

    def task(key: str, what: Any, *args: Any, **how: Any) -> Any:
        if key not in held:
            held[key] = client.submit(what, *args, key=key, **how)
        return held[key]

    futures = {}
    for i, (point, key, (first, last)) in enumerate(missing):
        model, x, y = study.models[point.model], study.x, study.y
        of_model = task(f"model-{study.model_digests[point.model]}", handed, model)
        target, name = study.targets[point.target], f"program-{study.program_key(point)}"
        program = task(name, compiled, of_model, target, point, priority=-i)
        labels = None if y is None else y[first:last]
        data = task(f"data-{study.data_digest}-{first}-{last}", handed, x[:, first:last], labels)
        prices, span = study.prices_on(point.target), (first, last)
        args = (program, data, prices, study.timing, key, span)
        futures[task(f"part-{key}-{first}-{last}", measured, *args, priority=-i)] = point
    return futures
