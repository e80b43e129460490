"""Run SANA-FE on a network given as JSON on stdin, once for each line that follows.

A program of its own: SANA-FE is under the GPL, and ends its process where it does not like
something. Every layer has a core; the mode is `detailed`. Layers take a step each, so a run has as
many steps more.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sanafe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "peers"))

from sanafe_run import architecture

SCALE = 1 << 16  # of weights and thresholds: SANA-FE rounds a membrane that decays to 64ths
PRICES = {"update": 81, "synapse": 23.6, "east": 3.0, "west": 3.0, "north": 4.0, "south": 4.0}


def network(given: dict[str, Any]) -> tuple[sanafe.Architecture, sanafe.Network]:
    """Return the network, mapped on its chip."""
    x, weights = given["x"], given["weights"]
    cores, inputs = len(weights) + 1, len(x[0])
    plan = {"x": cores, "y": 1, "most": inputs, "energy": PRICES}
    plan["time"] = {"update": 1e-9, "synapse": 1e-9, "hop": 1e-9}
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "arch.yaml"
        path.write_text(architecture(plan))
        arch = sanafe.load_arch(path)
    net = sanafe.Network()
    group = net.create_neuron_group("in", inputs)
    for i, spikes in enumerate(zip(*x, strict=True)):
        fired = {"spikes": [int(s) for s in spikes]}
        group[i].set_attributes(soma_hw_name=f"given[{i}]", model_attributes=fired)
        group[i].map_to_core(arch.cores()[0])
    how = {"threshold": SCALE * given["threshold"], "leak_decay": given["beta"]}
    how |= {"reset_mode": "hard", "reset": 0.0}
    for n, weight in enumerate(weights):
        layer = net.create_neuron_group(f"layer{n}", len(weight[0]))
        for neuron in layer:
            neuron.set_attributes(soma_hw_name="quiet", model_attributes=how)
            neuron.map_to_core(arch.cores()[n + 1])
        dense = [SCALE * w for row in weight for w in row]
        group.connect_neurons_dense(layer, {"weight": dense})
        group = layer
    return arch, net


def main() -> None:
    """Read the network; run it from rest, for as many lines as come."""
    given = json.loads(sys.stdin.readline())
    steps = len(given["x"]) + len(given["weights"])
    for _ in sys.stdin:
        arch, net = network(given)
        chip = sanafe.SpikingChip(arch)
        chip.load(net)
        start, worked = time.perf_counter(), time.process_time()
        found = chip.sim(steps, timing_model="detailed", processing_threads=1)
        took = {"seconds": time.perf_counter() - start, "processor": time.process_time() - worked}
        answer = {**took, "spikes": found["neurons_fired"]}
        sys.stdout.write(f"\nfound {json.dumps(answer)}\n")
        sys.stdout.flush()


main()
