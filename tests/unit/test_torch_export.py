"""Programs of torch.export: residuals, concatenation, shared layers; what is refused is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.export import Dim, export

import neurodeploy as nd
from neurodeploy.errors import InputError

F = torch.nn.functional


class Residual(torch.nn.Module):
    """A Linear in two places, and its weight with another bias in a third."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)
        self.mix = torch.nn.Linear(12, 3, bias=False)
        self.other = torch.nn.Parameter(torch.randn(4))

    def forward(self, x):
        a = F.gelu(self.fc(2 * x), approximate="tanh")
        b = self.norm(self.fc(a) + a) * x
        c = F.dropout(F.linear(b, self.fc.weight, self.other), 0.5, self.training)
        return self.mix(torch.cat([a, b, c], dim=-1)).mean(0)


class Maps(torch.nn.Module):
    """Convolutions of merged steps, and the last step."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.fc = torch.nn.Linear(36, 3)

    def forward(self, x):
        y = x.reshape(x.shape[0] * x.shape[1], 2, 5, 5)
        y = torch.relu(self.conv(y)).reshape(x.shape[0], x.shape[1], 36)
        return self.fc(y)[-1]


def program(module, width):
    torch.manual_seed(0)
    x = torch.randn(7, 3, width, dtype=torch.float64)
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    return export(module().double().eval(), (x,), dynamic_shapes=shapes), x


@pytest.mark.parametrize(("module", "width"), [(Residual, 4), (Maps, 50)])
def test_an_exported_program_is_the_same_graph(module, width):
    exported, x = program(module, width)
    graph = nd.trace(exported, x)
    want = exported.module()(x).detach().numpy()
    np.testing.assert_allclose(nd.interpret(graph, x.numpy()), want, rtol=1e-9, atol=1e-12)
    longer = torch.randn(11, 2, width, dtype=torch.float64)
    want = exported.module()(longer).detach().numpy()
    np.testing.assert_allclose(nd.interpret(graph, longer.numpy()), want, rtol=1e-9, atol=1e-12)
    if module is Residual:
        assert {"fc", "fc_1", "norm", "mix"} <= {node.name for node in graph}


def test_what_is_not_known_is_named():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 4)

        def forward(self, x):
            return torch.sigmoid(torch.cumsum(self.fc(x), 0))

    with pytest.raises(InputError) as caught:
        nd.trace(*program(Net, 4))
    said = str(caught.value)
    assert "cumsum" in said
    assert "sigmoid" in said
