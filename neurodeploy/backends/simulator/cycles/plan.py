"""A placed program as flat arrays, which compiled replay reads; `tables` makes them.

Most of what a packet will meet is known before it is sent. Its axon says to which core it goes and
what it costs there, and its flow (from which emitter to which core, in which phase) its way: the
links on which packets can meet (see `ways`), and then the core. These are the stops of a phase.
"""

from __future__ import annotations

from typing import NamedTuple

from neurodeploy.program.ir import Ints


class Plan(NamedTuple):
    """What compiled replay reads. Cores and links are numbered from 0 among those in use."""

    synapse_fill: int
    barrier: int
    cores: int
    places: int  #: of a queue; 0 for any number
    # parts: those of phase p are part_first[p] to part_first[p + 1], by emitter
    part_first: Ints
    part_emitter: Ints  #: core, or -1 for the input
    part_node: Ints
    part_from: Ints
    part_to: Ints
    part_alike: Ints  #: whether all its neurons send to the same cores
    # cores at work in a phase, and when their neuron phase ends
    core_first: Ints
    core_list: Ints
    core_updated: Ints
    # neuron i of node n is neuron node_base[n] + i of all
    node_base: Ints
    node_word: Ints  #: where the bits of a node begin, among those of all
    ready: Ints  #: by neuron: the cycle in which its value could leave
    # axons of a neuron: axon_first[neuron] to the next
    axon_first: Ints
    axon_core: Ints
    axon_interval: Ints
    axon_flow: Ints
    axon_way: Ints  #: where its way begins
    axon_cycles: Ints  #: from its emitter to its core, for who waits nowhere
    # ways: links to follow, and then the core
    way_stop: Ints  #: numbered among those of its phase: links, then the cores of `core_list`
    way_delay: Ints  #: cycles from the stop before to this one
    way_core: Ints  #: a core to which packets come in order, since from one stop or emitter; or -1
    flow_emitter: Ints  #: core, or -1 for the input
    # links to follow in a phase
    link_first: Ints
    link_list: Ints  #: numbers of the mesh
    link_flit: Ints
    # stops of phase p: from stop_first[p] on, with room for packets from stop_slot[stop] on
    stop_first: Ints
    stop_slot: Ints
    plain: Ints  #: by phase
    latency: Ints  #: by node
    room: Ints  #: most that a phase can have: values that are sent, packets, stops, slots
