"""NIR files as other tools lay them out, and what their equations make of them."""

from __future__ import annotations

import nir
import numpy as np

F4 = np.float32
WIDTHS = (3, 6, 4)


def weights(rng, out, inside, size=1.0):
    return (rng.normal(size=(out, inside)) * size).astype(F4), rng.normal(size=out).astype(F4) * F4(
        0.3
    )


def network(path, cells, rng=None, size=1.0, shape=(WIDTHS[0],), **more):
    """Write Affine, cells[0], Affine, cells[1], ...; return their weights."""
    rng = rng or np.random.default_rng(5)
    nodes, edges, made = {"input": nir.Input(np.array(shape))}, [], []
    last = "input"
    for i, cell in enumerate(cells):
        weight, bias = weights(rng, WIDTHS[i + 1], WIDTHS[i], size)
        made.append((weight.astype(float), bias.astype(float)))
        for name, node in ((f"{2 * i}", nir.Affine(weight, bias)), (f"{2 * i + 1}", cell)):
            nodes[name] = node
            edges.append((last, name))
            last = name
    nodes["output"] = nir.Output(np.array([WIDTHS[len(cells)]]))
    edges.append((last, "output"))
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False, **more))
    return made


def run(made, steps, x):
    """Return the output of layers, each a function of (state, drive) that returns both again."""
    states, out = [None] * len(made), []
    for row in x:
        value = row
        for i, ((weight, bias), step) in enumerate(zip(made, steps, strict=True)):
            drive = value @ weight.T + bias
            state = states[i] if states[i] is not None else np.zeros((2, *drive.shape))
            value, states[i] = step(state, drive)
        out.append(value)
    return np.array(out)


def full(value, i, dtype=F4):
    return np.full(WIDTHS[i + 1], value, dtype)
