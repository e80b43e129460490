r"""State spaces whose outputs become spikes: SpikingSSM and Binary S4D.

One block, around a stream u (Shen et al. 2024, arXiv 2408.14909; Stan & Rhodes 2024, "Learning long
sequences in spiking neural networks"):

    y = S4D(v)                  + S4D'(v) backwards, if bidirectional: both feed one causal neuron
    s = LIF(y / v_th)           SpikingSSM: tau u + y / v_th >= 1, hard or soft reset, trained v_th
      = (y > 0)                 Binary S4D
    m = Linear1(s) * sigmoid(Linear2(s))                                               the GLU

    norm    residual=True       residual=False
    pre     u + m, v = norm(u)  m, v = norm(u)
    post    norm(u + m), v = u  norm(m), v = u
    None    u + m, v = u        m, v = u

The released SpikingSSM computes the post-norm and drops it: where its configuration has no
pre-norm, it runs as norm=None. Its backward kernel starts one step ahead, with k'[0] x[t+1]; here
it starts at x[t].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurodeploy.nn.arguments import require_choice, require_flags, require_sizes
from neurodeploy.nn.block_network import BlockNetwork
from neurodeploy.nn.layers import BatchNorm, dropout_of
from neurodeploy.nn.neurons import STEEPNESS, SpatialNeuron
from neurodeploy.nn.s4d import S4D
from neurodeploy.nn.sdn import SDN, SurrogateLIF, Threshold

NORMS = ("pre", "post", None)
KINDS = ("batch", "layer")


class _Block(torch.nn.Module):
    """What both blocks share; see the module's equations. `spikes` is what makes the spikes."""

    spikes: torch.nn.Module

    def __init__(
        self,
        width: int,
        *,
        state: int,
        init: str,
        discretization: str,
        dt: Sequence[float],
        train_b: bool,
        norm: str | None,
        norm_kind: str,
        bidirectional: bool,
        residual: bool,
        dropout: float,
        method: str,
    ) -> None:
        super().__init__()
        require_sizes(self, width=width)
        require_choice(self, "norm", norm, NORMS)
        require_choice(self, "norm_kind", norm_kind, KINDS)
        require_flags(self, bidirectional=bidirectional, residual=residual)
        self.placement, self.norm_kind, self.residual = norm, norm_kind, residual
        self.norm = make_norm(norm_kind, width) if norm else None
        ssm: Any = {"state": state, "init": init, "discretization": discretization, "dt": dt}
        ssm |= {"train_b": train_b, "method": method}
        self.ssm = S4D(width, **ssm)
        self.ssm_reverse = S4D(width, **ssm, skip=False, reverse=True) if bidirectional else None
        self.mix = torch.nn.Linear(width, 2 * width)
        self.gate = torch.nn.GLU(-1)
        self.dropout = dropout_of(self, dropout)

    def forward(self, u: Tensor) -> Tensor:
        """Return the stream after this block, [T, B, width]."""
        v = self.norm(u) if self.norm is not None and self.placement == "pre" else u
        y = self.ssm(v)
        if self.ssm_reverse is not None:
            y = y + self.ssm_reverse(v)
        m = self.gate(self.mix(self.spikes(y)))
        if self.dropout is not None:
            m = self.dropout(m)
        if self.residual:
            m = u + m
        if self.norm is not None and self.placement == "post":
            m = self.norm(m)
        out: Tensor = m
        return out

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        ssm = self.ssm.config()
        shared = ("width", "state", "init", "discretization", "dt", "train_b", "method")
        return {
            "norm": self.placement,
            "norm_kind": self.norm_kind,
            "bidirectional": self.ssm_reverse is not None,
            "residual": self.residual,
            "dropout": 0.0 if self.dropout is None else self.dropout.p,
            **{name: ssm[name] for name in shared},
        }


class SpikingSSMBlock(_Block):
    """A state space, LIF neurons and a GLU: [T, B, width] to [T, B, width].

    state, init, discretization, dt, train_b and method are those of `S4D`. tau: the decay of the
    neurons, 0.125 in the released code. reset: "hard" (to 0) or "soft". v_th: the threshold, one
    per channel where it starts; train_threshold: it is trained, as its logarithm. sdn: an `SDN`
    for the same tau, by which the spikes of all steps are computed at once, or True for one whose
    weights are loaded later; None runs the exact neurons. norm_kind: "batch" or "layer". Raises
    InputError E105 for a value that is not known.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int = 64,
        init: str = "lin",
        discretization: str = "zoh",
        dt: Sequence[float] = (0.001, 0.1),
        train_b: bool = False,
        tau: float = 0.125,
        reset: str = "hard",
        v_th: float = 1.0,
        train_threshold: bool = True,
        sdn: SDN | bool | None = None,
        norm: str | None = "pre",
        norm_kind: str = "batch",
        bidirectional: bool = False,
        residual: bool = True,
        dropout: float = 0.0,
        method: str = "scan",
        surrogate: str = "triangle",
        steepness: float = 1.0,
    ) -> None:
        ssm: Any = {"state": state, "init": init, "discretization": discretization, "dt": dt}
        ssm |= {"train_b": train_b, "method": method, "residual": residual, "dropout": dropout}
        ssm |= {"norm": norm, "norm_kind": norm_kind, "bidirectional": bidirectional}
        super().__init__(width, **ssm)
        self.threshold = Threshold(width, v_th, train=train_threshold)
        how: Any = {"surrogate": surrogate, "steepness": steepness}
        self.lif = SurrogateLIF(width, beta=tau, reset=reset, sdn=sdn, **how)

    @property
    def sdn(self) -> SDN | None:
        """The surrogate in use, if one is."""
        return self.lif.sdn

    @sdn.setter
    def sdn(self, value: SDN | None) -> None:
        self.lif.use(value)

    def spikes(self, y: Tensor) -> Tensor:  # type: ignore[override]
        """Return the spikes of the neurons driven by y."""
        s: Tensor = self.lif(self.threshold(y))
        return s

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        lif = self.lif.config()
        own = {name: lif[name] for name in ("reset", "sdn", "surrogate", "steepness")}
        threshold = self.threshold.config()
        own |= {"v_th": threshold["v_th"], "train_threshold": threshold["train"]}
        return {**super().config(), **own, "tau": lif["beta"]}


class BinaryS4DBlock(_Block):
    """A state space, a threshold at `v_th` and a GLU: [T, B, width] to [T, B, width].

    The arguments are those of `SpikingSSMBlock`; the neurons keep nothing from step to step.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int = 64,
        init: str = "inv",
        discretization: str = "bilinear",
        dt: Sequence[float] = (0.001, 0.1),
        train_b: bool = True,
        v_th: float = 0.0,
        norm: str | None = "post",
        norm_kind: str = "batch",
        bidirectional: bool = False,
        residual: bool = True,
        dropout: float = 0.0,
        method: str = "scan",
        surrogate: str = "arctan",
        steepness: float = STEEPNESS,
    ) -> None:
        ssm: Any = {"state": state, "init": init, "discretization": discretization, "dt": dt}
        ssm |= {"train_b": train_b, "method": method, "residual": residual, "dropout": dropout}
        ssm |= {"norm": norm, "norm_kind": norm_kind, "bidirectional": bidirectional}
        super().__init__(width, **ssm)
        how: Any = {"surrogate": surrogate, "steepness": steepness, "amplitude": False}
        self.spikes = SpatialNeuron(width, v_th=v_th, compare=">", **how)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        assert isinstance(self.spikes, SpatialNeuron)
        own = self.spikes.config()
        named = {name: own[name] for name in ("v_th", "surrogate", "steepness")}
        return {**super().config(), **named}


class _Network(BlockNetwork):
    """Blocks of state spaces; behind pre-norms stands one more norm."""

    kind: ClassVar[type[_Block]]

    def norm_behind(self, block: _Block, width: int) -> torch.nn.Module | None:
        """Return the last norm."""
        return make_norm(block.norm_kind, width) if block.placement == "pre" else None


class SpikingSSM(_Network):
    """A SpikingSSM network; `block` are the arguments of `SpikingSSMBlock`."""

    kind = SpikingSSMBlock


class BinaryS4D(_Network):
    """A Binary S4D network; `block` are the arguments of `BinaryS4DBlock`.

    On sequential MNIST the paper has BinaryS4D(1, 128, 2, 10, residual=False): 117,770 parameters.
    """

    kind = BinaryS4DBlock


def make_norm(kind: str, width: int) -> torch.nn.Module:
    """Return a norm over [T, B, width]: "batch" over steps and samples, "layer" over channels."""
    return BatchNorm(width) if kind == "batch" else torch.nn.LayerNorm(width)
