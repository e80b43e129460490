"""The files of a sweep: rows, as JSON lines or Parquet, and the parts of rows to come.

FILE has the rows of all points that are complete, one a line, and is always whole. FILE.parts
grows by a line for each chunk that is done, and is there until the sweep is: what stopped, for
whatever reason, goes on from both. A line that was cut off while it was written is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from neurodeploy.designs.points import Row
from neurodeploy.designs.work import Part
from neurodeploy.errors import InputError
from neurodeploy.files import new_file, writable
from neurodeploy.frontends import require

SUFFIXES = (".jsonl", ".parquet")


class Results:
    """The rows and parts known so far, in files, or (without a path) in memory only.

    Raises InputError E110 for a path of another ending or that cannot be written, E101 if what
    stands there is no result of a sweep, ToolError E601 for Parquet without pyarrow.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: dict[str, dict[tuple[str, str], Row]] = {}  #: by key, then model and target
        self.parts: dict[tuple[str, int, int], Part] = {}
        if path is None:
            return
        if path.suffix not in SUFFIXES:
            fix = f"end the name in {' or '.join(SUFFIXES)}"
            raise InputError("E110", f"{path.name} is no file for results", fix=fix)
        if path.suffix == ".parquet":
            require("pyarrow", "parquet")
        self.journal = path.with_name(f"{path.name}.parts")
        for row in _rows(path) if path.exists() else ():
            self._note(row)
        writable(path)
        for part in _parts(self.journal):
            self.parts[part.key, part.first, part.last] = part

    def add(self, part: Part) -> None:
        """Note a part, on disk at once."""
        self.parts[part.key, part.first, part.last] = part
        if self.path is not None:
            with _opened(self.journal) as file:
                file.write(json.dumps(asdict(part)) + "\n")

    def finish(self, row: Row) -> None:
        """Note the row of a point, and write all rows."""
        self._note(row)
        if self.path is not None:
            with new_file(self.path) as beside:
                _write(self.all(), beside, self.path.suffix)

    def all(self) -> list[Row]:
        """Return every row."""
        return [row for named in self.rows.values() for row in named.values()]

    def _note(self, row: Row) -> None:
        self.rows.setdefault(row.key, {})[row.model, row.target] = row

    def close(self) -> None:
        """Remove what only a sweep that stopped needs."""
        if self.path is not None:
            self.journal.unlink(missing_ok=True)


def _opened(journal: Path) -> Any:
    """Open a journal to add a line, on a line of its own."""
    try:
        file = journal.open("a+", encoding="utf-8")
    except OSError as error:
        what = f"cannot write {str(journal)!r}: {error.strerror}"
        raise InputError("E110", what, fix="choose another place with -o") from error
    end = file.tell()
    if end:
        file.seek(end - 1)
        if file.read(1) != "\n":
            file.write("\n")
    return file


def _parts(journal: Path) -> Iterator[Part]:
    if not journal.exists():
        return
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield Part(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut off


def _rows(path: Path) -> list[Row]:
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return [Row(**item) for item in parquet.read_table(path).to_pylist()]
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Row(**json.loads(line)) for line in lines]
    except (ValueError, TypeError, OSError) as error:
        raise InputError(
            "E101",
            f"{path.name} is not what this version of `sweep` writes",
            where=str(path),
            fix="choose another file with -o, or remove it",
        ) from error


def _write(rows: list[Row], path: Path, suffix: str) -> None:
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
        return
    import pyarrow
    from pyarrow import parquet

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    hints = get_type_hints(Row)
    columns = [
        (f.name, kinds[(get_args(hints[f.name]) or (hints[f.name],))[0]]) for f in fields(Row)
    ]
    table = pyarrow.Table.from_pylist([asdict(row) for row in rows], pyarrow.schema(columns))
    parquet.write_table(table, path)
