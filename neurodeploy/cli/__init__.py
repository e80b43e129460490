"""Command line. The only room that prints, exits, or catches our errors.

Results go to stdout, progress and errors to stderr. Heavy packages are imported where they are
used: `neurodeploy --help` loads click alone.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from neurodeploy.cli.compare import compare
from neurodeploy.cli.compile import compile_command
from neurodeploy.cli.doctor import doctor
from neurodeploy.cli.energy import energy
from neurodeploy.cli.export import export
from neurodeploy.cli.hil import hil
from neurodeploy.cli.inspect import inspect
from neurodeploy.cli.listing import neurons, targets
from neurodeploy.cli.output import errors_json, wants_json
from neurodeploy.cli.report import report
from neurodeploy.cli.search import search
from neurodeploy.cli.simulate import simulate
from neurodeploy.cli.sweep import sweep
from neurodeploy.cli.tune import tune
from neurodeploy.errors import NeurodeployError


class Cli(click.Group):
    """A group that turns our errors into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; report a NeurodeployError without a traceback."""
        try:
            return super().invoke(ctx)
        except NeurodeployError as error:
            if wants_json(ctx):
                click.echo(errors_json(error))
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted: nothing was left half-written", err=True)
            ctx.exit(130)
        except BrokenPipeError:  # the reader of our output has gone, as in `… | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug of ours, 2 usage, 3 bad or unsupported input, 4 does not fit the"
    " target, 5 mismatch, 6 a tool or board is not available, 130 interrupted."
)


@click.group(
    cls=Cli,
    epilog=EXIT_CODES,
    context_settings={"show_default": True, "max_content_width": 100},
)
@click.version_option(package_name="neurodeploy")
def main() -> None:
    """Deploy trained spiking networks, and prove that they still compute the same."""


for _command in (
    export,
    compile_command,
    tune,
    search,
    sweep,
    simulate,
    energy,
    compare,
    report,
    hil,
    inspect,
    targets,
    neurons,
    doctor,
):
    main.add_command(_command)
