"""Trainable torch modules; every one takes and returns [T, B, C]."""

from neurodeploy.nn.adaptive import ALIF
from neurodeploy.nn.celif import CELIF, CELIFNet, TemporalEncoding
from neurodeploy.nn.checkpoint import load, save
from neurodeploy.nn.compartments import TCLIF, TwoCompartment
from neurodeploy.nn.delay import Delay
from neurodeploy.nn.gsu import GSUBlock, GSUNetwork
from neurodeploy.nn.integrate import CubaLIF, MultiSpikeLIF
from neurodeploy.nn.layers import BatchNorm, Embedding, Readout, Scale
from neurodeploy.nn.lstm import LSTM
from neurodeploy.nn.maps import Conv, Pool
from neurodeploy.nn.networks import SpikingLayer, SpikingMLP
from neurodeploy.nn.neurons import LI, LIF, PRF, SpatialNeuron
from neurodeploy.nn.parallel import ParallelLIF
from neurodeploy.nn.recompute import recompute
from neurodeploy.nn.s4d import S4D
from neurodeploy.nn.sdn import SDN, SurrogateLIF, Threshold, train_sdn
from neurodeploy.nn.sdtcm import SDTCM, SDTCMBlock
from neurodeploy.nn.spiking_ssm import BinaryS4D, BinaryS4DBlock, SpikingSSM, SpikingSSMBlock
from neurodeploy.nn.ternary import GSU, Ternary

__all__ = [
    "ALIF",
    "CELIF",
    "GSU",
    "LI",
    "LIF",
    "LSTM",
    "PRF",
    "S4D",
    "SDN",
    "SDTCM",
    "TCLIF",
    "BatchNorm",
    "BinaryS4D",
    "BinaryS4DBlock",
    "CELIFNet",
    "Conv",
    "CubaLIF",
    "Delay",
    "Embedding",
    "GSUBlock",
    "GSUNetwork",
    "MultiSpikeLIF",
    "ParallelLIF",
    "Pool",
    "Readout",
    "SDTCMBlock",
    "Scale",
    "SpatialNeuron",
    "SpikingLayer",
    "SpikingMLP",
    "SpikingSSM",
    "SpikingSSMBlock",
    "SurrogateLIF",
    "TemporalEncoding",
    "Ternary",
    "Threshold",
    "TwoCompartment",
    "load",
    "recompute",
    "save",
    "train_sdn",
]
