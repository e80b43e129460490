"""The shipped network, on real images: accuracy, agreement, and Lava without one difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import neurodeploy as nd
from neurodeploy.backends import folder, hardware
from neurodeploy.frontends import read_model
from neurodeploy.frontends.data import read_data

HERE = Path(__file__).parents[2] / "examples" / "smnist"


@pytest.fixture(scope="module")
def model():
    return read_model(HERE / "smnist.pt")


@pytest.fixture(scope="module")
def data():
    return read_data(HERE / "test-1000.npz")


@pytest.fixture(scope="module")
def program(model):
    loihi = nd.target("loihi2")
    return nd.compile(model.graph, loihi, calibration=model.example, verify=True, name=model.name)


def test_the_files_are_as_small_as_promised():
    assert (HERE / "smnist.pt").stat().st_size < 500_000
    assert (HERE / "test-1000.npz").stat().st_size < 300_000
    module = nd.nn.load(HERE / "smnist.pt")
    assert sum(p.numel() for p in module.parameters()) <= 70_000


def test_every_pass_was_verified_on_real_pixels(program):
    verdicts = program.notes["verified"]
    assert set(verdicts) == {"fold-batchnorm", "fold-dynamics", "fold-amplitude"}
    for verdict in verdicts.values():
        assert verdict["membrane_error"] < 1e-9
        assert verdict["flips"] == 0
        assert verdict["spikes"] > 10_000


def test_float_and_integer_accuracy_on_real_images(model, program, data):
    found = nd.compare(model.graph, program, data.x[:, :300], labels=data.y[:300])
    assert found.accuracy_float >= 0.98
    assert found.accuracy_integer >= found.accuracy_float - 0.01
    assert found.agreement > 0.99


def test_lava_equals_the_simulator_on_twenty_real_images(program, data, tmp_path):
    """Every spike of every layer, every graded value and every final state."""
    folder.write(program, tmp_path / "out", bundle="lava", golden=data.x[:, :20])
    verdict = hardware.check(tmp_path / "out", on="lava")
    assert verdict.agrees, str(verdict.error())
    neurons = sum(node.width for node in program.populations if node.model.spiking)
    assert verdict.compared["spikes"] == neurons * 784 * 20
    assert verdict.compared["states"] > 0
    assert verdict.compared["graded"] > 0


def test_lavas_own_runtime_equals_the_simulator(program, data, tmp_path):
    folder.write(program, tmp_path / "out", bundle="lava", golden=data.x[:, :1])
    verdict = hardware.check(tmp_path / "out", on="lava", runtime=True)
    assert verdict.agrees, str(verdict.error())
    assert verdict.on == "lava, its own runtime"


def test_a_changed_threshold_is_seen_by_lava(program, data, tmp_path):
    """A bundle of another program does not pass with these golden vectors."""
    from dataclasses import replace

    node = program["blocks.0.tn"]
    changed = replace(node, coefs={**node.coefs, "threshold": node.coefs["threshold"] * 3 // 4})
    nodes = tuple(changed if n.name == node.name else n for n in program.nodes)
    for name, which in (("right", program), ("wrong", replace(program, nodes=nodes))):
        folder.write(which, tmp_path / name, bundle="lava", golden=data.x[:, :1])
    golden = (tmp_path / "right" / "lava" / "golden.npz").read_bytes()
    (tmp_path / "wrong" / "lava" / "golden.npz").write_bytes(golden)
    verdict = hardware.check(tmp_path / "wrong", on="lava")
    assert not verdict.agrees
    assert verdict.first.layer == "blocks.0.tn"


def test_onnxruntime_equals_the_simulator_bit_for_bit(program, data, tmp_path):
    import onnxruntime

    x = data.x[:, :20]
    nd.export(program, tmp_path / "program.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "program.onnx")
    names = [node.name for node in program.populations if node.model.spiking]
    outputs = ["output_integers", *(f"{name}/spikes" for name in names)]
    found = session.run(outputs, {"input": x.astype(np.float64)})
    run = nd.simulate(program, x, record=names)
    np.testing.assert_array_equal(found[0], run.integers)
    for name, spikes in zip(names, found[1:], strict=True):
        np.testing.assert_array_equal(spikes, run.values[name])


@pytest.mark.parametrize("ending", ["nir", "onnx"])
def test_the_exported_network_is_the_same_network(model, data, tmp_path, ending):
    nd.export(model.graph, tmp_path / f"m.{ending}")
    again = nd.load(tmp_path / f"m.{ending}")
    x = data.x[:, :10]
    np.testing.assert_allclose(
        nd.interpret(again, x), nd.interpret(model.graph, x), rtol=1e-6, atol=1e-6
    )


def test_the_small_network_for_rows_deploys_too():
    small = read_model(HERE / "rows.pt")
    data = read_data(HERE / "test-1000.npz")
    x = data.x.reshape(28, 28, 1000).transpose(0, 2, 1)
    program = nd.compile(small.graph, nd.target("asic45"), calibration=small.example)
    found = nd.compare(small.graph, program, x, labels=data.y)
    assert found.accuracy_float > 0.9
    assert found.accuracy_integer > found.accuracy_float - 0.01
