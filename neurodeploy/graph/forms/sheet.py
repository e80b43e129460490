"""Straight-line programs of ONNX operators, as plain data.

`Sheet` collects calls. Neurons are written once (`NeuronSpec.step` and `fold`); here both are read
into operators: `fold_calls` by running `fold` on names, `step_body` from the traced step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neurodeploy.arith import Instr
from neurodeploy.neurons import NeuronSpec, Traced

OPSET, IR_VERSION = 21, 10


@dataclass(frozen=True)
class Double:
    """A float64 number as an attribute; one that is a float has the precision of float32."""

    value: float


@dataclass(frozen=True)
class Call:
    """One operator of the standard domain; attributes are int, float, Double, str, ints or Body."""

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Body:
    """The subgraph that a Scan runs once a step.

    Of its outputs, [B, N], those in `modal` have a first axis of modes. `sends` is the type of the
    last output: bool, uint8, or that of the file's numbers, like the other outputs. Both are
    written, since onnxruntime before 1.24 asks for them, but say nothing that the calls do not, and
    are not compared.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: tuple[Call, ...]
    sends: str = field(default="number", compare=False)
    modal: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True)
class Function:
    """A model-local function; `doc` says what it is and is not compared."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: tuple[Call, ...]
    doc: str = field(default="", compare=False)


class Sheet:
    """Calls in order; each result is a fresh name, after its operator."""

    def __init__(self, prefix: str = "") -> None:
        self.calls: list[Call] = []
        self.prefix = prefix

    def put(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Append a call with one result and return the result's name."""
        name = out or f"{self.prefix}{kind.lower()}_{len(self.calls)}"
        self.calls.append(Call(kind, inputs, (name,), attributes))
        return name

    def rename(self, names: Mapping[str, str]) -> None:
        """Give values new names, in the calls so far."""
        for i, call in enumerate(self.calls):
            inputs = tuple(names.get(name, name) for name in call.inputs)
            outputs = tuple(names.get(name, name) for name in call.outputs)
            self.calls[i] = Call(call.type, inputs, outputs, call.attributes)

    def offset(self, value: str, constant: str, out: str) -> str:
        """Add a constant [N] to a sequence.

        By Sum, not Add: onnxruntime 1.31 drops an Add of a single zero, and then moves a factor
        of one element that stands next to a MatMul into a float32 attribute (NoopElimination,
        MatMulScaleFusion), which rounds it.
        """
        return self.put("Sum", value, constant, out=out)

    def number(self, value: float, like: str) -> str:
        """Return a scalar of the type of `like`; value must be exact in float32."""
        return self.put("CastLike", self.put("Constant", value_float=value), like)

    def double(self, value: float, like: str) -> str:
        """Return a scalar of the type of `like`, exact in float64."""
        return self.put("CastLike", self.put("Constant", value=Double(value)), like)


@dataclass(frozen=True)
class Term:
    """A real value of a formula that is being written as calls."""

    sheet: Sheet
    name: str

    def _name(self, other: Any) -> str:
        if isinstance(other, Term):
            return other.name
        return self.sheet.number(float(other), self.name)

    def _put(self, kind: str, *names: str) -> Term:
        return Term(self.sheet, self.sheet.put(kind, *names))

    def __neg__(self) -> Term:
        return self._put("Neg", self.name)

    def __add__(self, other: Any) -> Term:
        return self._put("Add", self.name, self._name(other))

    def __radd__(self, other: Any) -> Term:
        return self._put("Add", self._name(other), self.name)

    def __sub__(self, other: Any) -> Term:
        return self._put("Sub", self.name, self._name(other))

    def __rsub__(self, other: Any) -> Term:
        return self._put("Sub", self._name(other), self.name)

    def __mul__(self, other: Any) -> Term:
        return self._put("Mul", self.name, self._name(other))

    def __rmul__(self, other: Any) -> Term:
        return self._put("Mul", self._name(other), self.name)

    def __truediv__(self, other: Any) -> Term:
        return self._put("Div", self.name, self._name(other))

    def __rtruediv__(self, other: Any) -> Term:
        return self._put("Div", self._name(other), self.name)


class _Formulas:
    """The functions that `fold` may use, under the names numpy and torch give them."""

    def __getattr__(self, name: str) -> Callable[[Term], Term]:
        kinds = {"exp": "Exp", "cos": "Cos", "sin": "Sin", "sqrt": "Sqrt", "log": "Log"}
        kind = kinds[name]
        return lambda term: Term(term.sheet, term.sheet.put(kind, term.name))


def fold_calls(
    sheet: Sheet, spec: NeuronSpec, options: Mapping[str, Any], like: str
) -> dict[str, str]:
    """Append the calls of `fold`; return the value of each `k_<coefficient>`.

    Parameters are values of their own names; `like` has the type of the numbers. What is
    computed is named after the (first) coefficient that it is.
    """
    params = spec.params(*(Term(sheet, name) for name in spec.params._fields))
    coefs = spec.fold(params, options, _Formulas())
    values: dict[str, str] = {}
    for key, coef in zip(spec.coefs._fields, coefs, strict=True):
        name = coef.name if isinstance(coef, Term) else sheet.number(float(coef), like)
        values[f"k_{key}"] = name
    named: dict[str, str] = {}
    for key, name in values.items():
        if name not in spec.params._fields:
            named.setdefault(name, key)
    sheet.rename(named)
    return {key: named.get(name, name) for key, name in values.items()}


Word = Callable[[Sheet, Sequence[str]], str]

_WORDS = {
    "add": "Add",
    "sub": "Sub",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "select": "Where",
    "times": "Mul",
    "largest": "Max",
}


def real_mul(sheet: Sheet, args: Sequence[str]) -> str:
    """Multiply real numbers."""
    return sheet.put("Mul", *args)


def real_write(sheet: Sheet, args: Sequence[str]) -> str:  # noqa: ARG001
    """Keep the value: real registers have no edge."""
    return args[0]


def real_count(sheet: Sheet, args: Sequence[str]) -> str:
    """Count whole thresholds."""
    whole = sheet.put("Floor", sheet.put("Div", *args))
    return sheet.put("Max", whole, sheet.number(0.0, args[0]))


def total(sheet: Sheet, args: Sequence[str]) -> str:
    """Sum over the modes, the first axis."""
    axis = sheet.put("Constant", value_ints=(0,))
    return sheet.put("ReduceSum", args[0], axis, keepdims=0)


def per_mode(sheet: Sheet, spec: NeuronSpec, coefs: Mapping[str, str]) -> dict[str, str]:
    """Give coefficients with modes, [modes, N], a batch axis: [modes, 1, N]."""
    modal = [f"k_{name}" for name in spec.coefs._fields if name in spec.modal]
    axis = sheet.put("Constant", value_ints=(1,)) if modal else ""
    return {**coefs, **{key: sheet.put("Unsqueeze", coefs[key], axis) for key in modal}}


def resting(
    sheet: Sheet, step: Traced, coefs: Mapping[str, str], drive: str, shape: str, *, heard: bool
) -> tuple[str, ...]:
    """Append the zeros that states start from; `shape` holds [B, N], coefs are of `per_mode`.

    heard: the last is for what the neurons hear of themselves.
    """
    zero = sheet.put("CastLike", sheet.put("ConstantOfShape", shape), drive, out="zero")
    last = (zero,) if heard else ()
    if not step.modal:
        return (zero,) * len(step.states) + last
    first = next(f"k_{name}" for name in step.coefs if name in step.modal)
    modes = sheet.put("Shape", coefs[first], start=0, end=1)
    whole = sheet.put("ConstantOfShape", sheet.put("Concat", modes, shape, axis=0))
    zeros = sheet.put("CastLike", whole, drive, out="zeros")
    return *(zeros if name in step.modal else zero for name in step.states), *last


def real_read(sheet: Sheet, args: Sequence[str]) -> str:  # noqa: ARG001
    """Take the row that the Scan hands over."""
    return args[0]


REAL: dict[str, Word] = {"mul": real_mul, "write": real_write, "count": real_count}


def step_calls(
    sheet: Sheet, step: Traced, names: Mapping[str, str], words: Mapping[str, Word]
) -> dict[str, str]:
    """Append the calls of a traced step; return the value that stands for each of its names.

    names: the values of `x`, `k_<coefficient>` and `z_<state>`; words: how mul, write and count are
    written.
    """
    values = dict(names)
    words = {"read": real_read, "total": total, **words}

    def value(arg: str) -> str:
        return values[arg] if arg in values else sheet.number(float(arg), values["x"])

    def run(instr: Instr) -> str:
        args = [value(arg) for arg in instr.args]
        if instr.op in words:
            return words[instr.op](sheet, args)
        return sheet.put(_WORDS[instr.op], *args)

    for instr in step.instrs:
        values[instr.out] = run(instr)
    return values


@dataclass(frozen=True)
class Echo:
    """How a body hears what it sent in the step before, as one more state, `sent`.

    hear(sheet, x_t, sent) gives the x of the step; keep(sheet, output) what is heard in the next.
    """

    hear: Callable[[Sheet, str, str], str]
    keep: Callable[[Sheet, str], str]


def step_body(
    step: Traced,
    coefs: Mapping[str, str],
    words: Mapping[str, Word],
    finish: Callable[[Sheet, str], str] = lambda sheet, out: out,
    *,
    sends: str = "number",
    echo: Echo | None = None,
) -> Body:
    """Return the Scan body of a step: (states, x, rows of tables) to (next states, output).

    coefs: values of the enclosing scope for each `k_<coefficient>`; finish turns the output into
    what is sent, called once; sends: its type, see `Body`; echo: for neurons that hear themselves.
    """
    sheet = Sheet("step_")
    states = {f"z_{name}": f"z_{name}" for name in step.states}
    tables = {f"k_{name}": f"{name}_t" for name in step.tables}
    x = "x_t" if echo is None else echo.hear(sheet, "x_t", "sent")
    names = {**coefs, **states, **tables, "x": x}
    values = step_calls(sheet, step, names, words)
    rows = zip(step.states, step.next_states, strict=True)
    outputs = [sheet.put("Identity", values[value], out=f"next_{name}") for name, value in rows]
    sent = finish(sheet, values[step.out])
    inputs = (*states, *(["sent"] if echo is not None else []), "x_t", *tables.values())
    if echo is not None:
        outputs.append(sheet.put("Identity", echo.keep(sheet, sent), out="next_sent"))
    outputs.append(sheet.put("Identity", sent, out="out_t"))
    modal = frozenset(f"next_{name}" for name in step.states if name in step.modal)
    return Body(inputs, tuple(outputs), tuple(sheet.calls), sends, modal)


def table_rows(sheet: Sheet, step: Traced, coefs: Mapping[str, str], sequence: str) -> list[str]:
    """Append the rows of each table for the steps of `sequence`.

    A shorter table gives fewer rows, which Scan refuses, naming both lengths.
    """
    if not step.tables:
        return []
    count, first = (
        sheet.put("Shape", sequence, start=0, end=1),
        sheet.put("Constant", value_ints=(0,)),
    )
    return [sheet.put("Slice", coefs[f"k_{name}"], first, count, first) for name in step.tables]


def scan(
    sheet: Sheet,
    body: Body,
    start: tuple[str, ...],
    sequence: str,
    rows: Sequence[str],
    *,
    reverse: bool,
) -> tuple[str, ...]:
    """Append a Scan over time that starts from states `start`; return final states and outputs.

    The neuron's first step takes the first of `rows`, also in reverse.
    """
    states = [name.removeprefix("next_") for name in body.outputs[:-1]]
    outputs = (*(f"last_{name}" for name in states), "out")
    attributes = {
        "body": body,
        "num_scan_inputs": 1 + len(rows),
        "scan_input_directions": (int(reverse), *(0 for _ in rows)),
        "scan_output_directions": (int(reverse),),
    }
    inputs = (*start, sequence, *rows)
    sheet.calls.append(Call("Scan", inputs, outputs, attributes))
    return outputs
