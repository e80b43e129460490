"""The trainable neuron with an adaptive threshold."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurodeploy.neurons import SPECS
from neurodeploy.nn.arguments import invalid, number, require_flags
from neurodeploy.nn.neurons import Neuron, fixed


class ALIF(Neuron):
    """Adaptive LIF: each spike raises the threshold by `jump`, and the raise decays by `rho`.

    beta and rho: decays per step of membrane and raise; with `train_beta` and `train_rho` each
    channel trains its own, sigmoid(beta_logit) and sigmoid(rho_logit). v_th: threshold at rest
    [membrane]. jump [membrane]: None is (1 - rho) adaptation, as Bellec et al. 2018 and Yin et al.
    2021 have it; a number is gamma of CE-LIF's Eq. 3. gain [membrane / input]: None is 1 - beta,
    theirs too. reset: "soft", "hard" to v_reset, "soft_after_decay" (Bellec), "soft_raised" (Yin);
    see `neurodeploy.neurons.alif`. `shared` are the keyword arguments of `Neuron`. Raises
    InputError E105 for values the model does not have.
    """

    spec = SPECS["alif"]
    rho_logit: torch.nn.Parameter | None

    def __init__(
        self,
        width: int,
        *,
        beta: float = 0.9,
        rho: float = 0.97,
        v_th: float = 1.0,
        adaptation: float = 1.8,
        jump: float | None = None,
        gain: float | None = 1.0,
        v_reset: float = 0.0,
        reset: str = "soft",
        compare: str = ">=",
        train_beta: bool = False,
        train_rho: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(width, {"reset": reset, "compare": compare}, **shared)
        self.rho, self.v_th, self.v_reset = (
            number(self, "rho", rho),
            number(self, "v_th", v_th),
            number(self, "v_reset", v_reset),
        )
        self.adaptation = number(self, "adaptation", adaptation)
        self.jump = None if jump is None else number(self, "jump", jump)
        self.gain = None if gain is None else number(self, "gain", gain)
        self._set_decay(beta, train_beta)
        require_flags(self, train_rho=train_rho)
        if train_rho and not 0 < self.rho < 1:
            raise invalid(self, f"rho is {rho}", "to be trained, it must be within (0, 1)")
        logit = torch.full((width,), self.rho).logit() if train_rho else None
        self.register_parameter("rho_logit", None if logit is None else torch.nn.Parameter(logit))
        jump = (1 - self.rho) * self.adaptation if self.jump is None else self.jump
        gain = 1 - self.beta if self.gain is None else self.gain
        decays = (self.beta, self.rho)
        self._require_valid(self.spec.params(*decays, self.v_th, jump, gain, self.v_reset))

    def params(self) -> Any:
        """Return beta, rho, and what follows from them, [width] if trained; everything else []."""
        beta = self._decay()
        rho = fixed(self.rho) if self.rho_logit is None else self.rho_logit.double().sigmoid()
        jump: Tensor = (1 - rho) * self.adaptation if self.jump is None else fixed(self.jump)
        gain: Tensor = 1 - beta if self.gain is None else fixed(self.gain)
        return self.spec.params(beta, rho, fixed(self.v_th), jump, gain, fixed(self.v_reset))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        names = ("beta", "rho", "v_th", "adaptation", "jump", "gain", "v_reset", "train_beta")
        own = {name: getattr(self, name) for name in names}
        return {**super().config(), **own, "train_rho": self.rho_logit is not None}
