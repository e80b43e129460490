r"""Contextual embedding LIF: the neuron, the table that its layers share, and the paper's networks.

(Chen et al., "Unleashing the Potential of Spiking Neural Networks for Sequential Modeling with
Contextual Embedding".) One table te [max hidden, T] serves all layers of a network, each reading
the rows of as many neurons as it has; T is the longest sequence that the network can take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurodeploy.errors import require_rows
from neurodeploy.neurons import SPECS
from neurodeploy.neurons.celif import CONTEXTS, TABLED
from neurodeploy.nn.arguments import (
    invalid,
    number,
    require_choice,
    require_flags,
    require_sizes,
    wholes,
)
from neurodeploy.nn.layers import Readout
from neurodeploy.nn.neurons import Neuron

HALF_WIDTH = 0.2  #: of the surrogate, which is 1 high (Eq. 7, Table 5): steepness 1 / 0.2


class TemporalEncoding(torch.nn.Module):
    """A trained table `weight` [width, steps], N(0.01, 0.01) at first, for layers up to `width`.

    Raises InputError E105 for a table without neurons or steps.
    """

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        require_sizes(self, width=width, steps=steps)
        self.width, self.steps = width, steps
        self.weight = torch.nn.Parameter(torch.empty(width, steps).normal_(0.01, 0.01))

    def rows(self, width: int) -> Tensor:
        """Return the table of the first `width` neurons, float64 [steps, width]."""
        return self.weight[:width].double().T

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {"width": self.width, "steps": self.steps}

    def extra_repr(self) -> str:
        """Return width and steps, for `repr`."""
        return f"{self.width}, {self.steps}"


class CELIF(Neuron):
    """Contextual embedding LIF (Chen et al., Eq. 2 and 4; `neurons/celif.py` has the equations).

    encoding: a `TemporalEncoding` of at least this width, which layers may share; or its arguments,
    for one of its own; None for the contexts "v" and "s", which have no table. context: the six of
    Table 2, "v_te" (the paper's choice), "s_te", "v_plus_te", "te", "v", "s". alpha, beta, theta0
    [membrane] and, for "s", gamma [membrane] stay as they are. Raises InputError E105 for values
    that the model does not have.
    """

    spec = SPECS["celif"]
    encoding: TemporalEncoding | None

    def __init__(
        self,
        width: int,
        *,
        encoding: TemporalEncoding | Mapping[str, int] | None = None,
        alpha: float = 0.5,
        beta: float = 0.99,
        theta0: float = 0.3,
        gamma: float | None = None,
        context: str = "v_te",
        compare: str = ">",
        surrogate: str = "window",
        steepness: float = 1 / HALF_WIDTH,
        **how: Any,
    ) -> None:
        options = {"context": context, "compare": compare}
        super().__init__(width, options, surrogate=surrogate, steepness=steepness, **how)
        self.alpha_v, self.beta, self.theta0 = (
            number(self, "alpha", alpha),
            number(self, "beta", beta),
            number(self, "theta0", theta0),
        )
        self.gamma = float(context == "s") if gamma is None else number(self, "gamma", gamma)
        if isinstance(encoding, Mapping) and set(encoding) == {"width", "steps"}:
            encoding = TemporalEncoding(**encoding)
        if not isinstance(encoding, TemporalEncoding | None):
            fix = "give a TemporalEncoding, or its width and steps"
            raise invalid(self, f"encoding is {encoding!r}", fix)
        if (encoding is not None) != (context in TABLED):
            fix = f"give an encoding for {', '.join(TABLED)}, and none otherwise"
            raise invalid(self, f"context {context!r} with encoding {encoding}", fix)
        if encoding is not None and encoding.width < width:
            fix = "share the encoding of the widest layer"
            raise invalid(self, f"{width} neurons, an encoding of {encoding.width}", fix)
        self.encoding = encoding
        table = np.zeros((1 if encoding is not None else 0, width))
        constants = (self.alpha_v, self.beta, self.theta0, self.gamma)
        self._require_valid(self.spec.params(*constants, table))

    def params(self) -> Any:
        """Return alpha, beta, theta0 and gamma [], and te [steps, width]."""
        table = self.encoding.rows(self.width) if self.encoding else torch.zeros(0, self.width)
        values = (self.alpha_v, self.beta, self.theta0, self.gamma)
        constants = torch.tensor(values, dtype=torch.float64)
        return self.spec.params(*constants, table.double())

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {name: getattr(self, name) for name in ("beta", "theta0", "gamma")}
        encoding = None if self.encoding is None else self.encoding.config()
        return {**super().config(), **own, "alpha": self.alpha_v, "encoding": encoding}

    def _accept(self, x: Tensor) -> None:
        super()._accept(x)
        rows = None if self.encoding is None else self.encoding.steps
        require_rows(len(x), rows, f"neurodeploy.nn.{type(self).__name__}")


class CELIFNet(torch.nn.Module):
    """The networks of the paper: x [T, B, inputs] to logits [B, classes].

    For each width of `hidden` a Linear and a layer of `CELIF`, then a Linear classifier, then the
    readout over time (the mean of the classifier's outputs). One table of the widest layer and
    `steps` steps serves all. `recurrent`: all hidden layers but the last hear their own spikes of
    the step before, through a Linear. `neuron` are further arguments of `CELIF`.

    The published networks for pixel-level MNIST (784 steps) are [64, 88, 88] and [64, 152, 152],
    83,562 and 153,962 parameters; recurrent [64, 136, 136] and [64, 152, 152], 158,386 and 181,378.
    Raises InputError E105 for values that the model does not have.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        classes: int,
        steps: int,
        *,
        recurrent: bool = False,
        readout: str = "mean",
        context: str = "v_te",
        **neuron: Any,
    ) -> None:
        super().__init__()
        require_sizes(self, inputs=inputs, classes=classes, steps=steps)
        require_flags(self, recurrent=recurrent)
        hidden = wholes(self, "hidden", hidden, "give the widths of the hidden layers")
        require_sizes(self, hidden=min(hidden))
        require_choice(self, "context", context, CONTEXTS)
        self.steps, self.widths, self.is_recurrent = steps, tuple(hidden), recurrent
        table = TemporalEncoding(max(hidden), steps) if context in TABLED else None
        how: Any = {"encoding": table, "context": context, **neuron}
        loop: dict[str, Any] = {"recurrent": True} if recurrent else {}
        loops = [loop] * (len(hidden) - 1) + [{}]
        wide = [inputs, *hidden]
        self.linears = torch.nn.ModuleList(map(torch.nn.Linear, wide[:-1], wide[1:]))
        self.neurons = torch.nn.ModuleList(
            CELIF(width, **how, **loop) for width, loop in zip(hidden, loops, strict=True)
        )
        self.classifier = torch.nn.Linear(wide[-1], classes)
        self.readout = Readout(readout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [B, classes], or [T, B, classes] for readout="steps"."""
        for linear, neuron in zip(self.linears, self.neurons, strict=True):
            x = neuron(linear(x))
        logits: Tensor = self.readout(self.classifier(x))
        return logits

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        neuron = self.neurons[-1].config()  # type: ignore[operator]
        own = {k: v for k, v in neuron.items() if k not in ("width", "encoding", "recurrent")}
        return {
            "inputs": self.linears[0].in_features,
            "hidden": self.widths,
            "classes": self.classifier.out_features,
            "steps": self.steps,
            "recurrent": self.is_recurrent,
            "readout": self.readout.kind,
            **own,
        }
