"""The argument and options of every command that reads a model: what a file leaves open."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from neurodeploy.cli.output import File

LAYOUTS = ("TBC", "BTC", "BCL", "BC", "BCHW", "TBCHW", "BTCHW")
SOURCES = ("snntorch", "norse", "sinabs", "spikingjelly", "rockpool", "nir-paper")

#: What is stated about NIR files: the words, and what they are about.
STATED = {
    "dt": ("SECONDS", "length of a step"),
    "reset": ("subtract|zero|none", "what a spike does to the membrane"),
    "reset_delay": ("yes|no", "whether the reset comes a step later"),
    "compare": (">|>=", "how membrane and threshold are compared"),
    "norm_input": ("yes|no", "whether the input is scaled by 1 - decay"),
    "spikes": ("many|one", "spikes per step"),
    "v_min": ("NUMBER|none", "the least membrane"),
    "tau_syn": ("STEPS|none", "time constant of the synapses"),
    "feedback_bias": (
        "always|late",
        "whether the bias of a loop's weights counts at the first step",
    ),
}


def model_argument(name: str = "model") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the model file as an argument, which `--model` may stand for."""
    return click.argument(name, type=File, required=False)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets what they say as `reading`."""

    @wraps(command)
    def read(*args: Any, **more: Any) -> Any:
        from neurodeploy.frontends import Reading

        own = ("layout", "allow_external_data", "factory", "source", "defaults", *STATED)
        reading = Reading(**{key: more.pop(key) for key in own})
        name = "path" if "path" in more else "model"
        if reading.factory is None and more[name] is None:
            raise click.UsageError(f"Missing argument '{name.upper()}': a file, or give --model.")
        return command(*args, reading=reading, **more)

    with_options: Callable[..., Any] = read
    for option in _options():
        with_options = option(with_options)
    return with_options


def _options() -> list[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Return the options, the last of the help first."""
    stated = [
        click.option(
            f"--{key.replace('_', '-')}",
            metavar=words,
            help=f"NIR: {about}.",
        )
        for key, (words, about) in STATED.items()
    ]
    return [
        *reversed(stated),
        click.option(
            "--defaults",
            is_flag=True,
            help="NIR: what file and options leave open is as the tool has it by default.",
        ),
        click.option(
            "--source",
            type=click.Choice(SOURCES),
            help="NIR: the tool that wrote the file, where the file does not tell. The next options"
            " state what its files lose: one value, or PATTERN=VALUE,… by names of nodes.",
        ),
        click.option(
            "--model",
            "factory",
            metavar="PKG.MOD:FUNCTION",
            help="Function of your own that returns the network, or (network, example); it is run."
            " With a .pt or .safetensors file too, the weights of that are loaded into it.",
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
    ]
