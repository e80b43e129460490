"""Programs, node by node and neuron by neuron.

What an edge brings is in `edges`, a model's step in `neurons`, a vector operation in `vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace

from neurodeploy.program.ir import Population, Source, Stream, Vector, edges
from support.by_hand.chip import Chip
from support.by_hand.edges import Arrivals
from support.by_hand.neurons import STEPS
from support.by_hand.vectors import MAPS, MEMORIES, nearest


@dataclass
class Written:
    """What a run is, all as lists and whole numbers.

    values[node] [T][B][N] in the input's time, states[node] [rows][B][N] in the end. lost counts
    what a register or format did not hold, spikes what was sent, by node; events, by node and
    number of an edge, the values that were not zero, of each sender; operations what they cost.
    """

    values: dict = field(default_factory=dict)
    states: dict = field(default_factory=dict)
    lost: dict = field(default_factory=dict)
    spikes: dict = field(default_factory=dict)
    events: dict = field(default_factory=dict)
    operations: dict = field(default_factory=dict)
    integers: list = field(default_factory=list)
    clipped: int = 0


def run(program, x):
    """Run whole inputs x [T, B, C] (of tokens, [T, B, 1] ids)."""
    done, steps, samples = Written(), *x.shape[:2]
    for node in program:
        arrivals = [
            (edge, Arrivals(edge, node.width, program[edge.source].width)) for edge in edges(node)
        ]
        done.values[node.name] = [[None] * samples for _ in range(steps)]
        NODES[type(node)](program, node, x, arrivals, done)
        for number, (_, arrival) in enumerate(arrivals):
            done.events[node.name, number] = arrival.events
            done.operations[node.name, number] = arrival.operations
    done.integers = readout(program.readout, done.values[program.readout.source])
    return done


def readout(out, sent):
    """[T][B][N], or [B][N] of the last step: the values, or their products with weights."""
    rows = None if out.weight is None else out.weight.tolist()

    def one(value):
        if rows is None:
            return value
        return [sum(w * v for w, v in zip(row, value, strict=True)) for row in rows]

    every = [[one(value) for value in step] for step in sent]
    return every if out.kind == "steps" else every[-1]


def source(program, node: Source, x, arrivals, done):
    for t, row in enumerate(x.tolist()):
        for b, value in enumerate(row):
            if node.tokens:
                whole = [int(value[0] == n) for n in range(node.width)]
            else:
                whole = [round(Fraction(v) / Fraction(node.unit)) for v in value]
            kept = [max(node.low, min(v, node.high)) for v in whole]
            done.clipped += sum(a != b for a, b in zip(whole, kept, strict=True))
            done.values[node.name][t][b] = kept


def stream(program, node: Stream, x, arrivals, done):
    for t, b, _ in moments(node, x):
        done.values[node.name][t][b] = total(node, arrivals, done, t, b)


def moments(node, x):
    """Steps in the input's time, samples, and the node's own steps."""
    steps, samples = x.shape[:2]
    for b in range(samples):
        for i in range(steps):
            yield steps - 1 - i if getattr(node, "reverse", False) else i, b, i


def total(node, arrivals, done, t, b, before=None):
    """The currents [N] of a step of a sample; before: what the node itself sent last."""
    sums = [0] * node.width
    for edge, arrival in arrivals:
        own = edge.source == node.name
        brought = arrival.bring(before if own else done.values[edge.source][t][b])
        sums = [a + more for a, more in zip(sums, brought, strict=True)]
    return sums


def population(program, node: Population, x, arrivals, done):
    numbers = program.numbers
    c = Chip(node.coef_frac, node.state_bits, numbers.rounding, numbers.overflow)
    step, states = STEPS[node.spec], []
    rows = node.model.rows(node.model.state._fields, node.modes)
    shifts, biases = node.shift.tolist(), node.bias.tolist()
    for t, b, i in moments(node, x):
        if i == 0:
            z, sent = [(0,) * rows for _ in range(node.width)], [0] * node.width
            states.append(z)
        drives = total(node, arrivals, done, t, b, sent)
        sent = [0] * node.width
        for n, (drive, shift) in enumerate(zip(drives, shifts, strict=True)):
            moved = drive * 2**shift if shift >= 0 else c.drop(drive, -shift)
            k = constants(node, n, i)
            value, z[n] = step(c, k, z[n], moved + biases[n], node.options)
            sent[n] = int(value)
        done.values[node.name][t][b] = sent
    done.states[node.name] = [[[each[row] for each in z] for z in states] for row in range(rows)]
    done.lost[node.name] = c.lost
    if node.model.spiking:
        done.spikes[node.name] = sum(sum(map(sum, step)) for step in done.values[node.name])


def constants(node, n, i):
    """The constants of neuron n in its own step i: of a table the row, of modes all."""
    found = {}
    for name, value in node.coefs.items():
        if name in node.model.tables:
            found[name] = int(value[i][n]) if len(value) else None
        elif name in node.model.modal:
            found[name] = value[:, n].tolist()
        else:
            found[name] = int(value[n])
    return SimpleNamespace(**found)


def vector(program, node: Vector, x, arrivals, done):
    """Edge i adds to operand operands[i]; what is clipped is counted."""
    lost, kept = 0, []
    groups = [
        [pair for pair, at in zip(arrivals, node.operands, strict=True) if at == k]
        for k in range(len(node.gain))
    ]
    for t, b, i in moments(node, x):
        if i == 0:
            sent = [0] * node.width
            memory = MEMORIES[node.kind](node.params, node.width) if node.kind in MEMORIES else None
            kept.append(memory)
        operands = []
        for k, group in enumerate(groups):
            currents = total(node, group, done, t, b, sent)
            held, more = formatted(node, k, currents)
            operands.append(held)
            lost += more
        y = memory.step(operands) if memory else MAPS[node.kind](node.params, operands)
        sent, more = clipped(
            scaled(y, node.out_gain, [0] * node.width, node.out_shift), node.low, node.high
        )
        lost += more
        done.values[node.name][t][b] = sent
    done.lost[node.name] = lost + sum(memory.lost for memory in kept if memory)
    if node.kind in MEMORIES:
        each = [memory.registers() for memory in kept]
        rows = len(MEMORIES[node.kind](node.params, node.width).registers())
        done.states[node.name] = [[own[row] for own in each] for row in range(rows)]


def formatted(node, k, currents):
    limit = int(node.limit[k])
    return clipped(scaled(currents, node.gain[k], node.offset[k], node.shift[k]), -limit, limit)


def scaled(values, gain, offset, shift):
    """(value * gain + offset) / 2^shift, to the nearest, halves up; channel by channel."""
    rows = zip(values, *(map(int, each) for each in (gain, offset, shift)), strict=True)
    return [nearest(Fraction(value * g + o, 2**s)) for value, g, o, s in rows]


def clipped(values, low, high):
    held = [max(low, min(value, high)) for value in values]
    return held, sum(a != b for a, b in zip(values, held, strict=True))


NODES = {Source: source, Stream: stream, Population: population, Vector: vector}
