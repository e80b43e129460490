"""Fixtures that several test files share."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import settings

# The same examples every time, so that a change is judged by what it changed; new examples with
# HYPOTHESIS_PROFILE=explore.
settings.register_profile("repeat", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Return a folder with a small checkpoint `model.pt` and a data set `data.npz` that fits it."""
    import torch

    import neurodeploy as nd

    home = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    model = nd.nn.SDTCM(2, 6, 1, 3, dt=(0.2, 0.9), theta=(0.0, 3.0)).eval()
    x = torch.randn(30, 8, 2) * 3
    for norm in (m for m in model.modules() if isinstance(m, nd.nn.BatchNorm)):
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.2, 1.0)
        norm.bias.data.uniform_(-0.3, 0.3)
    nd.save(model, home / "model.pt", example=x)
    # in float64 and a fixed order: in float32 a spike flips with the machine, and labels with it
    y = nd.interpret(nd.load(home / "model.pt"), x.numpy()).argmax(1)
    np.savez(home / "data.npz", x=x.numpy(), y=y)
    return home
