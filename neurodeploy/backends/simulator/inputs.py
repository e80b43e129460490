"""Real inputs become the program's integers: spikes as bits, other values as they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from neurodeploy.backends.simulator.memory import Values, address
from neurodeploy.errors import InputError
from neurodeploy.kernels import pack
from neurodeploy.kernels.native import Function
from neurodeploy.program.ir import Program, Source
from neurodeploy.program.reference import check_finite, check_shape, to_integers
from neurodeploy.tokens import Tokens, tokens


def readable(source: Source, x: Any) -> Any:
    """Return x [T, B, C] as an array, token ids as `Tokens`; raise InputError E106 for neither."""
    found = tokens(x, source.width) if source.tokens else None
    if found is not None:
        return found
    array = np.asarray(x)
    check_shape(source, array)
    return array


def known(program: Program, names: Collection[str]) -> tuple[str, ...]:
    """Return names of nodes, or raise InputError E105 for what is none."""
    there = {node.name for node in program} if names else set()
    for name in names:
        if name not in there:
            fix = f"one of {', '.join(sorted(there))}"
            raise InputError("E105", f"the program has no node {name!r} to record", fix=fix)
    return tuple(names)


def packing(source: Source, x: Any, into: Values) -> Function | None:
    """Return the kernel that writes what is `readable`, spikes, to `into`; None if none can.

    Its record is filled in. What it found is known from `packed`, once it has run for all samples.
    """
    if (
        isinstance(x, Tokens)
        or not source.spiking
        or source.unit != 1.0
        or x.dtype not in pack.KINDS
        or x.shape[2] != into.width
        or (x.size and x.strides[2] != x.itemsize)
    ):
        return None
    there = into.packing
    there.record[:5] = address(x), *x.strides[:2], into.width, len(x)
    there.counts[:] = 0
    return pack.kernel(x.dtype)


def packed(x: Any, into: Values) -> int:
    """Return how many inputs were clipped; raise InputError E106 if some were no numbers."""
    clipped, broken = into.packing.counts.tolist()
    if broken:
        check_finite(x)
    return int(clipped)


def convert(source: Source, x: Any, into: Values) -> int:
    """Write what is `readable`, of any kind, to `into`; return how many inputs were clipped.

    Raises InputError E106 for numbers that are none.
    """
    if isinstance(x, Tokens):
        _mark(x, into)
        return 0
    whole, clipped = to_integers(source, x)
    data = whole.transpose(1, 0, 2)
    if into.bits is None:
        into.graded[..., : into.width] = data
    else:
        octets = np.packbits(data.astype(bool), axis=-1, bitorder="little")
        into.bits.view(np.uint8)[..., : octets.shape[-1]] = octets
    return clipped


def _mark(x: Tokens, into: Values) -> None:
    """Write the spikes of token ids as bits."""
    ids = x.ids.T
    into.bits.fill(0)
    b, t = np.nonzero(ids >= 0)
    there = ids[b, t]
    into.bits[b, t, there >> 6] = np.uint64(1) << (there & 63).astype(np.uint64)
