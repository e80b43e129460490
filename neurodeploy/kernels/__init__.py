"""Compiled forms of a neuron: integer, float64 and trainable, all generated from its `step`."""

from neurodeploy.kernels.build import packed, real_kernel
from neurodeploy.kernels.threads import share, thread_count
from neurodeploy.kernels.train import train_kernels

__all__ = ["packed", "real_kernel", "share", "thread_count", "train_kernels"]
