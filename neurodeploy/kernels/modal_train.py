"""Training kernels of neurons with modes: forward, and exact reverse mode through sums over modes.

As in `train.py`, whose arguments these kernels take; values with modes have a row for each. One
step back is four loops over a block of lanes:

    modes      forward again, for the sums over modes
    lanes      back through what the sums enter: the gradient of each sum
    modes      forward, then back through the mode; what flows to values without modes adds up
    lanes      back through what neither has modes nor needs sums
"""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.kernels.modal import (
    Places,
    Render,
    at,
    mode_count,
    mode_rows,
    over_channels,
    over_modes,
    per_channel_values,
    per_mode_values,
    phases,
    rows,
    step_loops,
)
from neurodeploy.kernels.source import Flows, reverse_lines
from neurodeploy.neurons import Traced

BLOCK = 256  # lanes that run together; the states of all their modes stay in the nearest cache
LANES = ", lane:stop"


def forward(step: Traced, render: Render, extra: tuple[str, ...], stride: int) -> str:
    """Return the source of the forward kernel; `extra`: rows of k behind the coefficients.

    render: how instructions are written.
    """
    places = Places(k=LANES, z=LANES, coefs=(*step.coefs, *extra))
    done = [f"out_row[n] = kind({step.out}) * k_amplitude"]
    loops = step_loops(step, render, places, zero="ZERO", done=done)
    return f"""def forward(inputs, k, tables, z, out, saved, reverse, first, last):
    steps = inputs.shape[0]
    {mode_count(step, "len(k)", places.coefs)}
{at(1, _buffers([f"T_{i.out}" for i in phases(step).totals]))}
    for lane in range(first, last, {BLOCK}):
        stop = min(lane + {BLOCK}, last)
        width = stop - lane
{at(2, rows(step, "K", "k", places.coefs, LANES, modal=False))}
{at(2, rows(step, "Z", "z", step.states, LANES, modal=False))}
        for i in range(steps):
            t = steps - 1 - i if reverse else i
            X = inputs[t, lane:stop]
            out_row = out[t, lane:stop]
            if i % {stride} == 0:
                saved[:, i // {stride}, lane:stop] = z[:, lane:stop]
{at(3, loops)}
"""


def _buffers(names: Sequence[str]) -> list[str]:
    return [f"{name} = np.empty({BLOCK}, kind)" for name in names]


class _Back:
    """The loops of one step back."""

    def __init__(self, step: Traced, render: Render, places: Places) -> None:
        self.step, self.render = step, render
        self.places, self.phases = places, phases(step)
        self.coefs = places.coefs
        late, mode, early = self._late(), self._mode(), Flows()
        outside = (*late[1].terms, *mode[1].terms)
        sums = {i.out for i in self.phases.totals}
        self.carried = [n for n in dict.fromkeys(outside) if not self._modal(n) and n not in sums]
        for name in self.carried:
            early.add(name, f"F_{name}[n]")
        self.early = reverse_lines(self.phases.before, early), early
        self.late, self.mode = late, mode

    def _late(self) -> tuple[list[str], Flows]:
        flows = Flows()
        flows.add(self.step.out, "g_out")
        for field, name in zip(self.step.states, self.step.next_states, strict=True):
            if field not in self.step.modal:
                flows.add(name, f"G_{field}[n]")
        return reverse_lines(self.phases.after, flows), flows

    def _mode(self) -> tuple[list[str], Flows]:
        flows = Flows()
        for i in self.phases.totals:
            flows.add(i.args[0], f"D_{i.out}[n]")
        for field, name in zip(self.step.states, self.step.next_states, strict=True):
            if field in self.step.modal:
                flows.add(name, f"G_{field}[n]")
        return reverse_lines(self.phases.modal, flows), flows

    def _modal(self, name: str) -> bool:
        return name.partition("_")[2] in self.step.modal

    def lines(self) -> list[str]:
        """Return all four loops."""
        step, totals = self.step, self.phases.totals
        forward = per_mode_values(step, self.render, self.places)
        opened = mode_rows(step, self.places)
        grown = [f"T_{i.out}[n] += {i.args[0]}" for i in totals]
        return [
            *(f"T_{i.out}[:width] = ZERO" for i in totals),
            *over_modes(opened, [*forward, *grown]),
            *over_channels(self._after()),
            *over_modes([*opened, *self._gradients(modal=True)], [*forward, *self._back_mode()]),
            *over_channels(self._before()),
        ]

    def _gradients(self, *, modal: bool) -> list[str]:
        g = rows(self.step, "G", "g_z", self.step.states, LANES, modal=modal)
        return g + rows(self.step, "S", "g_k", self.coefs, LANES, modal=modal)

    def _after(self) -> list[str]:
        lines, flows = self.late
        return [
            *per_channel_values(self.step, self.render, self.places),
            "g_out = g_row[n] * k_amplitude",
            f"S_amplitude[n] += g_row[n] * kind({self.step.out})",
            *lines,
            *(f"D_{i.out}[n] = {flows.sum(i.out)}" for i in self.phases.totals),
            *(f"F_{name}[n] = {flows.sum(name)}" for name in self.carried),
        ]

    def _back_mode(self) -> list[str]:
        lines, flows = self.mode
        flowing = [n for n in self.carried if n in flows.terms]
        modal = [n for n in self.coefs if n in self.step.modal and f"k_{n}" in flows.terms]
        states = [n for n in self.step.states if n in self.step.modal]
        return [
            *lines,
            *(f"S_{n}[n] += {flows.sum(f'k_{n}')}" for n in modal),
            *(f"n_{n} = {flows.sum(f'z_{n}')}" for n in states),
            *(f"G_{n}[n] = n_{n}" for n in states),
            *(f"F_{name}[n] += {flows.sum(name)}" for name in flowing),
        ]

    def _before(self) -> list[str]:
        lines, flows = self.early
        plain = [n for n in self.coefs if n not in self.step.modal and f"k_{n}" in flows.terms]
        states = [n for n in self.step.states if n not in self.step.modal]
        return [
            *per_channel_values(self.step, self.render, self.places),
            *lines,
            f"g_x[n] = {flows.sum('x')}",
            *(f"S_{n}[n] += {flows.sum(f'k_{n}')}" for n in plain),
            *(f"n_{n} = {flows.sum(f'z_{n}')}" for n in states),
            *(f"G_{n}[n] = n_{n}" for n in states),
        ]


def backward(step: Traced, render: Render, extra: tuple[str, ...], stride: int) -> str:
    """Return the source of the backward kernel: steps forward from a kept state, then back."""
    coefs = (*step.coefs, *extra)
    kept = Places(k=LANES, z=", j, :width", coefs=coefs)
    on = Places(k=LANES, z=kept.z, after=", j + 1, :width", coefs=coefs)
    assert on.after is not None
    back, totals = _Back(step, render, kept), [i.out for i in phases(step).totals]
    buffers = [f"{p}_{n}" for p in "TD" for n in totals] + [f"F_{n}" for n in back.carried]
    args = "g_outs, inputs, k, tables, saved, a, g_z, g_inputs, g_k, g_tables"
    return f"""def backward({args}, reverse, first, last):
    steps = inputs.shape[0]
    {mode_count(step, "len(k)", coefs)}
    z = np.empty((len(saved), {stride}, {BLOCK}), kind)
{at(1, _buffers(buffers))}
    for lane in range(first, last, {BLOCK}):
        stop = min(lane + {BLOCK}, last)
        width = stop - lane
{at(2, rows(step, "K", "k", coefs, LANES, modal=False))}
{at(2, rows(step, "G", "g_z", step.states, LANES, modal=False))}
{at(2, rows(step, "S", "g_k", coefs, LANES, modal=False))}
        for part in range((steps - 1) // {stride}, -1, -1):
            begin = part * {stride}
            count = min({stride}, steps - begin)
            z[:, 0, :width] = saved[:, part, lane:stop]
            for j in range(count - 1):
                t = steps - 1 - begin - j if reverse else begin + j
                X = inputs[t, lane:stop]
{at(4, rows(step, "Z", "z", step.states, on.z, modal=False))}
{at(4, rows(step, "A", "z", step.states, on.after, modal=False))}
{at(4, step_loops(step, render, on, zero="ZERO"))}
            for j in range(count - 1, -1, -1):
                t = steps - 1 - begin - j if reverse else begin + j
                X = inputs[t, lane:stop]
                g_row = g_outs[t, lane:stop]
                g_x = g_inputs[t, lane:stop]
{at(4, rows(step, "Z", "z", step.states, kept.z, modal=False))}
{at(4, back.lines())}
"""
