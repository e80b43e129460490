"""What a surrogate dynamic network computes, in float64 (see `neurodeploy.nn.sdn`).

h_j[t] = relu(sum_k taps[j, k] x[t - 8 + k] + taps_bias[j])
g_j[t] = relu(sum_i mix[j, i] h_i[t] + mix_bias[j] + h_j[t])
carried[t] = sum_j out[j] g_j[t] + out_bias,    s[t] = carried[t] + x[t] >= threshold
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurodeploy.graph.ir import Array


def predicted(network: Mapping[str, Array], x: Array) -> Array:
    """Return what the network says the membrane carries over, for drives x [T, B, N]."""
    taps = network["taps"]
    reach = taps.shape[1]
    padded = np.concatenate([np.zeros((reach, *x.shape[1:])), x])
    past = [padded[k : k + len(x)] for k in range(reach)]
    h = [
        np.maximum(sum(w * row for w, row in zip(line, past, strict=True)) + bias, 0)
        for line, bias in zip(taps, network["taps_bias"], strict=True)
    ]
    total = np.full_like(x, network["out_bias"][0])
    for j, weight in enumerate(network["out"]):
        mixed = sum(w * row for w, row in zip(network["mix"][j], h, strict=True))
        total += weight * np.maximum(mixed + network["mix_bias"][j] + h[j], 0)
    return total
