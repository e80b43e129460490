"""Options of every command that reads a model file: what the file leaves open."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

LAYOUTS = ("TBC", "BTC", "BCL", "BC", "BCHW", "TBCHW", "BTCHW")


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets what they say as `reading`."""

    @wraps(command)
    def with_reading(*args: Any, layout: str | None, allow_external_data: bool, **more: Any) -> Any:
        from neurodeploy.frontends import Reading

        return command(*args, reading=Reading(layout, allow_external_data), **more)

    for option in (
        click.option(
            "--allow-external-data",
            is_flag=True,
            help="Let an ONNX file keep data in other files, below its own folder.",
        ),
        click.option(
            "--layout",
            type=click.Choice(LAYOUTS),
            help="Axes of an ONNX network's input, where the file leaves them open: T steps, B"
            " samples, C channels or maps, L, H, W positions.",
        ),
    ):
        with_reading = option(with_reading)
    return with_reading
