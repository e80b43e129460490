"""Files that snnTorch, norse, sinabs and SpikingJelly wrote, spike for spike.

They lie beside the project, not in it: `../shared/golden/nir`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import neurodeploy as nd
from neurodeploy.errors import NeurodeployError

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "nir"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not there")

SINABS = {"norm_input": True, "tau_syn": "none", "reset": "subtract", "spikes": "many"}
STATED = {
    "norse_lifbox_mlp": {"dt": 1e-3, "reset": "zero"},
    "sinabs_conv_iaf": {"source": "sinabs", "reset": "subtract", "spikes": "many", "v_min": -1},
    "sinabs_lif_default": {**SINABS, "v_min": "none"},
    "snntorch_cuba_zero_nodelay": {"reset": "zero", "reset_delay": False},
    "snntorch_lif_subtract_delay": {"reset": "subtract", "reset_delay": True},
    "snntorch_lif_zero_nodelay": {"reset": "zero", "reset_delay": False},
    "snntorch_rleaky_zero_delay": {"reset": "zero", "reset_delay": True},
    "spikingjelly_conv_if": {},
    "spikingjelly_lif_decayinput": {"dt": 1e-4},
    "spikingjelly_residual": {"dt": 1e-4},
}


@pytest.mark.parametrize("name", STATED)
def test_not_one_spike_differs(name):
    graph = nd.load(GOLDEN / f"{name}.nir", **STATED[name])
    with np.load(GOLDEN / f"{name}.npz") as told:
        x, expected = (told[key].astype(np.float64) for key in ("input", "output"))
        first = told.get("spk1")
    layer = next(node.name for node in graph if type(node.op).__name__ == "Neurons")
    found, kept = nd.interpret(graph, x.reshape(*x.shape[:2], -1), (layer,))
    np.testing.assert_array_equal(found, expected.reshape(found.shape))
    assert found.any()
    if first is not None:
        np.testing.assert_array_equal(kept[layer], first.reshape(kept[layer].shape))


@pytest.mark.parametrize("name", [name for name in STATED if STATED[name]])
def test_what_the_file_leaves_open_must_be_stated(name):
    with pytest.raises(NeurodeployError) as caught:
        nd.load(GOLDEN / f"{name}.nir")
    assert caught.value.code == "E108"
    asked = [key for key in STATED[name] if key != "source"] if "source" not in STATED[name] else []
    for key in asked or ["source"]:
        assert f"--{key.replace('_', '-')} " in caught.value.fix
