"""Compiled integer forward of a neuron through time, and its backward for tuning.

Forward, every value is the integer that `Fixed` computes. Backward, the step is differentiated as
if nothing were rounded or stored, at the integers that were computed: the adjoint of the float
step, with a surrogate derivative where it compares. Lanes, blocks and kept states are as in
`train.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from neurodeploy.arith import Fixed
from neurodeploy.kernels.cache import load
from neurodeploy.kernels.source import adjoint_lines, fixed_lines
from neurodeploy.kernels.surrogates import HALF_PI, SURROGATES
from neurodeploy.kernels.train import BLOCK, STRIDE, Kernel, at, rows, typed
from neurodeploy.neurons import SPECS, Kind, NeuronSpec, Traced

_SCALARS = ("t", "k_", "z_", "x")  # how the names of values begin


@cache
def tune_kernels(
    name: str, options: tuple[tuple[str, Any], ...], fixed: Fixed, surrogate: str
) -> tuple[Kernel, Kernel]:
    """Return `forward` and `backward`, over int64 values and float64 gradients.

    forward(inputs, k, z, out, saved, reverse, first, last): inputs (currents on the state's scale,
    bias included), out [T, L]; k [coefs, L]; z [states, L], updated; saved
    [states, ceil(T / STRIDE), L], written.

    backward(g_outs, inputs, k, unit, saved, a, g_z, g_inputs, g_k, reverse, first, last): unit [L],
    the membrane per unit of state; a, the steepness; g_z [states, L], the gradient of the final
    state, turned into that of the initial one; g_inputs [T, L], written; g_k [coefs, L], added
    to: of the integer coefficients.
    """
    spec = SPECS[name]
    step = spec.traced(dict(options))
    module = load(
        f"""import numpy as np
from numba import njit

kind = np.float64
ZERO = kind(0)
ONE = np.int64(1)
HALF_PI = kind({HALF_PI!r})


@njit(inline="always")
{typed(SURROGATES[surrogate], "slope_at")}


@njit(cache=True, nogil=True)
{_forward(step, fixed)}

@njit(cache=True, nogil=True, error_model="numpy")
{_backward(spec, step, fixed)}"""
    )
    return module.forward, module.backward


def _integer(name: str) -> str:
    return f"i_{name}" if name.startswith(_SCALARS) else name


def _renamed(step: Traced) -> Traced:
    """Return the step over names that stand for integers, next to those of the float step."""
    instrs = tuple(
        replace(i, out=_integer(i.out), args=tuple(map(_integer, i.args))) for i in step.instrs
    )
    after = tuple(map(_integer, step.next_states))
    return replace(step, instrs=instrs, out=_integer(step.out), next_states=after)


def _body(step: Traced, fixed: Fixed) -> list[str]:
    """Return the lines of one integer step of lane n: constants and states in, next values out."""
    lines = ["over = np.int64(0)"]
    lines += [f"i_k_{n} = K_{n}[n]" for n in step.coefs]
    lines += [f"i_z_{n} = Z_{n}[n]" for n in step.states]
    return [*lines, *fixed_lines(_renamed(step).instrs, fixed)]


def _as_floats(spec: NeuronSpec, step: Traced, fixed: Fixed) -> list[str]:
    """Return the lines that make the values of an integer step those that the adjoint reads."""
    one = 2.0**fixed.coef_frac
    lines = ["x = kind(i_x)", "k_unit = unit_row[n]"]
    for n in step.coefs:
        scale = f" / {one!r}" if spec.kinds[n] is Kind.UNIT else ""
        lines.append(f"k_{n} = kind(i_k_{n}){scale}")
    lines += [f"z_{n} = kind(i_z_{n})" for n in step.states]
    return [*lines, *(f"{i.out} = kind(i_{i.out})" for i in step.instrs)]


def _forward(step: Traced, fixed: Fixed) -> str:
    """Return the source of the forward kernel."""
    states, after = step.states, _renamed(step).next_states
    return f"""def forward(inputs, k, z, out, saved, reverse, first, last):
    steps = inputs.shape[0]
    for lane in range(first, last, {BLOCK}):
        stop = min(lane + {BLOCK}, last)
{at(2, rows("K", step.coefs, "k", "lane:stop"))}
{at(2, rows("Z", states, "z", "lane:stop"))}
        for i in range(steps):
            t = steps - 1 - i if reverse else i
            x_row = inputs[t, lane:stop]
            out_row = out[t, lane:stop]
            if i % {STRIDE} == 0:
                part = i // {STRIDE}
{at(4, [f"saved[{i}, part, lane:stop] = Z_{n}" for i, n in enumerate(states)])}
            for n in range(stop - lane):
                i_x = x_row[n]
{at(4, _body(step, fixed))}
{at(4, [f"Z_{n}[n] = {v}" for n, v in zip(states, after, strict=True)])}
                out_row[n] = {_integer(step.out)}
"""


def _backward(spec: NeuronSpec, step: Traced, fixed: Fixed) -> str:
    """Return the source of the backward kernel: steps forward from a kept state, then back."""
    back, states = adjoint_lines(step), step.states
    body = _body(step, fixed)
    after = list(zip(states, _renamed(step).next_states, strict=True))
    scales = [
        f" / {2.0**fixed.coef_frac!r}" if spec.kinds[n] is Kind.UNIT else "" for n in step.coefs
    ]
    sums = [
        f"S_{n}[n] += ({value}){scale}"
        for n, value, scale in zip(step.coefs, back.coefs[: len(step.coefs)], scales, strict=True)
        if value != "ZERO"
    ]
    arguments = "g_outs, inputs, k, unit, saved, a, g_z, g_inputs, g_k, reverse, first, last"
    return f"""def backward({arguments}):
    steps = inputs.shape[0]
    kept = np.empty(({len(states)}, {STRIDE}, {BLOCK}), np.int64)
    for lane in range(first, last, {BLOCK}):
        stop = min(lane + {BLOCK}, last)
        size = stop - lane
        unit_row = unit[lane:stop]
{at(2, rows("K", step.coefs, "k", "lane:stop"))}
{at(2, rows("G", states, "g_z", "lane:stop"))}
{at(2, rows("S", step.coefs, "g_k", "lane:stop"))}
        for part in range((steps - 1) // {STRIDE}, -1, -1):
            begin = part * {STRIDE}
            count = min({STRIDE}, steps - begin)
{at(3, [f"kept[{i}, 0, :size] = saved[{i}, part, lane:stop]" for i, _ in enumerate(states)])}
            for j in range(count - 1):
                t = steps - 1 - begin - j if reverse else begin + j
                x_row = inputs[t, lane:stop]
{at(4, rows("Z", states, "kept", "j, :size"))}
{at(4, rows("A", states, "kept", "j + 1, :size"))}
                for n in range(size):
                    i_x = x_row[n]
{at(5, body)}
{at(5, [f"A_{n}[n] = {value}" for n, value in after])}
            for j in range(count - 1, -1, -1):
                t = steps - 1 - begin - j if reverse else begin + j
                x_row = inputs[t, lane:stop]
                g_row = g_outs[t, lane:stop]
                g_x = g_inputs[t, lane:stop]
{at(4, rows("Z", states, "kept", "j, :size"))}
                for n in range(size):
                    i_x = x_row[n]
{at(5, body)}
{at(5, _as_floats(spec, step, fixed))}
                    g_out = g_row[n]
{at(5, [f"n_{n} = G_{n}[n]" for n in states])}
{at(5, back.lines)}
                    g_x[n] = {back.x}
{at(5, [f"G_{n}[n] = {v}" for n, v in zip(states, back.states, strict=True)])}
{at(5, sums)}
"""
