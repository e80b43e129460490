"""Token ids as spikes: x [T, B, 1] of ids becomes one-hot x [T, B, width]; -1 is silence.

A Linear that reads such spikes is an embedding: its columns are the rows of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.errors import InputError


def one_hot(x: Any, width: int) -> Any:
    """Return spikes [T, B, width], float64, for ids [T, B, 1], or for such spikes themselves.

    Raises InputError E106 for another shape, and for ids outside of -1 to width - 1.
    """
    data = np.asarray(x)
    if data.ndim == 3 and data.shape[2] == 1 and data.shape[0] >= 1:
        known = np.arange(-1, width)
        if not np.all(np.isin(data, known)):
            wrong = data[~np.isin(data, known)].flat[0]
            what = f"{wrong} is no token: there are {width}"
            raise InputError("E106", what, fix=f"give ids from 0 to {width - 1}, or -1 for nothing")
        return (data == np.arange(width)).astype(np.float64)
    spikes = data.ndim == 3 and data.shape[2] == width and data.shape[0] >= 1
    if not spikes or not np.all(np.isin(data, (0, 1))):
        shape = f"{data.dtype} of shape {data.shape}"
        raise InputError("E106", f"tokens are given as {shape}", fix="give ids x [T, B, 1]")
    return data.astype(np.float64)
