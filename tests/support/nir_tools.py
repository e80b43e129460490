"""The tools that read NIR, run step by step."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch

from neurodeploy.graph.ir import Neurons, vector

TOOLS = ("snntorch", "norse", "sinabs", "spikingjelly", "nirtorch")
MISSING = any(find_spec(name) is None for name in TOOLS)
REASON = "snnTorch, norse, sinabs and SpikingJelly are not installed: make peers"


def stepwise(run, x):
    """Return the outputs of run(x, state), which returns an output and the next state."""
    state, out = None, []
    with torch.no_grad():
        for row in x:
            value, state = run(row, state)
            out.append(value)
    return torch.stack(out)


def imported(tool, file):
    """Return what a tool makes of a file: run(row, state) that gives an output and a state."""
    if tool == "snntorch":
        from snntorch.import_nir import import_from_nir

        net = import_from_nir(file)
        return lambda row, state: net(row) if state is None else net(row, state)
    if tool == "spikingjelly":
        from spikingjelly.activation_based.nir_exchange import import_from_nir

        return import_from_nir(file, dt=1e-4)
    import norse.torch as norse

    return norse.from_nir(file, dt=1e-4)


def cells(spec, width):
    params = {"beta": 0.9, "v_th": 1.0, "gain": 1.0, "v_reset": 0.0}
    params |= {"alpha": 0.75} if spec == "cubalif" else {}
    values = {key: vector(value, width) for key, value in params.items()}
    options = {"reset": "hard", "compare": ">"}
    return Neurons(spec, options, values, np.ones(width), np.zeros(width))
