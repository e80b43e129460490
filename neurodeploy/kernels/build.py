"""Assemble the compiled float kernels of a traced step, for the interpreter.

`layer.py` makes those of chip integers, for the simulator, and `train.py` those for training. A
kernel runs the samples `first` to `last` of its arrays, time inside, channels innermost;
`threads.share` spreads the samples over threads. Coefficients that change with the step come as
tables [tables, T, N]; step i of the neuron, counted from where it starts, uses row i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from neurodeploy.kernels import modal
from neurodeploy.kernels.cache import load
from neurodeploy.kernels.recurrent import NONE, REALS
from neurodeploy.kernels.source import real_lines
from neurodeploy.neurons import SPECS, Traced

Kernel = Callable[..., None]
Options = tuple[tuple[str, Any], ...]

_HEAD = "import numpy as np\nfrom numba import njit\n"
_REAL = f"{_HEAD}\nZERO = 0.0\n"
_JIT = "@njit(cache=True, nogil=True)"


def _compiled(source: str) -> Kernel:
    run: Kernel = load(source).run
    return run


def _traced(name: str, options: Options) -> Traced:
    return SPECS[name].traced(dict(options))


def _lines(lines: Sequence[str], depth: int) -> str:
    return "\n".join("    " * depth + line for line in lines)


def _rows(prefix: str, names: tuple[str, ...], source: str, index: str = "") -> list[str]:
    return [f"{prefix}_{name} = {source}[{i}{index}]" for i, name in enumerate(names)]


def packed(step: Traced, coefs: Mapping[str, Any], steps: int, dtype: Any) -> tuple[Any, Any]:
    """Return k [rows, N] and tables [tables, steps, N] as a kernel wants arranged `coefs`.

    A coefficient has one row, one with modes as many as there are.
    """
    rows = [np.atleast_2d(np.asarray(coefs[name], dtype)) for name in step.coefs]
    tables = [np.asarray(coefs[name][:steps], dtype) for name in step.tables]
    width = rows[0].shape[1]
    return np.vstack(rows), np.stack(tables) if tables else np.zeros((0, 0, width), dtype)


def _reads(step: Traced) -> list[str]:
    lines = [f"k_{n} = K_{n}[n]" for n in (*step.coefs, *step.tables)]
    return lines + [f"z_{n} = Z_{n}[n]" for n in step.states]


def _writes(step: Traced) -> list[str]:
    return [f"Z_{n}[n] = {v}" for n, v in zip(step.states, step.next_states, strict=True)]


@cache
def real_kernel(
    name: str, options: Options, *, probe: bool = False, recurrent: bool = False
) -> Kernel:
    """Return `run(x, k, tables, z, out, margins, reach, reverse, first, last)`, `Real` in all bits.

    x float64 [T, B, N]; k float64 [coefs, N]; tables float64 [tables, T, N]; z float64
    [states, B, N], updated; out float64 [T, B, N], written; margins likewise, written with
    `probe`: what is compared to decide on the spike that is sent, or the output of a neuron that
    does not spike; reach float64 [B, N], raised with `probe` to the greatest magnitude of these and
    of the registers (with modes: of the registers that have modes). `recurrent`: arguments (weight,
    amplitude) stand in front; x gains weight [senders, N], times amplitude and output.
    """
    step, loop = _traced(name, options), REALS if recurrent else NONE
    if step.modal:
        return _compiled(f"{_REAL}\n\n{_JIT}\n{modal.real_source(step, loop, probe=probe)}")
    compared = step.decision.args[0] if step.decision else step.out
    held = dict.fromkeys((compared, *(i.out for i in step.instrs if i.op == "write")))
    note = [f"margins[t, b, n] = {compared}"] if probe else []
    note += [f"reach[b, n] = max(reach[b, n], abs({v}))" for v in held] if probe else []
    return _compiled(
        f"""{_REAL}

{_JIT}
def run({loop.args}inputs, k, tables, z, out, margins, reach, reverse, first, last):
    steps, _, width = inputs.shape
{_lines(loop.setup, 1)}
    for b in range(first, last):
{_lines(_rows("K", step.coefs, "k"), 2)}
{_lines(_rows("Z", step.states, "z", ", b"), 2)}
{_lines(loop.sample, 2)}
        for i in range(steps):
            t = steps - 1 - i if reverse else i
{_lines(loop.gather, 3)}
            row = inputs[t, b]
            spikes = out[t, b]
{_lines(_rows("K", step.tables, "tables", ", i"), 3)}
            for n in range(width):
                x = row[n]{loop.fed}
{_lines(_reads(step), 4)}
{_lines(real_lines(step.instrs), 4)}
{_lines(_writes(step), 4)}
                spikes[n] = {step.out}
{_lines(note, 4)}
{_lines(loop.keep, 3)}
"""
    )
