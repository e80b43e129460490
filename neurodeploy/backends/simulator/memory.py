"""Arrays as compiled kernels want them: aligned, padded, known by address; spikes as bits."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from neurodeploy.kernels import pack
from neurodeploy.kernels.events import COLUMNS
from neurodeploy.program.ir import Ints

_LINE = 64  # bytes of a line of the cache


def padded(width: int) -> int:
    """Return the columns of arrays for so many neurons."""
    return -(-width // COLUMNS) * COLUMNS


def words(width: int) -> int:
    """Return the 64-bit words that hold a bit for each of so many neurons."""
    return -(-width // 64)


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return zeros that begin at a line of the cache."""
    size = prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + _LINE, np.uint8)
    start = -address(raw) % _LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned(array: Any) -> Any:
    """Return a copy that begins at a line of the cache."""
    made = zeros(array.shape, array.dtype)
    made[...] = array
    return made


def address(array: Any) -> int:
    """Return where an array begins; whoever passes it on must keep the array."""
    try:  # four times as fast, for arrays in one piece that may be written
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):
        return int(array.__array_interface__["data"][0])


def record(names: Sequence[str], values: Mapping[str, int]) -> Ints:
    """Return a record of 64-bit integers; raise KeyError if one is missing."""
    return np.array([values[name] for name in names], np.int64)


def fired(values: Any) -> Any:
    """Return uint64 [..., words] of values [..., N]: a bit for each, set if it is not 0."""
    octets = np.packbits(values != 0, axis=-1, bitorder="little")
    whole = np.zeros((*values.shape[:-1], 8 * words(values.shape[-1])), np.uint8)
    whole[..., : octets.shape[-1]] = octets
    return whole.view(np.uint64)


@dataclass(frozen=True, eq=False)
class Packing:
    """A record of `pack.kernel`, where it is, and what it counts, [2]: clipped, broken."""

    record: Ints
    place: int
    counts: Ints


@dataclass(frozen=True, eq=False)
class Values:
    """What a node sends: `bits` uint64 [B, T, words] of spikes, or `graded` int32 [B, T, N]."""

    width: int
    bits: Any = None
    graded: Any = None

    @cached_property
    def place(self) -> int:
        """The address of the bits, or of the graded values."""
        return address(self.graded if self.bits is None else self.bits)

    @cached_property
    def packing(self) -> Packing:
        """The record of the kernel that packs spikes into the bits, its input left open."""
        counts = np.zeros(2, np.int64)
        there = {"bits": self.place, "words": self.bits.shape[-1]}
        there |= {"clipped": address(counts), "broken": address(counts[1:])}
        made = record(pack.RECORD, dict.fromkeys(pack.RECORD, 0) | there)
        return Packing(made, address(made), counts)

    def whole(self) -> Any:
        """Return [B, T, width]: uint8 of spikes, int32 of others."""
        if self.bits is None:
            return self.graded[..., : self.width]
        return self._unpacked(self.bits.view(np.uint8))

    def fired(self) -> Any:
        """Return uint64 [B, T, words]: a bit for each value, set if it is not 0."""
        return fired(self.graded[..., : self.width]) if self.bits is None else self.bits

    def writing(self, out: Any) -> int:
        """Return where the record is with which `pack.back` writes all spikes to out.

        out: int32 [T, B, width], whose last axis is contiguous.
        """
        made, place = self._writing
        made[:3] = address(out), *out.strides[:2]
        return place

    @cached_property
    def _writing(self) -> tuple[Ints, int]:
        """The record, its output left open; where it is."""
        _, steps, words = self.bits.shape
        there = {"bits": self.place, "words": words, "steps": steps, "channels": self.width}
        made = record(pack.BACK, dict.fromkeys(pack.BACK, 0) | there)
        return made, address(made)

    def end(self) -> Any:
        """Return [B, width] of the last step."""
        return self._last if self.bits is None else self._unpacked(self._last)

    @cached_property
    def _last(self) -> Any:
        if self.bits is None:
            return self.graded[:, -1, : self.width]
        return self.bits[:, -1].view(np.uint8)

    def _unpacked(self, octets: Any) -> Any:
        return np.unpackbits(octets, axis=-1, count=self.width, bitorder="little")
