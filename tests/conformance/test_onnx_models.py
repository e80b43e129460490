"""Every network that compiles runs in stock onnxruntime as in the simulator, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import neurodeploy as nd
from neurodeploy.errors import FitError
from neurodeploy.frontends import read_model
from neurodeploy.program.ir import Vector
from neurodeploy.tokens import one_hot

HOME = Path(__file__).parents[2]
SHIPPED = sorted(HOME.glob("examples/*/*.pt"))
STEPS, SAMPLES = 24, 3

NETWORKS = {
    "SDTCM": lambda: nd.nn.SDTCM(2, 12, 2, 3),
    "SDTCM, bidirectional, post": lambda: nd.nn.SDTCM(
        *(2, 12, 2, 3), norm="post", bidirectional=True, outer_residual=True
    ),
    "SDTCM, tokens": lambda: nd.nn.SDTCM(1, 12, 1, 3, tokens=6),
    "SpikingMLP": lambda: nd.nn.SpikingMLP([2, 9, 8, 3], recurrent=True),
    "SpikingMLP, ALIF": lambda: nd.nn.SpikingMLP([2, 9, 3], neuron="ALIF"),
    "CELIFNet": lambda: nd.nn.CELIFNet(2, [9, 8], 3, STEPS),
    "SpikingSSM": lambda: nd.nn.SpikingSSM(2, 8, 1, 3),
    "SpikingSSM, layer norms": lambda: nd.nn.SpikingSSM(
        *(2, 8, 1, 3), norm="pre", norm_kind="layer", bidirectional=True
    ),
    "BinaryS4D": lambda: nd.nn.BinaryS4D(2, 8, 1, 3),
    "GSUNetwork": lambda: nd.nn.GSUNetwork(2, 8, 1, 3, state=4),
    "ReLU": lambda: torch.nn.Sequential(
        torch.nn.Linear(2, 9), torch.nn.ReLU(), torch.nn.Linear(9, 3), nd.nn.Readout("mean")
    ),
}
ONE_THREAD = onnxruntime.SessionOptions()
ONE_THREAD.intra_op_num_threads = 1  # of many small networks, side by side with other tests
ON_LOIHI = ("SDTCM", "SDTCM, tokens", "SpikingMLP", "SpikingMLP, ALIF", "CELIFNet")


def simulated_and_run(graph, x, chip, path):
    """Assert that the exported program sends, in onnxruntime, what the simulator does."""
    program = nd.compile(graph, nd.target(chip), calibration=x)
    nd.export(program, path)
    spiking = [node.name for node in program.populations if node.model.spiking]
    vectors = [node.name for node in program if isinstance(node, Vector)]
    run = nd.simulate(program, x, record=[*spiking, *vectors])
    session = onnxruntime.InferenceSession(path, ONE_THREAD)
    names = [item.name for item in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"input": x.astype(np.float64)}), strict=True))
    np.testing.assert_array_equal(found["output_integers"], run.integers)
    np.testing.assert_array_equal(found["output"], run.outputs)
    for name in spiking:
        np.testing.assert_array_equal(found[f"{name}/spikes"], run.values[name])
    for name in vectors:
        np.testing.assert_array_equal(found[f"{name}/values"], run.values[name])
    return run


@pytest.mark.parametrize("chip", ["asic45", "loihi2"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_every_kind(name, chip, tmp_path):
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS, SAMPLES, 2)).astype(np.float32)
    if "tokens" in name:
        x = one_hot(rng.integers(0, 6, size=(STEPS, SAMPLES, 1)), 6)
    graph = nd.trace(model)
    if chip == "loihi2" and name not in ON_LOIHI:
        with pytest.raises(FitError):
            nd.compile(graph, nd.target(chip), calibration=x)
    else:
        run = simulated_and_run(graph, x, chip, tmp_path / "p.onnx")
        assert np.ptp(run.integers) > 0


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_checkpoints(path, tmp_path):
    model = read_model(path)
    x = model.example[:40, :2]
    run = simulated_and_run(model.graph, x, "asic45", tmp_path / "p.onnx")
    assert np.ptp(run.integers) > 0
