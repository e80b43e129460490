"""Make the files here: a network as Brevitas trains and exports it, with inputs and its outputs.

    pip install brevitas==0.13.4 onnxscript && python make.py FOLDER      (torch 2.13)

The input is quantized to 8 bits, values between the layers to 4, weights to 4 (one scale per row)
and 3 (one scale).
"""

from __future__ import annotations

import sys
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas.quant import Int8WeightPerChannelFloat


def main(folder: Path) -> None:
    """Write both forms of the export, and one archive of arrays."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        qnn.QuantIdentity(bit_width=8, return_quant_tensor=True),
        qnn.QuantLinear(
            16, 24, bias=True, weight_bit_width=4, weight_quant=Int8WeightPerChannelFloat
        ),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        qnn.QuantLinear(24, 10, bias=True, weight_bit_width=3),
    )
    x = torch.randn(64, 16)
    network.train()
    for _ in range(40):  # collects the ranges of values
        network(x)
    network.eval()
    for name, export in (("qcdq", export_onnx_qcdq), ("qonnx", export_qonnx)):
        path = str(folder / f"{name}.onnx")
        export(network, args=x, export_path=path, opset_version=13, dynamo=False)
    layers = {f"weight{i}": network[i].quant_weight().int().numpy() for i in (1, 3)}
    y = network(x).detach().numpy()
    np.savez_compressed(folder / "arrays.npz", x=x.numpy(), y=y, **layers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
