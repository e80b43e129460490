"""Layers of neurons one behind the other, as networks of sequential tasks are published.

    s_0 = x,  s_l[t] = neurons_l(W_l s_(l-1)[t] + b_l + R_l s_l[t-1] + c_l),  y = readout(V s_L + d)

R_l and c_l exist where layer l is recurrent: in arXiv 2307.07231 (TC-LIF) and 2308.15150 (CE-LIF)
every hidden layer but the last. Weights by name, in `state_dict` and as attributes:

    layers.{i}.linear.weight, .bias             W_i [out, in], b_i
    layers.{i}.neuron.recurrent.weight, .bias   R_i [out, out], c_i; also as layers[i].recurrent
    layers.{i}.neuron.*                         what the neurons train (TC-LIF: c0, c1)
    classifier.weight, .bias                    V [classes, last], d
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from neurodeploy.nn.arguments import invalid, require_choice, require_flags, require_sizes, wholes
from neurodeploy.nn.layers import Readout
from neurodeploy.nn.neurons import Neuron


def neuron_classes() -> dict[str, type[Neuron]]:
    """Return the trainable neurons that can hear themselves, by name."""
    found: dict[str, type[Neuron]] = {}
    todo = list(Neuron.__subclasses__())
    while todo:
        kind = todo.pop(0)
        todo += kind.__subclasses__()
        accepted = inspect.signature(kind).parameters.values()
        if any(p.name == "recurrent" or p.kind is p.VAR_KEYWORD for p in accepted):
            found[kind.__name__] = kind
    return found


class SpikingLayer(torch.nn.Module):
    """A Linear and the neurons behind it: [T, B, inputs] to [T, B, neuron.width]."""

    def __init__(self, inputs: int, neuron: Neuron) -> None:
        super().__init__()
        require_sizes(self, inputs=inputs)
        if not isinstance(neuron, Neuron):
            raise invalid(self, f"neuron is {neuron!r}", "give neurons of neurodeploy.nn")
        self.linear = torch.nn.Linear(inputs, neuron.width)
        self.neuron = neuron

    @property
    def recurrent(self) -> torch.nn.Linear | None:
        """The Linear from the neurons to themselves, if there is one."""
        return self.neuron.recurrent

    def forward(self, x: Tensor) -> Tensor:
        """Return what the neurons send, [T, B, width]."""
        out: Tensor = self.neuron(self.linear(x))
        return out


class SpikingMLP(torch.nn.Module):
    """Layers of neurons and a Linear classifier: x [T, B, inputs] to logits [B, classes].

    sizes: inputs, the width of each hidden layer, classes. neuron: the name of its class, one of
    `neuron_classes()`; `options` are the class's arguments. recurrent: True for every hidden layer
    but the last, or one bool for each. The classifier runs at every step and the readout reduces
    its outputs over time ("steps": [T, B, classes]). Raises InputError E105 for what does not fit.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        neuron: str = "LIF",
        recurrent: bool | Sequence[bool] = False,
        readout: str = "sum",
        **options: Any,
    ) -> None:
        super().__init__()
        fix = "give inputs, hidden widths, classes"
        sizes = wholes(self, "sizes", sizes, fix)
        hidden = len(sizes) - 2
        if hidden < 1 or min(sizes) < 1:
            raise invalid(self, f"sizes are {tuple(sizes)}", fix)
        known = neuron_classes()
        require_choice(self, "neuron", neuron, known)
        if isinstance(recurrent, Sequence):
            loops = list(recurrent)
            require_flags(self, **{f"recurrent[{i}]": value for i, value in enumerate(loops)})
        else:
            require_flags(self, recurrent=recurrent)
            loops = [recurrent and i + 1 < hidden for i in range(hidden)]
        if len(loops) != hidden:
            raise invalid(self, f"recurrent is {recurrent}", f"give a bool for each of {hidden}")
        self.neuron = neuron
        self.layers = torch.nn.ModuleList(
            SpikingLayer(inputs, known[neuron](width, recurrent=loop, **options))
            for (inputs, width), loop in zip(pairwise(sizes[:-1]), loops, strict=True)
        )
        self.classifier = torch.nn.Linear(sizes[-2], sizes[-1])
        self.readout = Readout(readout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [B, classes], or [T, B, classes] for readout="steps"."""
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.readout(self.classifier(x))
        return logits

    def linears(self) -> list[torch.nn.Linear]:
        """Return all Linears, recurrent ones too: their numbers are what publications count."""
        return [module for module in self.modules() if isinstance(module, torch.nn.Linear)]

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        layers = [layer for layer in self.layers if isinstance(layer, SpikingLayer)]
        widths = tuple(layer.neuron.width for layer in layers)
        options = layers[0].neuron.config()
        return {
            **{k: v for k, v in options.items() if k not in ("width", "recurrent")},
            "sizes": (layers[0].linear.in_features, *widths, self.classifier.out_features),
            "neuron": self.neuron,
            "recurrent": tuple(layer.recurrent is not None for layer in layers),
            "readout": self.readout.kind,
        }
