"""A float graph as a NIR file that the stock `nir` library reads and `frontends.nir` reads back.

The forms are those of `graph.forms.nir`. NIR has no BatchNorm and no spikes worth other than 1, so
both are folded first: what is written, and read back, is `exported_form(graph)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import InputError, NeurodeployError, ToolError, together
from neurodeploy.files import new_file
from neurodeploy.graph import rules
from neurodeploy.graph.forms.nir import net
from neurodeploy.graph.forms.nir_net import Net, Part
from neurodeploy.graph.ir import BatchNorm, Graph, Neurons, Population
from neurodeploy.passes.fold_amplitude import FoldAmplitude
from neurodeploy.passes.fold_batchnorm import FoldBatchNorm


def exported_form(graph: Graph) -> Graph:
    """Return the equal graph that is written: without BatchNorm, amplitudes and unread nodes."""
    if any(isinstance(node.op, BatchNorm) for node in graph):
        graph = rules.check(FoldBatchNorm()(graph))
    neurons = [node.op for node in graph if isinstance(node.op, Neurons | Population)]
    if any(op.amplitude != 1 for op in neurons):
        graph = rules.check(FoldAmplitude()(graph))
    needed = {graph.output}
    for node in reversed(graph.nodes):
        needed |= set(node.inputs) if node.name in needed else set()
    nodes = tuple(node for node in graph if node.name in needed)
    return replace(graph, nodes=nodes, ranges={}, calibration="none")


def write(graph: Graph, path: Path, *, extensions: bool = False) -> None:
    """Write `exported_form(graph)` as a NIR file.

    extensions: also write neurons that run from the last step to the first, which other readers
    run forwards. Raises InputError E105 and E107 (a graph that breaks a rule), E108 naming every
    node that cannot be written, E110; ToolError E601 without the nir package.
    """
    form = exported_form(rules.check(graph))
    if not extensions:
        _only_forwards(form)
    try:
        import nir
    except ImportError as error:
        fix = "pip install nir"
        raise ToolError("E601", "the package 'nir' is not installed", fix=fix) from error
    stock = _stock(nir, net(form))
    with new_file(path) as beside:
        nir.write(str(beside), stock)


def _only_forwards(graph: Graph) -> None:
    problems: list[NeurodeployError] = [
        InputError(
            "E108",
            "NIR has no neurons that run backwards in time",
            where=f'node "{node.name}", field reverse',
            fix="export .onnx, which has; or call backends.nir.graph.write(..., extensions=True)"
            " for a file that only neurodeploy reads correctly",
        )
        for node in graph
        if isinstance(node.op, Neurons | Population) and node.op.reverse
    ]
    if problems:
        raise together(problems)


def _stock(nir: Any, form: Part | Net) -> Any:
    """Return the object of the nir library."""
    metadata = _plain(form.metadata)
    if isinstance(form, Net):
        nodes = {name: _stock(nir, part) for name, part in form.parts.items()}
        return nir.NIRGraph(nodes, list(form.edges), metadata=metadata)
    if form.type in ("Input", "Output"):
        shape = np.asarray(form.fields["shape"])
        return getattr(nir, form.type)({form.type.lower(): shape})
    return getattr(nir, form.type)(**form.fields, metadata=metadata)


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in metadata.items()}
