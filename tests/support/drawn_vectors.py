"""Random vector operations, whose formats are too narrow at times and whose tables are anything.

What must fit 64 bits on the way does, as of what the compiler makes: operands of products have 16
bits, a gain is below what its values leave.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from neurodeploy.program.ir import Vector
from neurodeploy.program.vector import KINDS
from support.drawn_edges import edges, edgy

NARROW, WIDE = 15, 31  # bits of the largest operand


def vector(rng, name, kind, width, sends, heard, *, reverse, recurrent, form):
    """Return a node, and the most that it sends."""
    low, high = ((-1, 1), (0, 255), (-128, 127), (-(2**23) + 1, 2**23 - 1))[rng.integers(4)]
    count, most = KINDS[kind].operands, max(-low, high)
    looped = KINDS[kind].loops
    if looped and recurrent:
        sends, heard = {**sends, name: (width, most)}, [*heard, name]
    made, operands, formats = [], [], []
    most_bits, params, result = PARAMS[kind](rng, width)
    limits = [int(rng.choice([1, 4, bits])) for bits in most_bits]
    for k in range(count):
        found, reach = edges(rng, sends, heard, width, own=name, form=form if k == 0 else None)
        made += found
        operands += [k] * len(found)
        formats.append(_format(rng, width, reach, limits[k]))
    gain, shift = _scaling(rng, width, result(*limits), most.bit_length())
    node = Vector(
        name=name,
        width=width,
        edges=tuple(made),
        operands=tuple(operands),
        kind=kind,
        **{key: np.array([each[key] for each in formats]) for key in formats[0]},
        params=params,
        out_gain=gain,
        out_shift=shift,
        low=low,
        high=high,
        unit=np.ones(width),
        reverse=reverse and looped,
    )
    return node, most


def _format(rng, width, reach, bits):
    """Gain, shift, offset [width] and limit of an operand whose current comes so far."""
    limit = 2**bits - 1
    gain, shift = _scaling(rng, width, reach.bit_length(), bits)
    most = [min(limit << int(s), 2**60) for s in shift]
    offset = [int(edgy(rng, -m, m)) for m in most] if rng.random() < 0.5 else 0 * gain
    return {"gain": gain, "shift": shift, "offset": np.array(offset), "limit": limit}


def _scaling(rng, width, bits, to):
    """Gains and shifts that bring numbers of so many bits to about so many; often powers of two."""
    top = 2 ** min(30, 61 - bits) - 1
    gain = edgy(rng, -top, top, width)
    if rng.random() < 0.5:
        gain = np.full(width, 1 << int(rng.integers(0, 8)))
    size = bits + np.array([int(g).bit_length() for g in np.abs(gain)])
    return gain, np.clip(size - to + rng.integers(-2, 2, width), 0, 46)


def _table(rng, bits=15):
    return edgy(rng, -(2**bits), 2**bits, int(rng.integers(2, 9)))


def _nothing(rng, width):
    return (WIDE,), {}, lambda bits: bits


def _layernorm(rng, width):
    eps = int(edgy(rng, 0, 2**30))
    guard = (62 - (width**2 * 2**30 + eps).bit_length()) // 2
    most = min(2**62, 2 ** (60 + guard) // (isqrt(width) + 1))
    dividend = max(1, most >> int(rng.choice([0, 4, 16, 62])))
    top = dividend * (isqrt(width) + 1) >> guard
    shift = int(rng.integers(0, min(50, top.bit_length()) + 1))
    params = {"eps": eps, "guard": guard, "dividend": dividend, "shift": shift}
    bits = min((top >> shift).bit_length() + 1, 61)
    return (NARROW,), params, lambda _: bits


def _gelu(rng, width):
    params = {"table": _table(rng), "step": int(rng.integers(0, 9)), "fine": 4}
    return (NARROW,), params, lambda bits: max(bits + 4, 15) + 1


def _glu(rng, width):
    params = {"table": _table(rng), "step": int(rng.integers(0, 20))}
    return (NARROW, WIDE), params, lambda bits, _: bits + 16


def _product(rng, width):
    return (NARROW, NARROW), {}, lambda a, b: a + b


def _lstm(rng, width):
    bits = int(rng.choice([4, 16, 32]))
    steps = {f"{key}_step": int(rng.integers(0, 9)) for key in ("sigmoid", "tanh", "cell")}
    tables = {"table_sigmoid": _table(rng, 14), "table_tanh": _table(rng)}
    fraction = int(rng.choice([bits - 1, rng.integers(0, bits)]))  # of the greatest, 1 is too much
    how = {"cell_fraction": fraction, "state_bits": bits}
    return (WIDE,) * 4, steps | tables | how, lambda *_: 30


def _delay(rng, width):
    params = {"steps": rng.integers(0, rng.choice([1, 5]), width), "state_bits": 32}
    return (WIDE,), params, lambda bits: bits


def _ternary(rng, width):
    return (
        (WIDE,),
        {key: edgy(rng, -(2**31), 2**31, width) for key in ("upper", "lower")},
        lambda _: 1,
    )


def _ternary_step(rng, width):
    num, den = edgy(rng, 0, 2**15), edgy(rng, 1, 2**15)
    return (WIDE,), {"num": int(num), "den": int(den)}, lambda _: 1


#: of each kind the most bits of its operands, its parameters, and the bits of its result by those
PARAMS = {
    "layernorm": _layernorm,
    "gelu": _gelu,
    "relu": _nothing,
    "rescale": _nothing,
    "glu": _glu,
    "lstm": _lstm,
    "delay": _delay,
    "product": _product,
    "ternary": _ternary,
    "ternary_step": _ternary_step,
}
