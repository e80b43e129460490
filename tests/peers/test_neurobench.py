"""Our figures under NeuroBench's names beside those of the package, on the same network and data.

Weights of -1, 0 and 1, decays of a half and whole inputs, so that the float network and the integer
program compute the same: every spike is compared first.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.reports.neurobench import neurobench

pytestmark = pytest.mark.skipif(
    find_spec("neurobench") is None or find_spec("snntorch") is None,
    reason="NeuroBench and snnTorch are not installed: make peers",
)

STEPS, SAMPLES, SIZES = 12, 3, (4, 6, 5)


def weights(seed):
    rng = np.random.default_rng(seed)
    made = [rng.integers(-1, 2, (n, m)).astype(float) for m, n in pairwise(SIZES)]
    for weight in made:
        weight[:, 0] = 1  # no row without weights: its unit would be free
    return made


def theirs(seed, x):
    """Return the package's metrics and the spikes [layer][T, B, n] of a network in snnTorch."""
    import snntorch
    from neurobench.metrics.static.connection_sparsity import ConnectionSparsity
    from neurobench.metrics.workload.activation_sparsity import ActivationSparsity
    from neurobench.metrics.workload.membrane_updates import MembraneUpdates
    from neurobench.metrics.workload.synaptic_operations import SynapticOperations
    from neurobench.models.snntorch_models import SNNTorchModel

    layers = []
    for i, weight in enumerate(weights(seed)):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = torch.tensor(weight, dtype=torch.float32)
        last = i + 2 == len(SIZES)
        layers += [linear, snntorch.Leaky(beta=0.5, threshold=1.0, init_hidden=True, output=last)]
    model = SNNTorchModel(torch.nn.Sequential(*layers))
    model.register_hooks()
    data = torch.tensor(x, dtype=torch.float32).transpose(0, 1)
    predicted = model(data)
    batch = (data, torch.zeros(SAMPLES))
    metrics = {
        "ConnectionSparsity": ConnectionSparsity()(model),
        "ActivationSparsity": ActivationSparsity()(model, predicted, batch),
        "MembraneUpdates": MembraneUpdates()(model, predicted, batch),
        "SynapticOperations": SynapticOperations()(model, predicted, batch),
    }
    spikes = [
        torch.stack(list(hook.activation_outputs)).detach().numpy()
        for hook in model.activation_hooks
    ]
    return metrics, spikes


def ours(seed, x):
    """Return our metrics and spikes of the same network."""
    layers = []
    for weight in weights(seed):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = torch.tensor(weight, dtype=torch.float32)
        neuron = nd.nn.LIF(len(weight), beta=0.5, reset="soft_after_decay", compare=">")
        layers += [linear, neuron]
    graph = nd.trace(torch.nn.Sequential(*layers, nd.nn.Readout("rate")).eval())
    program = nd.compile(graph, nd.target("asic45"), calibration=x)
    names = [node.name for node in program.populations if node.model.spiking]
    run = nd.simulate(program, x, record=names, traffic=True)
    return neurobench(run), [run.values[name] for name in names]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["spikes", "values"])
def test_the_same_network_has_the_same_metrics(seed, kind):
    rng = np.random.default_rng(100 + seed)
    high = 2 if kind == "spikes" else 6
    x = rng.integers(0, high, (STEPS, SAMPLES, SIZES[0])).astype(float)
    x[:, :, 0] *= high - 1  # every step has a value that is no spike, or all are spikes
    (metrics, spikes), (mine, own) = theirs(seed, x), ours(seed, x)
    for a, b in zip(spikes, own, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(spike.sum() for spike in own) > 0
    assert mine["ConnectionSparsity"] == pytest.approx(metrics["ConnectionSparsity"], abs=5e-5)
    assert mine["ActivationSparsity"] == pytest.approx(metrics["ActivationSparsity"])
    for name, value in metrics["SynapticOperations"].items():
        assert mine["SynapticOperations"][name] == pytest.approx(float(value)), name
    # the package leaves out updates that change nothing
    updates = STEPS * sum(SIZES[1:])
    assert float(metrics["MembraneUpdates"]) <= updates
    readout = STEPS * SIZES[-1]  # the sum over time has a register of its own
    assert mine["MembraneUpdates"] == updates + readout
