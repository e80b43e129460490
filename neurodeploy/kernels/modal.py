"""Kernels of neurons with modes: one step as loops over modes and channels.

The channels are innermost, so that every loop runs over memory in order and vectorises:

    for each mode:      for each channel:  what is modal; sums over the modes grow
    then                for each channel:  what the sums enter

Instructions that need neither modes nor sums stand where they are used. Rows of k and z are those
that `build.packed` makes: each value, mode after mode.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from neurodeploy.arith import Instr
from neurodeploy.kernels.recurrent import Loop
from neurodeploy.kernels.source import real_lines
from neurodeploy.neurons import Traced

Render = Callable[[Sequence[Instr]], list[str]]


@dataclass(frozen=True)
class Phases:
    """The instructions of a step by where they run."""

    before: tuple[Instr, ...]  #: per channel, without sums over modes
    modal: tuple[Instr, ...]  #: per mode
    totals: tuple[Instr, ...]  #: sums over modes
    after: tuple[Instr, ...]  #: per channel, with sums over modes

    def needed(self, names: Iterable[str]) -> tuple[Instr, ...]:
        """Return the instructions of `before` that `names` depend on."""
        wanted, found = set(names), []
        for instr in reversed(self.before):
            if instr.out in wanted:
                wanted.update(instr.args)
                found.append(instr)
        return tuple(reversed(found))


def phases(step: Traced) -> Phases:
    """Sort the instructions of a step; raise ValueError if modes need a sum of the same step."""
    late: set[str] = set()
    parts: dict[str, list[Instr]] = {"before": [], "modal": [], "totals": [], "after": []}
    for instr in step.instrs:
        after = not late.isdisjoint(instr.args)
        if after and (instr.modal or instr.op == "total"):
            raise ValueError("a mode cannot need the sum over modes of its own step")
        if after or instr.op == "total":
            late.add(instr.out)
        kind = "modal" if instr.modal else "totals" if instr.op == "total" else ""
        parts[kind or ("after" if after else "before")].append(instr)
    return Phases(**{key: tuple(value) for key, value in parts.items()})


@dataclass(frozen=True)
class Places:
    """Where the rows of one step are: what follows a row's number in the index of k and of z."""

    k: str
    z: str
    after: str | None = None  #: where next states go, if not in the place of the old ones
    coefs: tuple[str, ...] = ()  #: the names of all rows of k, if there are more than the step's


def rows(
    step: Traced, prefix: str, array: str, names: Sequence[str], index: str, *, modal: bool
) -> list[str]:
    """Return `PREFIX_name = array[row]` for each name with modes (of mode m), or without."""
    first, mode = row_of(step, names), " + m" if modal else ""
    wanted = [n for n in names if (n in step.modal) == modal]
    return [f"{prefix}_{n} = {array}[{first[n]}{mode}{index}]" for n in wanted]


def row_of(step: Traced, names: Sequence[str]) -> dict[str, str]:
    """Return the first row of each name, as an expression in `modes`."""
    found, modal, plain = {}, 0, 0
    for name in names:
        found[name] = f"{modal} * modes + {plain}"
        modal, plain = (modal + 1, plain) if name in step.modal else (modal, plain + 1)
    return found


def mode_count(step: Traced, rows: str, names: Sequence[str]) -> str:
    """Return the line that finds the number of modes from the number of `rows` of these names."""
    modal = sum(name in step.modal for name in names)
    return f"modes = ({rows} - {len(names) - modal}) // {modal}"


def at(depth: int, lines: Sequence[str]) -> str:
    """Return indented lines."""
    return textwrap.indent("\n".join(lines), "    " * depth)


def step_loops(
    step: Traced,
    render: Render,
    places: Places,
    *,
    zero: str,
    extra: Sequence[str] = (),
    done: Sequence[str] = (),
) -> list[str]:
    """Return one step over X[n]: states updated, `done` run per channel with the output known.

    Rows without modes are open already, as K_name, Z_name (and A_name, where next states go
    elsewhere). `extra` runs per mode and channel, after the next states.
    """
    p, target = phases(step), "A" if places.after else "Z"
    after = dict(zip(step.states, step.next_states, strict=True))
    stored = {n: f"{target}_{n}[n] = {after[n]}" for n in step.states}
    per_mode = [
        *per_mode_values(step, render, places),
        *(stored[n] for n in step.states if n in step.modal),
        *(f"T_{i.out}[n] += {i.args[0]}" for i in p.totals),
        *extra,
    ]
    per_channel = [
        *per_channel_values(step, render, places),
        *(stored[n] for n in step.states if n not in step.modal),
        *done,
    ]
    opened = mode_rows(step, places)
    if places.after:
        opened += rows(step, "A", "z", step.states, places.after, modal=True)
    return [
        *(f"T_{i.out}[:width] = {zero}" for i in p.totals),
        *over_modes(opened, per_mode),
        *over_channels(per_channel),
    ]


def mode_rows(step: Traced, places: Places) -> list[str]:
    """Return the lines that open the rows of mode m."""
    k = rows(step, "K", "k", places.coefs or step.coefs, places.k, modal=True)
    return k + rows(step, "Z", "z", step.states, places.z, modal=True)


def over_modes(opened: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Return a loop over modes, and in it one over channels."""
    return ["for m in range(modes):", *(f"    {x}" for x in (*opened, *over_channels(lines)))]


def over_channels(lines: Sequence[str]) -> list[str]:
    """Return a loop over channels."""
    return ["for n in range(width):", *(f"    {line}" for line in lines)]


def per_mode_values(step: Traced, render: Render, places: Places) -> list[str]:
    """Return the lines that compute all modal values of mode m in channel n."""
    p = phases(step)
    inner = p.needed(name for i in (*p.modal, *p.totals) for name in i.args)
    quiet = [line for line in render(inner) if not line.startswith("over ")]  # counted once, later
    coefs = places.coefs or step.coefs
    reads = [f"k_{n} = K_{n}[n]" for n in coefs] + [f"z_{n} = Z_{n}[n]" for n in step.states]
    return ["x = X[n]", *reads, *quiet, *render(p.modal)]


def per_channel_values(step: Traced, render: Render, places: Places) -> list[str]:
    """Return the lines that compute all values without modes in channel n, sums known."""
    p, coefs = phases(step), places.coefs or step.coefs
    return [
        "x = X[n]",
        *(f"k_{n} = K_{n}[n]" for n in coefs if n not in step.modal),
        *(f"z_{n} = Z_{n}[n]" for n in step.states if n not in step.modal),
        *render(p.before),
        *(f"{i.out} = T_{i.out}[n]" for i in p.totals),
        *render(p.after),
    ]


def _sums(step: Traced, kind: str) -> list[str]:
    return [f"T_{i.out} = np.empty(width, {kind})" for i in phases(step).totals]


def real_source(step: Traced, loop: Loop, *, probe: bool) -> str:
    """Return the function `run` of `build.real_kernel` for a step with modes."""
    after = dict(zip(step.states, step.next_states, strict=True))
    modal = [f"abs({after[n]})" for n in step.states if n in step.modal]
    compared = step.decision.args[0] if step.decision else step.out
    note = [f"margins[t, b, n] = {compared}"] if probe else []
    raised = [f"reach[b, n] = max(reach[b, n], {', '.join(modal)})"] if probe else []
    done, places = [f"spikes[n] = {step.out}", *note], Places(k="", z=", b")
    loops = step_loops(step, real_lines, places, zero="0.0", extra=raised, done=done)
    args = f"{loop.args}inputs, k, tables, z, out, margins, reach, reverse, first, last"
    return f"""def run({args}):
    steps, _, width = inputs.shape
{at(1, loop.setup)}
    X = np.empty(width)
    {mode_count(step, "len(k)", step.coefs)}
{at(1, rows(step, "K", "k", step.coefs, "", modal=False))}
{at(1, _sums(step, "np.float64"))}
    for b in range(first, last):
{at(2, rows(step, "Z", "z", step.states, ", b", modal=False))}
{at(2, loop.sample)}
        for i in range(steps):
            t = steps - 1 - i if reverse else i
{at(3, loop.gather)}
            row = inputs[t, b]
            spikes = out[t, b]
            for n in range(width):
                X[n] = row[n]{loop.fed}
{at(3, [*loops, *loop.keep])}
"""
