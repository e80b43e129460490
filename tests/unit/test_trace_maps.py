"""Networks of torch's own convolutions: what is followed, in which layout, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import neurodeploy as nd
from neurodeploy.errors import InputError, NeurodeployError

DOUBLE = torch.float64


def net(forward, **layers):
    """Return a module of `layers` whose forward is `forward(self, x)`, norms off their start."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in layers.items():
                setattr(self, name, layer)

        def forward(self, x):
            return forward(self, x)

    module = Net().double().eval()
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            for name, value in (*layer.named_parameters(), *layer.named_buffers()):
                if value.is_floating_point():
                    nn.init.uniform_(value, 0.5 if "var" in name else -1, 2)
    return module


def merged(*layers):
    """Apply `layers` to maps [N, 2, 6, 5] of the steps of x [T, B, 60], and flatten again."""

    def forward(self, x):
        y = x.flatten(0, 1).unflatten(1, (2, 6, 5))
        for i in range(len(layers)):
            y = getattr(self, f"layer{i}")(y)
        return y.reshape(x.shape[0], x.shape[1], -1)

    return net(forward, **{f"layer{i}": layer for i, layer in enumerate(layers)})


def assert_followed(module, width=60):
    x = torch.randn(4, 3, width, dtype=DOUBLE)
    graph = nd.trace(module, x)
    with torch.no_grad():
        want = module(x)
    found = torch.from_numpy(nd.interpret(graph, x.numpy()))
    torch.testing.assert_close(found, want.reshape(found.shape), rtol=0, atol=1e-9)
    return graph


LAYERS = {
    "conv": [nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 0), (1, 2), groups=2)],
    "same": [nn.Conv2d(2, 3, (2, 3), padding="same", dilation=(3, 1), bias=False)],
    "valid": [nn.Conv2d(2, 3, 2, padding="valid"), nn.ReLU(), nn.Conv2d(3, 1, 1)],
    "norm": [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)],
    "norm without affine": [nn.BatchNorm2d(2, affine=False), nn.Identity()],
    "avg": [nn.AvgPool2d(2, padding=1), nn.AvgPool2d((1, 2), 1, count_include_pad=True)],
    "avg without padding": [nn.AvgPool2d(3, 2, 1, count_include_pad=False)],
    "max": [nn.MaxPool2d((2, 3), 1, (1, 1)), nn.MaxPool2d(2)],
    "max, rounded up": [nn.MaxPool2d(2, 3, ceil_mode=True), nn.MaxPool2d(3, 2, 1, ceil_mode=True)],
    "avg, rounded up": [nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)],
    "adaptive": [nn.AdaptiveAvgPool2d((3, None)), nn.AdaptiveAvgPool2d(1)],
    "flatten": [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3), nn.BatchNorm1d(3)],
    "unflatten": [nn.Flatten(), nn.Unflatten(1, (4, 15)), nn.Conv1d(4, 2, 3, 2), nn.BatchNorm1d(2)],
    "planes": [nn.Flatten(2), nn.AvgPool1d(4), nn.MaxPool1d(3, 2, 1), nn.Conv1d(2, 2, 1)],
}


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("setting", [(2, 2, 0), (2, 3, 1), (3, 2, 1), (1, 3, 0)])
def test_rounding_up_is_torchs_at_every_size(size, setting):
    kernel, stride, pad = setting
    if size + 2 * pad < kernel:
        pytest.skip("the kernel does not fit")
    pool = nn.MaxPool1d(kernel, stride, pad, ceil_mode=True)

    def forward(self, x):
        y = self.pool(x.flatten(0, 1).unsqueeze(1))
        return y.reshape(x.shape[0], x.shape[1], -1)

    assert_followed(net(forward, pool=pool), size)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's, about speed
@pytest.mark.parametrize("name", LAYERS)
def test_torchs_layers_over_maps(name):
    assert_followed(merged(*LAYERS[name]))


def spelled(self, x):
    return self.c(x.flatten(0, 1).unflatten(1, (2, 6, 5)))


WAYS = {
    "view": lambda s, x: s.c(x.view(-1, 2, 6, 5)).view(x.shape[0], x.shape[1], -1),
    "reshape": lambda s, x: s.c(x.reshape((-1, 2, 6, 5))).reshape((x.size(0), -1, 48)),
    "sizes of x": lambda s, x: s.c(x.reshape(x.size(0) * x.size(1), 2, 6, 5)).reshape(
        x.size(0), x.size(1), 48
    ),
    "unflatten": lambda s, x: spelled(s, x).flatten(1).unflatten(0, (x.shape[0], x.shape[1])),
    "five axes": lambda s, x: spelled(s, x).unflatten(0, (x.size(0), x.size(1))).flatten(2),
    "unsqueeze": lambda s, x: spelled(s, x.unsqueeze(2).squeeze(2)).view(x.size(0), -1, 48),
    "torch.flatten": lambda s, x: torch.flatten(
        spelled(s, x).unflatten(0, (x.size(0), x.size(1))), start_dim=2
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_same_reshapes_in_other_words(name):
    assert_followed(net(WAYS[name], c=nn.Conv2d(2, 4, 3)))


def unpacked(self, x):
    steps, samples, _ = x.shape
    y = self.c(x.reshape(steps * samples, 2, 6, 5))
    return y.reshape(steps, samples, -1)


FUNCTIONS = {
    "unpacked": unpacked,
    "sum of branches": lambda s, x: (
        (spelled(s, x) + 2 * spelled(s, x)).relu().reshape(x.shape[0], x.shape[1], -1)
    ),
    "concatenated maps": lambda s, x: torch.cat(
        [spelled(s, x), functional.avg_pool2d(spelled(s, x), 1)], 1
    ).reshape(x.shape[0], x.shape[1], -1),
    "pooled": lambda s, x: functional.max_pool2d(spelled(s, x), 2, stride=1).reshape(
        x.shape[0], x.shape[1], -1
    ),
    "global mean": lambda s, x: spelled(s, x).mean((2, 3)).reshape(x.shape[0], x.shape[1], 4),
    "global sum": lambda s, x: torch.sum(spelled(s, x), dim=[-1, -2], keepdim=True).reshape(
        x.shape[0], x.shape[1], -1
    ),
    "mean over steps first": lambda s, x: s.c(x.mean(0).unflatten(1, (2, 6, 5))).flatten(1),
    "mean over steps of maps": lambda s, x: (
        spelled(s, x).unflatten(0, (x.shape[0], x.shape[1])).mean(0).mean((2, 3))
    ),
    "last step of maps": lambda s, x: spelled(s, x).unflatten(0, (x.shape[0], x.shape[1]))[-1],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_over_maps(name):
    assert_followed(net(FUNCTIONS[name], c=nn.Conv2d(2, 4, 3)))


def test_a_spiking_network_of_torchs_convolutions_is_the_one_of_ours():
    torch.manual_seed(0)
    conv, linear = nd.nn.Conv((1, 8, 8), 4, 3, padding=1), nn.Linear(64, 3)
    theirs = nn.Conv2d(1, 4, 3, padding=1)
    theirs.load_state_dict(conv.state_dict())
    cells = nd.nn.LIF(256, v_th=0.3), nd.nn.LIF(3, v_th=0.3)

    def forward(self, x):
        y = self.conv(x.reshape(-1, 1, 8, 8)).reshape(x.shape[0], x.shape[1], -1)
        y = self.pool(self.a(y).reshape(-1, 4, 8, 8)).reshape(x.shape[0], x.shape[1], -1)
        return self.b(self.linear(y)).mean(0)

    layers = {"conv": theirs, "a": cells[0], "pool": nn.AvgPool2d(2), "linear": linear}
    mine = nn.Sequential(
        conv, cells[0], nd.nn.Pool((4, 8, 8), 2), linear, cells[1], nd.nn.Readout("mean")
    )
    module = net(forward, **layers, b=cells[1])
    with pytest.raises(InputError, match="the width of the input is not known"):
        nd.trace(module)
    graph, other = nd.trace(module, np.zeros((1, 1, 64))), nd.trace(mine.double())
    x = np.random.default_rng(0).normal(size=(10, 3, 64))
    np.testing.assert_array_equal(nd.interpret(graph, x), nd.interpret(other, x))


def problems(module, width=60):
    with pytest.raises(NeurodeployError) as caught:
        nd.trace(module, torch.zeros(4, 3, width))
    found = caught.value.records()
    assert all(item["code"] == "E104" and item["fix"] for item in found), found
    return [item["what"] for item in found]


REFUSED = {
    "conv (Conv2d): it reads [T, B, 60], not [N, maps, height, width]": lambda s, x: s.conv(x),
    "where steps and samples must stay in front": lambda s, x: x.reshape(2, 6, -1),
    "reshape: it reads [T, B, 60]": lambda s, x: x.reshape(-1, 7),
    "flatten: it reads [T, B, 60]": lambda s, x: x.flatten(1),
    "permute: it reads [T, B, 60], where only steps and samples": lambda s, x: x.permute(1, 2, 0),
    "cell: it reads [T*B, 2, 6, 5]": lambda s, x: s.cell(x.reshape(-1, 2, 6, 5)),
    "reduce: it reads [T*B, 60]": lambda s, x: x.reshape(-1, 60).mean(0),
    "add: it reads [T, B, 60], [T*B, 60]": lambda s, x: x + x.reshape(-1, 60),
    "ceil_mode with count_include_pad": lambda s, x: s.ceil(x.reshape(-1, 2, 6, 5)),
    "a pooling with dilation": lambda s, x: s.dilated(x.reshape(-1, 2, 6, 5)),
    "padding_mode 'reflect'": lambda s, x: s.reflect(x.reshape(-1, 2, 6, 5)),
    "adaptive windows of (6, 5) to (3, 2) differ": lambda s, x: s.adaptive(x.reshape(-1, 2, 6, 5)),
    "the weight reads 2 maps, its input has 3": lambda s, x: s.conv(x.reshape(-1, 3, 4, 5)),
    "kernel that spans (3, 3) on maps of (2, 15)": lambda s, x: s.conv(x.reshape(-1, 2, 2, 15)),
    "norm (BatchNorm2d): it reads [T, B, 60]": lambda s, x: s.norm(x),
    "running statistics": lambda s, x: s.batch(x.reshape(-1, 2, 6, 5)),
    "divisor_override": lambda s, x: functional.avg_pool2d(
        x.reshape(-1, 2, 6, 5), 2, divisor_override=3
    ),
    "its settings behind padding are not named": lambda s, x: functional.avg_pool2d(
        x.reshape(-1, 2, 6, 5), 2, 2, 0, True
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_every_refusal(what):
    layers = {
        "conv": nn.Conv2d(2, 3, 3),
        "cell": nd.nn.LIF(60),
        "ceil": nn.AvgPool2d(4, ceil_mode=True),
        "dilated": nn.MaxPool2d(2, dilation=2),
        "reflect": nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
        "adaptive": nn.AdaptiveAvgPool2d((3, 2)),
        "norm": nn.BatchNorm2d(2),
        "batch": nn.BatchNorm2d(2, track_running_stats=False),
    }
    found = problems(net(REFUSED[what], **layers))
    assert any(what in each for each in found), found
    assert len(found) == 1


def test_what_follows_a_refused_value_is_not_refused_again():
    def forward(self, x):
        y = self.pad(x).reshape(-1, 2, 6, 5)
        z = self.conv(y).mean((2, 3)).reshape(x.shape[0], x.shape[1], -1)
        return self.pad(self.cell(z))

    layers = {"pad": nn.ReplicationPad1d(1), "conv": nn.Conv2d(2, 3, 3), "cell": nd.nn.LIF(3)}
    found = problems(net(forward, **layers))
    assert [each.partition(":")[0] for each in found] == ["pad (ReplicationPad1d)"] * 2
