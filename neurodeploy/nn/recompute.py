r"""Less memory for long sequences: a block's inner values are computed again when they are needed.

Training keeps what the backward pass reads: for a network of L blocks with a activations [T, B, N]
inside each, L a of them. Recomputed, only the L inputs of the blocks are kept, and the a
activations of one block at a time (Chen et al. 2016, arXiv 1604.06174): L + a, for one more
forward pass. The computation is the same one again, so the gradients are the same numbers. What a
second pass must not do twice, following a batch's statistics, it does not do; dropout draws the
same numbers.

Blocks, and not stretches of time, since BatchNorm needs a whole batch in every step. The compiled
neurons do keep states in stretches of time (`kernels.train.STRIDE`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from neurodeploy.nn.layers import BatchNorm


def recompute(module: torch.nn.Module, x: Tensor, checkpoint_steps: int | None = 1) -> Tensor:
    """Return module(x), recomputed in the backward pass if x has at least `checkpoint_steps` steps.

    None: never. Outputs and gradients are those of module(x).
    """
    long = checkpoint_steps is not None and isinstance(x, Tensor) and len(x) >= checkpoint_steps
    if not long or not torch.is_grad_enabled():
        out: Tensor = module(x)
        return out

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _unfollowed(module)

    out = checkpoint(module, x, use_reentrant=False, context_fn=contexts)
    return out


@contextmanager
def _unfollowed(module: torch.nn.Module) -> Iterator[None]:
    """Keep the running statistics of every norm as they are."""
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.follows = False
    try:
        yield
    finally:
        for norm in norms:
            norm.follows = True
