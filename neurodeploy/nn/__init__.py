"""Trainable torch modules; every one takes and returns [T, B, C]."""

from neurodeploy.nn.celif import CELIF, CELIFNet, TemporalEncoding
from neurodeploy.nn.checkpoint import load, save
from neurodeploy.nn.layers import BatchNorm, Readout, Scale
from neurodeploy.nn.networks import SpikingLayer, SpikingMLP
from neurodeploy.nn.neurons import LI, LIF, PRF, SpatialNeuron
from neurodeploy.nn.recompute import recompute
from neurodeploy.nn.sdtcm import SDTCM, SDTCMBlock
from neurodeploy.nn.ternary import GSU, Ternary

__all__ = [
    "CELIF",
    "GSU",
    "LI",
    "LIF",
    "PRF",
    "SDTCM",
    "BatchNorm",
    "CELIFNet",
    "Readout",
    "SDTCMBlock",
    "Scale",
    "SpatialNeuron",
    "SpikingLayer",
    "SpikingMLP",
    "TemporalEncoding",
    "Ternary",
    "load",
    "recompute",
    "save",
]
