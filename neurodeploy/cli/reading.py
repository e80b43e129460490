"""The argument and options of every command that reads a model: what a file leaves open."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from neurodeploy.cli.output import File

LAYOUTS = ("TBC", "BTC", "BCL", "BC", "BCHW", "TBCHW", "BTCHW")


def model_argument(name: str = "model") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the model file as an argument, which `--model` may stand for."""
    return click.argument(name, type=File, required=False)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets what they say as `reading`."""

    @wraps(command)
    def with_reading(
        *args: Any,
        layout: str | None,
        allow_external_data: bool,
        factory: str | None,
        **more: Any,
    ) -> Any:
        from neurodeploy.frontends import Reading

        name = "path" if "path" in more else "model"
        if factory is None and more[name] is None:
            raise click.UsageError(f"Missing argument '{name.upper()}': a file, or give --model.")
        return command(*args, reading=Reading(layout, allow_external_data, factory), **more)

    for option in (
        click.option(
            "--model",
            "factory",
            metavar="PKG.MOD:FUNCTION",
            help="Function of your own that returns the network, or (network, example); it is run."
            " With a .pt file too, the weights of that are loaded into it.",
        ),
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
