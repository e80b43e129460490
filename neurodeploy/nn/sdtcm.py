r"""Spike-driven temporal and channel mixing (Huang et al. 2024, arXiv 2410.03530, Eq. 97-102).

With u the membrane stream, TN a PRF layer and SN a spatial neuron:

    inner(v, u):    s = TN(v)                     or cat(TN(v), TN'(v) backwards)  if bidirectional
                    x = u + Linear1(s)
                    y = x + Linear2(SN(x))

    norm    outer_residual=False        outer_residual=True
    pre     inner(norm(u), u)           v = norm(u);  u + inner(v, v)   (the released code)
    post    norm(inner(u, u))           norm(u + inner(u, u))
    None    inner(u, u)                 u + inner(u, u)

The equations of the paper are `outer_residual=False`; the released backbone adds a residual
around the block. Spikes are 0 or alpha, one trained amplitude per layer, which the next Linear
absorbs in deployment. Dropout acts on what each Linear adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neurodeploy.nn.arguments import (
    invalid,
    number,
    require_choice,
    require_flags,
    require_sizes,
)
from neurodeploy.nn.layers import BatchNorm, Embedding, Readout, Scale, dropout_of
from neurodeploy.nn.neurons import PRF, STEEPNESS, SpatialNeuron
from neurodeploy.nn.recompute import recompute

NORMS = ("pre", "post", None)
AMPLITUDES = ("sn", "tn", "both", "none")


class SDTCMBlock(torch.nn.Module):
    """One block: [T, B, width] to [T, B, width]; see the module's equations.

    amplitude: which layers train a spike amplitude, "sn", "tn", "both" or "none". dt, theta, tau,
    v_th and train_tau are those of `PRF`, v_sn the threshold of the spatial neuron. Raises
    InputError E105 for a value that is not known.
    """

    def __init__(
        self,
        width: int,
        *,
        norm: str | None = "pre",
        bidirectional: bool = False,
        outer_residual: bool = False,
        amplitude: str = "sn",
        v_sn: float = 0.5,
        dt: Sequence[float] = (0.001, 0.1),
        theta: Sequence[float] = (0.0, math.pi),
        tau: float = 2.0,
        v_th: float = 1.0,
        train_tau: bool = False,
        dropout: float = 0.0,
        surrogate: str = "arctan",
        steepness: float = STEEPNESS,
    ) -> None:
        super().__init__()
        require_sizes(self, width=width)
        require_choice(self, "norm", norm, NORMS)
        require_choice(self, "amplitude", amplitude, AMPLITUDES)
        require_flags(self, bidirectional=bidirectional, outer_residual=outer_residual)
        how: Any = {"surrogate": surrogate, "steepness": steepness}
        prf: Any = {"dt": dt, "theta": theta, "tau": tau, "v_th": v_th, **how}
        prf["train_tau"] = train_tau
        prf["amplitude"] = amplitude in ("tn", "both")
        self.placement, self.outer_residual = norm, outer_residual
        self.norm = BatchNorm(width) if norm else None
        self.tn = PRF(width, **prf)
        self.tn_reverse = PRF(width, **prf, reverse=True) if bidirectional else None
        self.linear1 = torch.nn.Linear(2 * width if bidirectional else width, width)
        self.sn = SpatialNeuron(width, v_th=v_sn, amplitude=amplitude in ("sn", "both"), **how)
        self.linear2 = torch.nn.Linear(width, width)
        self.dropout = dropout_of(self, dropout)

    def forward(self, u: Tensor) -> Tensor:
        """Return the stream after this block, [T, B, width]."""
        v = self.norm(u) if self.norm is not None and self.placement == "pre" else u
        residual = v if self.outer_residual and self.placement == "pre" else u
        y = self._inner(v, residual)
        if self.outer_residual:
            y = u + y
        return self.norm(y) if self.norm is not None and self.placement == "post" else y

    def _inner(self, v: Tensor, u: Tensor) -> Tensor:
        s = self.tn(v)
        if self.tn_reverse is not None:
            s = torch.cat((s, self.tn_reverse(v)), dim=-1)
        x = u + self._drop(self.linear1(s))
        return x + self._drop(self.linear2(self.sn(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return x if self.dropout is None else self.dropout(x)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        tn, sn = self.tn.config(), self.sn.config()
        trained = (tn["amplitude"], sn["amplitude"])
        names = {(True, True): "both", (True, False): "tn", (False, True): "sn"}
        shared = ("width", "dt", "theta", "tau", "v_th", "train_tau", "surrogate", "steepness")
        return {
            "norm": self.placement,
            "bidirectional": self.tn_reverse is not None,
            "outer_residual": self.outer_residual,
            "amplitude": names.get(trained, "none"),
            "v_sn": sn["v_th"],
            "dropout": 0.0 if self.dropout is None else self.dropout.p,
            **{name: tn[name] for name in shared},
        }


class SDTCM(torch.nn.Module):
    """A whole SD-TCM network: x [T, B, inputs] to logits [B, classes].

    x times `input_scale`, a Linear encoder to `width` (with `tokens`, an Embedding of so many ids,
    which x [T, B, 1] holds), `blocks` blocks, one more BatchNorm if `norm` is "pre", the readout
    over time, a Linear classifier. With readout="steps" the
    classifier runs on every step: [T, B, classes]. Sequences of at least `checkpoint_steps` steps
    train with less memory and one more forward pass (`recompute`). `block` are the arguments of
    `SDTCMBlock`. Raises InputError E105 for a value that is not known, or without blocks.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        blocks: int,
        classes: int,
        *,
        readout: str = "mean",
        input_scale: float = 1.0,
        checkpoint_steps: int | None = None,
        tokens: int | None = None,
        **block: Any,
    ) -> None:
        super().__init__()
        require_sizes(self, inputs=inputs, width=width, blocks=blocks, classes=classes)
        given = {"tokens": tokens, "checkpoint_steps": checkpoint_steps}
        require_sizes(self, **{name: value for name, value in given.items() if value is not None})
        input_scale = number(self, "input_scale", input_scale)
        if tokens is not None and (inputs != 1 or input_scale != 1):
            what = f"{tokens} tokens, {inputs} inputs, input_scale {input_scale}"
            raise invalid(self, what, "tokens come as one input, ids, without a scale")
        self.checkpoint_steps = checkpoint_steps
        self.scale = Scale(inputs, input_scale) if tokens is None else None
        self.encoder: torch.nn.Linear | Embedding = (
            torch.nn.Linear(inputs, width) if tokens is None else Embedding(tokens, width)
        )
        self.blocks = torch.nn.ModuleList(SDTCMBlock(width, **block) for _ in range(blocks))
        self.norm = BatchNorm(width) if block.get("norm", "pre") == "pre" else None
        self.readout = Readout(readout)
        self.classifier = torch.nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [B, classes], or [T, B, classes] for readout="steps"."""
        u = self.encoder(x if self.scale is None else self.scale(x))
        for block in self.blocks:
            u = recompute(block, u, self.checkpoint_steps)
        if self.norm is not None:
            u = self.norm(u)
        logits: Tensor = self.classifier(self.readout(u))
        return logits

    def config(self) -> dict[str, Any]:
        """Return the arguments that build this module anew, as plain data."""
        block = self.blocks[0]
        assert isinstance(block, SDTCMBlock)
        return {
            **self._input_config(),
            "blocks": len(self.blocks),
            "classes": self.classifier.out_features,
            "readout": self.readout.kind,
            "checkpoint_steps": self.checkpoint_steps,
            **block.config(),
        }

    def _input_config(self) -> dict[str, Any]:
        if isinstance(self.encoder, Embedding):
            return {"inputs": 1, "tokens": self.encoder.num_embeddings, "input_scale": 1.0}
        scale = 1.0 if self.scale is None else self.scale.gain
        return {"inputs": self.encoder.in_features, "tokens": None, "input_scale": scale}
