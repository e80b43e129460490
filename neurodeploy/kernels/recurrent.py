"""What a kernel does more for neurons that hear their own output of the step before.

    x[t] = drive[t] + sum over senders j of weight[j] * sent[t-1, j],    sent = 0 before the first

weight [senders, N] has one row per sender. A sum runs over those that sent something, in their
order, so a result depends on nothing else. `build` puts these lines into the kernels it generates.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loop:
    """Lines for the places of a kernel: its arguments, and what runs when.

    setup runs once, sample before the first step of each sample, gather before and keep after
    every step; `fed` is the sum for neuron n, "" without a loop.
    """

    args: str = ""
    setup: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    gather: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    fed: str = ""


NONE = Loop()

#: Spikes of integers, four senders a pass; events [B] counts the spikes that arrive.
SPIKES = Loop(
    args="weight, exponent, events, ",
    setup=("fed = np.empty(width, np.int32)", "fired = np.empty(width, np.int64)"),
    sample=("count = 0",),
    gather=(
        "fed[:] = 0",
        "events[b] += count",
        "whole = count - count % 4",
        "for j in range(0, whole, 4):",
        "    r0, r1 = weight[fired[j]], weight[fired[j + 1]]",
        "    r2, r3 = weight[fired[j + 2]], weight[fired[j + 3]]",
        "    for n in range(width):",
        "        low = np.int32(r0[n]) + np.int32(r1[n])",
        "        high = np.int32(r2[n]) + np.int32(r3[n])",
        "        fed[n] += low + high",
        "for j in range(whole, count):",
        "    r0 = weight[fired[j]]",
        "    for n in range(width):",
        "        fed[n] += np.int32(r0[n])",
    ),
    keep=(
        "count = 0",
        "for n in range(width):",
        "    fired[count] = n",
        "    count += spikes[n] != 0",
    ),
    fed=" + (np.int64(fed[n]) << exponent)",
)

#: Real outputs times the amplitude.
REALS = Loop(
    args="weight, amplitude, ",
    setup=("fed = np.empty(width)", "sent = np.empty(width)"),
    sample=("sent[:] = 0.0",),
    gather=(
        "fed[:] = 0.0",
        "for j in range(width):",
        "    if sent[j] != 0:",
        "        for n in range(width):",
        "            fed[n] += sent[j] * weight[j, n]",
    ),
    keep=("for n in range(width):", "    sent[n] = spikes[n] * amplitude"),
    fed=" + fed[n]",
)
