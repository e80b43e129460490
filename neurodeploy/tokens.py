"""Token ids as spikes: x [T, B, 1] of ids becomes one-hot x [T, B, width]; -1 is silence.

A Linear that reads such spikes is an embedding: its columns are the rows of the table. So what only
Linears read need not be written out: `Tokens` are the ids, standing for their spikes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neurodeploy.errors import InputError
from neurodeploy.matrices import Matrix


@dataclass(frozen=True, eq=False)
class Tokens:
    """Ids [T, B] from -1 to width - 1."""

    ids: npt.NDArray[np.int64]
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the spikes."""
        return (*self.ids.shape, self.width)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: Any) -> Tokens:
        """Return some steps, or steps and samples, given as slices."""
        return Tokens(self.ids[part], self.width)

    def one_hot(self) -> npt.NDArray[np.float64]:
        """Return the spikes [T, B, width]."""
        return np.asarray(self.ids[..., None] == np.arange(self.width), np.float64)

    def times(self, weight: Matrix) -> npt.NDArray[np.float64]:
        """Return what a weight [out, width] makes of the spikes, [T, B, out], in float64."""
        found = np.asarray(weight[:, self.ids.reshape(-1)], np.float64).T.copy()
        found[self.ids.reshape(-1) < 0] = 0.0
        return found.reshape(*self.ids.shape, len(weight))


def tokens(x: Any, width: int) -> Tokens | None:
    """Return the tokens that x [T, B, 1] gives as ids, or None for spikes [T, B, width].

    Raises InputError E106 for another shape, and for what is neither.
    """
    data = np.asarray(x)
    if data.ndim == 3 and data.shape[2] == 1 and data.shape[0] >= 1:
        known = (data >= -1) & (data < width) & (data == np.rint(data))
        if not np.all(known):
            what = f"{data[~known].flat[0]} is no token: there are {width}"
            raise InputError("E106", what, fix=f"give ids from 0 to {width - 1}, or -1 for nothing")
        return Tokens(data[..., 0].astype(np.int64), width)
    spikes = data.ndim == 3 and data.shape[2] == width and data.shape[0] >= 1
    if not spikes or not np.all(np.isin(data, (0, 1))):
        shape = f"{data.dtype} of shape {data.shape}"
        raise InputError("E106", f"tokens are given as {shape}", fix="give ids x [T, B, 1]")
    return None


def one_hot(x: Any, width: int) -> Any:
    """Return spikes [T, B, width], float64, for ids [T, B, 1], or for such spikes themselves.

    Raises InputError E106 as `tokens` does.
    """
    found = tokens(x, width)
    return np.asarray(x, np.float64) if found is None else found.one_hot()
