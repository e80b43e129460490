"""Trainable neurons of two compartments; what a file's neurons share is in `neurons.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neurodeploy.neurons import SPECS
from neurodeploy.nn.arguments import invalid, number, require_flags, two
from neurodeploy.nn.neurons import Neuron, fixed


class TCLIF(Neuron):
    """LSTM-LIF, or TC-LIF: a dendrite that remembers and a soma that fires (arXiv 2307.07231).

    beta: starting couplings (beta1, beta2), soma to dendrite in (-1, 0) and dendrite to soma in
    (0, 1). One scalar each per layer is trained, beta1 = -sigmoid(c0) and beta2 = sigmoid(c1).
    gamma [membrane] is what a spike takes from the dendrite, v_th [membrane] the threshold and
    what it takes from the soma; both stay (Table 5 has 0.5 to 1.0 and 1.0 to 1.8). coupling:
    "reset" is the released code, "unreset" the paper's Eq. 9 (see `neurodeploy.neurons.tclif`).
    `shared` are the keyword arguments of `Neuron`. Raises InputError E105 for values the model
    does not have.
    """

    spec = SPECS["tclif"]

    def __init__(
        self,
        width: int,
        *,
        beta: Sequence[float] = (-0.5, 0.5),
        gamma: float = 0.5,
        v_th: float = 1.0,
        coupling: str = "reset",
        compare: str = ">=",
        **shared: Any,
    ) -> None:
        super().__init__(width, {"coupling": coupling, "compare": compare}, **shared)
        fix = "give (beta1, beta2), beta1 within (-1, 0), beta2 within (0, 1)"
        self.beta_start = two(self, "beta", beta, fix)
        if not -1 < self.beta_start[0] < 0 < self.beta_start[1] < 1:
            raise invalid(self, f"beta is {self.beta_start}", fix)
        self.gamma, self.v_th = number(self, "gamma", gamma), number(self, "v_th", v_th)
        self._require_valid(self.spec.params(*self.beta_start, self.gamma, self.v_th))
        self.c0 = torch.nn.Parameter(torch.tensor(-self.beta_start[0]).logit())
        self.c1 = torch.nn.Parameter(torch.tensor(self.beta_start[1]).logit())

    def params(self) -> Any:
        """Return beta1, beta2, gamma and v_th, all []."""
        beta1, beta2 = -self.c0.double().sigmoid(), self.c1.double().sigmoid()
        return self.spec.params(beta1, beta2, fixed(self.gamma), fixed(self.v_th))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {"beta": self.beta_start, "gamma": self.gamma, "v_th": self.v_th}
        return {**super().config(), **own}


class TwoCompartment(Neuron):
    """The generalised neuron behind TC-LIF, with decays (arXiv 2307.07231, Eq. 6-8).

    alpha: starting decays (dendrite, soma) in [0, 1]; beta: starting couplings (soma to dendrite,
    dendrite to soma) in [-1, 1]. One scalar each per layer is trained where `train_alpha` and
    `train_beta` say so, as sigmoid(alpha_logit) and tanh(beta_raw). gamma, v_th and coupling are
    as in `TCLIF`; Eq. 6 has gamma = 0. `shared` are the keyword arguments of `Neuron`. Raises
    InputError E105 for values the model does not have.
    """

    spec = SPECS["two_compartment"]
    alpha_logit: torch.nn.Parameter | None
    beta_raw: torch.nn.Parameter | None

    def __init__(
        self,
        width: int,
        *,
        alpha: Sequence[float] = (0.9, 0.9),
        beta: Sequence[float] = (-0.5, 0.5),
        gamma: float = 0.0,
        v_th: float = 1.0,
        coupling: str = "reset",
        compare: str = ">=",
        train_alpha: bool = False,
        train_beta: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(width, {"coupling": coupling, "compare": compare}, **shared)
        require_flags(self, train_alpha=train_alpha, train_beta=train_beta)
        self.alpha_start, self.beta_start = (
            two(self, name, values, "give two numbers, of the dendrite and of the soma")
            for name, values in (("alpha", alpha), ("beta", beta))
        )
        self.gamma, self.v_th = number(self, "gamma", gamma), number(self, "v_th", v_th)
        values = (*self.alpha_start, *self.beta_start, self.gamma, self.v_th)
        self._require_valid(self.spec.params(*values))
        self.register_parameter("alpha_logit", None)
        self.register_parameter("beta_raw", None)
        if train_alpha:
            if not all(0 < value < 1 for value in self.alpha_start):
                raise invalid(self, f"alpha is {alpha}", "to be trained, it must be within (0, 1)")
            self.alpha_logit = torch.nn.Parameter(torch.tensor(self.alpha_start).logit())
        if train_beta:
            if not all(-1 < value < 1 for value in self.beta_start):
                raise invalid(self, f"beta is {beta}", "to be trained, it must be within (-1, 1)")
            raw = [math.atanh(value) for value in self.beta_start]
            self.beta_raw = torch.nn.Parameter(torch.tensor(raw))

    def params(self) -> Any:
        """Return alpha1, alpha2, beta1, beta2, gamma and v_th, all []."""
        alpha: Sequence[Tensor] = [fixed(value) for value in self.alpha_start]
        beta: Sequence[Tensor] = [fixed(value) for value in self.beta_start]
        if self.alpha_logit is not None:
            alpha = self.alpha_logit.double().sigmoid().unbind()
        if self.beta_raw is not None:
            beta = self.beta_raw.double().tanh().unbind()
        return self.spec.params(*alpha, *beta, fixed(self.gamma), fixed(self.v_th))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {"alpha": self.alpha_start, "beta": self.beta_start}
        trained = {
            "train_alpha": self.alpha_logit is not None,
            "train_beta": self.beta_raw is not None,
        }
        return {**super().config(), **own, "gamma": self.gamma, "v_th": self.v_th, **trained}
