"""The time of a run on a stated, synchronous machine, cycle by cycle, from the run's own spikes.

The machine is the target's `[cycles]` table: cores on a mesh, a step in lockstep, every step (every
phase of a step, see `phases`) in this order:

    neuron   a core updates its n neurons `lanes` at a time, in the order of placement. An update
             takes c = max(1, ceil(multiplies of the neuron's step / multipliers)) cycles:
             ceil(n / lanes) c + neuron_fill
    emit     values that are not zero leave in the order of the neurons, one packet a cycle, one
             per core that holds targets:
             e_k = max(e_(k-1) + 1, (floor(i_k / lanes) + 1) c + neuron_fill)
    route    along x, then y; a link takes one packet at a time: r = max(t, free);
             free = r + flit; at the next router at r + hop. First come, first served, ties by
             packet number
    synapse  likewise in the order of their coming: s_k = max(a_k, s_(k-1) + II_(k-1)),
             II = max(axon lookup, ceil(n / accumulators), ceil(n q / (banks * word bits)))
             for the n weights of q bits that the packet has on this core
    drain    a core is done at s_last + II_last + synapse_fill
    barrier  all wait for the last core, and then for barrier_cycles * (mesh_x + mesh_y)

Packets are numbered as they are sent, those of the input first, then core by core. Inputs enter at
the router of core 0 through a port of their own, from cycle 0 on. Graded values are packets like
any other. On a program that lags (synapses that take a step), a node is updated at every step but
sends only what belongs to the input. The host's readout is not part of it.

With `queues` places in front of each link and core, packets also hold each other up: see `queues`.
Steps follow each other without overlap. It is exact for this machine, and a model of no other.
"""

from neurodeploy.backends.simulator.cycles.replay import Replay

__all__ = ["Replay"]
