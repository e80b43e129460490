"""Write a program as a Lava bundle: a folder that needs lava-nc and numpy, and nothing else.

    run.py            runs it, or checks it against the golden vectors
    bundle/, runner/  the network as Lava processes, and ways to run it
    neurodeploy/      the arithmetic, the neurons and convolutions, as the simulator has them
    manifest.json     wiring, number formats, ranges, latencies; the digest of every other file
    weights.npz       integers
    golden.npz        inputs, and what every node did with them

Code is copied from `template/` as it is, never generated. The same program and the same golden
inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy import arith, neurons, windows
from neurodeploy.backends.lava.mapping import (
    Mapped,
    check,
    edge_plan,
    map_population,
    worklist,
)
from neurodeploy.errors import InputError
from neurodeploy.program.ir import (
    Ints,
    Population,
    Program,
    ProgramNode,
    Readout,
    Source,
    Stream,
    edges,
)
from neurodeploy.program.limits import current_bounds
from neurodeploy.program.reference import execute, to_integers
from neurodeploy.program.synapses import Tap

FORMAT, VERSION = "neurodeploy.lava", 1
TEMPLATE = Path(__file__).parent / "template"

_GOLDEN_STEPS, _GOLDEN_SAMPLES = 32, 2


def write(program: Program, folder: Path, golden_inputs: Any = None) -> Path:
    """Write `program` as `folder`/lava, which must not exist yet; return that path.

    golden_inputs: real x [T, B, C] to take golden vectors on; by default random integers of a fixed
    seed. Raises FitError E301, E303 for what Lava cannot hold, all at once, and InputError E106 for
    golden inputs that the program does not read.
    """
    check(program)
    source = program.source
    golden = _random(program) if golden_inputs is None else to_integers(source, golden_inputs)[0]
    home = folder / "lava"
    home.mkdir(parents=True)
    _copy_code(home)
    arrays: dict[str, Any] = {}
    nodes = _nodes(program, arrays)
    readout = _readout(program.readout, arrays)
    _save(home / "weights.npz", arrays)
    _save(home / "golden.npz", _golden(program, golden))
    work = worklist(program)
    (home / "README.md").write_text(_readme(program, nodes, work), encoding="utf-8")
    body = {
        "format": FORMAT,
        "version": VERSION,
        "name": program.name,
        "target": program.target.name,
        "latency": program.latency,
        "nodes": nodes,
        "readout": readout,
        "golden": {"steps": golden.shape[0], "samples": golden.shape[1]},
        "worklist": work,
        "digests": _digests(home),
    }
    text = json.dumps(body, indent=1, sort_keys=True) + "\n"
    (home / "manifest.json").write_text(text, encoding="utf-8")
    return home


def locate(folder: Path) -> Path:
    """Return the bundle in `folder`: the folder itself, or its `lava`.

    Raises InputError E101 if there is none of this version, E109 if its manifest is damaged.
    """
    for home in (folder, folder / "lava"):
        path = home / "manifest.json"
        if not path.is_file():
            continue
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(
                "E109",
                f"the bundle is damaged: {error}",
                where=str(path),
                fix="compile the model again",
            ) from error
        if isinstance(body, dict) and (body.get("format"), body.get("version")) == (
            FORMAT,
            VERSION,
        ):
            return home
    raise InputError(
        "E101",
        f"no Lava bundle of format {FORMAT} {VERSION} in {str(folder)!r}",
        where=str(folder),
        fix="compile for a target that has one: neurodeploy compile MODEL --target loihi2",
    )


def _random(program: Program) -> Ints:
    source, longest = program.source, [node.longest for node in program.populations]
    steps = min((rows for rows in longest if rows is not None), default=_GOLDEN_STEPS)
    shape = (min(steps, _GOLDEN_STEPS), _GOLDEN_SAMPLES, source.width)
    if source.tokens:
        ids = np.random.default_rng(0).integers(-1, source.width, (*shape[:2], 1))
        return to_integers(source, ids)[0]
    return np.random.default_rng(0).integers(source.low, source.high + 1, shape)


def _copy_code(home: Path) -> None:
    for path in sorted(TEMPLATE.rglob("*.py")):
        _copy(path, home / path.relative_to(TEMPLATE))
    (home / "requirements.txt").write_bytes((TEMPLATE / "requirements-lava.txt").read_bytes())
    carried = home / "neurodeploy"
    for module in (arith, windows):
        _copy(_file(module), carried / _file(module).name)
    for path in sorted(_file(neurons).parent.glob("*.py")):
        _copy(path, carried / "neurons" / path.name)


def _file(module: Any) -> Path:
    return Path(module.__file__)


def _copy(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(path.read_bytes())


def _nodes(program: Program, arrays: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the manifest's nodes, in execution order; put their arrays into `arrays`."""
    bounds = current_bounds(program)
    found = []
    for i, node in enumerate(program):
        record: dict[str, Any] = {
            "name": node.name,
            "width": node.width,
            "latency": 0 if isinstance(node, Source) else node.latency,
            "graded": program.graded(node.name),
        }
        if isinstance(node, Source):
            record |= {"kind": "source", "low": node.low, "high": node.high, "unit": node.unit}
            record |= {"tokens": node.tokens}
        else:
            low, high = bounds[node.name]
            record |= {
                "kind": "stream" if isinstance(node, Stream) else "population",
                "edges": _edges(program, node, f"{i:03d}", arrays),
                "current": [int(low.min()), int(high.max())],
            }
        if isinstance(node, Population):
            mapped = map_population(program, node)
            record |= _population(node, mapped, f"{i:03d}", arrays)
            record["fixed"] = asdict(program.fixed(node))
        found.append(record)
    return found


def _edges(
    program: Program, node: ProgramNode, key: str, arrays: dict[str, Any]
) -> list[dict[str, Any]]:
    plans = []
    for j, edge in enumerate(edges(node)):
        name = f"{key}.edge.{j}"
        arrays[name] = _narrow(edge.sign if isinstance(edge, Tap) else edge.weight)
        plan = edge_plan(program, edge)
        plans.append({"name": f"{node.name}.{j}", "array": name, **plan})
    return plans


def _population(
    node: Population, mapped: Mapped, key: str, arrays: dict[str, Any]
) -> dict[str, Any]:
    registers = node.model.row_names(node.model.state._fields, node.modes)
    record = {
        "spec": node.spec,
        "options": dict(node.options),
        "states": len(registers),
        "registers": registers,
        "shifts": [int(node.shift.min()), int(node.shift.max())],
        "longest": node.longest,
    }

    def keep(name: str, value: Ints) -> str:
        shape = (*np.shape(value)[:-1], node.width)  # with rows of a table, or modes
        arrays[f"{key}.{name}"] = _narrow(np.broadcast_to(value, shape))
        return f"{key}.{name}"

    if mapped.stock is None:
        return record | {
            "process": "Population",
            "coefs": {name: keep(name, value) for name, value in node.coefs.items()},
            "shift": keep("shift", node.shift),
            "bias": keep("bias", node.bias),
        }
    stock = mapped.stock
    return record | {
        "process": "LIFReset",
        "stock": {
            "du": stock.du,
            "dv": stock.dv,
            "vth": stock.vth,
            "bias_mant": keep("bias_mant", stock.bias_mant),
            "bias_exp": keep("bias_exp", stock.bias_exp),
        },
    }


def _readout(readout: Readout, arrays: dict[str, Any]) -> dict[str, Any]:
    arrays |= {"readout.unit": readout.unit, "readout.offset": readout.offset}
    if readout.weight is not None:
        arrays["readout.weight"] = _narrow(readout.weight)
    return {
        "source": readout.source,
        "kind": readout.kind,
        "mean": readout.mean,
        "unit": "readout.unit",
        "offset": "readout.offset",
        "weight": None if readout.weight is None else "readout.weight",
    }


def _golden(program: Program, integers: Ints) -> dict[str, Any]:
    """Return inputs and expected values, by the definition of the program."""
    done = execute(program, integers)
    found = {"integers": _narrow(integers)}
    for i, node in enumerate(program):
        if isinstance(node, Source):
            continue
        found[f"value.{i:03d}"] = _narrow(done.values[node.name])
        if isinstance(node, Population):
            found[f"state.{i:03d}"] = _narrow(done.states[node.name])
    return found


def _narrow(value: Ints) -> Ints:
    """Return the same integers in the narrowest type."""
    low, high = (int(value.min()), int(value.max())) if value.size else (0, 0)
    kinds = (np.int8, np.int16, np.int32, np.int64)
    kind = next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    return np.ascontiguousarray(value, dtype=kind)


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name; numpy dates every member 1980, so that bytes depend on content only."""
    np.savez_compressed(path, **{name: arrays[name] for name in sorted(arrays)})


def _digests(home: Path) -> dict[str, str]:
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }


def _readme(program: Program, nodes: list[dict[str, Any]], work: list[dict[str, str]]) -> str:
    rows = [
        f"| {n['name']} | {n['kind']} | {n['width']} | {n['latency']} | {n.get('spec', '')} |"
        for n in nodes
    ]
    todo = [f"| {w['node']} | {w['process']} | {w['state']} | {w['why']} |" for w in work]
    return (
        (TEMPLATE / "README.md")
        .read_text(encoding="utf-8")
        .format(
            name=program.name,
            target=program.target.name,
            nodes="\n".join(rows),
            worklist="\n".join(todo),
            stock=sum(w["state"] == "stock" for w in work),
            microcode=sum(w["state"] == "microcode" for w in work),
        )
    )
