"""Compiled forward and exact backward of a neuron through time, for training and for tuning.

A step is the same for every sample and channel, so a batch [T, B, N] is run as T rows of B x N
independent *lanes*. A block of lanes goes through all steps before the next block starts: its
states and constants stay in the nearest cache, and rows are read and written in order. Of the
states only every `STRIDE`-th is kept; the backward pass steps forward again from there. Where
neurons hear themselves, a block is some whole samples (`recurrent.py`).
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from neurodeploy.arith import Fixed
from neurodeploy.kernels import modal_train
from neurodeploy.kernels.cache import load
from neurodeploy.kernels.modal import Render
from neurodeploy.kernels.recurrent import ANSWERED, HEARD, Loop
from neurodeploy.kernels.source import adjoint_lines, real_lines, whole_lines, whole_words
from neurodeploy.kernels.surrogates import HALF_PI, SURROGATES
from neurodeploy.neurons import SPECS, Traced

Kernel = Callable[..., None]

STRIDE = 16  # steps from one kept state to the next
BLOCK = 2048  # lanes that run together
_LANES = Loop(setup=("block = BLOCK",))
EXTRA = ("unit", "amplitude")  # rows of `k` after the coefficients of the step


def pitch(lanes: int) -> int:
    """Return a row length of at least `lanes` whose rows do not fall on the same cache sets."""
    return (-(-lanes // 16) | 1) * 16


@cache
def train_kernels(
    name: str,
    options: tuple[tuple[str, Any], ...],
    surrogate: str,
    dtype: str,
    *,
    recurrent: bool = False,
    fixed: Fixed | None = None,
) -> tuple[Kernel, Kernel]:
    """Return `forward` and `backward` over arrays of `dtype` ("float32" or "float64").

    forward(inputs, k, tables, z, out, saved, reverse, first, last): inputs, out [T, L]; k
    [coefs + 2, L], the last rows being the membrane's unit (`NeuronSpec.unit`) and the amplitude, a
    factor of the output; tables [tables, T, N], for lanes that are samples of N channels each; z
    [states, L], updated; saved [states, ceil(T / STRIDE), L], written. Runs the lanes `first` to
    `last`; `reverse`: from the last step to the first.

    backward(g_outs, inputs, k, tables, saved, a, g_z, g_inputs, g_k, g_tables, reverse, first,
    last): a, the steepness of the surrogate, of type `dtype`; g_z [states, L], the gradient of the
    final state, turned into that of the initial one; g_inputs [T, L] and g_tables [tables, T, L]
    (each lane's part), written; g_k, like k, added to.

    The rows of k, z, saved, g_z and g_k may be longer than L, as `pitch` advises. With modes, rows
    are those of `build.packed`, each value mode after mode.

    `recurrent`, not with modes: `first` and `last` are samples, of N lanes each. In front of the
    arguments of `forward` stand (weight [senders, N], offset [N], drive [T, L], written): what the
    step was driven by, and what `backward` takes as its inputs; in front of those of `backward`,
    weight [receivers, N].

    `fixed`: all values are the whole numbers that it computes, in float64, and dimensionless
    coefficients multiples of 2^-coef_frac. What `recurrent` weights add up to drops its fraction
    before the offset is added. Backward is that of real numbers, at the whole ones.
    """
    step = SPECS[name].traced(dict(options))
    module = load(_source(step, surrogate, dtype, recurrent=recurrent, fixed=fixed))
    return module.forward, module.backward


def _source(
    step: Traced, surrogate: str, dtype: str, *, recurrent: bool, fixed: Fixed | None
) -> str:
    """Return the source of the module that both kernels are in."""
    form = _Form(real_lines) if fixed is None else _Form(whole_lines, "dropped")
    return f"""import numpy as np
from numba import njit

kind = np.{dtype}
BLOCK = {BLOCK}
ZERO = kind(0)
ONE = kind(1)
HALF = kind(0.5)
HALF_PI = kind({HALF_PI!r})


@njit
def spread(row, lane, out, size):
    # `size` lanes from `lane` on: samples follow each other, each with the channels of `row`
    place = lane % len(row)
    done = 0
    while done < size:
        count = min(len(row) - place, size - done)
        out[done : done + count] = row[place : place + count]
        done += count
        place = 0


@njit(inline="always")
{typed(SURROGATES[surrogate], "slope_at")}


{_words(fixed)}
@njit(cache=True, nogil=True, error_model="numpy")
{_forward(step, form, HEARD if recurrent else _LANES)}

@njit(cache=True, nogil=True, error_model="numpy")
{_backward(step, form, ANSWERED if recurrent else _LANES)}"""


@dataclass(frozen=True)
class _Form:
    """How a step is written, and what becomes of a sum over recurrent weights."""

    render: Render
    sum: str = ""


def _words(fixed: Fixed | None) -> str:
    """Return the functions of `whole_lines`."""
    words = {} if fixed is None else whole_words(fixed)
    made = (f"@njit(inline='always')\ndef {n}:\n    return {v}\n\n" for n, v in words.items())
    return "\n".join(made)


def _body(step: Traced, form: _Form) -> list[str]:
    """Return the lines of one step of lane n: constants and states in, next values out."""
    lines = [f"k_{n} = K_{n}[n]" for n in (*step.coefs, *EXTRA, *step.tables)]
    return [*lines, *(f"z_{n} = Z_{n}[n]" for n in step.states), *form.render(step.instrs)]


def _room(step: Traced) -> list[str]:
    """Return the lines that make room for a row of each table, spread over a block of lanes."""
    return [f"K_{n} = np.empty(max(block, {pitch(BLOCK)}), kind)" for n in step.tables]


def _row(step: Traced, index: str) -> list[str]:
    """Return the lines that spread row `index` of each table over the lanes from `lane` on."""
    tables = enumerate(step.tables)
    return [f"spread(tables[{i}, {index}], lane, K_{n}, stop - lane)" for i, n in tables]


def _forward(step: Traced, form: _Form, loop: Loop) -> str:
    """Return the source of the forward kernel."""
    if step.modal:
        return modal_train.forward(step, form.render, EXTRA, STRIDE)
    coefs, states = (*step.coefs, *EXTRA), step.states
    received = f"x_row[n]{loop.fed}"
    received = f"{form.sum}({received})" if loop.fed else received
    return f"""def forward({loop.args}inputs, k, tables, z, out, saved, reverse, first, last):
    steps = inputs.shape[0]
{at(1, loop.setup)}
{at(1, _room(step))}
    for lane in range(first, last, block):
        stop = min(lane + block, last)
{at(2, rows("K", coefs, "k", "lane:stop"))}
{at(2, rows("Z", states, "z", "lane:stop"))}
        for i in range(steps):
            t = steps - 1 - i if reverse else i
            x_row = inputs[t, lane:stop]
            out_row = out[t, lane:stop]
            if i % {STRIDE} == 0:
                part = i // {STRIDE}
{at(4, [f"saved[{i}, part, lane:stop] = Z_{n}" for i, n in enumerate(states)])}
{at(3, _row(step, "i"))}
{at(3, loop.gather)}
            for n in range(stop - lane):
                x = {received}{loop.held}
{at(4, loop.keep)}
{at(4, _body(step, form))}
{at(4, [f"Z_{n}[n] = {v}" for n, v in zip(states, step.next_states, strict=True)])}
                out_row[n] = kind({step.out}) * k_amplitude
"""


def _backward(step: Traced, form: _Form, loop: Loop) -> str:
    """Return the source of the backward kernel: steps forward from a kept state, then back."""
    if step.modal:
        return modal_train.backward(step, form.render, EXTRA, STRIDE)
    back, coefs, states = adjoint_lines(step), (*step.coefs, *EXTRA), step.states
    after = list(zip(states, step.next_states, strict=True))
    sums = zip(coefs, (*back.coefs, f"g_sent * kind({step.out})"), strict=True)
    grads = zip(states, back.states, strict=True)
    arguments = f"{loop.args}g_outs, inputs, k, tables, saved, a, g_z, g_inputs, g_k, g_tables"
    return f"""def backward({arguments}, reverse, first, last):
    steps = inputs.shape[0]
{at(1, loop.setup)}
{at(1, _room(step))}
    kept = np.empty(({len(states)}, {STRIDE}, max(block, {pitch(BLOCK)})), kind)
    for lane in range(first, last, block):
        stop = min(lane + block, last)
        size = stop - lane
{at(2, rows("K", coefs, "k", "lane:stop"))}
{at(2, rows("G", states, "g_z", "lane:stop"))}
{at(2, rows("S", coefs, "g_k", "lane:stop"))}
        for part in range((steps - 1) // {STRIDE}, -1, -1):
            begin = part * {STRIDE}
            count = min({STRIDE}, steps - begin)
{at(3, [f"kept[{i}, 0, :size] = saved[{i}, part, lane:stop]" for i, _ in enumerate(states)])}
            for j in range(count - 1):
                t = steps - 1 - begin - j if reverse else begin + j
                x_row = inputs[t, lane:stop]
{at(4, rows("Z", states, "kept", "j, :size"))}
{at(4, rows("A", states, "kept", "j + 1, :size"))}
{at(4, _row(step, "begin + j"))}
                for n in range(size):
                    x = x_row[n]
{at(5, _body(step, form))}
{at(5, [f"A_{n}[n] = {value}" for n, value in after])}
            for j in range(count - 1, -1, -1):
                t = steps - 1 - begin - j if reverse else begin + j
                x_row = inputs[t, lane:stop]
                g_row = g_outs[t, lane:stop]
                g_x = g_inputs[t, lane:stop]
{at(4, rows("E", step.tables, "g_tables", "begin + j, lane:stop"))}
{at(4, _row(step, "begin + j"))}
{at(4, rows("Z", states, "kept", "j, :size"))}
{at(4, loop.gather)}
                for n in range(size):
                    x = x_row[n]
{at(5, _body(step, form))}
                    g_sent = g_row[n]{loop.fed}
                    g_out = g_sent * k_amplitude
{at(5, [f"n_{n} = G_{n}[n]" for n in states])}
{at(5, back.lines)}
                    g_x[n] = {back.x}
{at(5, [f"E_{n}[n] = {value}" for n, value in zip(step.tables, back.tables, strict=True)])}
{at(5, [f"G_{n}[n] = {value}" for n, value in grads])}
{at(5, [f"S_{n}[n] += {value}" for n, value in sums if value != "ZERO"])}
"""


def at(depth: int, lines: Sequence[str]) -> str:
    """Return lines of source, indented `depth` times."""
    return textwrap.indent("\n".join(lines), "    " * depth)


def rows(prefix: str, names: Sequence[str], source: str, index: str) -> list[str]:
    """Return lines that name the rows of an array, at `index` each."""
    return [f"{prefix}_{name} = {source}[{i}, {index}]" for i, name in enumerate(names)]


def typed(function: Callable[..., Any], name: str) -> str:
    """Return the source of `function` under `name`, numbers in it made of type `kind`."""
    tree = ast.parse(inspect.getsource(function))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.name, definition.returns = name, None
    for arg in definition.args.args:
        arg.annotation = None
    definition.body = definition.body[1:]  # without the docstring
    return ast.unparse(ast.fix_missing_locations(_Typed().visit(tree)))


class _Typed(ast.NodeTransformer):
    """Make numbers and comparisons of type `kind`; numba multiplies a bool in float32."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return _of_kind(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        return _of_kind(self.generic_visit(node))


def _of_kind(node: Any) -> ast.AST:
    return ast.Call(ast.Name("kind", ast.Load()), [node], [])
