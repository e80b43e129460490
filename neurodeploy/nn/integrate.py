"""Trainable neurons of other tools: current-based LIF, and LIF that sends several spikes a step."""

from __future__ import annotations

from typing import Any

import torch

from neurodeploy.neurons import SPECS
from neurodeploy.nn.arguments import invalid, number, require_flags
from neurodeploy.nn.neurons import Neuron, fixed


class CubaLIF(Neuron):
    """Current-based LIF: i = alpha i + gain x, then a LIF membrane of decay beta driven by i.

    alpha, beta: decays per step; with `train_alpha` and `train_beta` each channel trains its own,
    sigmoid(alpha_logit) and sigmoid(beta_logit). v_th, v_reset [membrane], gain [membrane / input]
    stay as they are. reset: those of `LIF`. `shared` are the keyword arguments of `Neuron`. Raises
    InputError E105 for values the model does not have.
    """

    spec = SPECS["cubalif"]
    alpha_logit: torch.nn.Parameter | None

    def __init__(
        self,
        width: int,
        *,
        alpha: float = 0.8,
        beta: float = 0.9,
        v_th: float = 1.0,
        gain: float = 1.0,
        v_reset: float = 0.0,
        reset: str = "soft",
        compare: str = ">=",
        train_alpha: bool = False,
        train_beta: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(width, {"reset": reset, "compare": compare}, **shared)
        self.current_decay, self.v_th = number(self, "alpha", alpha), number(self, "v_th", v_th)
        self.gain, self.v_reset = number(self, "gain", gain), number(self, "v_reset", v_reset)
        self._set_decay(beta, train_beta)
        require_flags(self, train_alpha=train_alpha)
        if train_alpha and not 0 < self.current_decay < 1:
            raise invalid(self, f"alpha is {alpha}", "to be trained, it must be within (0, 1)")
        logit = torch.full((width,), self.current_decay).logit() if train_alpha else None
        self.register_parameter("alpha_logit", None if logit is None else torch.nn.Parameter(logit))
        rest = (self.v_th, self.gain, self.v_reset)
        self._require_valid(self.spec.params(self.current_decay, self.beta, *rest))

    def params(self) -> Any:
        """Return alpha and beta, [width] if trained; everything else []."""
        logit = self.alpha_logit
        alpha = fixed(self.current_decay) if logit is None else logit.double().sigmoid()
        rest = (fixed(self.v_th), fixed(self.gain), fixed(self.v_reset))
        return self.spec.params(alpha, self._decay(), *rest)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {name: getattr(self, name) for name in ("beta", "v_th", "gain", "v_reset")}
        trained = {"train_beta": self.train_beta, "train_alpha": self.alpha_logit is not None}
        return {**super().config(), "alpha": self.current_decay, **own, **trained}


class MultiSpikeLIF(Neuron):
    """LIF that sends one spike for each threshold that its membrane holds (sinabs, Rockpool).

    beta: decay per step; with `train_beta` each channel trains its own, sigmoid(beta_logit).
    v_th [membrane] is what one spike needs and takes. spikes: "many", or "one" at most; reset:
    "soft", or "hard" to v_reset [membrane]; v_min [membrane]: the membrane does not fall below it,
    None lets it. `shared` are the keyword arguments of `Neuron`. Raises InputError E105 for values
    the model does not have.
    """

    spec = SPECS["multispike"]

    def __init__(
        self,
        width: int,
        *,
        beta: float = 0.9,
        v_th: float = 1.0,
        gain: float = 1.0,
        v_reset: float = 0.0,
        v_min: float | None = None,
        spikes: str = "many",
        reset: str = "soft",
        train_beta: bool = False,
        **shared: Any,
    ) -> None:
        options = {"spikes": spikes, "reset": reset, "floor": v_min is not None}
        super().__init__(width, options, **shared)
        self.v_th, self.gain, self.v_reset = (
            number(self, "v_th", v_th),
            number(self, "gain", gain),
            number(self, "v_reset", v_reset),
        )
        self.v_min = None if v_min is None else number(self, "v_min", v_min)
        self._set_decay(beta, train_beta)
        numbers = (self.v_th, self.gain, self.v_reset, self.v_min or 0.0)
        self._require_valid(self.spec.params(self.beta, *numbers))

    def params(self) -> Any:
        """Return beta, [width] if trained; everything else []."""
        numbers = (self.v_th, self.gain, self.v_reset, self.v_min or 0.0)
        return self.spec.params(self._decay(), *map(fixed, numbers))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        names = ("beta", "v_th", "gain", "v_reset", "v_min", "train_beta")
        own = {name: getattr(self, name) for name in names}
        shared = super().config()
        shared.pop("floor")
        return {**shared, **own}
