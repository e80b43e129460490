"""An integer program as an ONNX file: bit for bit the simulator, in stock onnxruntime.

    input            float64 [T, B, C]       real inputs; they become integers as in the program
    output           float64 [B, N]          what the readout is worth ([T, B, N] for kind "steps")
    output_integers  int64                   the readout's integers
    <name>/spikes    uint8 [T, B, width]     what each population sends (int64 where several a
                                             step); <name>/membrane, int64, where its neurons
                                             do not spike
    <name>/values    int64                   what each vector operation sends; an LSTM also has
                                             <name>/final_cell, and a delay <name>/final_ago
                                             [longest, B, width], the youngest value first
    <name>/final_<state>  int64 [B, width]   its states after the last step, [modes, B, width]
                                             where a state has modes

Everything between input and output is integer arithmetic. Delays do not appear: values stand in the
time of the input, as in `program.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.backends.onnx.integer import function, name_of
from neurodeploy.backends.onnx.proto import About, Node, Value, model, save
from neurodeploy.backends.onnx.vectors import FINAL_LINE, WITH_STEPS, step_body
from neurodeploy.backends.onnx.vectors import write as write_vector
from neurodeploy.graph.forms import onnx_maps
from neurodeploy.graph.forms.onnx import PROGRAM_DOMAIN
from neurodeploy.graph.forms.sheet import Call, Function
from neurodeploy.program.ir import Ints, Population, Program, Source, Stream, Vector, edges
from neurodeploy.program.synapses import Conv, Dense, Edge
from neurodeploy.program.vector import registers

_DOUBLE, _INT64 = 11, 7  # onnx.TensorProto


def write(program: Program, path: Path) -> None:
    """Write `program` as an ONNX file.

    Raises InputError E108 (too large for one file), E110; ToolError E601 without onnx.
    """
    save(to_model(program), path)


def to_model(program: Program) -> Any:
    """Return `program` as an onnx.ModelProto; raises like `write`."""
    return _Writer(program).model()


class _Writer:
    """The file's nodes and constants so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes: list[Node] = []
        self.constants: dict[str, Any] = {}
        self.functions: dict[str, Function] = {}
        self.outputs: list[Value] = []
        self.sent: dict[str, str] = {}  #: what each node sends: uint8 spikes or int64 values
        self.wide: dict[str, str] = {}  #: the same as int64, where something asked for it

    def model(self) -> Any:
        for node in self.program:
            if isinstance(node, Source):
                self._source(node)
            elif isinstance(node, Stream):
                self.sent[node.name] = self._current(node)
            elif isinstance(node, Vector):
                self._vector(node)
            else:
                self._population(node)
        self._readout()
        return model(
            nodes=self.nodes,
            inputs=[Value("input", "float64", ("T", "B", self.program.source.width))],
            outputs=[*self.outputs[-2:], *self.outputs[:-2]],
            constants=self.constants,
            functions=self.functions.values(),
            domains={PROGRAM_DOMAIN: 1},
            numbers="int64",
            about=About(f"integer program for {self.program.target.name}; input [T, B, channels]"),
        )

    def _put(self, kind: str, *inputs: str, out: str, **attributes: Any) -> str:
        name = out if "/" in out else f"readout/{out}"  # no node of the program has a slash
        self.nodes.append(Node(name, Call(kind, inputs, (out,), attributes)))
        return out

    def _constant(self, name: str, value: Any) -> str:
        self.constants[name] = value
        return name

    def _integers(self, name: str, value: Any) -> str:
        return self._constant(name, np.asarray(value, np.int64))

    def _source(self, node: Source) -> None:
        at = f"{node.name}/"
        unit = self._constant(f"{at}unit", np.float64(node.unit))
        ends = {"low": node.low, "high": node.high}
        low, high = (self._constant(at + key, np.float64(value)) for key, value in ends.items())
        rounded = self._put(
            "Round", self._put("Div", "input", unit, out=f"{at}scaled"), out=f"{at}whole"
        )
        clipped = self._put("Clip", rounded, low, high, out=f"{at}clipped")
        self.sent[node.name] = self._put("Cast", clipped, out=f"{at}values", to=_INT64)
        if node.spiking:
            self.wide[node.name] = self.sent[node.name]
            name = self._put("Cast", clipped, out=f"{at}spikes", to=2)
            self.sent[node.name] = name

    def _spikes(self, name: str) -> bool:
        """Whether node `name` sends uint8 spikes."""
        return self.program.spikes(name)

    def _values(self, name: str) -> str:
        """Return what node `name` sends, as int64."""
        if not self._spikes(name):
            return self.sent[name]
        if name not in self.wide:
            self.wide[name] = self._put("Cast", self.sent[name], out=f"{name}/values", to=_INT64)
        return self.wide[name]

    def _current(self, node: Stream | Population) -> str:
        """Append the sum over a node's edges; return its name."""
        return self._sum(node.name, "current", list(enumerate(edges(node, recurrent=False))))

    def _sum(self, name: str, result: str, ends: list[tuple[int, Edge]]) -> str:
        total = ""
        for i, edge in ends:
            part = self._edge(f"{name}/{i}", edge)
            out = f"{name}/{result}" if i == ends[-1][0] else f"{name}/{i}/sum"
            total = self._put("Add", total, part, out=out) if total else part
        return total

    def _vector(self, node: Vector) -> None:
        numbered = list(enumerate(zip(node.operands, node.edges, strict=True)))
        currents = []
        for operand in range(len(node.gain)):
            others = [
                (i, edge) for i, (k, edge) in numbered if k == operand and edge.source != node.name
            ]
            currents.append(self._sum(node.name, f"current{operand}", others))
        if node.kind in WITH_STEPS:
            self._over_time(node, currents)
            return
        out = write_vector(node, currents, self._put, self._constant)
        self.sent[node.name] = out
        self.outputs.append(Value(out, "int64", ("T", "B", node.width)))
        if kept := len(registers(node)):
            line = f"{node.name}/{FINAL_LINE}"
            self.outputs.append(Value(line, "int64", (kept, "B", node.width)))

    def _over_time(self, node: Vector, currents: Sequence[str]) -> None:
        """Append a Scan over time for a vector operation with registers."""
        body = step_body(node, self._constant)
        shape = self._put("Shape", currents[0], out=f"{node.name}/shape", start=1)
        zero = self._put("ConstantOfShape", shape, out=f"{node.name}/zero_real")
        rest = self._put("Cast", zero, out=f"{node.name}/zero", to=_INT64)
        out, way = f"{node.name}/values", int(node.reverse)
        finals = [f"{node.name}/final_{name}" for name in registers(node)]
        attributes = {
            "body": body,
            "num_scan_inputs": len(currents),
            "scan_input_directions": (way,) * len(currents),
            "scan_output_directions": (way,),
        }
        starts = (rest,) * (len(finals) + 1)
        outputs = (*finals, f"{node.name}/last_sent", out)
        self.nodes.append(Node(node.name, Call("Scan", (*starts, *currents), outputs, attributes)))
        self.sent[node.name] = out
        self.outputs.append(Value(out, "int64", ("T", "B", node.width)))
        self.outputs += [Value(name, "int64", ("B", node.width)) for name in finals]

    def _edge(self, at: str, edge: Edge) -> str:
        if isinstance(edge, Dense):
            value = self._dense(at, edge)
        elif isinstance(edge, Conv):
            value = self._convolution(at, edge)
        else:
            sign = self._integers(f"{at}/sign", edge.sign)
            value = self._put("Mul", self._values(edge.source), sign, out=f"{at}/tap")
        if edge.exponent:
            factor = self._integers(f"{at}/factor", 1 << edge.exponent)
            value = self._put("Mul", value, factor, out=f"{at}/scaled")
        return value

    def _narrow(self, edge: Dense | Conv) -> bool:
        """Whether spikes meet weights of 8 bits: uint8 by int8 then cannot overflow any kernel."""
        narrow = bool(np.all((edge.weight >= -128) & (edge.weight <= 127)))
        return self._spikes(edge.source) and narrow

    def _convolution(self, at: str, edge: Conv) -> str:
        """Append a convolution: ConvInteger for spikes, else a matrix product of all windows."""
        if self._narrow(edge):
            return self._conv_integer(at, edge)
        self.functions[f"conv{len(edge.shape) - 1}"] = run = onnx_maps.product(len(edge.shape) - 1)
        inputs = [self._integers(f"{at}/{name}", getattr(edge, name)) for name in run.inputs[1:]]
        call = Call(run.name, (self._values(edge.source), *inputs), (f"{at}/conv",))
        self.nodes.append(Node(f"{at}/conv", call, PROGRAM_DOMAIN))
        return f"{at}/conv"

    def _conv_integer(self, at: str, edge: Conv) -> str:
        spikes = self.sent[edge.source]
        shape = self._integers(f"{at}/maps", (-1, *edge.shape))
        maps = self._put("Reshape", spikes, shape, out=f"{at}/in")
        weight = self._constant(f"{at}/weight", edge.weight.astype(np.int8))
        settings = {"strides": edge.stride, "pads": edge.padding, "dilations": edge.dilation}
        name = f"{at}/product"
        out = self._put("ConvInteger", maps, weight, out=name, group=edge.groups, **settings)
        lead = self._put("Shape", spikes, out=f"{at}/lead", start=0, end=2)
        rest = self._integers(f"{at}/rest", (-1,))
        flat = self._put("Concat", lead, rest, out=f"{at}/flat", axis=0)
        out = self._put("Reshape", out, flat, out=f"{at}/out")
        return self._put("Cast", out, out=f"{at}/conv", to=_INT64)

    def _dense(self, at: str, edge: Dense) -> str:
        """Append a matrix product."""
        if self._narrow(edge):
            weight = self._constant(f"{at}/weight", _turned(edge.weight, np.int8))
            name = f"{at}/product"
            product = self._put("MatMulInteger", self.sent[edge.source], weight, out=name)
            return self._put("Cast", product, out=f"{at}/dense", to=_INT64)
        weight = self._constant(f"{at}/weight", _turned(edge.weight, np.int64))
        return self._put("MatMul", self._values(edge.source), weight, out=f"{at}/dense")

    def _population(self, node: Population) -> None:
        current = self._current(node)
        own: Mapping[str, Ints] = {"shift": node.shift, "bias": node.bias, **node.coefs}
        if node.recurrent is not None:
            weight = node.recurrent.weight.T.astype(np.int64)
            own = {**own, "recurrent": weight << node.recurrent.exponent}
        inputs = [self._integers(f"{node.name}/{key}", value) for key, value in own.items()]
        fixed = self.program.fixed(node)
        run = name_of(node, fixed)
        self.functions[run] = function(node, fixed)
        out = f"{node.name}/{'spikes' if node.model.spiking else 'membrane'}"
        states = [f"{node.name}/final_{name}" for name in node.model.state._fields]
        call = Call(run, (current, *inputs), (out, *states))
        self.nodes.append(Node(node.name, call, PROGRAM_DOMAIN))
        self.sent[node.name] = out
        kind = "uint8" if node.most == 1 else "int64"
        self.outputs.append(Value(out, kind, ("T", "B", node.width)))
        for name, state in zip(states, node.model.state._fields, strict=True):
            modes = (node.modes,) if state in node.model.modal else ()
            self.outputs.append(Value(name, "int64", (*modes, "B", node.width)))

    def _readout(self) -> None:
        readout = self.program.readout
        value = self._values(readout.source)
        axes: tuple[str | int, ...] = ("T", "B")
        if readout.kind == "last":
            last = self._integers("readout/last_step", -1)
            value, axes = self._put("Gather", value, last, out="readout/last", axis=0), ("B",)
        if readout.weight is not None:
            weight = self._constant("readout/weight", _turned(readout.weight, np.int64))
            value = self._put("MatMul", value, weight, out="readout/dense")
        whole = self._put("Identity", value, out="output_integers")
        real = self._put("Cast", whole, out="readout/real", to=_DOUBLE)
        unit = self._constant("readout/unit", np.asarray(readout.unit, np.float64))
        if readout.mean:
            steps = self._put("Shape", "input", out="readout/steps", start=0, end=1)
            count = self._put("Cast", steps, out="readout/step_count", to=_DOUBLE)
            unit = self._put("Div", unit, count, out="readout/unit_of_mean")
        offset = self._constant("readout/offset", np.asarray(readout.offset, np.float64))
        scaled = self._put("Mul", real, unit, out="readout/scaled")
        self._put("Add", scaled, offset, out="output")
        width = len(readout.unit)
        self.outputs += [Value("output", "float64", (*axes, width))]
        self.outputs += [Value("output_integers", "int64", (*axes, width))]


def _turned(weight: Ints, kind: Any) -> Any:
    """Return a weight [out, in] as [in, out]."""
    return np.ascontiguousarray(weight.T.astype(kind))
