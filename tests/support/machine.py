"""A machine of cores on a mesh, moved forward one cycle at a time. Slow, and sharing no code.

Everything is a counter that goes down or a list that things wait in. Within a cycle: what is on its
way arrives; spikes that are ready leave; each link and each core that is free takes the packet that
has waited longest (ties: the lower number).

With `places`, a link or core has so many places to wait in. A packet takes a place where it will
go next when it leaves (or is sent), and gives its own place back when it is taken, which others see
from the next cycle on. In a cycle, first senders ask for places, then links, each group by the
number of the packet.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from neurodeploy.neurons import SPECS
from neurodeploy.program.ir import Population, Source, edges
from neurodeploy.program.synapses import Dense

PORT = "input"


@dataclass(eq=False)
class Packet:
    core: int
    interval: int
    words: int
    way: list  # of names of links, then of the core
    number: int = -1
    since: int = -1


@dataclass(eq=False)
class Sender:
    """A core's neuron phase and its one port."""

    groups: list  # [cycles, packets by neuron] in the order of updating
    fill: int
    pipe: list = field(default_factory=list)  # [cycles to go, packets]
    line: list = field(default_factory=list)
    updated: int = -1  # the cycle in which the last result leaves the pipeline
    last: int = -1

    def tick(self, now):
        """End a cycle: lanes count down, the pipeline moves on."""
        for item in self.pipe:
            item[0] -= 1
        if self.groups:
            self.groups[0][0] -= 1
            if self.groups[0][0] == 0:
                self.pipe.append([self.fill, self.groups.pop(0)[1]])
                if not self.groups:
                    self.updated = now + 1 + self.fill

    def ready(self):
        while self.pipe and self.pipe[0][0] <= 0:
            self.line += self.pipe.pop(0)[1]


def grid(machine, core):
    chip = core // (machine.mesh_x * machine.mesh_y)
    own = core - chip * machine.mesh_x * machine.mesh_y
    across = machine.chips_x or 1
    x = (chip % across) * machine.mesh_x + own % machine.mesh_x
    return x, (chip // across) * machine.mesh_y + own // machine.mesh_x


def way(machine, start, core):
    """Name the links from a router to a core: (x, y, direction, cycles to cross, cycles busy)."""
    (x, y), (to_x, to_y), found = start, grid(machine, core), []
    while (x, y) != (to_x, to_y):
        if x != to_x:
            new, name, size = (x + (1 if to_x > x else -1), y), "west" if to_x < x else "east", 0
        else:
            new, name, size = (x, y + (1 if to_y > y else -1)), "south" if to_y < y else "north", 1
        chips = [(a // machine.mesh_x, b // machine.mesh_y) for a, b in ((x, y), new)]
        if chips[0] == chips[1]:
            found.append((x, y, name, machine.hop_cycles, machine.flit_cycles))
        else:  # one link for the whole side of the chip
            at = (
                (x, chips[0][1] * machine.mesh_y)
                if size == 0
                else (chips[0][0] * machine.mesh_x, y)
            )
            found.append((*at, name, machine.chip_hop_cycles, machine.chip_flit_cycles))
        x, y = new
    return [*found, ("core", core)]


def packets_of(program, name, neuron, start):
    """Return the packets that a value of one neuron causes, by the number of the core."""
    machine, weights = program.target.cycles, defaultdict(list)
    for part in program.placement:
        for edge in edges(program[part.node]):
            if edge.source != name:
                continue
            for target in range(part.first, part.last):
                if isinstance(edge, Dense):
                    weights[part.core].append(edge.weight_bits)
                elif target == neuron and edge.sign[neuron] != 0:
                    weights[part.core].append(1)
    found = []
    for core in sorted(weights):
        bits = sum(weights[core])
        interval = max(
            machine.axon_cycles,
            math.ceil(len(weights[core]) / machine.accumulators),
            math.ceil(bits / (machine.banks * machine.word_bits)),
        )
        words = math.ceil(bits / machine.word_bits)
        found.append(Packet(core, interval, words, way(machine, start, core)))
    return found


def senders(program, names, rows):
    """Return the port of the inputs and the cores that update neurons of `names`."""
    machine, found = program.target.cycles, {}
    for name in names:
        if isinstance(program[name], Source):
            row = rows.get(name)
            line = [
                packet
                for i in range(program[name].width)
                if row is not None and row[i]
                for packet in packets_of(program, name, i, (0, 0))
            ]
            found[PORT] = Sender([], 0, line=line)
    for part in program.placement:
        if part.node not in names:
            continue
        node, muls = program[part.node], 0
        if isinstance(node, Population):
            muls = sum(
                i.op in ("mul", "times") for i in SPECS[node.spec].traced(node.options).instrs
            )
        sender = found.setdefault(part.core, Sender([], machine.neuron_fill))
        neurons, row = list(range(part.first, part.last)), rows.get(part.node)
        while neurons:
            group, neurons = neurons[: machine.lanes], neurons[machine.lanes :]
            sent = [
                packet
                for i in group
                if row is not None and row[i]
                for packet in packets_of(program, part.node, i, grid(machine, part.core))
            ]
            sender.groups.append([max(1, math.ceil(muls / machine.multipliers)), sent])
    return found


class Phase:
    """One phase of one step, from the first cycle until all is quiet."""

    def __init__(self, program, names, rows, tally):
        self.machine, self.tally = program.target.cycles, tally
        self.places = self.machine.queues or math.inf
        self.ports = senders(program, names, rows)
        self.waiting, self.held, self.busy = defaultdict(list), defaultdict(int), defaultdict(int)
        self.moving, self.came, self.ended, self.now = [], {}, {}, 0
        self.left = self.count_packets()

    def count_packets(self):
        number = 0
        for at in sorted(self.ports, key=lambda core: -1 if core == PORT else core):
            sender = self.ports[at]
            for packet in sender.line + [p for _, group in sender.groups for p in group]:
                packet.number = number
                number += 1
                self.tally["sent", at] += 1
                self.tally["received", packet.core] += 1
                self.tally["adding", packet.core] += packet.interval
                self.tally["words", packet.core] += packet.words
        return number

    def run(self):
        """Return the cycles, the last core, and that core's stages."""
        while self.left or any(s.groups for s in self.ports.values()) or any(self.busy.values()):
            self.arrive()
            self.send()
            self.take()
            for place in self.busy:
                self.busy[place] = max(0, self.busy[place] - 1)
            for sender in self.ports.values():
                sender.tick(self.now)
            self.now += 1
        return finish(self.machine, self.ports, self.came, self.ended, self.tally)

    def arrive(self):
        for item in [item for item in self.moving if item[0] == self.now]:
            self.moving.remove(item)
            self.stand(item[1])

    def stand(self, packet):
        """Put a packet in the line where it goes next."""
        packet.since = self.now
        self.waiting[packet.way[0]].append(packet)
        if packet.way[0][0] == "core":
            self.came[packet.core] = self.now

    def send(self):
        for sender in self.ports.values():
            sender.ready()
        lines = [sender for sender in self.ports.values() if sender.line]
        for sender in sorted(lines, key=lambda s: s.line[0].number):
            if self.held[sender.line[0].way[0]] < self.places:
                packet = sender.line.pop(0)
                sender.last = self.now
                self.held[packet.way[0]] += 1
                self.stand(packet)

    def take(self):
        heads, freed = {}, []
        for place, line in self.waiting.items():
            if line and not self.busy[place]:
                heads[place] = min(line, key=lambda p: (p.since, p.number))
        for place, packet in sorted(heads.items(), key=lambda item: item[1].number):
            if place[0] == "core":
                self.busy[place] = packet.interval
                self.ended[place[1]] = self.now + packet.interval
                self.left -= 1
            elif self.held[packet.way[1]] < self.places:
                self.cross(place, packet)
            else:
                continue
            self.waiting[place].remove(packet)
            freed.append(place)
        for place in freed:
            self.held[place] -= 1

    def cross(self, place, packet):
        self.tally["link", place[:3]] += 1
        self.tally["waited", place[:3]] += self.now - packet.since
        self.busy[place] = place[4]
        packet.way = packet.way[1:]
        self.held[packet.way[0]] += 1
        self.moving.append((self.now + place[3], packet))


def finish(machine, ports, came, ended, tally):
    latest, slowest, path = -1, None, None
    for core in sorted({*came, *(c for c in ports if c != PORT)}):
        sender = ports.get(core)
        marks = [0, sender.updated if sender and sender.updated >= 0 else 0]
        marks.append(max(marks[-1], sender.last if sender else -1))
        marks.append(max(marks[-1], came.get(core, -1)))
        marks.append(max(marks[-1], ended.get(core, -1)))
        drained = ended[core] + machine.synapse_fill if core in ended else -1
        marks.append(max(marks[-1], drained))
        stages = [b - a for a, b in pairwise(marks)]
        for stage, cycles in enumerate(stages):
            tally["stage", core, stage] += cycles
        if marks[-1] > latest:
            latest, slowest, path = marks[-1], core, stages
    return max(latest, 0), slowest, path or [0] * 5


def barrier(machine):
    own = machine.barrier_cycles * (machine.mesh_x + machine.mesh_y)
    if machine.chips_x or machine.chips_y:
        chips = (machine.chips_x or 1) + (machine.chips_y or 1)
        own += (chips - 2) * (machine.chip_hop_cycles or 0)
    return own


def phase_names(program):
    depth = {}
    for node in program:
        before = [depth[e.source] for e in edges(node) if e.delay == 0 and e.source != node.name]
        depth[node.name] = max(before) + 1 if before else 0
    return [[n for n in depth if depth[n] == d] for d in range(max(depth.values()) + 1)]


def run_machine(program, values):
    """Return the cycles [H, B] of every step, the last cores, and a tally of everything else.

    values[name] is [B, T, width].
    """
    lag = {node.name: getattr(node, "latency", 0) for node in program}
    samples, length = values[program.source.name].shape[:2]
    steps, critical, tally = [], [], defaultdict(int)
    for h in range(length + max(lag.values())):
        row_steps, row_critical = [], []
        for b in range(samples):
            rows = {n: v[b, h - lag[n]] for n, v in values.items() if 0 <= h - lag[n] < length}
            found = []
            for phase, names in enumerate(phase_names(program)):
                latest, slowest, path = Phase(program, names, rows, tally).run()
                found.append((latest + barrier(program.target.cycles), slowest))
                for stage, cycles in enumerate([*path, barrier(program.target.cycles)]):
                    tally["phase", phase, stage] += cycles
            row_steps.append(sum(cycles for cycles, _ in found))
            row_critical.append(max(found, key=lambda item: item[0])[1])
        steps.append(row_steps)
        critical.append(row_critical)
    return steps, critical, tally
