"""Trainable neurons: a spec of `neurodeploy.neurons`, its parameters, and a surrogate.

Each takes currents [T, B, width] and returns its outputs [T, B, width]: 0 or the amplitude of a
spike, or the membrane of a neuron that does not spike. All start at rest.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from neurodeploy.errors import InputError
from neurodeploy.kernels.surrogates import SURROGATES
from neurodeploy.neurons import SPECS, NeuronSpec
from neurodeploy.nn.arguments import (
    invalid,
    number,
    positive,
    require_choice,
    require_flags,
    require_sizes,
    two,
)
from neurodeploy.nn.scan import arranged, hearing, scan
from neurodeploy.nn.surrogate import sequential

STEEPNESS = 2.0  # makes the arctan surrogate 1 at the threshold: 1 / (1 + (pi m)**2)


class Neuron(torch.nn.Module, ABC):
    """What all trainable neurons share.

    `options` are the choices of the spec. `amplitude` trains one factor alpha of the output,
    exp(log_amplitude), 1 at first (arXiv 2410.03530, section H). `reverse` runs from the last
    step to the first, outputs standing in the input's order. `recurrent` lets every neuron hear
    the outputs of all at the step before (zeros at first) through the Linear `recurrent`, whose
    result adds to x. `surrogate` is one of `kernels.surrogates.SURROGATES`, `steepness` its `a`
    [1 / membrane].
    """

    spec: ClassVar[NeuronSpec]
    recurrent: torch.nn.Linear | None
    log_amplitude: torch.nn.Parameter | None
    beta_logit: torch.nn.Parameter | None

    def __init__(
        self,
        width: int,
        options: dict[str, Any],
        *,
        amplitude: bool = False,
        reverse: bool = False,
        recurrent: bool = False,
        surrogate: str = "arctan",
        steepness: float = STEEPNESS,
    ) -> None:
        super().__init__()
        try:
            self.options = self.spec.options(**options)
        except ValueError as error:
            raise invalid(self, str(error), "use one of the choices listed") from None
        require_sizes(self, width=width)
        require_flags(self, amplitude=amplitude, reverse=reverse, recurrent=recurrent)
        require_choice(self, "surrogate", surrogate, SURROGATES)
        self.surrogate, self.steepness = surrogate, positive(self, "steepness", steepness)
        self.width, self.amplitude, self.reverse = width, amplitude, reverse
        start = torch.nn.Parameter(torch.zeros(())) if amplitude else None
        self.register_parameter("log_amplitude", start)
        self.recurrent = torch.nn.Linear(width, width) if recurrent else None

    @abstractmethod
    def params(self) -> Any:
        """Return the parameters of the spec, as float64 tensors [width] or []."""

    def alpha(self) -> Tensor:
        """Return the amplitude, a float64 tensor []."""
        return fixed(1.0) if self.log_amplitude is None else self.log_amplitude.double().exp()

    def folded(self) -> tuple[Any, Any]:
        """Return (coefficients of the step, membrane per unit of folded state), float64."""
        p = self.params()
        return self.spec.fold(p, self.options, torch), self.spec.unit(p, self.options, torch)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs [T, B, width] for currents x [T, B, width].

        Raises InputError E106 for another shape, or if x does not hold floats.
        """
        self._accept(x)
        how: Any = (self.surrogate, self.steepness, self.reverse, self._heard(x))
        return scan(self.spec, self.options, *self.folded(), self.alpha(), x, *how)

    def sequential_forward(self, x: Tensor) -> Tensor:
        """Return what `forward` returns, by the plain loop over `spec.step`: the reference."""
        self._accept(x)
        coefs, unit = self.folded()
        coefs = arranged(self.spec, coefs, x)
        alpha, weights = self.alpha().to(x), self._heard(x)
        heard = None if weights is None else hearing(*weights, alpha)
        how: Any = (self.surrogate, self.steepness, self.reverse, heard)
        return alpha * sequential(self.spec, self.options, coefs, unit, x, *how)

    def _heard(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the recurrent weight and bias in the type of x, if there are any."""
        if self.recurrent is None:
            return None
        bias = self.recurrent.bias
        weight = self.recurrent.weight.to(x)
        return weight, x.new_zeros(self.width) if bias is None else bias.to(x)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        shared = {n: getattr(self, n) for n in ("amplitude", "reverse", "surrogate", "steepness")}
        recurrent = self.recurrent is not None
        return {"width": self.width, **self.options, "recurrent": recurrent, **shared}

    def extra_repr(self) -> str:
        """Return the arguments, for `repr`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items())

    def _set_decay(self, beta: float, train: bool) -> None:
        require_flags(self, train_beta=train)
        self.beta, self.train_beta = number(self, "beta", beta), train
        if train and not 0 < self.beta < 1:
            raise invalid(self, f"beta is {beta}", "to be trained, it must be within (0, 1)")
        logit = torch.full((self.width,), self.beta).logit() if train else None
        self.register_parameter("beta_logit", None if logit is None else torch.nn.Parameter(logit))

    def _decay(self) -> Tensor:
        return fixed(self.beta) if self.beta_logit is None else self.beta_logit.double().sigmoid()

    def _accept(self, x: Tensor) -> None:
        if x.dim() != 3 or x.shape[-1] != self.width or not len(x) or not x.is_floating_point():
            raise InputError(
                "E106",
                f"{type(self).__name__} got {x.dtype} of shape {list(x.shape)}",
                fix=f"give floats of shape [T, B, {self.width}] with at least one step",
            )

    def _require_valid(self, values: Any) -> None:
        """Raise InputError E105 if the spec refuses these starting values."""
        names = [n for n in values._fields if not np.all(np.isfinite(getattr(values, n)))]
        wrong = [f"{name} must be finite" for name in names]
        wrong = wrong or self.spec.check(values, self.options)
        if wrong:
            shown = ", ".join(f"{n}={v}" for n, v in values._asdict().items())
            raise invalid(self, "; ".join(wrong), f"it was given {shown}")


class PRF(Neuron):
    """Parallel resonate-and-fire (arXiv 2410.03530, Eq. 19).

    dt: range [lo, hi] of the step lengths [model time], drawn log-uniformly and trained as
    `log_dt` [width]. theta: range of the angular frequencies [rad / model time], drawn uniformly
    and trained. v_th [membrane] stays as it is, and so does tau [model time], unless `train_tau`:
    then each channel trains its own as `log_tau` [width], and so its rate of decay 1/tau.

    The paper finds that the range of theta decides (Tables 17-21): best were up to pi/6 on
    ListOps, pi/8 on Text, pi/7 on Retrieval, 25 on Image, 10 on Pathfinder. The default, pi, is
    the frequency of its psMNIST study (section 5.2). Raises InputError E105 for values the model
    does not have.
    """

    spec = SPECS["prf"]
    log_dt: torch.nn.Parameter
    theta: torch.nn.Parameter
    log_tau: torch.nn.Parameter | None

    def __init__(
        self,
        width: int,
        *,
        dt: Sequence[float] = (0.001, 0.1),
        theta: Sequence[float] = (0.0, math.pi),
        tau: float = 2.0,
        v_th: float = 1.0,
        train_tau: bool = False,
        compare: str = ">=",
        amplitude: bool = False,
        reverse: bool = False,
        recurrent: bool = False,
        surrogate: str = "arctan",
        steepness: float = STEEPNESS,
    ) -> None:
        how: Any = {"reverse": reverse, "recurrent": recurrent}
        how |= {"surrogate": surrogate, "steepness": steepness}
        super().__init__(width, {"compare": compare}, amplitude=amplitude, **how)
        require_flags(self, train_tau=train_tau)
        self.dt_range, self.theta_range = self._range("dt", dt), self._range("theta", theta)
        self.tau, self.v_th = number(self, "tau", tau), number(self, "v_th", v_th)
        ends = (np.array(self.dt_range), self.tau, np.array(self.theta_range), self.v_th)
        self._require_valid(self.spec.params(*ends))
        low, high = self.dt_range
        self.log_dt = _uniform(width, math.log(low), math.log(high))
        self.theta = _uniform(width, *self.theta_range)
        start = torch.full((width,), math.log(self.tau)) if train_tau else None
        self.register_parameter("log_tau", None if start is None else torch.nn.Parameter(start))

    def _range(self, name: str, ends: Sequence[float]) -> tuple[float, float]:
        fix = "give a range, (lowest, highest)"
        low, high = two(self, name, ends, fix)
        if not low <= high:
            raise invalid(self, f"{name} is {ends}", fix)
        return low, high

    def params(self) -> Any:
        """Return dt and theta [width], tau [width] if trained, else [], and v_th []."""
        dt, theta = self.log_dt.double().exp(), self.theta.double()
        tau = fixed(self.tau) if self.log_tau is None else self.log_tau.double().exp()
        return self.spec.params(dt=dt, tau=tau, theta=theta, v_th=fixed(self.v_th))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {"dt": self.dt_range, "theta": self.theta_range, "tau": self.tau, "v_th": self.v_th}
        return {**super().config(), **own, "train_tau": self.log_tau is not None}


class LIF(Neuron):
    """Leaky integrate-and-fire (arXiv 2410.03530, Eq. 2-3).

    beta: decay per step; with `train_beta` each channel trains its own, sigmoid(beta_logit).
    v_th [membrane]: the threshold; with `train_v_th` each channel trains its own, exp(log_v_th).
    v_reset [membrane] and gain [membrane / input] stay as they are. reset: "soft" subtracts v_th,
    "hard" goes to v_reset, "none" leaves the membrane; `neurodeploy.neurons.resets` has three more.
    Raises InputError E105 for values the model does
    not have.
    """

    spec = SPECS["lif"]
    log_v_th: torch.nn.Parameter | None

    def __init__(
        self,
        width: int,
        *,
        beta: float = 0.9,
        v_th: float = 1.0,
        gain: float = 1.0,
        v_reset: float = 0.0,
        reset: str = "soft",
        compare: str = ">=",
        train_beta: bool = False,
        train_v_th: bool = False,
        amplitude: bool = False,
        reverse: bool = False,
        recurrent: bool = False,
        surrogate: str = "arctan",
        steepness: float = STEEPNESS,
    ) -> None:
        how: Any = {"reverse": reverse, "recurrent": recurrent}
        how |= {"surrogate": surrogate, "steepness": steepness}
        options = {"reset": reset, "compare": compare}
        super().__init__(width, options, amplitude=amplitude, **how)
        require_flags(self, train_v_th=train_v_th)
        self.v_th, self.gain, self.v_reset = (
            number(self, "v_th", v_th),
            number(self, "gain", gain),
            number(self, "v_reset", v_reset),
        )
        self._set_decay(beta, train_beta)
        self._require_valid(self.spec.params(self.beta, self.v_th, self.gain, self.v_reset))
        start = torch.full((width,), math.log(self.v_th)) if train_v_th else None
        self.register_parameter("log_v_th", None if start is None else torch.nn.Parameter(start))

    def params(self) -> Any:
        """Return beta and v_th, [width] if trained, else []; gain and v_reset []."""
        v_th = fixed(self.v_th) if self.log_v_th is None else self.log_v_th.double().exp()
        return self.spec.params(self._decay(), v_th, fixed(self.gain), fixed(self.v_reset))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        names = ("beta", "v_th", "gain", "v_reset", "train_beta")
        own = {name: getattr(self, name) for name in names}
        return {**super().config(), **own, "train_v_th": self.log_v_th is not None}


class SpatialNeuron(Neuron):
    """A threshold without memory (arXiv 2410.03530, Eq. 96), with a trained amplitude by default.

    v_th [input] stays as it is; 0.5 is what the released SD-TCM uses. Raises InputError E105 for
    values the model does not have.
    """

    spec = SPECS["spatial"]

    def __init__(
        self,
        width: int,
        *,
        v_th: float = 0.5,
        compare: str = ">=",
        amplitude: bool = True,
        reverse: bool = False,
        recurrent: bool = False,
        surrogate: str = "arctan",
        steepness: float = STEEPNESS,
    ) -> None:
        how: Any = {"reverse": reverse, "recurrent": recurrent}
        how |= {"surrogate": surrogate, "steepness": steepness}
        super().__init__(width, {"compare": compare}, amplitude=amplitude, **how)
        self.v_th = number(self, "v_th", v_th)
        self._require_valid(self.spec.params(self.v_th))

    def params(self) -> Any:
        """Return v_th []."""
        return self.spec.params(fixed(self.v_th))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        return {**super().config(), "v_th": self.v_th}


class LI(Neuron):
    """Leaky integrator (LIF without spike and reset): its output is its membrane, [T, B, width].

    beta: decay per step, 0.9 unless given; with `train_beta` each channel trains its own,
    sigmoid(beta_logit). `leak=False` is the running sum, beta 1. Raises InputError E105 for
    values the model does not have.
    """

    spec = SPECS["li"]

    def __init__(
        self,
        width: int,
        *,
        beta: float | None = None,
        leak: bool = True,
        train_beta: bool = False,
        reverse: bool = False,
        recurrent: bool = False,
    ) -> None:
        require_flags(self, leak=leak, train_beta=train_beta)
        super().__init__(width, {"leak": leak}, reverse=reverse, recurrent=recurrent)
        if train_beta and not leak:
            raise invalid(self, "beta cannot be trained without leak", "set leak=True")
        self._set_decay((0.9 if leak else 1.0) if beta is None else beta, train_beta)
        self._require_valid(self.spec.params(self.beta))

    def params(self) -> Any:
        """Return beta, [width] if trained, else []."""
        return self.spec.params(self._decay())

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        own = {name: getattr(self, name) for name in ("width", "beta", "train_beta", "reverse")}
        return {**self.options, **own, "recurrent": self.recurrent is not None}


def fixed(value: float) -> Tensor:
    """Return a number as a float64 tensor []."""
    return torch.tensor(value, dtype=torch.float64)


def _uniform(width: int, low: float, high: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.empty(width).uniform_(low, high))
