"""ONNX's LSTM as operations of a graph: per direction a Linear for the gates, and an Lstm.

The file keeps the gates in the order i, o, f, c; a graph in i, f, g, o. Y is [T, directions, B, H].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.frontends.onnx_values import Call, Const, Filled, Refused, Seq
from neurodeploy.graph.ir import Concat, Linear, Reduce
from neurodeploy.graph.nonlinear import Lstm

_FIX = "export it as torch.nn.LSTM does: from rest, with its own activations, without projections"


def lstm(call: Call) -> tuple[Any, ...]:
    """Return Y, and Y_h of an LSTM that runs forwards; its cells are not given away."""
    x = call.seq()
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    direction = str(call.attributes.get("direction", "forward"))
    _plain(call)
    last = bool(call.attributes.get("layout", 0))
    if x.axes[:2] != (("B", "T") if last else ("T", "B")) or len(x.axes) != 3:
        order = "[B, T, channels]" if last else "[T, B, channels]"
        raise Refused(f"it reads {list(x.axes)}, not {order}", "state the axes with --layout")
    reverse = ways[direction]
    sides = [_side(call, x, k, way) for k, way in enumerate(reverse)]
    hidden = call.const(2).shape[-1]
    y, count = sides[0], len(sides)
    if count == 2:
        y = call.emit(Concat(), sides, (*x.axes[:2], 2 * hidden), ".both")
    axes = (*x.axes[:2], count, hidden) if last else ("T", count, "B", hidden)
    outputs: list[Any] = [Seq(y.name, axes)]
    if call.used > 1 and reverse == (False,):
        final = call.emit(Reduce("last", np.zeros(hidden)), y, ("B", hidden), ".last")
        outputs.append(Seq(final.name, ("B", 1, hidden) if last else (1, "B", hidden)))
    return tuple(outputs)


def _plain(call: Call) -> None:
    call.expect(input_forget=(0,))
    usual = ["Sigmoid", "Tanh", "Tanh"]
    found = [str(name) for name in call.attributes.get("activations", usual)]
    if found not in (usual, usual * 2) or "clip" in call.attributes or call.has(7):
        raise Refused("peepholes, clipping or other activations", _FIX)
    if call.has(4):
        raise Refused("sequences of different lengths", "export it without sequence_lens")
    for index in (5, 6):
        value = call.inputs[index] if call.has(index) else Filled(0.0)
        numbers = value.array if isinstance(value, Const) else getattr(value, "value", np.nan)
        if np.any(np.asarray(numbers) != 0):
            raise Refused("it starts from a state", _FIX)


def _side(call: Call, x: Seq, index: int, reverse: bool) -> Seq:
    weight, recurrent = (_gates(call.const(k)[index]) for k in (1, 2))
    hidden = recurrent.shape[1]
    both = np.asarray(call.const(3)[index] if call.has(3) else np.zeros(8 * hidden), np.float64)
    bias = _gates(both[: 4 * hidden]) + _gates(both[4 * hidden :])
    suffix = ".reverse" if index else ""
    drive = call.emit(Linear(weight, bias), x, (*x.axes[:2], 4 * hidden), f"{suffix}.gates")
    return call.emit(Lstm(recurrent, reverse), drive, (*x.axes[:2], hidden), suffix)


def _gates(rows: Any) -> Any:
    """Return rows of i, o, f, c as rows of i, f, g, o."""
    i, o, f, c = np.split(np.asarray(rows, np.float64), 4)
    return np.concatenate([i, f, c, o])
