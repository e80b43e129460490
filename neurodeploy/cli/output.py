"""What the commands share: options, JSON, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from neurodeploy.errors import NeurodeployError

VERSION = 1  # of the JSON that every command prints

_JSON = "neurodeploy.json"


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> bool:  # noqa: ARG001
    ctx.find_root().meta[_JSON] = value
    return value


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    callback=_remember,
    help="Print JSON for machines.",
)


class BitsParam(click.ParamType):  # type: ignore[type-arg]
    """Bits, of all or by name: `4`, `8,encoder=6,blocks.*=4`."""

    name = "BITS"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the mapping that `passes.bits.parse` makes of the text."""
        from neurodeploy.passes.bits import parse

        try:
            return parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}", param, ctx)


Folder = click.Path(path_type=Path)
File = click.Path(path_type=Path)


def wants_json(ctx: click.Context) -> bool:
    """Say whether the command that runs was asked for JSON."""
    return bool(ctx.find_root().meta.get(_JSON))


def to_json(command: str, body: dict[str, Any]) -> str:
    """Return a result as versioned JSON."""
    return json.dumps({"version": VERSION, "command": command, "ok": True, **body}, indent=1)


def errors_json(error: NeurodeployError) -> str:
    """Return errors as versioned JSON."""
    return json.dumps({"version": VERSION, "ok": False, "errors": error.records()}, indent=1)


def say(message: str) -> None:
    """Print a note on stderr."""
    click.echo(message, err=True)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield `update(done, total)`: a bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr) as bar:
        shown = 0

        def update(done: int, total: int) -> None:
            nonlocal shown
            now = 1000 * done // max(total, 1)
            bar.update(now - shown)
            shown = now

        yield update
