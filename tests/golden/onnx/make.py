"""Make the files here: networks as torch's two exporters write them, with an input and its output.

    pip install onnxscript onnx_ir && python make.py FOLDER      (torch 2.13)

What the exporters note about the machine is taken out.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn


class LSTM(nn.Module):
    """The last output of an LSTM, through a classifier."""

    def __init__(self, layers=1, *, batch_first=False, bidirectional=False):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, layers, batch_first=batch_first, bidirectional=bidirectional)
        self.c = nn.Linear(8 if bidirectional else 4, 2)

    def forward(self, x):
        y = self.lstm(x)[0]
        return self.c(y[:, -1] if self.lstm.batch_first else y[-1])


class CNN(nn.Module):
    """Convolutions, a norm, both kinds of pooling."""

    def __init__(self):
        super().__init__()
        first = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        self.f, self.c = nn.Sequential(*first, *second), nn.Linear(4, 2)

    def forward(self, x):
        return self.c(torch.flatten(self.f(x), 1))


class MLP(nn.Module):
    """Everything without memory, and a residual."""

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 12)
        self.g, self.ln, self.d, self.ge = nn.GLU(), nn.LayerNorm(6), nn.Dropout(0.3), nn.GELU()
        self.c = nn.Linear(6, 2)

    def forward(self, x):
        h = self.ge(self.ln(self.g(self.b(torch.relu(self.bn(self.a(x)))))))
        return self.c(self.d(h) + h * 0.5)


def cases():
    """Return networks, inputs, and the names of free axes."""
    steps, first = {0: "T", 1: "batch"}, {0: "batch", 1: "T"}
    return {
        "mlp": (MLP(), torch.randn(3, 5), {0: "batch"}),
        "cnn": (CNN(), torch.randn(3, 1, 8, 8), {0: "batch"}),
        "lstm": (LSTM(), torch.randn(6, 3, 3), steps),
        "lstm_batch_first": (LSTM(batch_first=True), torch.randn(3, 6, 3), first),
        "lstm_both": (LSTM(2, bidirectional=True), torch.randn(6, 3, 3), steps),
    }


def export(module, x, axes, path, *, dynamo):
    """Write one file, without what it notes about this machine."""
    if dynamo:
        shapes = ({i: torch.export.Dim(name) for i, name in axes.items()},)
        how = {"external_data": False, "dynamic_shapes": shapes, "verbose": False}
    else:
        how = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": axes}}
    torch.onnx.export(module, (x,), path, dynamo=dynamo, **how)
    model = onnx.load(path)
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del item.metadata_props[:]
    for item in (model, *graph.node):
        item.doc_string = ""
    for item in graph.initializer:
        del item.metadata_props[:]
    onnx.save(model, path)


def main(folder):
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    for name, (module, x, axes) in cases().items():
        module.eval()
        for values in module.buffers():
            if values.dtype.is_floating_point:
                values.copy_(torch.rand_like(values) + 0.5)
        for dynamo in (True, False):
            path = folder / f"{name}_{'dynamo' if dynamo else 'legacy'}.onnx"
            export(module, x, axes, path, dynamo=dynamo)
        np.savez(folder / f"{name}.npz", x=x.numpy(), y=module(x).detach().numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
