"""Run a bundle's golden vectors in Lava or on a board, and compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neurodeploy.backends.hardware.board import board
from neurodeploy.backends.lava import bundle, environment
from neurodeploy.backends.lava import run as lava
from neurodeploy.backends.lava.run import TIMEOUT_S, Verdict

PLACES = ("lava", "board")


def check(
    folder: Path,
    *,
    on: str = "lava",
    runtime: bool = False,
    samples: int | None = None,
    timeout_s: float = TIMEOUT_S,
    say: Callable[[str], None] = lambda text: None,
) -> Verdict:
    """Compare every spike, graded value and final state of the bundle in `folder`.

    on: "lava" (in one process, or with `runtime` through Lava's own), or "board". The Lava
    environment is made if it is missing; `say` is told so. Raises InputError E101, E109 for a bad
    bundle, ToolError E602 without Lava, E603 without a board, E604 if a run fails. Running on a
    board is untested: no board and no extension was at hand.
    """
    if on not in PLACES:
        raise ValueError(f"on={on!r}; choose from {', '.join(PLACES)}")
    bundle.locate(folder)
    env = environment.ensure(say)
    if on == "board":
        here = board(env)
        if here.missing:
            raise here.error()
    return lava.check(
        folder,
        env=env,
        runtime=runtime,
        board=on == "board",
        samples=samples,
        timeout_s=timeout_s,
    )
