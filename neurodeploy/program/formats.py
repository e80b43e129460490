"""What the integers of a program ask of a target that they were not made for.

A compiled program has one target's formats and arithmetic in it. On another it means the same where
that holds every number (`FORMATS`, limits as in `limits`) and computes alike (`differences`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neurodeploy.errors import FitError
from neurodeploy.program.ir import Population, Program, Vector, edges
from neurodeploy.program.limits import Broken, Limit
from neurodeploy.program.synapses import Tap
from neurodeploy.targets import Target


def weights_have_bits(program: Program, target: Target) -> Broken:
    """A weight has at most so many bits."""
    allowed = target.numbers.weight_bits
    for node in program:
        used = max((e.weight_bits for e in edges(node) if not isinstance(e, Tap)), default=0)
        if used > allowed:
            yield f'the weights of "{node.name}"', used, allowed


def inputs_have_bits(program: Program, target: Target) -> Broken:
    """An input has at most so many bits."""
    source, allowed = program.source, target.numbers.input_bits
    below = _bits(-source.low - 1) if source.low < 0 else 0
    used = max(below, (source.high - source.low).bit_length())  # 0 to 255 are 8 bits
    if not source.spiking and used > allowed:
        yield f'input "{source.name}"', used, allowed


def registers_have_bits(program: Program, target: Target) -> Broken:
    """A register of a neuron has at most so many bits."""
    allowed = target.numbers.state_bits
    for node in program:
        used = _register_bits(node)
        if used > allowed:
            yield f'node "{node.name}"', used, allowed


def membranes_fit_messages(program: Program, target: Target) -> Broken:
    """A membrane that travels on has at most the bits of a message."""
    read = {edge.source for node in program for edge in edges(node)}
    allowed = target.numbers.message_bits
    for node in program.populations:
        if not node.most and node.name in read and node.state_bits > allowed:
            yield f'population "{node.name}"', node.state_bits, allowed


def coefficients_have_bits(program: Program, target: Target) -> Broken:
    """A coefficient has at most so many bits."""
    for node in program.populations:
        if node.coef_bits > target.numbers.coef_bits:
            yield f'population "{node.name}"', node.coef_bits, target.numbers.coef_bits


def products_drop_bits(program: Program, target: Target) -> Broken:
    """A product drops at most so many bits."""
    for node in program.populations:
        if node.coef_bits and node.coef_frac > target.numbers.coef_frac:
            yield f'population "{node.name}"', node.coef_frac, target.numbers.coef_frac


def currents_shift_down(program: Program, target: Target) -> Broken:
    """A current is shifted down, to the scale of a state, by at most so many bits."""
    for node in program.populations:
        used, allowed = -int(node.shift.min()), -target.numbers.shift_min
        if used > max(allowed, 0):
            yield f'population "{node.name}"', used, allowed


def currents_shift_up(program: Program, target: Target) -> Broken:
    """A current is shifted up, to the scale of a state, by at most so many bits."""
    for node in program.populations:
        used, allowed = int(node.shift.max()), target.numbers.shift_max
        if used > max(allowed, 0):
            yield f'population "{node.name}"', used, allowed


def readout_has_bits(program: Program, target: Target) -> Broken:
    """A weight behind the readout has at most so many bits."""
    weight, allowed = program.readout.weight, target.numbers.readout_bits
    used = 0 if weight is None else _bits(int(np.abs(weight.astype(np.int64)).max(initial=0)))
    if used > allowed:
        yield "readout", used, allowed


FORMATS: dict[Limit, tuple[str, str]] = {
    rule: ("E301", "compile the model for this target")
    for rule in (
        weights_have_bits,
        inputs_have_bits,
        registers_have_bits,
        membranes_fit_messages,
        coefficients_have_bits,
        products_drop_bits,
        currents_shift_down,
        currents_shift_up,
        readout_has_bits,
    )
}


def differences(program: Program, target: Target) -> Iterator[FitError]:
    """Yield an error E305 for each way in which the target computes otherwise.

    Rounding where some neurons drop bits that are not zero; what a full register does wherever
    there are neurons.
    """
    mine, theirs = program.numbers, target.numbers
    fix = f"compile the model for {target.name}"
    rounding = [node.name for node in program.populations if _rounds(node)]
    if rounding and mine.rounding != theirs.rounding:
        what = f"products round by {mine.rounding!r} in the program, by {theirs.rounding!r} there"
        yield FitError("E305", what, where=_populations(rounding, target), fix=fix)
    stored = [node.name for node in program.populations]
    if stored and mine.overflow != theirs.overflow:
        what = f"full registers {mine.overflow} in the program, and {theirs.overflow} there"
        yield FitError("E305", what, where=_populations(stored, target), fix=fix)


def _rounds(node: Population) -> bool:
    """Whether the neurons drop bits of a product or current that may be other than zero."""
    dropped, step = (1 << node.coef_frac) - 1, node.model.traced(node.options)
    exact = {
        f"k_{name}"
        for name, value in node.coefs.items()
        if not np.any(value.astype(np.int64) & dropped)
    }
    products = (i.args for i in step.instrs if i.op == "mul")
    return bool(np.any(node.shift < 0)) or not all(exact & set(args) for args in products)


def _populations(names: list[str], target: Target) -> str:
    more = f" and {len(names) - 3} others" if len(names) > 3 else ""
    return f"population {', '.join(map(repr, names[:3]))}{more}, target {target.name}"


def _register_bits(node: object) -> int:
    if isinstance(node, Population):
        return node.state_bits
    return int(node.params.get("state_bits", 0)) if isinstance(node, Vector) else 0


def _bits(size: int) -> int:
    """Return the bits of signed integers of at most this size."""
    return size.bit_length() + 1
