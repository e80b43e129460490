"""Run SANA-FE on a network given as JSON on stdin, and print what it found as JSON.

A program of its own: SANA-FE ends its process where it does not like something. Neurons that send
have the spikes they are given; neurons that receive never fire. One core per tile; every neuron is
updated in `update` seconds at every step, and every synaptic operation takes `synapse` seconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import sanafe

FREE = "energy_message_{0}: 0.0, latency_message_{0}: 0.0"
SOMA = (
    "energy_access_neuron: {energy}, latency_access_neuron: {time},"
    " energy_update_neuron: 0.0, latency_update_neuron: 0.0,"
    " energy_spike_out: 0.0, latency_spike_out: 0.0"
)


def architecture(given: dict) -> str:
    """Return the description of a mesh of cores with the given constants."""
    time, energy, count = given["time"], given["energy"], given["x"] * given["y"]
    soma = SOMA.format(energy=energy["update"], time=time["update"])
    hops = "\n".join(
        f"        {kind}_{way}_hop: {table[way]}"
        for kind, table in (("energy", energy), ("latency", dict.fromkeys(energy, time["hop"])))
        for way in ("north", "south", "east", "west")
    )
    return f"""
architecture:
  name: peer
  attributes: {{width: {given["x"]}, height: {given["y"]}, link_buffer_size: 1000,
    sync_model: fixed, latency_sync: 0.0}}
  tile:
    - name: tile[0..{count - 1}]
      attributes:
{hops}
      core:
        - name: core[0..0]
          attributes: {{buffer_position: soma, max_neurons_supported: 4096}}
          axon_in:
            - name: in
              attributes: {{{FREE.format("in")}}}
          synapse:
            - name: synapse
              attributes: {{model: current_based, energy_process_spike: {energy["synapse"]},
                latency_process_spike: {time["synapse"]}}}
          dendrite:
            - name: dendrite
              attributes: {{model: accumulator, energy_update: 0.0, latency_update: 0.0}}
          soma:
            - name: quiet
              attributes: {{model: leaky_integrate_fire, {soma}}}
            - name: given[0..{max(given["most"], 2) - 1}]
              attributes: {{model: input, {soma}}}
          axon_out:
            - name: out
              attributes: {{{FREE.format("out")}}}
"""


def network(given: dict, cores: list) -> sanafe.Network:
    """Return the network: senders with spikes, receivers, and who is connected to whom."""
    net = sanafe.Network()
    senders = net.create_neuron_group("senders", len(given["senders"]))
    receivers = net.create_neuron_group("receivers", len(given["receivers"]))
    used = dict.fromkeys(range(len(cores)), 0)
    for i, (core, spikes) in enumerate(given["senders"]):
        unit = {"soma_hw_name": f"given[{used[core]}]", "model_attributes": {"spikes": spikes}}
        senders[i].set_attributes(**unit)
        senders[i].map_to_core(cores[core])
        used[core] += 1
    for i, core in enumerate(given["receivers"]):
        receivers[i].set_attributes(soma_hw_name="quiet", model_attributes={"threshold": 1e9})
        receivers[i].map_to_core(cores[core])
    pairs = [tuple(pair) for pair in given["synapses"]]
    senders.connect_neurons_sparse(receivers, {"weight": [1.0] * len(pairs)}, pairs)
    return net


def main() -> None:
    """Read, run in the mode `simple`, and print sums and what every step took."""
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "arch.yaml"
        path.write_text(architecture(given))
        arch = sanafe.load_arch(path)
    chip = sanafe.SpikingChip(arch)
    chip.load(network(given, arch.cores()))
    found = chip.sim(given["steps"], timing_model="simple", perf_trace=True)
    keys = ("energy", "spikes", "packets_sent", "neurons_fired")
    text = json.dumps({**{key: found[key] for key in keys}, "perf": found["perf_trace"]})
    sys.stdout.write(f"\n{text}\n")


if __name__ == "__main__":
    main()
