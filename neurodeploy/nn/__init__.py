"""Trainable torch modules; every one takes and returns [T, B, C]."""

from neurodeploy.nn.checkpoint import load, save
from neurodeploy.nn.layers import BatchNorm, Readout, Scale
from neurodeploy.nn.neurons import LI, LIF, PRF, SpatialNeuron
from neurodeploy.nn.recompute import recompute
from neurodeploy.nn.sdtcm import SDTCM, SDTCMBlock

__all__ = [
    "LI",
    "LIF",
    "PRF",
    "SDTCM",
    "BatchNorm",
    "Readout",
    "SDTCMBlock",
    "Scale",
    "SpatialNeuron",
    "load",
    "recompute",
    "save",
]
