"""Push diagonal scalings and offsets forward until a constant absorbs them.

Every node's true value is kept as `gain * node + bias`, its *pending* map. Readers absorb it:

    Linear      W diag(gain); its own bias b + W bias becomes pending
    Conv        the same, where the gain is one per map; else it is settled in front
    Neurons     input gain and bias (later: threshold, sign and bias); recurrent weights stand
                behind the gain and absorb the amplitude only: R (alpha s) = (R alpha) s
    Reduce      passes the gain on, and the bias too unless it sums
    Concat      concatenates the pending maps
    LayerNorm   takes the same factor s > 0 in all channels as eps / s^2, and drops a constant that
                they share; its own gain and bias become pending
    Delay       passes the gain on where there is no bias
    other vector operations: nothing; a Linear read by them alone takes all that is pending
    Add         g1 x1 + g2 x2 + ...: the rows of Linears read by nothing else take their factor; a
                stream x1 is divided out, so that the sum keeps the stream's unit:
                    g1 (x1 + (g2/g1) x2 + ...)   with pending gain g1
                Sums read by nothing else are merged first; where streams of different factors
                meet (a residual around a normalised residual), the later one is expanded into
                its terms, its Linears copied.

A factor that nothing can absorb stays as an explicit Affine node.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neurodeploy.graph.delay import Delay
from neurodeploy.graph.ir import (
    Add,
    Affine,
    Array,
    BatchNorm,
    Concat,
    Graph,
    Input,
    Neurons,
    Node,
    Population,
    Reduce,
)
from neurodeploy.graph.nonlinear import LayerNorm, VectorOp
from neurodeploy.graph.weights import Weighted, behind, in_front, product, spread, with_bias


@dataclass(frozen=True, eq=False)
class Pending:
    """The true value of a node of the old graph: `gain * source + bias`, arrays [width]."""

    source: str
    gain: Array
    bias: Array

    @property
    def trivial(self) -> bool:
        """Whether the true value is that of the source."""
        return bool(np.all(self.gain == 1) and np.all(self.bias == 0))


def push(graph: Graph, *, norms: bool = True, amplitudes: bool = False) -> Graph:
    """Return `graph` with BatchNorm and Affine nodes (or spike amplitudes) absorbed."""
    return _Pusher(graph, norms=norms, amplitudes=amplitudes).run()


class _Pusher:
    """The new nodes so far, and what is pending at each old one."""

    def __init__(self, graph: Graph, *, norms: bool, amplitudes: bool) -> None:
        self.graph, self.norms, self.amplitudes = graph, norms, amplitudes
        self.new: dict[str, Node] = {}
        self.pending: dict[str, Pending] = {}

    def run(self) -> Graph:
        for node in self.graph:
            self.pending[node.name] = self._visit(node)
        last = self.graph.output
        again = isinstance(self.graph[last].op, Affine)
        output = self._settle(last, last if again else f"{last}.scaled")
        return replace(self.graph, nodes=_reachable(self.new, output), output=output)

    def _visit(self, node: Node) -> Pending:
        inputs = [self.pending[name] for name in node.inputs]
        op = node.op
        if isinstance(op, Affine | BatchNorm) and self.norms:
            return self._diagonal(node, *_gain_bias(op), inputs[0])
        if isinstance(op, Weighted):
            return self._linear(node, op, inputs[0])
        if isinstance(op, Affine):
            gain, bias = op.gain * inputs[0].gain, op.gain * inputs[0].bias + op.bias
            return self._keep(node, (inputs[0].source,), Affine(gain, bias))
        if isinstance(op, Delay) and not np.any(inputs[0].bias):
            made = self._keep(node, (inputs[0].source,), op)
            return replace(made, gain=inputs[0].gain)
        if isinstance(op, VectorOp):
            return self._nonlinear(node, op)
        if isinstance(op, Neurons | Population):
            return self._neurons(node, op, inputs[0])
        if isinstance(op, Reduce):
            return self._reduce(node, op, inputs[0])
        if isinstance(op, Add):
            return self._add(node, inputs)
        if isinstance(op, Concat):
            made = self._keep(node, tuple(p.source for p in inputs), op)
            gain, bias = (np.concatenate([getattr(p, k) for p in inputs]) for k in ("gain", "bias"))
            return Pending(made.source, gain, bias)
        return self._keep(node, tuple(self._settle(n, f"{n}.scaled") for n in node.inputs), op)

    def _keep(self, node: Node, inputs: tuple[str, ...], op: object) -> Pending:
        self.new[node.name] = replace(node, inputs=inputs, op=op)  # type: ignore[arg-type]
        width = self.graph.widths[node.name]
        return Pending(node.name, np.ones(width), np.zeros(width))

    def _settle(self, name: str, fresh: str) -> str:
        """Return a new node that holds the true value of `name`, adding an Affine if needed."""
        p = self.pending[name]
        if p.trivial:
            return p.source
        last = isinstance(self.new[p.source].op, Weighted) and not self.graph.readers(name)
        if last and self._rescale(p.source, p.gain, p.bias):  # the output keeps its own bias
            return p.source
        self.new[fresh] = Node(fresh, Affine(p.gain, p.bias), (p.source,))
        return fresh

    def _rescale(self, name: str, gain: Array, bias: Array | float = 0.0) -> bool:
        """Multiply the rows of a Linear, and add to its bias; whether they can take it."""
        node = self.new[name]
        assert isinstance(node.op, Weighted)
        op = in_front(node.op, gain, bias)
        if op is not None:
            self.new[name] = replace(node, op=op)
        return op is not None

    def _own_linear(self, name: str) -> bool:
        """Whether old node `name` is a Linear that one node alone reads."""
        p, readers = self.pending[name], self.graph.readers(name)
        return p.source == name and isinstance(self.new[name].op, Weighted) and len(readers) == 1

    def _diagonal(self, node: Node, gain: Array, bias: Array, p: Pending) -> Pending:
        if self._own_linear(node.inputs[0]) and self._rescale(p.source, gain):
            return Pending(p.source, np.ones_like(gain), gain * p.bias + bias)
        return Pending(p.source, gain * p.gain, gain * p.bias + bias)

    def _linear(self, node: Node, op: Weighted, p: Pending) -> Pending:
        plain = behind(op, p.gain)
        if plain is None:
            source = self._settle(node.inputs[0], f"{node.inputs[0]}.scaled")
            return self._linear(node, op, Pending(source, np.ones_like(p.gain), p.bias * 0))
        bias = spread(op, op.bias) + product(op, p.bias)
        readers = self._true_readers(node.name)
        if len(readers) == 1 and isinstance(self.graph[readers[0]].op, VectorOp):
            whole = with_bias(plain, bias)  # its one operand adds it
            if whole is not None:
                return self._keep(node, (p.source,), whole)
        return replace(self._keep(node, (p.source,), plain), bias=bias)

    def _nonlinear(self, node: Node, op: VectorOp) -> Pending:
        """Settle what is pending in front of a vector operation."""
        sources = []
        for name in node.inputs:
            p = self.pending[name]
            if isinstance(op, LayerNorm) and _same(p.gain) and p.gain[0] > 0 and _same(p.bias):
                op = replace(op, eps=op.eps / float(p.gain[0]) ** 2)
            elif p.trivial or not (
                self._free(p.source, node) and self._rescale(p.source, p.gain, p.bias)
            ):
                sources.append(self._settle(name, f"{name}.scaled"))
                continue
            sources.append(p.source)
        if not isinstance(op, LayerNorm) or not self.norms:
            return self._keep(node, tuple(sources), op)
        plain = replace(op, gamma=np.ones_like(op.gamma), beta=np.zeros_like(op.beta))
        made = self._keep(node, tuple(sources), plain)
        return replace(made, gain=op.gamma, bias=op.beta)

    def _neurons(self, node: Node, op: Neurons | Population, p: Pending) -> Pending:
        source = p.source
        if isinstance(op, Neurons):
            op = replace(op, gain=op.gain * p.gain, bias=op.gain * p.bias + op.bias)
        else:
            source = self._settle(node.inputs[0], f"{node.name}.input")
        if not self.amplitudes:
            return self._keep(node, (source,), op)
        again = None if op.recurrent is None else op.recurrent * op.amplitude
        made = self._keep(node, (source,), replace(op, amplitude=1.0, recurrent=again))
        return replace(made, gain=made.gain * op.amplitude)

    def _reduce(self, node: Node, op: Reduce, p: Pending) -> Pending:
        if op.kind != "sum":
            made = self._keep(node, (p.source,), Reduce(op.kind, np.zeros_like(op.bias)))
            return Pending(made.source, p.gain, p.bias + op.bias)
        if np.all(p.gain != 0):
            made = self._keep(node, (p.source,), Reduce("sum", (p.bias + op.bias) / p.gain))
            return Pending(made.source, p.gain, made.bias)
        return self._keep(node, (self._settle(node.inputs[0], f"{node.name}.input"),), op)

    def _add(self, node: Node, inputs: list[Pending]) -> Pending:
        """Absorb factors into Linears and divide out that of the stream."""
        bias = sum((p.bias for p in inputs), start=np.zeros_like(inputs[0].bias))
        gains: dict[str, Array] = {}
        for p in inputs:
            gains[p.source] = gains.get(p.source, 0.0) + p.gain
        for name in list(gains):
            if isinstance(self.new[name].op, Add) and self._own(name, node):
                gains = self._expand(gains, name, node, copy=False)
        while (mixed := self._mixed_streams(gains, node)) is not None:
            gains = self._expand(gains, mixed, node, copy=True)
        own = [name for name in gains if self._free(name, node)]
        streams = [name for name in gains if name not in own]
        unit = gains[streams[0]] if streams else np.ones_like(bias)
        unit = np.where(unit == 0, 1.0, unit)
        sources = []
        for name, gain in gains.items():
            taken = name in own and self._rescale(name, gain / unit)
            sources.append(name if taken else self._scaled(name, gain / unit, node))
        if len(sources) == 1:  # all inputs were the same node
            return Pending(sources[0], unit, bias)
        return replace(self._keep(node, tuple(sources), node.op), gain=unit, bias=bias)

    def _scaled(self, name: str, gain: Array, reader: Node) -> str:
        """Return a node holding `gain` times node `name`."""
        if np.all(gain == 1):
            return name
        fresh = f"{reader.name}.from_{name.replace('.', '_')}"
        self.new[fresh] = Node(fresh, Affine(gain, np.zeros_like(gain)), (name,))
        return fresh

    def _expand(
        self, gains: dict[str, Array], name: str, reader: Node, *, copy: bool
    ) -> dict[str, Array]:
        """Replace the Add `name` by its terms; Linears are copied if it has other readers."""
        result = {key: value for key, value in gains.items() if key != name}
        for term in self.new[name].inputs:
            part = term
            if copy and isinstance(self.new[term].op, Weighted):
                part = f"{term}.for_{reader.name.replace('.', '_')}"
                self.new[part] = replace(self.new[term], name=part)
            result[part] = result.get(part, 0.0) + gains[name]
        return result

    def _mixed_streams(self, gains: dict[str, Array], node: Node) -> str | None:
        """Return the last of several differently scaled streams, if it is itself a sum."""
        streams = [name for name in gains if not self._free(name, node)]
        first = gains[streams[0]] if streams else None
        if first is None or all(np.array_equal(gains[name], first) for name in streams):
            return None
        order = list(self.new)
        last = max(streams, key=order.index)
        return last if isinstance(self.new[last].op, Add) else None

    def _free(self, name: str, reader: Node) -> bool:
        """Whether `name` is a Linear whose rows `reader` may rescale."""
        fresh = name not in self.graph
        return isinstance(self.new[name].op, Weighted) and (fresh or self._own(name, reader))

    def _own(self, name: str, reader: Node) -> bool:
        """Whether `reader` alone reads node `name`, and once."""
        readers = self._true_readers(name) if name in self.graph else []
        direct = all(r == reader.name or self._merged(r, reader) for r in readers)
        return len(readers) == 1 and direct

    def _merged(self, name: str, reader: Node) -> bool:
        """Whether the Add `name` is being merged into `reader`."""
        return isinstance(self.graph[name].op, Add) and self._true_readers(name) == [reader.name]

    def _true_readers(self, source: str) -> list[str]:
        """Return the old nodes that read `source`, also through maps that were absorbed."""
        found = []
        for reader in self.graph.readers(source):
            through = isinstance(reader.op, Affine | BatchNorm) and self.norms
            times = reader.inputs.count(source)
            found += self._true_readers(reader.name) if through else [reader.name] * times
        return found


def _same(values: Array) -> bool:
    return bool(np.all(values == values[0]))


def _reachable(nodes: dict[str, Node], output: str) -> tuple[Node, ...]:
    """Return the nodes that `output` depends on, and the input, each after what it reads."""
    ordered: dict[str, Node] = {n: node for n, node in nodes.items() if isinstance(node.op, Input)}
    stack = [output]
    while stack:
        missing = [name for name in nodes[stack[-1]].inputs if name not in ordered]
        if missing:
            stack.append(missing[0])
        else:
            name = stack.pop()
            ordered[name] = nodes[name]
    return tuple(ordered.values())


def _gain_bias(op: Affine | BatchNorm) -> tuple[Array, Array]:
    if isinstance(op, Affine):
        return op.gain, op.bias
    gain = op.gamma / np.sqrt(op.var + op.eps)
    return gain, op.beta - gain * op.mean
