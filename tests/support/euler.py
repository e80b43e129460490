"""A small simulator of stock NIR graphs, independent of neurodeploy: synchronous Euler steps.

Within a loop every primitive sees what the loop's integrators held before the step, or, of those
that spike, the spikes of the step before; everything else sees the values of the same step. All
states are zero at first; a step lasts `dt` seconds.
"""

from __future__ import annotations

import warnings

import nir
import numpy as np
import torch

SPIKING = (nir.LIF, nir.IF, nir.CubaLIF)
INTEGRATORS = (nir.LI, nir.I, *SPIKING)


def simulate(graph, x, dt=1e-4):
    """Return the outputs over time [T, B, n] of every node, by path, for input x [T, B, C].

    Maps are flat in both.
    """
    nodes, reads = {}, {}
    _flatten(graph, "", nodes, reads)
    groups = _groups(nodes, reads)
    held, fired = (
        {
            name: np.zeros((*x.shape[1:-1], *_shape(node)))
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
            whole = np.broadcast_to(value, (*row.shape[:-1], *_shape(nodes[name])))
            outputs[name].append(whole.reshape(*row.shape[:-1], -1))
    return {name: np.array(value) for name, value in outputs.items()}


def _shape(node):
    return tuple(int(n) for n in next(iter(node.output_type.values())))


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
    if len(todo) == 1 and isinstance(nodes[todo[0]], nir.Delay):
        (name,) = todo
        past = held.setdefault(f"{name} past", [])
        past.append(sum(now[s] for s in reads[name]))
        now[name] = _late(np.rint(nodes[name].delay / dt), past)
        return
    while todo:
        name = next(n for n in todo if all(s in now for s in reads[n]))
        todo.remove(name)
        inside = isinstance(nodes[name], nir.Input) and not reads[name]
        shaped = row.reshape(*row.shape[:-1], *_shape(nodes[name])) if inside else None
        now[name] = shaped if inside else _value(nodes[name], sum(now[s] for s in reads[name]))


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
    if isinstance(node, nir.Flatten):
        return x.reshape(len(x), *_shape(node))
    if isinstance(node, nir.Conv1d | nir.Conv2d | nir.SumPool2d | nir.AvgPool2d):
        return _over_maps(node, torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return x


def _late(steps, past):
    out = np.zeros_like(past[-1])
    for ago in np.unique(steps).astype(int):
        if ago < len(past):
            out = np.where(steps == ago, past[-1 - ago], out)
    return out


def _over_maps(node, x):
    def setting(key):
        value = getattr(node, key)
        return value if isinstance(value, str) else np.asarray(value).tolist()

    if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        kernel, *how = (setting(key) for key in ("kernel_size", "stride", "padding"))
        places = np.prod(kernel) if isinstance(node, nir.SumPool2d) else 1
        return torch.nn.functional.avg_pool2d(x, kernel, *how) * float(places)
    run = torch.nn.functional.conv1d if isinstance(node, nir.Conv1d) else torch.nn.functional.conv2d
    how = {key: setting(key) for key in ("stride", "padding", "dilation", "groups")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the speed of "same"
        return run(x, torch.from_numpy(node.weight), torch.from_numpy(node.bias), **how)
