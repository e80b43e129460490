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
    every step (in training: in it, once x is known); `fed` is the sum for neuron n, `held` what is
    added to it and the drive.
    """

    args: str = ""
    setup: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    gather: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    fed: str = ""
    held: str = ""


NONE = Loop()

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

#: Training, forwards: `x` gains weight [senders, N] times what was sent, then offset [N]; it is
#: noted as `drive`, so that the way back needs no second sum. Blocks are whole samples.
HEARD = Loop(
    args="weight, offset, drive, ",
    setup=(
        "width = weight.shape[0]",
        "first, last = first * width, last * width",
        "block = max(BLOCK // width, 1) * width",
        "fed = np.empty(block, kind)",
        "held = np.empty(block, kind)",
        "for s in range(0, block, width):",
        "    held[s : s + width] = offset",
        "sent = np.empty(width, kind)",
        "fired = np.empty(width, np.int64)",
    ),
    gather=(
        "drive_row = drive[t, lane:stop]",
        "before = out[t if i == 0 else t + 1 if reverse else t - 1, lane:stop]",
        "for s in range(0, stop - lane, width):",
        "    count = 0",
        "    if i > 0:",
        "        for m in range(width):",
        "            fired[count] = m",
        "            sent[count] = before[s + m]",
        "            count += before[s + m] != ZERO",
        "    row = fed[s : s + width]",
        "    row[:] = ZERO",
        "    whole = count - count % 4",
        "    for j in range(0, whole, 4):",
        "        r0, r1 = weight[fired[j]], weight[fired[j + 1]]",
        "        r2, r3 = weight[fired[j + 2]], weight[fired[j + 3]]",
        "        v0, v1, v2, v3 = sent[j], sent[j + 1], sent[j + 2], sent[j + 3]",
        "        for m in range(width):",
        "            row[m] += (v0 * r0[m] + v1 * r1[m]) + (v2 * r2[m] + v3 * r3[m])",
        "    for j in range(whole, count):",
        "        r0, v0 = weight[fired[j]], sent[j]",
        "        for m in range(width):",
        "            row[m] += v0 * r0[m]",
    ),
    keep=("drive_row[n] = x",),
    fed=" + fed[n]",
    held=" + held[n]",
)

#: Training, backwards: the gradient of what was sent gains weight [receivers, N] times that of
#: the next step's `x`. Four receivers a pass over all samples of a block keep their rows at hand.
ANSWERED = Loop(
    args="weight, ",
    setup=(
        "width = weight.shape[0]",
        "first, last = first * width, last * width",
        "block = max(BLOCK // width, 1) * width",
        "fed = np.empty(block, kind)",
    ),
    gather=(
        "i = begin + j",
        "after = g_inputs[t if i == steps - 1 else t - 1 if reverse else t + 1, lane:stop]",
        "fed[:] = ZERO",
        "whole = width - width % 4 if i < steps - 1 else 0",
        "for m in range(0, whole, 4):",
        "    r0, r1, r2, r3 = weight[m], weight[m + 1], weight[m + 2], weight[m + 3]",
        "    for s in range(0, size, width):",
        "        v0, v1 = after[s + m], after[s + m + 1]",
        "        v2, v3 = after[s + m + 2], after[s + m + 3]",
        "        row = fed[s : s + width]",
        "        for q in range(width):",
        "            row[q] += (v0 * r0[q] + v1 * r1[q]) + (v2 * r2[q] + v3 * r3[q])",
        "for m in range(whole, width if i < steps - 1 else 0):",
        "    r0 = weight[m]",
        "    for s in range(0, size, width):",
        "        row = fed[s : s + width]",
        "        for q in range(width):",
        "            row[q] += after[s + m] * r0[q]",
    ),
    fed=" + fed[n]",
)
