"""A small simulator of stock NIR graphs, independent of neurodeploy: synchronous Euler steps.

Within a loop every primitive sees what the loop's integrators held before the step, or, of those
that spike, the spikes of the step before; everything else sees the values of the same step. All
states are zero at first; a step lasts `dt` seconds.
"""

from __future__ import annotations

import nir
import numpy as np

SPIKING = (nir.LIF, nir.IF, nir.CubaLIF)
INTEGRATORS = (nir.LI, nir.I, *SPIKING)


def simulate(graph, x, dt=1e-4):
    """Return the outputs over time [T, B, n] of every node, by path, for input x [T, B, C]."""
    nodes, reads = {}, {}
    _flatten(graph, "", nodes, reads)
    groups = _groups(nodes, reads)
    held, fired = (
        {
            name: np.zeros((*x.shape[1:-1], _width(node)))
            for name, node in nodes.items()
            if isinstance(node, kinds)
        }
        for kinds in (INTEGRATORS, SPIKING)
    )
    outputs = {name: [] for name in nodes}
    for row in x:
        now = {}
        for group in groups:
            _step(group, nodes, reads, now, held, fired, row, dt)
        fired |= {name: now[name] for name in fired}
        for name, value in now.items():
            outputs[name].append(np.broadcast_to(value, (*row.shape[:-1], _width(nodes[name]))))
    return {name: np.array(value) for name, value in outputs.items()}


def _width(node):
    return int(next(iter(node.output_type.values()))[-1])


def _flatten(graph, path, nodes, reads):
    """Collect the primitives; a graph in the graph becomes its Input and Output."""

    def end(name, kind):
        return (
            f"{path}{name}/{kind}" if isinstance(graph.nodes[name], nir.NIRGraph) else path + name
        )

    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            _flatten(node, f"{path}{name}/", nodes, reads)
        else:
            nodes[path + name] = node
            reads.setdefault(path + name, [])
    for source, target in graph.edges:
        reads.setdefault(end(target, "input"), []).append(end(source, "output"))


def _groups(nodes, reads):
    """Return the nodes in execution order, those of one loop together (Tarjan)."""
    index, low, stack, groups = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for source in reads[name]:
            if source not in index:
                visit(source)
                low[name] = min(low[name], low[source])
            elif source in stack:
                low[name] = min(low[name], index[source])
        if low[name] == index[name]:
            at = stack.index(name)
            groups.append(stack[at:])
            del stack[at:]

    for name in nodes:
        if name not in index:
            visit(name)
    return groups


def _step(group, nodes, reads, now, held, fired, row, dt):
    loop = set(group) if len(group) > 1 or group[0] in reads[group[0]] else set()
    before = {}

    def old(name):
        """The value of a node of the loop before this step."""
        if isinstance(nodes[name], SPIKING):
            return fired[name]
        if isinstance(nodes[name], INTEGRATORS):
            return held[name]
        if name not in before:
            before[name] = _value(nodes[name], sum(old(s) for s in reads[name]))
        return before[name]

    drives = {
        name: sum(old(s) if s in loop else now[s] for s in reads[name])
        for name in group
        if isinstance(nodes[name], INTEGRATORS)
    }
    for name, drive in drives.items():
        now[name] = _integrate(nodes[name], name, held, drive, dt)
    todo = [name for name in group if name not in drives]
    while todo:
        name = next(n for n in todo if all(s in now for s in reads[n]))
        todo.remove(name)
        inside = isinstance(nodes[name], nir.Input) and not reads[name]
        now[name] = row if inside else _value(nodes[name], sum(now[s] for s in reads[name]))


def _integrate(node, name, held, drive, dt):
    v = held[name]
    if isinstance(node, nir.CubaLIF):  # the membrane reads the current of the same step
        current = held.get(f"{name} current", np.zeros_like(v))
        current = current + dt / node.tau_syn * (node.w_in * drive - current)
        held[f"{name} current"] = current
        v = v + dt / node.tau_mem * (node.v_leak - v + node.r * current)
    elif isinstance(node, nir.I | nir.IF):
        v = v + dt * node.r * drive
    else:
        v = v + dt / node.tau * (node.v_leak - v + node.r * drive)
    held[name] = v
    if isinstance(node, SPIKING):
        spikes = v > node.v_threshold
        held[name] = np.where(spikes, node.v_reset, v)
        return spikes * 1.0
    return v


def _value(node, x):
    if isinstance(node, nir.Affine):
        return x @ node.weight.T + node.bias
    if isinstance(node, nir.Linear):
        return x @ node.weight.T
    if isinstance(node, nir.Scale):
        return x * node.scale
    if isinstance(node, nir.Threshold):
        return (x > node.threshold) * 1.0
    return x
