"""How many bits the constants of each node get.

A choice is one number for all, or a mapping from names to numbers. Names may be shell patterns
(`blocks.*`, `*`); where several match, the last one counts. What a choice leaves open is taken
from the graph, where tuning and search record what they found, and else from the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from neurodeploy.errors import InputError, NeurodeployError, together
from neurodeploy.graph.ir import Graph, Population
from neurodeploy.graph.weights import Weighted
from neurodeploy.neurons.spec import Kind
from neurodeploy.passes.lowerable import is_head
from neurodeploy.targets import Target

Bits: TypeAlias = "int | Mapping[str, int] | None"

LEAST = 2  # a sign and one magnitude
DEFAULT = 8  # of weights, where the target has as many


def recurrent_name(name: str) -> str:
    """Return the name of the recurrent weights of neurons `name`."""
    return f"{name}.recurrent"


def table_name(name: str, coefficient: str) -> str:
    """Return the name of a table of neurons `name`."""
    return f"{name}.{coefficient}"


def weight_bits(graph: Graph, target: Target, choice: Bits = None) -> dict[str, int]:
    """Return the weight bits of every Linear or Conv of a lowerable graph that becomes synapses.

    Recurrent weights of neurons have the name `recurrent_name`. Raises InputError E105 for bits the
    target does not have, and for names of no such Linear.
    """
    names = [n.name for n in graph if isinstance(n.op, Weighted) and not is_head(graph, n.name)]
    names += [recurrent_name(n.name) for n in graph if getattr(n.op, "recurrent", None) is not None]
    most = target.numbers.weight_bits
    what = _What("weights", "--bits", target.name, most)
    widest = dict.fromkeys(names, most)
    return _resolve(choice, dict.fromkeys(names, DEFAULT), widest, graph.bits, what)


def coefficient_bits(graph: Graph, target: Target, choice: Bits = None) -> dict[str, int]:
    """Return the bits of the coefficients of all neurons that have some, and of each table.

    Dimensionless coefficients of neurons go by the name of the neurons, tables by that of
    `table_name`. Raises InputError E105 for bits the target does not have, and for names of no such
    neurons and tables.
    """
    numbers = target.numbers
    widest: dict[str, int] = {}
    for node in graph:
        if isinstance(node.op, Population):
            if _factors(node.op):
                widest[node.name] = numbers.coef_bits
            for name in _tables(node.op):
                dimensionless = node.op.model.kinds[name].dimensionless
                own = numbers.coef_bits if dimensionless else numbers.state_bits
                widest[table_name(node.name, name)] = own
    what = _What("coefficients", "--coef-bits", target.name, numbers.coef_bits)
    return _resolve(choice, widest, widest, graph.bits, what)


def words_of(op: Population, name: str, chosen: Mapping[str, int], widest: int) -> dict[str, int]:
    """Return the bits of the words of neurons `name`, by coefficient.

    Where nothing is chosen, dimensionless ones are as wide as they can be.
    """
    own = [key for key, kind in op.model.kinds.items() if kind.dimensionless]
    tables = {key: chosen.get(table_name(name, key)) for key in _tables(op)}
    found = dict.fromkeys(own, chosen.get(name, widest))
    return found | {key: bits for key, bits in tables.items() if bits is not None}


def _factors(op: Population) -> list[str]:
    kinds = op.model.kinds
    return [name for name in op.coefs if kinds[name] is Kind.UNIT and name not in op.model.tables]


def _tables(op: Population) -> list[str]:
    return [name for name in op.coefs if name in op.model.tables and len(op.coefs[name])]


@dataclass(frozen=True)
class _What:
    """What is chosen, by which option, on which target, and how wide it is at most."""

    name: str
    option: str
    target: str
    widest: int


def _resolve(
    choice: Bits,
    defaults: Mapping[str, int],
    widest: Mapping[str, int],
    recorded: Mapping[str, int],
    what: _What,
) -> dict[str, int]:
    found = {name: min(recorded.get(name, bits), widest[name]) for name, bits in defaults.items()}
    problems: list[NeurodeployError] = []
    for pattern, bits in _rules(choice).items():
        fitting = [name for name in found if fnmatchcase(name, pattern)]
        most = min((widest[name] for name in fitting), default=what.widest)
        if not LEAST <= bits <= most:
            problems.append(
                InputError(
                    "E105",
                    f"{bits}-bit {what.name} are outside what {what.target} has",
                    where="" if pattern == "*" else f'"{pattern}"',
                    fix=f"{what.option} between {LEAST} and {most}",
                )
            )
        if not fitting and pattern != "*":
            problems.append(
                InputError(
                    "E105",
                    f"{what.option} names {pattern!r}, which has no {what.name} on the chip",
                    fix=f"name one of {', '.join(found) or 'none: there are none'}",
                )
            )
        found |= dict.fromkeys(fitting, bits)
    if problems:
        raise together(problems)
    return found


def _rules(choice: Bits) -> Mapping[str, int]:
    if choice is None:
        return {}
    return {"*": choice} if isinstance(choice, int) else choice


def parse(text: str) -> dict[str, int]:
    """Return the choice that a text like `8,blocks.0.linear1=4` makes.

    Raises ValueError for any other text.
    """
    rules: dict[str, int] = {}
    for part in text.split(","):
        name, equals, number = part.strip().rpartition("=")
        if bool(equals) != bool(name.strip()) or not number.strip().isdecimal():
            raise ValueError(f"{part.strip()!r} is neither a number nor NAME=NUMBER")
        if int(number) < LEAST:
            raise ValueError(f"{part.strip()!r}: {LEAST} bits are the least")
        name = name.strip() or "*"
        rules.pop(name, None)  # the last word counts, and stands last
        rules[name] = int(number)
    return rules


def text(choice: Bits) -> str:
    """Return the text that `parse` reads as `choice`; empty where nothing is chosen.

    Raises InputError E105 for bits below the least.
    """
    words = [
        str(bits) if name == "*" else f"{name}={bits}" for name, bits in _rules(choice).items()
    ]
    joined = ",".join(words)
    try:
        if joined:
            parse(joined)
    except ValueError as error:
        raise InputError("E105", str(error), fix=f"give whole numbers from {LEAST} up") from error
    return joined
