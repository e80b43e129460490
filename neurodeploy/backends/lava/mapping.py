"""What each node of a program becomes in Lava, and what Lava cannot hold.

A stock process is used wherever it computes the same integers. Lava's documented widths are not
enforced by Lava, so they are checked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurodeploy.arith import Fixed
from neurodeploy.errors import FitError, NeurodeployError, together
from neurodeploy.neurons.spec import GT
from neurodeploy.program.ir import Ints, Population, Program, Source, Stream, Vector, edges
from neurodeploy.program.limits import current_bounds
from neurodeploy.program.synapses import Conv, Dense, Edge, Tap, Weighted

_INT32 = 2**31 - 1
_ALIGN = 6  # LIF shifts currents and thresholds left by this (lava-nc 0.10.0, act_shift, vth_shift)
_UNITY = 4096  # LIF decays by (4096 - dv) / 4096
_REGISTER = 2**23  # LIF's u wraps, and v saturates, at this
_WEIGHT_BITS = 8  # of Dense
_LIF_NUMBERS = Fixed(coef_frac=12, state_bits=24, rounding="toward_zero", overflow="saturate")


@dataclass(frozen=True, eq=False, kw_only=True)
class StockLif:
    """The parameters of lava's LIFReset; bias_mant and bias_exp are [width]."""

    dv: int
    vth: int
    bias_mant: Ints
    bias_exp: Ints
    du: int = _UNITY - 1  #: the current keeps nothing of the last step


@dataclass(frozen=True, eq=False, kw_only=True)
class Mapped:
    """How a population runs: as `stock`, or, where that is None, as our process, and `why`."""

    stock: StockLif | None
    why: tuple[str, ...]


def map_population(program: Program, node: Population) -> Mapped:
    """Return lava's LIFReset if it computes exactly what `node` does, else why it does not.

    In lava-nc 0.10.0 (proc/lif/models.py), with du = 4095 and a the summed current,

        v = clip(sgn(v) (|v| (4096 - dv) >> 12) + (a << 6) + (bias_mant << bias_exp))
        spike where v > vth << 6, and there v = 0

    with one dv and one vth for all neurons, dv and vth of 12 and 17 bits, a bias of 13 + 3 bits, v
    clipped at +-(2**23 - 1), and a << 6 wrapping beyond 2**23.
    """
    if node.spec != "lif":
        return Mapped(stock=None, why=(f"{node.spec} has no stock process",))
    limit = node.coefs["threshold"] - (0 if node.options["compare"] == GT else 1)
    exponent, mantissa = _bias(node.bias)
    beta = node.coefs["beta"]
    reach = np.maximum(*np.abs(current_bounds(program)[node.name])).max()
    conditions = {
        f"reset is {node.options['reset']}, not hard": node.options["reset"] == "hard",
        "it hears itself, and LIFReset can spike before a sample starts": node.recurrent is None,
        "reset is not to 0": not np.any(node.coefs["reset"]),
        "numbers are not 24-bit saturating states, 12-bit coefficients, rounded toward zero": (
            program.fixed(node) == _LIF_NUMBERS
        ),
        "decays differ between neurons": _same(beta),
        "a decay is outside 1/4096 to 1": bool(np.all((beta >= 1) & (beta <= _UNITY))),
        f"shifts are not all {_ALIGN}": bool(np.all(node.shift == _ALIGN)),
        "thresholds differ between neurons": _same(limit),
        f"a threshold is not a multiple of {1 << _ALIGN}": not np.any(limit % (1 << _ALIGN)),
        "a threshold is outside 17 bits": bool(
            np.all((limit >= 0) & (limit >> _ALIGN < 2**17)),
        ),
        "a bias is not a 13-bit number times a power of two up to 2**7": mantissa is not None,
        "a current can wrap LIF's 24-bit register": reach * 2**_ALIGN < _REGISTER,
    }
    why = tuple(reason for reason, holds in conditions.items() if not holds)
    if why or mantissa is None:
        return Mapped(stock=None, why=why)
    stock = StockLif(
        dv=_UNITY - int(beta[0]),
        vth=int(limit[0]) >> _ALIGN,
        bias_mant=mantissa,
        bias_exp=exponent,
    )
    return Mapped(stock=stock, why=())


def _same(values: Ints) -> bool:
    return bool(np.all(values == values[0]))


def _bias(bias: Ints) -> tuple[Ints, Ints | None]:
    """Return exponents [width] in 0..7 and mantissas of 13 bits, or None if there are none."""
    exponent = np.full(bias.shape, -1, np.int64)
    for power in range(7, -1, -1):
        whole = bias % (1 << power) == 0
        fits = (bias >> power >= -4096) & (bias >> power <= 4095)
        exponent[whole & fits] = power
    if np.any(exponent < 0):
        return exponent, None
    return exponent, bias >> exponent


def edge_plan(program: Program, edge: Edge) -> dict[str, Any]:
    """Return how an edge is made: plain data, without its array.

    A convolution is a Sparse: Lava's Conv knows neither exponents nor bits, and does not clip.
    Dense and Sparse in mode MIXED keep the upper bits of numbers in [-256, 254]: weights of b bits
    go in 2**(9 - b) times larger, and their exponent is that much lower. Messages of 0 bits are
    spikes.
    """
    plan = {"source": edge.source, "exponent": edge.exponent, "delay": edge.delay}
    if isinstance(edge, Tap):
        return {"kind": "tap", **plan}
    aligned = _aligned(edge)
    settings = ("shape", "stride", "padding", "dilation", "groups")
    conv = {key: getattr(edge, key) for key in settings if isinstance(edge, Conv)}
    return {
        "kind": "sparse" if conv else "dense",
        **plan,
        **conv,
        "aligned": aligned,
        "weight_exp": edge.exponent - aligned,
        "num_weight_bits": _WEIGHT_BITS + 1 - aligned,
        "sign_mode": "MIXED",
        "num_message_bits": message_bits(program, edge.source),
    }


def _aligned(edge: Weighted) -> int:
    """Return the zeros below the lowest bit of a weight, as Dense keeps it in mode MIXED."""
    return max(_WEIGHT_BITS + 1 - edge.weight_bits, 1)


def message_bits(program: Program, name: str) -> int:
    """Return the bits of a graded message from node `name`; 0 for spikes."""
    node = program[name]
    if not program.graded(name):
        return 0
    if isinstance(node, Source):
        return max(int(node.low).bit_length(), int(node.high).bit_length()) + 1
    return program.numbers.message_bits


def check(program: Program) -> Program:
    """Return `program`, or raise everything that Lava cannot hold at once (FitError E301, E303)."""
    peaks = _peaks(program)
    problems: list[NeurodeployError] = []
    for node in program:
        if isinstance(node, Population) and node.reverse:
            problems.append(
                FitError(
                    "E303",
                    "Lava runs forwards in time only",
                    where=f'population "{node.name}" (reverse)',
                    fix="train with bidirectional=False",
                )
            )
        if isinstance(node, Vector):
            problems.append(
                FitError(
                    "E303",
                    f"Lava has no process for {node.kind}",
                    where=f'vector "{node.name}"',
                    fix="train with BatchNorm and spiking neurons, or run the simulator",
                )
            )
        for edge in edges(node):
            where = f'"{edge.source}" to "{node.name}"'
            problems += _edge_problems(edge, peaks[edge.source], where)
    if problems:
        raise together(problems)
    return program


def _edge_problems(edge: Edge, peak: Any, where: str) -> list[NeurodeployError]:
    found: list[NeurodeployError] = []
    if edge.delay < 1:
        found.append(
            FitError(
                "E301",
                "every synapse of Lava takes at least one time step; this one takes none",
                where=where,
                fix="compile for a target with synapse delays, such as --target loihi2",
            )
        )
    if not isinstance(edge, Tap):
        low, high = int(edge.weight.min(initial=0)), int(edge.weight.max(initial=0))
        if low < -128 or high > 127:
            found.append(
                FitError(
                    "E301",
                    f"Lava's synapses hold 8-bit weights; needs {low} to {high}",
                    where=where,
                    fix="--bits 8",
                )
            )
    if edge.exponent < 0:
        found.append(
            FitError(
                "E301",
                f"a weight exponent is at least 0; needs {edge.exponent}",
                where=where,
                fix="compile the model again with this version of neurodeploy",
            )
        )
    elif _largest_sum(edge, peak) > _INT32:
        found.append(
            FitError(
                "E301",
                "a sum in Lava has 32 bits; this one can need more",
                where=where,
                fix="fewer weight bits (--bits), or a narrower layer in front",
            )
        )
    return found


def _largest_sum(edge: Edge, peak: Any) -> float:
    """Return the largest number on the way of a current: aligned weights, then the exponent."""
    if not isinstance(edge, Tap):
        sizes = replace(edge, weight=np.abs(edge.weight))
        total = float(sizes.product(peak).max(initial=0.0))
        return max(total * 2.0 ** _aligned(edge), total * 2.0**edge.exponent)
    return float(peak.max(initial=0.0)) * 2.0**edge.exponent


def _peaks(program: Program) -> Mapping[str, Any]:
    """Return the largest magnitude [width] that each node can send."""
    bounds = current_bounds(program)
    found = {}
    for node in program:
        ones = np.ones(node.width)
        if isinstance(node, Source):
            found[node.name] = ones * max(-node.low, node.high)
        elif isinstance(node, Stream):
            found[node.name] = np.maximum(*np.abs(bounds[node.name]))
        elif isinstance(node, Vector):
            found[node.name] = ones * max(-node.low, node.high)
        else:
            found[node.name] = ones * (node.most or program.fixed(node).state_max)
    return found


def worklist(program: Program) -> list[dict[str, str]]:
    """Return what a board would need of each node: `node`, `process`, `state`, `why`.

    state "stock": Lava's own process, which Intel's extension may know; "host": input and output
    of the host; "microcode": has to be written with Intel's extension.
    """
    found = []
    for node in program:
        if isinstance(node, Source):
            row = ("RingBuffer", "host", "the host plays the inputs")
        elif isinstance(node, Stream):
            row = ("Stream", "microcode", "a neuron that passes its current on as a graded spike")
        elif isinstance(node, Vector):
            row = (node.kind, "missing", "a vector operation, which Loihi 2 has no unit for")
        else:
            mapped = map_population(program, node)
            row = (
                ("LIFReset", "stock", "computes the same integers")
                if mapped.stock
                else ("Population", "microcode", "; ".join(mapped.why))
            )
        found.append(_row(node.name, *row))
        found += [_row(f"{edge.source} to {node.name}", *_synapse(edge)) for edge in edges(node)]
    return found


def _synapse(edge: Edge) -> tuple[str, str, str]:
    wait = f", behind a delay line of {edge.delay - 1}" if edge.delay > 1 else ""
    state = "stock" if not wait else "microcode"
    if isinstance(edge, Conv):
        return f"Sparse{wait}", state, "a convolution's weights, written out" + wait
    if isinstance(edge, Dense):
        return f"Dense{wait}", state, "synaptic weights" + wait
    return f"Tap{wait}", "microcode", "a diagonal of -1, 0 and 1" + wait


def _row(node: str, process: str, state: str, why: str) -> dict[str, str]:
    return {"node": node, "process": process, "state": state, "why": why}
